"""convert-opset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from onnxfuse import ModelPass, Numerics, ToolError, UsageError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from onnxfuse import Facts

# onnxruntime promises nothing for models of an older opset, so that a conversion of one could not be verified.
OLDEST: Final = 7
# A longer initializer says nothing about shapes: onnx's converter gets no data for it.
LONGEST: Final = 1024


@dataclass(frozen=True)
class ConvertOpset(ModelPass):
    """Convert the model to a newer version of ONNX's operators.

    What it does:
        Raises the opset of ONNX's default domain, and rewrites the operators that are written in another way there:
        axes and pads become inputs, Upsample becomes Resize. It works with onnx's own version converter, on a copy
        without weights, and mends what that gets wrong. Of the result it takes the nodes only: the interface, the IR
        version, other domains, types, doc strings and metadata stay as they are.

        A Softmax, LogSoftmax or Hardmax below opset 13 normalises over all dims from its axis on. Where that is the
        last one alone, it is written `axis=-1`, which is the same in both opsets; else Softmax and LogSoftmax stand
        between Flatten and Reshape.

    Why:
        Other passes, and compilers, ask for an opset: a Softmax over one axis exists since opset 13.

    Example:
        convert-opset{to=13}

        Before:

            <ir_version: 8, opset_import: ["": 11]>
            example (float[N, 4, 8] x) => (float[N, 4] y) {
                weights = Softmax<axis = 2>(x)
                y = ReduceSum<axes = [2], keepdims = 0>(weights)
            }

        After:

            <ir_version: 8, opset_import: ["": 13]>
            example (float[N, 4, 8] x) => (float[N, 4] y) <int64[1] y_axes = {2}> {
                weights = Softmax<axis = -1>(x)
                y = ReduceSum<keepdims = 0>(weights, y_axes)
            }

    When it declines:
        The model is at a newer opset already, or below 7 (no runtime is held to such a model, so nothing could be
        verified); it has local functions (onnx's converter drops them), or sparse initializers; the installed
        onnxruntime does not load the opset; or it has an operator that onnx's converter turns into another function: a
        Hardmax over several dims, a Softmax over several of which one may be 0, a Scan below opset 9, a mask of Dropout
        below opset 10, a Resize below opset 11 that drops elements at other than whole steps, a BatchNormalization in
        training below opset 14, a GroupNormalization below opset 21, bodies of custom operators.

    Numerics:
        Rounding: the new version of an operator is the same function, but a runtime may have another kernel for it,
        which adds up in another order.

    Options:
        to: The opset to convert to.

    References:
        onnx.version_converter, https://onnx.ai/onnx/api/version_converter.html; the versions of each operator,
        https://onnx.ai/onnx/operators/
    """

    name: ClassVar[str] = "convert-opset"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING
    to: int

    def __post_init__(self) -> None:
        import onnx

        newest = onnx.defs.onnx_opset_version()
        if not OLDEST <= self.to <= newest:
            raise UsageError(
                f"{self}: an opset from {OLDEST} to {newest} is expected, as onnx {onnx.__version__} has them"
            )

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        """Returns the model at opset `to`, or `model` itself where it is there already."""
        version = _opset(model, facts)
        if version == self.to:
            return model
        if version > self.to:
            facts.decline(f"the model is already at opset {version}")
        if version < OLDEST:
            facts.decline(f"the model is at opset {version}: what it does below opset {OLDEST} could not be verified")
        if (refusal := _refusal(self.to)) is not None:
            facts.decline(refusal)
        from onnxfuse.passes._opset_faults import look
        from onnxfuse.passes._opset_nodes import take_nodes

        mends = look(model, facts, version, self.to)
        for node in mends.last_axis:
            node.attributes["axis"] = _last_axis()
        tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
        light = _without_weights(model)
        take_nodes(light, _converted(light, self.to), mends, self.to)
        return _with_tensors(light, tensors)


def _opset(model: ir.Model, facts: Facts) -> int:
    imports = model.graph.opset_imports
    version = imports.get("", imports.get("ai.onnx"))
    if version is None:
        facts.decline("the model has no operator of ONNX's default domain")
    return version


def _refusal(opset: int) -> str | None:
    """Says why the installed onnxruntime could not verify the result, if it cannot."""
    import onnx
    import onnxruntime

    probe = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> probe (float[1] x) => (float[1] y) {{ y = Identity(x) }}'
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - onnxruntime's errors have no base of their own
        version = onnxruntime.__version__
        return f"the installed onnxruntime {version} does not load opset {opset}: the result could not be verified"
    return None


def _last_axis() -> ir.Attr:
    import onnx_ir as ir

    return ir.AttrInt64("axis", -1)


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    """Returns the model as a message in which long initializers have no data."""
    import onnx
    import onnx_ir as ir

    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.size > LONGEST:
            header = onnx.TensorProto(name=name, data_type=tensor.dtype, dims=tensor.shape.numpy())
            value.const_value = ir.TensorProtoTensor(header)
    return ir.to_proto(model)


def _converted(model: onnx.ModelProto, to: int) -> onnx.ModelProto:
    from onnx import version_converter

    try:
        return version_converter.convert_version(model, to)
    except Exception as error:  # C++ throws several types
        said = " ".join(str(error).split())
        raise ToolError(f"onnx's version converter cannot convert to opset {to}: {said}") from error


def _with_tensors(light: onnx.ModelProto, tensors: dict[str, ir.TensorProtocol | None]) -> ir.Model:
    """Returns the model with its own tensors, each the very object that it was."""
    import onnx_ir as ir

    model = ir.from_proto(light)
    for name, value in model.graph.initializers.items():
        value.const_value = tensors[name]
    return model
