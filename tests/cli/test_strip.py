"""`onnxfuse strip` and `onnxfuse fill`: a graph goes out without its weights, and comes back with others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxfuse
from tests.cli.conftest import Cli

GRAPH = """<ir_version: 8, opset_import: ["" : 17]> g (float[n, 100] x) => (float[n, 80] y)
<int64[1] starts = {1}, int64[1] ends = {9}, int64[1] axes = {0}, int64[1] more = {2}> {
    m = MatMul(x, w)
    a = Slice(m, starts, ends, axes)
    y = Slice(a, more, ends, axes)
}"""


def save(path: Path = Path("model.onnx"), *, external: bool = False) -> onnx.ModelProto:
    model = onnx.parser.parse_model(GRAPH)
    weight = np.random.default_rng(5).standard_normal((100, 80), dtype=np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    model.graph.initializer.append(helper.make_tensor("unused", TensorProto.INT64, (70,), range(70)))
    onnx.save(model, path, save_as_external_data=external, location="model.data", size_threshold=100)
    return model


def test_to_report_a_bug(cli: Cli) -> None:
    """The way of the docs: strip, attach, fill, and the same rewrite is there; the whole model is checked again."""
    save()
    done = cli("strip", "model.onnx", "-o", "graph.onnx")
    assert done.code == 0
    size = Path("graph.onnx").stat().st_size
    assert done.err.splitlines() == [
        "stripped 1 tensors (32.0 kB)",
        "kept 1 that may be indices, shapes or axes (560 bytes): unused (int64[70])",
        f"wrote graph.onnx ({size / 1e3:.1f} kB)" if size >= 1000 else f"wrote graph.onnx ({size} bytes)",
    ]
    assert size < 1500
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model("graph.onnx")

    on_graph = cli("apply", "graph.onnx", "-o", "out.onnx", "-p", "merge-sliced", "--json").json
    why = "the model carries no weights (w, for one): onnxfuse fill gives it random ones"
    assert on_graph["verification"]["model"]["not_run"] == [why]
    assert [item["grade"] for item in on_graph["passes"][0]["applied"]] == ["exact-for-all-shapes"]

    assert cli("fill", "graph.onnx", "-o", "again.onnx").err.splitlines()[0] == (
        "filled 1 tensors (32.0 kB) with random weights of seed 0"
    )
    on_model = cli("apply", "again.onnx", "-o", "out2.onnx", "-p", "merge-sliced", "--json").json
    assert on_model["verification"]["model"]["status"] == "equivalent"
    assert on_model["passes"][0]["applied"][0]["at"] == on_graph["passes"][0]["applied"][0]["at"]
    assert cli("fill", "out.onnx", "-o", "filled.onnx").code == 0
    assert onnxfuse.verify("filled.onnx", "out2.onnx").equivalent


def test_as_json(cli: Cli) -> None:
    save()
    stripped = cli("strip", "model.onnx", "-o", "graph.onnx", "--seed", "4", "--json").json
    assert stripped["stripped"] == {"tensors": 1, "bytes": 32000}
    assert stripped["kept"] == {"tensors": ["unused (int64[70])"], "bytes": 560}
    filled = cli("fill", "graph.onnx", "-o", "again.onnx", "--json").json
    assert filled["filled"] == {"tensors": 1, "bytes": 32000, "seed": 4}
    assert filled["output"]["path"] == "again.onnx"
    assert cli("fill", "graph.onnx", "-o", "again.onnx", "--seed", "9", "--json").json["filled"]["seed"] == 9


def test_min_elements(cli: Cli) -> None:
    save()
    assert cli("strip", "model.onnx", "-o", "graph.onnx", "--min-elements", "8001").code == 0
    assert Path("graph.onnx").read_bytes() == Path("model.onnx").read_bytes()


def test_data_files_stay_behind(cli: Cli) -> None:
    model = save(external=True)
    (Path("elsewhere")).mkdir()
    assert cli("strip", "model.onnx", "-o", "elsewhere/graph.onnx").code == 0
    assert [path.name for path in Path("elsewhere").iterdir()] == ["graph.onnx"]
    graph = onnx.load("elsewhere/graph.onnx")
    assert numpy_helper.to_array(graph.graph.initializer[-1]).tolist() == list(range(70))
    assert [node.name for node in graph.graph.node] == [node.name for node in model.graph.node]

    done = cli("strip", "model.onnx", "--in-place")
    assert done.code == 0
    assert done.err.splitlines()[-1] == "note: model.data is as it was, and the model refers to it no more"
    assert Path("model.onnx").read_bytes() == Path("elsewhere/graph.onnx").read_bytes()


def test_to_stdout(cli: Cli) -> None:
    save()
    done = cli("strip", "model.onnx", "-o", "-")
    assert cli("strip", "model.onnx", "-o", "graph.onnx").code == 0
    assert done.data == Path("graph.onnx").read_bytes()
    assert done.err.splitlines()[-1] == "wrote the model to stdout"


def test_nothing_to_do(cli: Cli) -> None:
    save()
    before = Path("model.onnx").read_bytes()
    done = cli("fill", "model.onnx", "-o", "same.onnx")
    assert (done.code, done.err.splitlines()[0]) == (0, "nothing to fill: every tensor has its data")
    assert Path("same.onnx").read_bytes() == before
    done = cli("fill", "model.onnx", "--in-place")
    assert (done.code, done.err.splitlines()[-1]) == (0, "model.onnx is left as it was")
    assert cli("strip", "model.onnx", "--in-place").code == 0
    again = cli("strip", "model.onnx", "--in-place")
    assert again.err.splitlines()[0] == "nothing to strip: the model has no weights of that size"
    assert again.err.splitlines()[-1] == "model.onnx is left as it was"


@pytest.mark.parametrize("command", ["strip", "fill"])
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["missing.onnx", "-o", "out.onnx"], "missing.onnx: cannot be read: No such file or directory"),
        (["broken.onnx", "-o", "out.onnx"], "broken.onnx: "),
        (["model.onnx"], "where to? give -o OUT, or --in-place to write over IN"),
        (["model.onnx", "-o", "model.onnx"], "model.onnx is the input: give --in-place to write over it"),
        (["model.onnx", "-o", "out.onnx", "--in-place"], "-o and --in-place exclude each other"),
        (["model.onnx", "-o", "none/out.onnx"], "none/out.onnx: the folder none does not exist"),
        (["model.onnx", "-o", "-", "--json"], "-o - and --json both want stdout: give -o a file"),
        (["model.onnx", "-o", "out.onnx", "--seed", "-1"], "the seed is a number from 0 on, not -1"),
        (["model.onnx", "-o", "out.onnx", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["model.onnx", "out.onnx"], "unexpected argument out.onnx: the output is given with -o"),
        (["model.onnx", "-o", "out.onnx", "--sead", "1"], "unknown option --sead: did you mean --seed?"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(cli: Cli, command: str, argv: list[str], says: str) -> None:
    save()
    Path("broken.onnx").write_bytes(Path("model.onnx").read_bytes()[:5000])
    before = sorted(Path().iterdir()), Path("model.onnx").read_bytes()
    assert says in cli(command, *argv).error
    assert (sorted(Path().iterdir()), Path("model.onnx").read_bytes()) == before


def test_more_mistakes(cli: Cli) -> None:
    model = save()
    assert "from 1 on, not 0" in cli("strip", "model.onnx", "-o", "out.onnx", "--min-elements", "0").error
    index = onnx.TensorProto(name="unused", data_type=TensorProto.INT64, dims=[70], doc_string="stripped")
    model.graph.initializer[-1].CopyFrom(index)
    onnx.save(model, "model.onnx")
    assert "tensor 'unused' (int64) has no data" in cli("fill", "model.onnx", "-o", "out.onnx").error
    assert not Path("out.onnx").exists()


def test_help_and_a_real_process(process: Cli) -> None:
    save()
    for command in ("strip", "fill"):
        text = " ".join(process(command, "--help").out.split())
        assert "--seed N" in text
        assert "-o OUT" in text
    assert "the ONNX checker and runtimes refuse it" in " ".join(process("strip", "--help").out.split())
    assert process("strip", "model.onnx", "-o", "graph.onnx").code == 0
    assert process("fill", "graph.onnx", "-o", "again.onnx").code == 0
    onnx.checker.check_model("again.onnx", full_check=True)
