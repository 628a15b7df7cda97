"""Two models must do the same."""

from __future__ import annotations

import os
from typing import Any

from onnxfuse.model_io import ModelLike
from onnxfuse.pipeline.manager import verify
from onnxfuse.verification.verdict import Status, Verdict

__all__ = ["NotEquivalentError", "assert_equivalent"]


class NotEquivalentError(AssertionError):
    """Two models are different, or it could not be decided.

    Attributes:
        verdict: What the comparison says.
        a: The original.
        b: The model that should do the same.
    """

    def __init__(self, message: str, verdict: Verdict, a: ModelLike, b: ModelLike) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.a = a
        self.b = b


def assert_equivalent(a: ModelLike, b: ModelLike, *, allow_not_run: bool = False, **options: Any) -> Verdict:
    """Asserts that two models are equivalent.

    Args:
        a: The original: a path, `bytes`, an `onnx.ModelProto` or an `onnx_ir.Model`.
        b: The model that should do the same.
        allow_not_run: Whether it is enough that nothing differs where something could not be run or decided.
        options: As for `onnxfuse.verify`: `dims`, `input_data`, `seed`, `budget`...

    Returns:
        The verdict, with the largest differences that were seen.

    Raises:
        NotEquivalentError: They are not. The message says what differs, and where.
        ModelError: One of the models cannot be read.
        UsageError: The options speak of what the models do not have.
    """
    __tracebackhide__ = True
    verdict = verify(a, b, **options)
    if verdict.equivalent or (allow_not_run and verdict.status is Status.NOT_RUN):
        return verdict
    said = "the models are different" if verdict.status is Status.DIFFERENT else "it was not decided"
    between = f"\n  a: {_name(a)}\n  b: {_name(b)}"
    raise NotEquivalentError(f"{said}{between}\n{verdict.explain()}", verdict, a, b)


def _name(model: ModelLike) -> str:
    if isinstance(model, (str, os.PathLike)):
        return os.fsdecode(model)
    return f"{type(model).__module__}.{type(model).__qualname__}".removeprefix("builtins.")
