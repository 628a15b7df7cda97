from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import onnx
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.cli.main import main
from onnxfuse.drivers import op_summary
from onnxfuse.drivers.op_names import NodeNames, names_of
from onnxfuse.drivers.op_summary import read
from onnxfuse.drivers.profile import passes_by_node, profile
from onnxfuse.errors import UsageError
from tests.profile import EXAMPLES

NEW: Final = (
    "Device_id,Model Name,Model ID,Task ID,Stream ID,Infer ID,Op Name,OP Type,OP State,Task Type,Task Start Time(us),"
    "Task Duration(us),Task Wait Time(us),Block Num,Mix Block Num,HF32 Eligible,Input Shapes,Input Data Types,Input Formats,"
    "Output Shapes,Output Data Types,Output Formats,Context ID,aicore_time(us)\n"
)
OLD: Final = (
    "Model Name, Model ID, Task ID, Stream ID, Infer ID, Op Name, Op Type, Task Type, Task Start Time, Task Duration (us), "
    "Task Wait Time(us), Block Dim, Input Shapes, Input Data Types, Input Formats, Output Shapes\n"
)
MODEL: Final = """<ir_version: 8, opset_import: ["": 17]>
g (float[1, 16, 32, 32] x) => (float[1, 16, 31, 31] y)
<int64[1] one = {1}, int64[1] far = {2147483647}, int64[1] h = {2}, int64[1] w = {3}>
{
  a = Relu(x)
  b = Slice(a, one, far, h)
  c = Slice(b, one, far, w)
  y = Sigmoid(c)
}"""
NAMES: Final = ("Relu_0", "Slice_1", "Slice_2", "Sigmoid_3")


def model(folder: Path, names: Sequence[str] = NAMES) -> Path:
    proto = onnx.parser.parse_model(MODEL)
    for node, name in zip(proto.graph.node, names, strict=True):
        node.name = name
    onnx.save(proto, folder / "m.onnx")
    return folder / "m.onnx"


def new_row(
    name: str, kind: str, time: str, *, run: int = 0, start: float | str = "N/A", shapes: str = '"1,16,32,32;"'
) -> str:
    return (
        f"0,m,1,7\t,3\t,{run},{name},{kind},static,AI_CORE,{start}\t,{time},0.5,2,0,NO,{shapes},DT_FLOAT16,NC1HWC0,"
        f'"1,16",DT_FLOAT16,NCHW,N/A,1.5\n'
    )


def old_row(name: str, kind: str, time: str, *, run: int = 0) -> str:
    return (
        f'm, 1, 7, 3, {run}, {name}, {kind}, AI_CORE, "N/A", "{time}", 0, 2, "1,16,32,32;", DT_FLOAT16, NCHW, "1,16"\n'
    )


ROWS: Final = (
    ("trans_TransData_0", "TransData", "30"),
    ("Relu_0", "Relu", "10"),
    ("trans_TransData_1", "TransData", "100"),
    ("Slice_1", "StridedSliceD", "200"),
    ("Slice_2", "StridedSliceD", "150"),
    ("trans_TransData_2", "TransData", "60"),
    ("Sigmoid_3", "Sigmoid", "40"),
    ("trans_Cast_3", "Cast", "10"),
)


# A row, and one in which a quote is opened and not closed: what follows would go into that cell.
QUOTE: Final = new_row("a", "Relu", "5") + new_row("b", "Relu", "5", shapes='"1,16').replace('"1,16",', "")


def written(folder: Path, text: str) -> Path:
    path = folder / "op_summary_0_1.csv"
    path.write_text(text, encoding="utf-8")
    return path


def summary(folder: Path, *, old: bool = False, runs: int = 1) -> Path:
    row = old_row if old else new_row
    return written(folder, (OLD if old else NEW) + "".join(row(*one, run=k) for k in range(runs) for one in ROWS))


def refused(path: Path, **options: str) -> str:
    with pytest.raises(UsageError) as error:
        read(path, **options)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    return str(error.value)


# ------------------------------------------------------------------ reading


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("runs", [1, 3])
def test_both_generations_of_headers(tmp_path: Path, old: bool, runs: int) -> None:
    found = read(summary(tmp_path, old=old, runs=runs))
    assert [(op.name, op.type, f"{op.time:g}") for op in found.ops] == list(ROWS)
    assert {op.runs for op in found.ops} == {runs}
    assert found.total == 600
    assert found.duration == ("Task Duration (us)" if old else "Task Duration(us)")
    assert found.ops[0].shapes == "1,16,32,32;"
    assert found.ops[0].formats == ("NCHW" if old else "NC1HWC0 -> NCHW")
    assert found.notes == ()


def test_runs_are_averaged_by_name_in_the_order_of_their_start(tmp_path: Path) -> None:
    rows = [("b", "8", 20), ("a", "1", 10), ("a", "3", 110), ("b", "10", 120), ("b", "12", 220)]
    text = NEW + "".join(new_row(name, "Relu", time, start=start) for name, time, start in rows)
    found = read(written(tmp_path, text))
    assert [(op.name, op.time, op.runs) for op in found.ops] == [("a", 2, 2), ("b", 10, 3)]
    assert found.notes == ("operators ran between 2 and 3 times: each time is the mean over its own runs",)


def test_operators_without_a_name_count_for_one_run(tmp_path: Path) -> None:
    rows = [("a", "Relu", "10"), ("N/A", "AtomicAddrClean", "3"), ("N/A", "AtomicAddrClean", "4"), ("b", "Relu", "20")]
    text = NEW + "".join(new_row(*row, run=k) for k in range(3) for row in rows)
    found = read(written(tmp_path, text))
    assert [(op.name, op.time, op.runs) for op in found.ops] == [("a", 10, 3), ("N/A", 7, 3), ("b", 20, 3)]
    assert found.total == 37


def test_rows_without_a_time_are_left_out_and_told(tmp_path: Path) -> None:
    rows = [("a", "N/A"), ("b", "nan"), ("c", "-5"), ("d", "?"), ("e", "4"), ("f", ""), ("g", "0")]
    found = read(written(tmp_path, NEW + "".join(new_row(name, "Relu", time) for name, time in rows)))
    assert [(op.name, op.time) for op in found.ops] == [("e", 4), ("g", 0)]
    assert found.notes == ("3 rows were left out: 'nan' is no time", "2 rows without a time were left out")


def test_without_a_task_duration_the_time_of_the_cores_counts(tmp_path: Path) -> None:
    found = read(written(tmp_path, "Op Name,OP Type,aicore_time(us)\na,Relu,5\n"))
    assert (found.total, found.duration) == (5, "aicore_time(us)")
    named = read(written(tmp_path, "\ufeff OP NAME , op type,Task Duration（us）\nN/A,N/A,5\nN/A,N/A,7\n"))  # noqa: RUF001
    assert [(op.name, op.type, op.time) for op in named.ops] == [("N/A", "N/A", 12)]


def test_rows_of_several_models_are_not_mixed(tmp_path: Path) -> None:
    other = new_row("a", "Relu", "9").replace("0,m,1,", "0,n,2,")
    path = written(tmp_path, NEW + new_row("a", "Relu", "5") + other)
    assert refused(path).endswith("has rows of several models; give one of them: --model-id 1, 2")
    assert read(path, model_id="2").total == 9
    assert "has no rows of model 3; give one of them: --model-id 1, 2" in refused(path, model_id="3")


def test_rows_of_several_devices_are_not_mixed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = new_row("a", "Relu", "30").replace("0,m,1,", "1,m,1,")
    path = written(tmp_path, NEW + new_row("a", "Relu", "10") + other)
    assert refused(path).endswith("has rows of several devices; give one of them: --device-id 0, 1")
    assert "has no rows of device 7; give one of them: --device-id 0, 1" in refused(path, device_id="7")
    assert (read(path, device_id="0").total, read(path, device_id="1").total) == (10, 30)
    assert main(["profile", str(path), "--device-id", "1"]) == 0
    assert "one run takes 30.0 us" in capfd.readouterr().out
    assert main(["profile", str(path)]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no op_summary of msprof: it has no column Op Name, OP Type, Task Duration(us)"),
        ("hello\nworld\n", "is no op_summary"),
        ("Op Name,OP Type\na,Relu\n", "it has no column Task Duration(us)"),
        ("Op Name;OP Type;Task Duration(us)\n", "its columns are separated by semicolons"),
        ("Model Name,OP Type,Core Type,Count,Total Time(us)\n", "is an op_statistic, which has no operators"),
        (NEW, "no row has a time"),
        (NEW + new_row("a", "Relu", '"1,5"'), "'1,5' is no time: a number with a comma"),
        (NEW + new_row("a", "Relu", "soon"), "'soon' is no time"),
        (NEW + new_row("a", "Relu", "9" * 10_000), "line 2: '9999"),
        (NEW + new_row("a", "Relu", "5") + new_row("b", "Relu", "inf"), "line 3: 'inf' is a time that no operator"),
        (NEW + 2 * new_row("a", "Relu", "1e308"), "line 2: '1e308' is a time that no operator takes"),
        ("a\0b", "is no text"),
        (NEW + QUOTE + new_row("c", "Relu", "5"), "line 3: is no CSV: "),
        (NEW + QUOTE + 'c,Relu,5,"\n', "line 3: is no CSV: a quote is not closed in its line"),
        (NEW + QUOTE + "c,Relu,5\n", "line 3: is no CSV: a quote is not closed"),
        (NEW + '"' + "x" * 2_000_000, "is no CSV: field larger than field limit"),
    ],
)
def test_what_is_no_op_summary_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "none.csv: cannot be read: No such file" in refused(tmp_path / "none.csv")
    assert "cannot be read: Is a directory" in refused(tmp_path)
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    assert "binary.csv: is no text" in refused(tmp_path / "binary.csv")
    monkeypatch.setattr(op_summary, "LARGEST", 50)
    assert "is larger than 0 MiB" in refused(summary(tmp_path))


def test_a_limit_of_somebody_elses_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    read(summary(tmp_path))
    refused(written(tmp_path, NEW + '"' + "x" * 2_000_000))
    assert csv.field_size_limit() == before


CELL: Final = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)


@EXAMPLES
@given(st.lists(st.tuples(CELL, CELL, st.floats(0, 1e6)), min_size=1, max_size=10), st.booleans())
def test_whatever_the_names_the_time_is_all_there(rows: list[tuple[str, str, float]], quoted: bool) -> None:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerow(("Op Name", "OP Type", "Task Duration(us)"))
    writer.writerows((f"{name}#{k}", kind, repr(time)) for k, (name, kind, time) in enumerate(rows))
    with TemporaryDirectory() as name:
        found = read(written(Path(name), out.getvalue()))
    assert len(found.ops) == len(rows)
    assert found.total == pytest.approx(sum(time for _, _, time in rows))
    made = profile(found)
    assert sum(entry.time for entry in made.types) == pytest.approx(found.total)
    json.dumps(made.to_dict(5), allow_nan=False)


# ------------------------------------------------------------------ names


@EXAMPLES
@given(
    st.lists(st.tuples(st.sampled_from(["Conv", "Relu", "PRelu", "Add", "BatchNormalization"]), st.integers(0, 999)),
             min_size=1, max_size=6, unique=True),
    st.sampled_from(["", "_", "/", ";", "|"]),
    st.sampled_from(["{}", "PartitionedCall_{}", "{}_lxslice0", "model/{}_2"]),
)  # fmt: skip
def test_the_nodes_of_a_fused_name(parts: list[tuple[str, int]], between: str, around: str) -> None:
    names = [f"{kind}_{k}" for kind, k in parts]
    known = dict.fromkeys([*names, "Conv", "R", "Conv_1000", "u_1"], "Op")
    fused = around.format(between.join(names))
    assert NodeNames(known).inside(fused) == tuple(names)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("Conv_12", ()),
        ("Conv_1", ("Conv_1",)),
        ("xConv_1", ()),
        ("Conv_1_Relu6", ("Conv_1",)),
        ("/a/Conv/a/Relu", ("/a/Conv", "/a/Relu")),
        ("ConvRelu", ("Conv", "Relu")),
        ("PRelu_1", ()),
        ("", ()),
        ("Conv" * 5000, ("Conv",)),
    ],
)
def test_a_name_is_not_cut_out_of_another(name: str, nodes: tuple[str, ...]) -> None:
    known = dict.fromkeys(["Conv_1", "/a/Conv", "/a/Relu", "Conv", "Relu", ""], "Op")
    assert NodeNames(known).inside(name) == nodes


def test_nodes_without_a_name_have_the_parsers() -> None:
    nodes = [
        onnx.helper.make_node(kind, ["x"], ["y"], name=name) for kind, name in (("Relu", ""), ("Abs", "a"), ("Neg", ""))
    ]
    assert names_of(nodes) == {"Relu_0": "Relu", "a": "Abs", "Neg_1": "Neg"}


# ------------------------------------------------------------------ attribution


def made(folder: Path) -> Any:
    proto = onnx.load(model(folder))
    return profile(read(summary(folder, runs=2)), proto.graph.node, *passes_by_node(folder / "m.onnx"))


def test_where_the_time_goes(tmp_path: Path) -> None:
    found = made(tmp_path)
    assert [(t.type, t.count, t.time, t.op_types) for t in found.types] == [
        ("StridedSliceD", 2, 350, ("Slice",)),
        ("TransData", 3, 190, ()),
        ("Sigmoid", 1, 40, ("Sigmoid",)),
        ("Cast", 1, 10, ()),
        ("Relu", 1, 10, ("Relu",)),
    ]
    assert (found.total, found.layout, found.casts, found.unmapped) == (600, 190, 10, 0)
    assert found.types[0].share == pytest.approx(350 / 600)
    assert [p.op.name for p in found.ops[:3]] == ["Slice_1", "Slice_2", "trans_TransData_1"]


def test_what_the_compiler_put_in_goes_to_its_neighbours_and_to_their_pass(tmp_path: Path) -> None:
    by_name = {one.op.name: one for one in made(tmp_path).ops}
    assert by_name["trans_TransData_0"].between == ("Relu_0",)
    assert by_name["trans_TransData_1"].between == ("Relu_0", "Slice_1")
    assert by_name["trans_TransData_2"].between == ("Slice_2", "Sigmoid_3")
    assert by_name["trans_Cast_3"].between == ("Sigmoid_3",)
    helped = {name for name, one in by_name.items() if one.passes}
    assert helped == {"Slice_1", "Slice_2", "trans_TransData_1", "trans_TransData_2"}
    assert made(tmp_path).passes == {"merge-sliced": 510}


def test_what_clears_memory_is_the_compilers_whatever_its_name(tmp_path: Path) -> None:
    rows = [("Relu_0", "Relu", "10"), ("AtomicAddrClean_0", "AtomicAddrClean", "50"), ("Relu_0_atomic", "AtomicAddrClean", "30"),
            ("Sigmoid_3", "Sigmoid", "10")]  # fmt: skip
    proto = onnx.load(model(tmp_path))
    found = profile(read(written(tmp_path, NEW + "".join(new_row(*row) for row in rows))), proto.graph.node)
    assert (found.unmapped, found.layout) == (0, 0)
    assert [(one.op.name, one.inserted, one.nodes, one.between) for one in found.ops[:2]] == [
        ("AtomicAddrClean_0", True, (), ("Relu_0", "Sigmoid_3")),
        ("Relu_0_atomic", True, (), ("Relu_0", "Sigmoid_3")),
    ]
    assert {t.type: t.op_types for t in found.types}["AtomicAddrClean"] == ()


def test_a_pass_that_declines_is_not_named(tmp_path: Path) -> None:
    proto = onnx.load(model(tmp_path))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("b", 1, None))
    onnx.save(proto, tmp_path / "m.onnx")
    assert passes_by_node(tmp_path / "m.onnx") == ({}, [])


def test_an_operator_of_another_model_is_unmapped(tmp_path: Path) -> None:
    proto = onnx.load(model(tmp_path, ("p", "q", "r", "s")))
    found = profile(read(summary(tmp_path)), proto.graph.node)
    assert found.unmapped == 400
    assert profile(read(summary(tmp_path))).unmapped == 0


# ------------------------------------------------------------------ the command line


def test_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = summary(tmp_path)
    assert main(["profile", str(path), "--model", str(model(tmp_path)), "--top", "3"]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines() == [
        "type           ops  time (us)   share  nodes    passes",
        "StridedSliceD    2      350.0  58.3 %  Slice    merge-sliced",
        "TransData        3      190.0  31.7 %           merge-sliced",
        "Sigmoid          1       40.0   6.7 %  Sigmoid",
        "Cast             1       10.0   1.7 %",
        "Relu             1       10.0   1.7 %  Relu",
        "",
        "one run takes 600.0 us; layout conversion 31.7 %, Casts put in 1.7 %",
        "merge-sliced would rewrite what takes 510.0 us, 85.0 % (conversions beside it included)",
        "",
        "slowest            type           time (us)   share  nodes                      passes",
        "Slice_1            StridedSliceD      200.0  33.3 %  Slice_1                    merge-sliced",
        "Slice_2            StridedSliceD      150.0  25.0 %  Slice_2                    merge-sliced",
        "trans_TransData_1  TransData          100.0  16.7 %  beside Relu_0 and Slice_1  merge-sliced",
    ]


def test_without_a_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(summary(tmp_path)), "--top", "0"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "type           ops  time (us)   share"
    assert lines[-1] == "one run takes 600.0 us; layout conversion 31.7 %, Casts put in 1.7 %"


def test_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = summary(tmp_path)
    assert main(["profile", str(path), "--model", str(model(tmp_path)), "--top", "1", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["schema"], found["total_us"], found["layout_us"], found["passes_us"]) == (
        1,
        600,
        190,
        {"merge-sliced": 510},
    )
    assert found["ops"] == [
        {"name": "Slice_1", "type": "StridedSliceD", "time_us": 200, "runs": 1, "shapes": "1,16,32,32;",
         "formats": "NC1HWC0 -> NCHW", "nodes": ["Slice_1"], "inserted": False, "between": [], "passes": ["merge-sliced"],
         "was": []}
    ]  # fmt: skip
    assert found["types"][0]["op_types"] == ["Slice"]


def test_nodes_of_the_model_before(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "out.onnx", tmp_path / "report.json"
    assert main(["apply", str(model(tmp_path)), "-o", str(out), "-p", "merge-sliced", "--json"]) == 0
    report.write_text(capfd.readouterr().out)
    rows = (("Relu_0", "Relu", "10"), ("Slice_2", "StridedSliceD", "90"))
    path = written(tmp_path, NEW + "".join(new_row(*row) for row in rows))
    assert main(["profile", str(path), "--model", str(out), "--report", str(report)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert any("Slice_2 (was Slice_1, Slice_2)" in line for line in lines)
    assert lines[-1].split()[-1] == "Relu_0"
    assert main(["profile", str(path), "--report", str(report)]) == 2
    assert "--model" in capfd.readouterr().err
    assert main(["profile", str(path), "--model", str(model(tmp_path)), "--report", str(report)]) == 2
    assert "is the report of another model than " in capfd.readouterr().err


def test_mistakes_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = summary(tmp_path)
    for arguments, message in (
        ((path, "--top", "-1"), "--top is a whole number from 0 on"),
        ((tmp_path / "none.csv",), "none.csv: cannot be read"),
        ((path, "--model", tmp_path / "none.onnx"), "none.onnx"),
        ((path, "--model", path), "op_summary_0_1.csv"),
        ((model(tmp_path),), "m.onnx: is no "),
    ):
        assert main(["profile", *map(str, arguments)]) == 2
        told = capfd.readouterr().err
        assert message in told
        assert len(told.splitlines()) == 1


def test_names_that_act_on_a_terminal_do_not(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, NEW + new_row("\x1b[31mred", "Relu\x9b2J", "5"))
    assert main(["profile", str(path)]) == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[31mred" in out
