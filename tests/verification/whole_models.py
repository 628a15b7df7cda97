"""Pairs of whole models as text, and their comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser

from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.model import check_models
from onnxfuse.verification.verdict import Verdict
from tests.verification.texts import HEADER, parse


def detour(text: str, header: str = HEADER) -> onnx.ModelProto:
    """The same model, its outputs passed through what changes no bit: told equal by a run, and not by its structure."""
    model = parse(text, header)
    names = {value.name: f"before {value.name}" for value in model.graph.output}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    model.graph.node.extend(onnx.helper.make_node("Concat", [old], [new], axis=0) for new, old in names.items())
    return model


def pair(before: str, after: str | onnx.ModelProto, header: str = HEADER) -> tuple[EvalModel, EvalModel]:
    return EvalModel(parse(before, header)), EvalModel(parse(after, header) if isinstance(after, str) else after)


def full(before: str, after: str | onnx.ModelProto, **options: Any) -> Verdict:
    return check_models(*pair(before, after), families="full", **options)


def quick(before: str, after: str | onnx.ModelProto, **options: Any) -> Verdict:
    return check_models(*pair(before, after), families="quick", **options)


# ---- interface


def with_weight(ir_version: int, *, as_input: bool, value: float = 1.0, stored: bool = True) -> EvalModel:
    inputs = "float[2] x, float[2] w" if as_input else "float[2] x"
    header = f'<ir_version: {ir_version}, opset_import: ["" : 10]>\n'
    proto = parse(f"g ({inputs}) => (float[2] y) {{ y = Add(x, w) }}", header)
    if not stored:
        return EvalModel(proto)
    proto.graph.initializer.append(onnx.TensorProto(name="w", dims=[2], data_type=onnx.TensorProto.FLOAT))
    return EvalModel(proto, {"w": np.full(2, value, np.float32)})
