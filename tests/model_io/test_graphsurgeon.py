"""A `gs.Graph` comes in, and another one goes out; what came in is as it was, and its weights are shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnxfuse
from onnxfuse import ModelError, UsageError
from onnxfuse.model_io import open_model
from onnxfuse.model_io.emitted import emit_source
from onnxfuse.report.diff import compare
from onnxfuse.testing.oracle import open_session, outcome
from tests.examples.commands import need
from tests.model_io.models import chain

try:
    import onnx_graphsurgeon as gs
except ModuleNotFoundError:
    gs = None

CAPTURED = """
<ir_version: 8, opset_import: ["" : 17], producer_name: "tests", producer_version: "7">
captured (float[N, 32] x, bool c) => (float[N, 30] y) {
    a = MatMul (x, weight)
    b = If (c) <
        then_branch = then () => (float[N, 32] t) { t = MatMul (a, weight) },
        else_branch = other () => (float[N, 32] e) { d = Slice (a, one, end, axis) e = Gemm (x, weight, a) }
    >
    f = Slice (b, one, end, axis)
    y = Slice (f, one, end, axis)
}
"""


@pytest.fixture(autouse=True)
def graphsurgeon() -> None:
    """All of it needs graphsurgeon."""
    need("onnx_graphsurgeon", gs is not None)


def captured() -> onnx.ModelProto:
    """Returns a model whose branches read weights of the main graph."""
    model = onnx.parser.parse_model(CAPTURED)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((32, 32), np.float32), "weight"))
    for name, value in (("one", 1), ("end", 2**63 - 1), ("axis", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    return model


def fresh(op: str = "Neg", **fields: Any) -> Any:
    """Returns a graph that no model was imported for: two Slices, and an operator."""
    x, y = gs.Variable("x", np.float32, ("N", 600)), gs.Variable("y", np.float32, ("N", 598))
    bounds = [gs.Constant(name, np.array([value])) for name, value in (("one", 1), ("end", 2**63 - 1), ("axis", 1))]
    a, b = gs.Variable("a"), gs.Variable("b")
    weight = gs.Constant("weight", np.arange(598, dtype=np.float32))
    graph = gs.Graph(inputs=[x], outputs=[y], **fields)
    graph.nodes = [
        gs.Node("Slice", "first", inputs=[x, *bounds], outputs=[a]),
        gs.Node("Slice", "second", inputs=[a, *bounds], outputs=[b]),
        gs.Node("Add", "add", inputs=[b, weight], outputs=[gs.Variable("c")]),
    ]
    graph.nodes.append(gs.Node(op, "last", inputs=[graph.nodes[2].outputs[0]], outputs=[y]))
    return graph


def objects(graph: Any) -> Iterator[Any]:
    """Yields all graphs, nodes and tensors that can be reached, each once, always in the same order."""
    pending, seen = [graph], set()
    while pending:
        thing = pending.pop()
        if isinstance(thing, (list, tuple)):
            pending += reversed(thing)
        elif isinstance(thing, dict):
            pending += reversed(thing.values())
        elif isinstance(thing, (gs.Graph, gs.Node, gs.Tensor)) and id(thing) not in seen:
            seen.add(id(thing))
            yield thing
            pending += reversed(vars(thing).values())


def state(graph: Any, number: Callable[[Any], int]) -> list[Any]:
    """Returns all that the objects of a graph hold; one that refers to another by that one's number."""

    def text(value: Any) -> Any:
        if isinstance(value, (gs.Graph, gs.Node, gs.Tensor)):
            return number(value)
        if isinstance(value, dict):
            return {key: text(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [text(each) for each in value]
        if hasattr(value, "tensor"):
            return (id(value), value.tensor.SerializeToString())
        return (id(value), value.tobytes()) if isinstance(value, np.ndarray) else str(value)

    return [
        (number(thing), type(thing), {name: text(value) for name, value in vars(thing).items()})
        for thing in objects(graph)
    ]


def by_place(graph: Any) -> list[Any]:
    """Returns the state of a graph, by which another one can be told to be the same but for identities."""
    numbers = {id(thing): number for number, thing in enumerate(objects(graph))}
    return state(graph, lambda thing: numbers[id(thing)])


def exported(graph: Any) -> onnx.ModelProto:
    model: onnx.ModelProto = gs.export_onnx(graph)
    model.ir_version = min(model.ir_version, 10)
    return model


def with_sequence() -> Any:
    """Returns a graph with what `gs.Graph.copy` leaves out, and with what is not in order yet."""
    graph = gs.import_onnx(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17], producer_name: "p", producer_version: "3">'
            "g (float[2] x, seq(float[2]) s) => (seq(float[2]) y) { y = SequenceInsert(s, x) }"
        )
    )
    constant = gs.Constant("loaded", np.zeros(2, np.float32), data_location=1)
    graph.nodes.append(gs.Node("Add", "dangling", inputs=[constant, graph.inputs[0]], outputs=[gs.Variable("d")]))
    graph.nodes.append(graph.nodes.pop(0))
    removed = gs.Node("Neg", "removed", inputs=[graph.inputs[0]], outputs=[gs.Variable("r")])
    assert removed not in graph.nodes
    graph.nodes[0].note = {"of": ["the user"]}
    return graph


def with_function() -> Any:
    graph = gs.import_onnx(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17, "local" : 1]>'
            "g (float[N] x) => (float[N] y) { y = local.twice <by = 2.0> (x) }"
            '<opset_import: ["" : 17], domain: "local"> twice <by> (a) => (b) {'
            " k = Constant <value_float: float = @by> () b = Mul (a, k) }"
        )
    )
    function = graph.functions[0]
    weight = gs.Constant("weight", np.arange(600, dtype=np.float32))
    function.nodes.append(gs.Node("Size", "size", inputs=[weight], outputs=[gs.Variable("n")]))
    return graph


GRAPHS: dict[str, Callable[[], Any]] = {
    "imported": lambda: gs.import_onnx(chain()),
    "captured": lambda: gs.import_onnx(captured()),
    "fresh": lambda: fresh(),
    "sequence": with_sequence,
    "function": with_function,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_run_without_a_rewrite_gives_an_equal_copy(name: str) -> None:
    graph = GRAPHS[name]()
    before, places = state(graph, id), by_place(graph)

    result = onnxfuse.apply(graph, "remove-pad")

    assert not result.report.modified
    assert state(graph, id) == before
    assert by_place(result.model) == places
    assert result.model == graph
    assert not {id(thing) for thing in objects(graph)} & {id(thing) for thing in objects(result.model)}


@pytest.mark.parametrize("name", ["imported", "captured", "fresh"])
def test_a_rewrite_is_in_another_graph(name: str) -> None:
    graph = GRAPHS[name]()
    before = state(graph, id)

    result = onnxfuse.apply(graph, "merge-sliced")

    assert type(result.model) is gs.Graph
    assert [str(outcome.at) for outcome in result.report.applied] != []
    assert result.report.verdict is not None
    assert result.report.verdict.equivalent
    assert state(graph, id) == before
    assert [node.op for node in result.model.nodes].count("Slice") == 1
    feed = {"x": np.random.default_rng(0).standard_normal((3, 600 if name == "fresh" else 32), np.float32)}
    if name == "captured":
        feed["c"] = np.array(1, bool)
    models = [exported(GRAPHS[name]()), exported(result.model)]
    old, new = (outcome(open_session(model), ["y"], feed)["y"] for model in models)
    assert old.tobytes() == new.tobytes()
    assert (result.model.producer_name, result.model.producer_version) == (graph.producer_name, graph.producer_version)
    assert (result.model.opset, result.model.ir_version) == (graph.opset, graph.ir_version)


def values(graph: Any, name: str) -> Any:
    return vars(graph.tensors()[name])["_values"]


def test_weights_are_shared() -> None:
    model = chain()
    result = onnxfuse.apply(gs.import_onnx(model), "merge-sliced").model
    assert values(result, "weight").tensor is model.graph.initializer[0]

    graph = fresh()
    assert values(onnxfuse.apply(graph, "merge-sliced").model, "weight") is values(graph, "weight")


def test_what_a_branch_reads_of_the_main_graph_is_there_once() -> None:
    model = captured()
    result = onnxfuse.apply(gs.import_onnx(model), "merge-sliced").model

    branches = [
        attribute for node in result.nodes for attribute in node.attrs.values() if isinstance(attribute, gs.Graph)
    ]
    read = [branch.tensors()["weight"] for branch in branches]
    assert len(read) == 2
    assert all(constant is result.tensors()["weight"] for constant in read)
    assert values(result, "weight").tensor is model.graph.initializer[0]
    source = open_model(gs.import_onnx(model)).source
    assert source is not None
    assert len(source.payloads) == 1
    assert all(not a.g.initializer for node in source.proto.graph.node for a in node.attribute if a.HasField("g"))


def test_a_constant_of_a_branch_alone_is_whole() -> None:
    graph = gs.import_onnx(captured())
    branch = next(node for node in graph.nodes if node.op == "If").attrs["then_branch"]
    branch.nodes[0].inputs = [branch.nodes[0].inputs[0], gs.Constant("own", np.full((32, 32), 2, np.float32))]
    branch.nodes[0].attrs["note"] = gs.Constant("note", np.arange(600))

    result = onnxfuse.apply(graph, "merge-sliced", verify="region").model
    own = next(node for node in result.nodes if node.op == "If").attrs["then_branch"].nodes[0]
    assert own.inputs[1].values.tolist() == np.full((32, 32), 2).tolist()
    assert own.attrs["note"].values.tolist() == list(range(600))


def test_a_new_name_is_not_written_into_the_message() -> None:
    model = chain()
    graph = gs.import_onnx(model)
    graph.tensors()["weight"].name = "renamed"
    graph.tensors()["one"].name = "eins"

    result = onnxfuse.apply(graph, "merge-sliced").model

    assert [tensor.name for tensor in model.graph.initializer[:2]] == ["weight", "one"]
    assert result.tensors()["renamed"].values.tolist() == numpy_helper.to_array(model.graph.initializer[0]).tolist()


def test_opset_imports_are_not_written_into_the_message() -> None:
    model = chain()
    graph = gs.import_onnx(model)
    graph.nodes[-1].domain = "com.example"

    onnxfuse.load(graph)

    assert [entry.domain for entry in model.opset_import] == [""]


ARRAYS = {
    "float8": np.ones(1500, ml_dtypes.float8_e4m3fnuz),
    "int4": np.arange(4).astype(ml_dtypes.int4),
    "many int4": (np.arange(3000) % 8).astype(ml_dtypes.int4),
    "strings": np.array(["a", "\N{SNOWMAN}"], dtype=object),
    "bfloat16": np.ones(900, ml_dtypes.bfloat16),
    "not contiguous": np.arange(1800, dtype=np.float32)[::2],
    "a number": np.array(3.5),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_type_are_written_as_they_are(name: str, tmp_path: Path) -> None:
    graph = fresh()
    graph.nodes.insert(
        0, gs.Node("Identity", "odd", inputs=[gs.Constant("odd", ARRAYS[name])], outputs=[gs.Variable("copy")])
    )
    onnxfuse.save(graph, tmp_path / "model.onnx")

    (tensor,) = [t for t in onnx.load(tmp_path / "model.onnx").graph.initializer if t.name == "odd"]
    written = numpy_helper.to_array(tensor)
    wanted = ARRAYS[name]
    assert (written.dtype, written.tolist()) == (wanted.dtype, wanted.tolist())
    result = onnxfuse.apply(graph, "merge-sliced", verify="region").model
    assert result.tensors()["odd"].values.tolist() == wanted.tolist()


def test_a_graph_without_a_version_is_one_that_onnxruntime_loads(tmp_path: Path) -> None:
    graph = fresh()
    onnxfuse.save(graph, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")

    onnx.checker.check_model(model, full_check=True)
    open_session(model)
    assert (graph.ir_version, graph.import_domains) == (None, None)
    assert onnxfuse.verify(graph, tmp_path / "model.onnx").equivalent
    assert not onnxfuse.verify(graph, onnxfuse.load(fresh("Abs"))).equivalent


def test_the_first_ir_versions_list_initializers_as_inputs() -> None:
    graph = fresh(ir_version=3)
    model = onnxfuse.load(graph)
    assert [value.name for value in model.graph.inputs] == ["x", "one", "end", "axis", "weight"]

    result = onnxfuse.apply(graph, "merge-sliced").model
    assert [tensor.name for tensor in result.inputs] == ["x"]
    assert result.ir_version == 3


def test_differences() -> None:
    message = emit_source(_source(fresh())).message()
    assert not compare(open_model(fresh()), open_model(message))
    assert not compare(open_model(onnxfuse.load(message)), open_model(fresh()))
    assert compare(open_model(fresh()), open_model(fresh("Abs"))).ops == {"Abs": (0, 1), "Neg": (1, 0)}


def _source(graph: Any) -> Any:
    return open_model(graph).source


def no_type(graph: Any) -> None:
    graph.inputs[0].dtype = None


def empty_list(graph: Any) -> None:
    graph.nodes[3].attrs["axes"] = []


def unordered(graph: Any) -> None:
    graph.nodes.reverse()


def lost_node(graph: Any) -> None:
    del graph.nodes[0]


def two_constants(graph: Any) -> None:
    graph.nodes[1].inputs[1] = gs.Constant("one", np.array([2]))


def no_array(graph: Any) -> None:
    graph.nodes[2].inputs[1].values = None


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (no_type, "the gs.Graph cannot be exported: Graph input and output tensors must include dtype information"),
        (empty_list, "the gs.Graph cannot be exported: node 'last' (Neg): Could not infer attribute `axes` type"),
        (unordered, "the gs.Graph is not whole (node 'last' (Neg) reads 'c' before node 'add' (Add) computes it"),
        (lost_node, "the gs.Graph is not whole (node 'second' (Slice) reads 'a', which nothing defines)"),
        (two_constants, "the gs.Graph cannot be exported: two constants of other values are called 'one'"),
        (no_array, "the gs.Graph cannot be exported: constant 'weight': "),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_what_cannot_be_exported_is_told_in_one_line(
    spoil: Callable[[Any], None], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = fresh()
    spoil(graph)
    before = state(graph, id)

    with pytest.raises(ModelError) as raised:
        onnxfuse.apply(graph)

    assert str(raised.value).startswith(line)
    assert "\n" not in str(raised.value)
    assert state(graph, id) == before
    assert capsys.readouterr() == ("", "")


def test_constants_of_one_name_and_value_are_one() -> None:
    graph = fresh()
    graph.nodes[1].inputs[1] = gs.Constant("one", np.array([1]))

    assert len(onnxfuse.apply(graph, "merge-sliced").report.applied) == 1


def test_a_function_is_no_model() -> None:
    with pytest.raises(UsageError, match="Function is no model"):
        onnxfuse.load(gs.Function("f"))
