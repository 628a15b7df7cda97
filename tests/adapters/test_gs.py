"""Functions over a graphsurgeon Graph."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.numpy_helper import from_array, to_array

import onnxfuse
from onnxfuse import ToolError, UsageError
from onnxfuse.adapters import GsPass
from onnxfuse.adapters.gs_graph import changed_by
from onnxfuse.model_io.emit import emit
from tests.adapters.models import CHAIN, model, ops, serialized, weighted
from tests.gauntlet.runner import CASES

gs: Any = pytest.importorskip("onnx_graphsurgeon")


def changed(function: Callable[[Any], Any], proto: onnx.ModelProto) -> onnx.ModelProto:
    """Runs a function on a model and returns what it made, unverified."""
    return emit(changed_by(function, onnxfuse.load(proto))).message()


def leave(graph: Any) -> None:
    """Changes nothing."""


def fold(graph: Any) -> None:
    """What most scripts do."""
    graph.fold_constants().cleanup()


def skip_identities(graph: Any) -> Any:
    """Leads the readers of each Identity to what it reads."""
    for node in graph.nodes:
        if node.op == "Identity" and node.outputs[0] not in graph.outputs:
            for reader in list(node.outputs[0].outputs):
                reader.inputs = [node.inputs[0] if tensor is node.outputs[0] else tensor for tensor in reader.inputs]
    return graph.cleanup()


def shift(graph: Any) -> None:
    """A wrong one: slices from elsewhere."""
    (node,) = (node for node in graph.nodes if node.op == "Slice")
    node.inputs[1] = gs.Constant("shifted", np.array([2, 2], np.int64))
    node.inputs[2] = gs.Constant("ends", np.array([6, 6], np.int64))


# ---- as passes


def test_a_function_that_edits_in_place() -> None:
    result = onnxfuse.apply(model(), GsPass(fold))
    assert ops(result.model) == ["Slice", "Identity", "Relu"]
    assert len(result.report.applied) == 1
    assert result.report.verdict is not None
    assert result.report.verdict.equivalent
    onnx.checker.check_model(result.model, full_check=True)


def test_a_function_that_returns_a_graph() -> None:
    result = onnxfuse.apply(model(), [GsPass(skip_identities)])
    assert ops(result.model) == ["Add", "Slice", "Relu"]
    assert {node.name: node.doc_string for node in result.model.graph.node}["second"] == "doc of second"
    assert [(entry.key, entry.value) for entry in result.model.metadata_props] == [("owner", "us")]


def test_a_wrong_function_is_rejected_with_the_evidence() -> None:
    proto = model()
    result = onnxfuse.apply(proto.SerializeToString(), GsPass(shift))
    assert result.model == proto.SerializeToString()
    assert not result.report.modified
    (rejected,) = result.report.rejected
    assert "different" in rejected.reason


def test_the_others_of_a_pipeline_still_run() -> None:
    result = onnxfuse.apply(model(), [GsPass(shift), GsPass(skip_identities), "merge-sliced"])
    assert len(result.report.rejected) == 1
    assert "Identity" not in ops(result.model)


def explode(graph: Any) -> None:
    raise ValueError(f"no such node among {len(graph.nodes)}")


def test_a_function_that_raises() -> None:
    result = onnxfuse.apply(model(), GsPass(explode))
    (rejected,) = result.report.rejected
    line = explode.__code__.co_firstlineno + 1
    assert rejected.reason == f"ValueError: no such node among 8 ({__file__}:{line})"


def ask_for_nothing(graph: Any) -> None:
    graph.layer(op="Relu", inputs=[None])


def test_an_error_below_the_function_is_told_at_its_own_line() -> None:
    (rejected,) = onnxfuse.apply(model(), GsPass(ask_for_nothing)).report.rejected
    assert rejected.reason.endswith(f"({__file__}:{ask_for_nothing.__code__.co_firstlineno + 1})")


def leave_the_program(graph: Any) -> None:
    raise SystemExit(3)


def test_a_function_that_ends_the_program() -> None:
    (rejected,) = onnxfuse.apply(model(), GsPass(leave_the_program)).report.rejected
    assert rejected.reason.startswith("SystemExit: 3 (")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda graph: 7, "it returned 7: an onnx_graphsurgeon.Graph or None is expected"),
        (lambda graph: graph.nodes.reverse(), "what it made is no model: "),
        (lambda graph: graph.outputs[0].inputs.clear(), "what it made is no model: "),
    ],
)
def test_what_is_no_model(function: Callable[[Any], Any], says: str) -> None:
    with pytest.raises(ToolError) as raised:
        changed_by(function, onnxfuse.load(model()))
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize("thing", [7, "a function", gs.Graph])
def test_what_is_no_function(thing: Any) -> None:
    with pytest.raises(UsageError, match="is no function: one that takes an onnx_graphsurgeon.Graph is expected"):
        GsPass(thing)


# ---- what graphsurgeon loses


@pytest.mark.parametrize("name", CASES)
def test_what_nobody_edits_is_as_it_was(name: str) -> None:
    proto = onnx.load_from_string(CASES[name].data)
    assert serialized(changed(leave, proto)) == serialized(proto)


def with_all_attributes() -> onnx.ModelProto:
    """A node of a custom domain that has what graphsurgeon cannot hold."""
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21, "mine": 1]>
        g (float[N] x) => (float[N] y) { h = mine.Op(x) y = Relu(h) }""")
    (node, _) = proto.graph.node
    tensor = from_array(np.arange(3), "t")
    body = onnx.parser.parse_graph("b () => (float[N] z) { z = Neg(x) }")
    for attribute in (
        onnx.helper.make_attribute("none", [], attr_type=onnx.AttributeProto.INTS),
        onnx.helper.make_attribute("words", [], attr_type=onnx.AttributeProto.STRINGS),
        onnx.helper.make_attribute("raw", b"\xff\xfe"),
        onnx.helper.make_attribute("raws", [b"\xff", b"ok"]),
        onnx.helper.make_attribute("tensors", [tensor, tensor]),
        onnx.helper.make_attribute("graphs", [body]),
        onnx.helper.make_attribute("type", onnx.helper.make_tensor_type_proto(1, [2])),
        onnx.helper.make_attribute("number", 3),
        onnx.helper.make_attribute("tensor", tensor),
    ):
        node.attribute.add().CopyFrom(attribute)
    node.overload = "second"
    return proto


def test_attributes_that_it_cannot_hold() -> None:
    proto = with_all_attributes()
    assert serialized(changed(leave, proto)) == serialized(proto)


def test_they_stay_on_a_node_that_was_edited() -> None:
    def edit(graph: Any) -> None:
        graph.nodes[0].attrs["number"] = 4
        graph.nodes[0].attrs["new"] = "text"
        del graph.nodes[0].attrs["none"]

    proto = with_all_attributes()
    (node, _) = changed(edit, proto).graph.node
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert (values.pop("number"), values.pop("new")) == (4, b"text")
    before = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in proto.graph.node[0].attribute}
    assert values == {name: value for name, value in before.items() if name not in ("number", "none")}
    assert node.overload == "second"


TYPES = """<ir_version: 10, opset_import: ["": 21]>
    g (optional(seq(float[N])) o, seq(float[2]) s, float[N] x) => (bool b, float[N] y, seq(float[2]) t) {
        b = OptionalHasElement(o)
        t = Identity(s)
        y = Neg(x)
    }"""


def test_types_that_it_cannot_hold() -> None:
    proto = onnx.parser.parse_model(TYPES)
    assert serialized(changed(leave, proto)) == serialized(proto)


def test_every_element_type_that_is_read_and_left() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 12, opset_import: ["": 25]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
    )
    types = [kind for kind in onnx.helper.get_all_tensor_dtypes() if kind != onnx.TensorProto.UNDEFINED]
    for kind in types:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
        for size in (3, 5000):
            values = np.array(["a", "é", ""] if dtype.hasobject else [0, 1, 0], dtype=dtype)
            values = np.resize(values, size)
            name = f"t{kind}_{size}"
            tensor = (
                from_array(values, name) if not dtype.hasobject else onnx.helper.make_tensor(name, kind, [size], values)
            )
            proto.graph.initializer.append(tensor)
            proto.graph.node.add(op_type="Identity", input=[name], output=[f"i{name}"])
            proto.graph.output.append(onnx.helper.make_tensor_value_info(f"i{name}", kind, [size]))
    proto.opset_import[0].version = 25

    def read(graph: Any) -> None:
        for tensor in graph.tensors().values():
            if isinstance(tensor, gs.Constant):
                _ = tensor.values

    made = changed(read, proto)
    assert [tensor.name for tensor in made.graph.initializer] == [tensor.name for tensor in proto.graph.initializer]
    for before, after in zip(proto.graph.initializer, made.graph.initializer, strict=True):
        assert after.data_type == before.data_type
        assert list(after.dims) == list(before.dims)
        assert repr(to_array(after).tolist()) == repr(to_array(before).tolist())  # nan is nan


INNER = """<ir_version: 8, opset_import: ["": 17]>
    g (bool c, float[2] x) => (float[2] y) <float[2] only = {1, 2}, float[2] both = {3, 4}> {
        h = Add(x, both)
        y = If(c) <
            then_branch = t () => (float[2] a) { a = Add(h, only) },
            else_branch = e () => (float[2] b) <float[2] own = {5, 6}> { m = Mul(both, own) b = Add(h, m) }
        >
    }"""


def test_initializers_that_a_body_reads_stay_where_they_were() -> None:
    proto = onnx.parser.parse_model(INNER)
    assert serialized(changed(leave, proto)) == serialized(proto)

    def edit(graph: Any) -> None:
        (branch,) = (node for node in graph.nodes if node.op == "If")
        branch.attrs["then_branch"].nodes[0].op = "Sub"

    made = changed(edit, proto)
    assert {tensor.name for tensor in made.graph.initializer} == {"only", "both"}
    then, other = (attribute.g for attribute in made.graph.node[1].attribute)
    assert [node.op_type for node in then.node] == ["Sub"]
    assert not then.initializer
    assert other == proto.graph.node[1].attribute[1].g


DEFAULT = """<ir_version: 8, opset_import: ["": 17]>
    g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {3, 4}, float[2] v = {3, 4}> {
        a = Add(w, v)
        y = Mul(x, a)
    }"""


def test_the_default_of_an_input_is_no_constant() -> None:
    proto = onnx.parser.parse_model(DEFAULT)
    assert [value.name for value in proto.graph.input] == ["x", "w"]
    made = changed(fold, proto)
    assert ops(made) == ["Add", "Mul"]
    assert made.graph.input == proto.graph.input
    result = onnxfuse.apply(proto, GsPass(fold))
    assert ops(result.model) == ["Add", "Mul"]


def test_before_ir_4_every_initializer_is_an_input() -> None:
    proto = onnx.parser.parse_model(DEFAULT)
    proto.ir_version = 3
    proto.graph.input.append(onnx.helper.make_tensor_value_info("v", 1, [2]))
    assert serialized(changed(leave, proto)) == serialized(proto)
    made = changed(fold, proto)
    assert ops(made) == ["Mul"]
    assert {value.name for value in made.graph.input} == {"x"} | {tensor.name for tensor in made.graph.initializer}
    onnx.checker.check_model(made)


def test_functions_of_one_name_stay_two() -> None:
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21, "mine": 1]>
        g (float[N] x) => (float[N] y) { h = mine.f(x) y = mine.f(h) }
        <domain: "mine", opset_import: ["": 21]> f (a) => (b) { b = Neg(a) }
        <domain: "mine", opset_import: ["": 21]> f (a) => (b) { b = Relu(a) }""")
    proto.functions[1].overload = proto.graph.node[1].overload = "other"
    assert serialized(changed(leave, proto)) == serialized(proto)


# ---- weights


def test_weights_that_are_left_alone_are_the_same_tensors() -> None:
    given = onnxfuse.load(weighted())

    def edit(graph: Any) -> None:
        skip_identities(graph)
        for node in graph.nodes:
            if node.op == "MatMul" and node.inputs[1].name == "first":
                node.inputs[1].values  # noqa: B018 - read, and left as it was
                node.inputs[1].name = "renamed"

    made = changed_by(edit, given)
    before, after = given.graph.initializers, made.graph.initializers
    assert after["second"].const_value is before["second"].const_value
    assert np.array_equal(after["renamed"].const_value.numpy(), before["first"].const_value.numpy())  # type: ignore[union-attr]


def test_a_weight_that_is_written_into_is_another_one() -> None:
    def edit(graph: Any) -> None:
        for node in graph.nodes:
            if node.op == "MatMul":
                node.inputs[1].values[:] = 0

    proto = weighted()
    before = to_array(proto.graph.initializer[0]).copy()
    made = changed(edit, proto)
    assert not to_array(made.graph.initializer[0]).any()
    assert np.array_equal(to_array(proto.graph.initializer[0]), before)
    assert onnxfuse.apply(proto, GsPass(edit)).report.rejected


def test_one_weight_under_two_names() -> None:
    def edit(graph: Any) -> None:
        first, second = (node for node in graph.nodes if node.op == "MatMul")
        twin = first.inputs[1].copy()
        twin.name = "twin"
        second.inputs[1] = twin

    given = onnxfuse.load(weighted())
    made = changed_by(edit, given)
    assert set(made.graph.initializers) == {"first", "twin"}
    assert made.graph.initializers["twin"].const_value is given.graph.initializers["first"].const_value


def test_external_data_is_not_read_where_the_function_does_not(tmp_path: Path) -> None:
    proto = weighted(1024)
    first = to_array(proto.graph.initializer[0])
    path = tmp_path / "model.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location="weights")
    given = onnxfuse.load(path)
    tracemalloc.start()
    made = changed_by(skip_identities, given)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20 < 1024 * 1024 * 4
    onnxfuse.save(made, tmp_path / "out.onnx")
    assert onnxfuse.verify(path, tmp_path / "out.onnx").equivalent

    seen = []

    def read(graph: Any) -> None:
        seen.append(next(node for node in graph.nodes if node.op == "MatMul").inputs[1].values)

    changed_by(read, given)
    assert np.array_equal(seen[0], first)


def test_a_new_graph_from_the_function() -> None:
    def anew(graph: Any) -> Any:
        x, y = gs.Variable("x", np.float32, ["N", 4]), gs.Variable("y", np.float32, ["N", 4])
        return gs.Graph([gs.Node("Neg", inputs=[x], outputs=[y])], [x], [y], opset=17, ir_version=8)

    text = '<ir_version: 8, opset_import: ["": 17]> g (float[N, 4] x) => (float[N, 4] y) { %s }'
    right = onnx.parser.parse_model(text % "z = Constant<value = float {0}>() y = Sub(z, x)")
    assert ops(changed(anew, right)) == ["Neg"]
    wrong = onnx.parser.parse_model(text % "y = Abs(x)")
    assert onnxfuse.apply(wrong, GsPass(anew)).report.rejected
    assert CHAIN
