"""The catalogue: one pass a file, built only on onnxfuse's public interface.

The file `merge_sliced.py` holds the class `MergeSliced`, which is the pass `merge-sliced`.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Final

if __name__ != "onnxfuse.passes":
    raise ImportError("import onnxfuse.passes, not passes: else one pass exists as two classes")

if TYPE_CHECKING:
    from onnxfuse.passes.convert_opset import ConvertOpset
    from onnxfuse.passes.merge_sliced import MergeSliced
    from onnxfuse.passes.remove_pad import RemovePad
    from onnxfuse.passes.transpose_around_softmax import TransposeAroundSoftmax

__all__ = ["PRESETS", "ConvertOpset", "MergeSliced", "RemovePad", "TransposeAroundSoftmax"]

PRESETS: Final = {
    "minimal": "remove-pad",
    "default": "merge-sliced,remove-pad",
    "ascend": "merge-sliced,remove-pad,transpose-around-softmax",
}
"""Pipelines by name. `minimal`: what costs nothing anywhere. `default`: exact, of use on every backend. `ascend`:
`default` and what helps on Ascend's NPUs."""


def __getattr__(name: str) -> Any:
    # MergeSliced is in merge_sliced.py.
    module = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).removeprefix("_")
    if name[:1].isupper() and importlib.util.find_spec(f"onnxfuse.passes.{module}") is not None:
        return getattr(importlib.import_module(f"onnxfuse.passes.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
