"""Whether two models give the same results, found out without anything of onnxfuse's verification."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import onnx

from onnxfuse.testing.oracle import drawn, tensors_of
from tests.gauntlet.feeds import Feed
from tests.gauntlet.oracle import Oracle, Outputs, open_model

__all__ = ["Expected", "expected_of"]

SIZES: Final = (3, 0, 1, 2, 4, 5, 6, 8, 11, 16, 23)
"""What all symbolic dims are bound to in turn."""
MIXED: Final = ((2, 3, 5, 4), (7, 1, 6, 2), (0, 4, 1, 3))
LADDER: Final = (
    *(0.0, -0.0, 0.5, -0.5, 1.0, 1.5, -1.5, 2.5, -2.5, 3.0, -4.0, 6.0, np.nan, np.inf, -np.inf, 1e-40, 3e38, 1e300),
    *(
        float(sign * (2**bits + more))
        for bits in (7, 8, 11, 15, 16, 24, 31, 53)
        for more in (-1, 0, 1)
        for sign in (1, -1)
    ),
)
UNITS: Final = {"float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}
ROUNDING: Final = 64
"""Units in the last place of the largest result: what is more than that is no rounding on models this small."""


class Expected:
    """What a model gives, to be compared with what another one gives.

    Attributes:
        runs: Inputs that the model runs on, and its results.
    """

    def __init__(self, model: onnx.ModelProto, feeds: Sequence[Feed], oracle: Oracle, *, exact: bool) -> None:
        """Runs the model.

        Args:
            model: The model.
            feeds: Inputs; those on which it does not run are left out.
            oracle: What runs it.
            exact: Whether results must be the same bits.
        """
        self._oracle = oracle
        self._exact = exact
        call = open_model(model, oracle)
        self.runs: list[tuple[Feed, Outputs]] = []
        for feed in feeds:
            try:
                self.runs.append((feed, call(feed)))
            except Exception:
                continue  # what does not run on the original cannot be compared

    def difference(self, other: bytes) -> str | None:
        """Says how the results of another model differ; None where they do not."""
        model = onnx.load_from_string(other)
        try:
            onnx.checker.check_model(model)
            call = open_model(model, self._oracle)
        except Exception as error:
            return f"invalid: {str(error).splitlines()[0]}"
        for feed, wanted in self.runs:
            try:
                got = call(feed)
            except Exception as error:
                return f"it fails where the original runs: {str(error).splitlines()[0]}"
            for name, value in wanted.items():
                if name not in got or not self._same(value, got[name]):
                    sizes = {key: np.shape(array) for key, array in feed.items()}
                    return f"{name} differs at {sizes}"
        return None

    def _same(self, a: Any, b: Any) -> bool:
        if isinstance(a, list) or isinstance(b, list):
            return isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and all(map(self._same, a, b))
        if a is None or b is None:
            return a is b
        a, b = np.asarray(a), np.asarray(b)
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype.name not in UNITS:
            return bool(np.array_equal(a, b))
        nan = np.isnan(a)
        if not np.array_equal(nan, np.isnan(b)):
            return False
        if self._exact:
            return bool(np.array_equal(a[~nan], b[~nan]) and np.array_equal(np.signbit(a[~nan]), np.signbit(b[~nan])))
        finite = np.isfinite(a)
        if not np.array_equal(a[~finite & ~nan], b[~finite & ~nan]):
            return False
        error = np.abs(a[finite].astype(np.float64) - b[finite].astype(np.float64))
        scale = np.abs(a[finite].astype(np.float64)).max(initial=0.0)
        return bool((error <= ROUNDING * UNITS[a.dtype.name] * scale).all())


def expected_of(
    model: onnx.ModelProto, *, given: Sequence[Feed] = (), oracle: Oracle = Oracle.ONNXRUNTIME, exact: bool
) -> Expected:
    """Runs a model on the feeds given, and on others drawn for it."""
    return Expected(model, [*given, *_drawn(model, exact=exact)], oracle, exact=exact)


def _drawn(model: onnx.ModelProto, *, exact: bool) -> Iterator[Feed]:
    for number, sizes in enumerate([*((size,) for size in SIZES), *MIXED]):
        yield _feed(model, sizes, number, ladder=False)
        if exact and number in (0, 3, len(SIZES)):
            yield _feed(model, sizes, number, ladder=True)


def _feed(model: onnx.ModelProto, sizes: Sequence[int], seed: int, *, ladder: bool) -> Feed:
    rng = np.random.default_rng(seed)
    tensors = tensors_of(model, sizes)
    return {name: _values(elem_type, shape, rng, ladder=ladder) for name, (elem_type, shape) in tensors.items()}


def _values(elem_type: int, shape: Sequence[int], rng: np.random.Generator, *, ladder: bool) -> np.ndarray[Any, Any]:
    values = drawn(elem_type, shape, rng, special=False)
    if not ladder or values.dtype.kind in "biuO":
        return values
    # A size of its own: the largest list of boundaries is longer than most inputs.
    boundaries = np.resize(np.roll(np.array(LADDER), -values.size * int(rng.integers(0, 5))), values.size)
    with np.errstate(over="ignore", invalid="ignore"):
        return boundaries.astype(values.dtype).reshape(shape)
