"""Small models from the text of their nodes, and what is found in them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
import onnx.parser
from onnx.numpy_helper import from_array

from onnxfuse.drivers.atc import AtcOptions
from onnxfuse.drivers.checks.graph import check_graph
from onnxfuse.drivers.findings import Finding


def parsed(
    body: str, *, inputs: str = "float[1, 4] x", outputs: str = "float[1, 4] y", opset: int = 11
) -> onnx.ModelProto:
    """A small model from the text of its nodes."""
    text = f'<ir_version: 8, opset_import: ["": {opset}]> example ({inputs}) => ({outputs}) {{ {body} }}'
    return onnx.parser.parse_model(text)


def found(model: onnx.ModelProto, *, cann: str = "", **options: Any) -> list[Finding]:
    return list(check_graph(model, AtcOptions(soc_version="Ascend310", **options), cann=cann))


def only(model: onnx.ModelProto, check: str, *, cann: str = "", **options: Any) -> Finding:
    """The one finding of a check, and there is no error beside it."""
    (finding,) = [item for item in found(model, cann=cann, **options) if item.check == check]
    return finding


PLAIN: Final = "[one] y = Relu(x)"


def with_constant(array: np.ndarray, body: str, **kinds: Any) -> onnx.ModelProto:
    model = parsed(body, **kinds)
    model.graph.initializer.append(from_array(array, "c"))
    return model
