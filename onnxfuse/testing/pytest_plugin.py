"""The pytest plugin: a reproducer of each failed `assert_equivalent`.

    pytest --onnxfuse-reproducers build/reproducers

It is loaded whenever pytest starts, and so imports nothing heavy.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from onnxfuse.testing.equivalence import NotEquivalentError

__all__ = ["pytest_addoption", "pytest_runtest_makereport"]

OPTION = "--onnxfuse-reproducers"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option."""
    parser.getgroup("onnxfuse").addoption(
        OPTION,
        metavar="DIR",
        default=None,
        help="for each failed assert_equivalent, write a folder to DIR with both models, without their weights, and "
        "with inputs that show the difference",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Writes the reproducers of a failed test, and says in its report where they are."""
    report = yield
    folder = item.config.getoption(OPTION)
    if folder is not None and call.excinfo is not None:
        for error in _failures(call.excinfo.value):
            report.sections.append(("onnxfuse", _written(Path(folder), error)))
    return report


def _failures(error: BaseException | None) -> Iterator[NotEquivalentError]:
    """Yields what failed: the error itself, what it was raised from, and the members of a group."""
    # Where nothing asked whether two models are equivalent, the module is not even there.
    equivalence = sys.modules.get("onnxfuse.testing.equivalence")
    if equivalence is None or error is None:
        return
    if isinstance(error, equivalence.NotEquivalentError):
        yield error
    elif isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _failures(member)
    else:
        yield from _failures(error.__cause__)


def _written(folder: Path, error: NotEquivalentError) -> str:
    from onnxfuse.errors import OnnxfuseError
    from onnxfuse.model_io import open_model
    from onnxfuse.pipeline.evaluable import evaluable_before
    from onnxfuse.verification.reproducer import write_difference

    try:
        a, b = (evaluable_before(open_model(model)) for model in (error.a, error.b))
        return f"reproducer: {write_difference(folder, a, b, error.verdict)}"
    except OnnxfuseError as problem:
        return f"no reproducer could be written: {problem}"
