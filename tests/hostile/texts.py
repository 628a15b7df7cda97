"""Models with texts, versions and types that are none, too long, or act on a terminal."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.hostile.cases import legal, model_of, node, refused, tensor, value, with_slices


def _relu() -> onnx.ModelProto:
    return model_of([node("Relu", "x", "y")])


def _named(name: str) -> onnx.ModelProto:
    """A model in which everything is called so."""
    model = with_slices(model_of([helper.make_node("Relu", ["x"], [name], name=name)], outputs=[value(name)]))
    model.graph.name = model.producer_name = model.doc_string = name
    model.metadata_props.add(key=name, value=name)
    for each in model.graph.node:
        each.name = each.name or name + each.output[0]
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = name
    return model


# ---- texts


@legal()
def names_that_act_on_a_terminal(_: Path) -> onnx.ModelProto:
    return _named("\x1b]0;owned\x07\x1b[31m\r\x08\x9b2J")


@legal()
def names_with_newlines(_: Path) -> onnx.ModelProto:
    return _named("one\nonnxfuse: error: two\x0b\x0c\x85\u2028three")


@refused("nowhere")
def undefined_name_that_acts_on_a_terminal(_: Path) -> onnx.ModelProto:
    return model_of([helper.make_node("Add", ["x", "nowhere\n\x1b[2J\u202e\u2028"], ["y"])])


@legal()
def names_that_run_from_right_to_left(_: Path) -> onnx.ModelProto:
    return _named("\u202eonnx\u2066\u200f")


@legal()
def names_like_paths(_: Path) -> onnx.ModelProto:
    return _named("../../../../tmp/x")


@legal()
def names_of_devices(_: Path) -> onnx.ModelProto:
    return _named("con")


@legal()
def names_with_null_bytes(_: Path) -> onnx.ModelProto:
    return _named("a\0b")


@legal()
def names_like_format_strings(_: Path) -> onnx.ModelProto:
    return _named("%s%n{0.__class__}{}%(x)s")


@legal()
def names_like_markup(_: Path) -> onnx.ModelProto:
    return _named("<script>alert(1)</script>'\"--;$(touch owned)`touch owned`")


@legal()
def metadata_like_code(_: Path) -> onnx.ModelProto:
    model = _named("plain")
    for key in ("onnxfuse.pass", "__reduce__", "pkg.torch.onnx", "eval"):
        code = "__import__('os').system('touch owned')"
        model.metadata_props.add(key=key, value=code)
        model.graph.node[0].metadata_props.add(key=key, value=code)
        model.graph.metadata_props.add(key=key, value=code)
    return model


@legal(runs=False)
def node_name_of_50_mb(_: Path) -> onnx.ModelProto:
    model = with_slices(_relu())
    model.graph.node[0].name = "n" * 50_000_000
    return model


@legal()
def slice_names_of_4_mb(_: Path) -> onnx.ModelProto:
    """The nodes that are rewritten, and so reported."""
    model = with_slices(_relu())
    for index, each in enumerate(model.graph.node):
        each.name = "n" * 4_000_000 + str(index)
    return model


@legal(runs=False)
def doc_string_of_50_mb(_: Path) -> onnx.ModelProto:
    model = with_slices(_relu())
    model.doc_string = model.graph.node[0].doc_string = "d" * 50_000_000
    return model


@legal(runs=False)
def metadata_of_50_mb(_: Path) -> onnx.ModelProto:
    model = with_slices(_relu())
    model.metadata_props.add(key="k" * 50_000_000, value="v" * 50_000_000)
    return model


@legal()
def op_type_of_300_letters(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([helper.make_node("O" * 300, ["x"], ["y"], domain="d" * 300)], domains=("d" * 300,)))


def _bytes_instead(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString().replace(b"not-utf8", b"\xff\xfe\x80\xc0aaaa")


@refused("not UTF-8")
def value_name_that_is_no_text(_: Path) -> bytes:
    return _bytes_instead(model_of([helper.make_node("Relu", ["x"], ["not-utf8"]), node("Relu", "x", "y")]))


@refused("not UTF-8")
def op_type_that_is_no_text(_: Path) -> bytes:
    return _bytes_instead(model_of([node("not-utf8", "x", "y")]))


@refused("not UTF-8")
def dim_that_is_no_text(_: Path) -> bytes:
    return _bytes_instead(model_of([node("Relu", "x", "y")], inputs=[value("x", ["not-utf8"])]))


@legal()
def metadata_that_is_no_text(_: Path) -> bytes:
    model = with_slices(_relu())
    model.metadata_props.add(key="a", value="not-utf8")
    model.producer_name = "not-utf8"
    return _bytes_instead(model)


# ---- versions and types


@refused("states no IR version")
def ir_version_0(_: Path) -> onnx.ModelProto:
    model = _relu()
    model.ir_version = 0
    return model


@refused("IR version 1000 is newer")
def ir_version_1000(_: Path) -> onnx.ModelProto:
    model = _relu()
    model.ir_version = 1000
    return model


@refused("no IR version")
def ir_version_negative(_: Path) -> onnx.ModelProto:
    model = _relu()
    model.ir_version = -(2**63)
    return model


@refused("which there is not")
def opset_2_63(_: Path) -> onnx.ModelProto:
    return model_of([node("Relu", "x", "y")], opset=2**63 - 1)


@refused("which there is not")
def opset_negative(_: Path) -> onnx.ModelProto:
    return model_of([node("Relu", "x", "y")], opset=-1)


@legal()
def opset_0(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([node("Relu", "x", "y")], opset=0))


@legal()
def opset_10_000(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([node("Relu", "x", "y")], opset=10_000))


@legal()
def opsets_missing(_: Path) -> onnx.ModelProto:
    model = with_slices(_relu())
    model.ClearField("opset_import")
    return model


@legal()
def opsets_of_other_domains_only(_: Path) -> onnx.ModelProto:
    model = with_slices(_relu())
    model.opset_import[0].domain = "other"
    return model


@legal()
def opset_by_its_long_name_only(_: Path) -> onnx.ModelProto:
    model = with_slices(_relu())
    model.opset_import[0].domain = "ai.onnx"
    return model


@legal()
def opset_twice(_: Path) -> onnx.ModelProto:
    model = with_slices(_relu())
    model.opset_import.add(domain="", version=9)
    model.opset_import.add(domain="ai.onnx", version=1)
    return model


@legal()
def domain_that_is_not_imported(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([helper.make_node("Custom", ["x"], ["y"], domain="not.imported")]))


@refused("unknown element type 0")
def initializer_without_a_type(_: Path) -> onnx.ModelProto:
    return model_of([node("Add", "x w", "y")], initializers=[tensor("w", [1], 0, raw_data=bytes(4))])


@refused("unknown element type 12345")
def initializer_of_no_type_there_is(_: Path) -> onnx.ModelProto:
    return model_of([node("Add", "x w", "y")], initializers=[tensor("w", [1], 12345, raw_data=bytes(4))])


@legal(runs=False)
def input_of_no_type_there_is(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([node("Relu", "x", "y")], inputs=[value("x", ["N"], 77)]))


@legal(runs=False)
def output_of_no_type_there_is(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([node("Relu", "x", "y")], outputs=[value("y", ["N"], -5)]))


@legal(runs=False)
def input_without_a_type(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([node("Relu", "x", "y")], inputs=[onnx.ValueInfoProto(name="x")]))


@legal(runs=False)
def declared_dims_that_are_negative(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([node("Relu", "x", "y")], inputs=[value("x", [-1, -(2**63), 8])]))


@legal()
def cast_to_no_type_there_is(_: Path) -> onnx.ModelProto:
    nodes = [node("Shape", "x", "s"), node("Cast", "s", "c", to=4711), node("Cast", "c", "d", to=TensorProto.INT64)]
    nodes += [node("Slice", "x d d d", "e"), node("Slice", "e d d d", "y")]
    return model_of(nodes)


@legal()
def texts_as_weights(_: Path) -> onnx.ModelProto:
    words = tensor("w", [2], TensorProto.STRING, string_data=[b"\xff\xfe\x00", b"a" * 5_000_000])
    nodes = [node("Identity", "w", "words"), node("Relu", "x", "y")]
    return with_slices(model_of(nodes, initializers=[words]))
