"""Tools for those who write rewrites: assertions, the laws of a pass, random models, models without their weights.

from onnxfuse.testing import assert_equivalent, assert_pass_laws, check_declines, check_rewrite

assert_equivalent("model.onnx", "out.onnx")
check_rewrite(before, after, "remove-pad")
check_declines(model, "remove-pad", "the pads are not all zero")
assert_pass_laws(RemovePad())

Random models for hypothesis are in `onnxfuse.testing.strategies`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxfuse.testing.equivalence import NotEquivalentError, assert_equivalent
    from onnxfuse.testing.laws import Law, assert_pass_laws, pass_laws
    from onnxfuse.testing.rewrites import check_declines, check_rewrite
    from onnxfuse.verification.stand_ins import STRIPPED
    from onnxfuse.weights import fill, strip

# As in onnxfuse itself: the pytest plugin is in this package, and is imported whenever pytest starts.
_HOMES = {
    "STRIPPED": "onnxfuse.verification.stand_ins",
    "Law": "onnxfuse.testing.laws",
    "NotEquivalentError": "onnxfuse.testing.equivalence",
    "assert_equivalent": "onnxfuse.testing.equivalence",
    "assert_pass_laws": "onnxfuse.testing.laws",
    "check_declines": "onnxfuse.testing.rewrites",
    "check_rewrite": "onnxfuse.testing.rewrites",
    "fill": "onnxfuse.weights",
    "pass_laws": "onnxfuse.testing.laws",
    "strip": "onnxfuse.weights",
}

__all__ = [
    "STRIPPED",
    "Law",
    "NotEquivalentError",
    "assert_equivalent",
    "assert_pass_laws",
    "check_declines",
    "check_rewrite",
    "fill",
    "pass_laws",
    "strip",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
