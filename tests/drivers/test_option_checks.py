"""What is wrong with options by themselves, as it is told before atc runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import onnx.parser
import pytest

from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.atc.values import Kind
from onnxfuse.drivers.checks.graph import check_graph
from onnxfuse.drivers.checks.options import problems_of
from onnxfuse.drivers.findings import Severity

GIVEN: Final = AtcOptions(model="m.onnx", framework=5, output="m", soc_version="Ascend310")
MODEL: Final = '<ir_version: 8, opset_import: ["": 11]> g (float[1, 4] x) => (float[1, 4] y) { [one] y = Relu(x) }'


def test_problems() -> None:
    given = replace(GIVEN, output="$OUT", log="verbose", other=(("--new=1",), ("stray",), ("--om",)))
    checks = {item.check: item for item in problems_of(given)}
    assert {item.severity for item in checks.values()} == {Severity.ERROR}
    assert any(item.code == "E10010" for item in checks.values())
    assert "--output" in checks["placeholder"].message
    assert not any("--new" in item.message for item in checks.values())
    assert checks["shell-syntax"].message.startswith("stray: a stray word")
    assert checks["missing-value"].message.startswith("--om: has no value")
    assert not problems_of(replace(GIVEN, soc_version=None), without=["--soc_version"])
    (missing,) = problems_of(replace(GIVEN, soc_version=None))
    assert missing.code == "E10054"


@pytest.mark.parametrize("name", ["m{1}", "m$1", "a b", "ö"])
def test_a_file_of_an_odd_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"{name}.onnx").touch()
    found = problems_of(replace(GIVEN, model=f"{name}.onnx", output=f"{name}_bs1"))
    assert [(item.check, item.code, item.message.partition(":")[0]) for item in found] == [
        *(("path", "E10001", "--model"), ("path", "E10001", "--output"))
    ]


@pytest.mark.parametrize("name", ["$KEEP", "{x}", "$" + 300 * "x"])
def test_a_file_that_is_yet_to_be_named(name: str) -> None:
    (found,) = problems_of(replace(GIVEN, keep_dtype=name))
    assert (found.check, found.message.partition(":")[0]) == ("placeholder", "--keep_dtype")


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("input_shape", "x:1,a", "E10002"),
        ("input_shape", "x:1,0", "E10011"),
        ("out_nodes", "one:0;y", "E10001"),
        ("out_nodes", "a:b:0", "E10001"),
    ],
)
def test_what_is_wrong_by_itself_is_told_once(option: str, value: str, code: str) -> None:
    values: dict[str, Any] = {option: value}
    given = replace(GIVEN, **values)
    assert not check_graph(onnx.parser.parse_model(MODEL), given)
    assert [item.code for item in problems_of(given)] == [code]


def test_options_of_another_release() -> None:
    given = replace(GIVEN, precision_mode_v2="fp16")
    assert not problems_of(given)
    assert not problems_of(given, "8.0")
    for version in ("5", "05.1", "5.1"):
        assert [item.check for item in problems_of(given, version)] == ["release"]


@pytest.mark.parametrize(
    ("shape", "checks"),
    [
        ("x{1}:1,4", []),
        ("x{1}:{bs},4", ["placeholder"]),
        ("x{1}:$bs,4", ["placeholder"]),
        ("$x:1,4", ["input-shape"]),
    ],
)
def test_an_input_of_an_odd_name(shape: str, checks: list[str]) -> None:
    """Its name is looked for in the graph, whatever it is; sizes have to be there."""
    model = onnx.parser.parse_model(MODEL)
    model.graph.input[0].name = model.graph.node[0].input[0] = "x{1}"
    given = replace(GIVEN, input_shape=shape)
    assert [item.check for item in (*problems_of(given), *check_graph(model, given))] == checks


FILES: Final = [name for name, of in AtcOptions.table().items() if of.kind is Kind.FILE]


def test_files_that_are_read() -> None:
    assert {"insert_op_conf", "keep_dtype", "modify_mixlist", "fusion_switch_file", "op_precision_mode"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_read_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    given = replace(GIVEN, precision_mode="allow_mix_precision", **{name: "a.cfg"})  # type: ignore[arg-type]
    assert not given.problems()  # which looks at no file
    (found,) = problems_of(given)
    assert (found.severity, found.code) == (Severity.ERROR, "E10410")
    assert found.message.startswith(f"--{name}: a.cfg")
    Path("a.cfg").mkdir()
    assert [item.code for item in problems_of(given)] == ["E10410"]
    Path("a.cfg").rmdir()
    Path("a.cfg").touch()
    assert not problems_of(given)


def test_files_of_odd_names() -> None:
    for name in ("x" * 300, "m.onnx/x"):
        assert [item.code for item in problems_of(replace(GIVEN, keep_dtype=name))] == ["E10410"]


def test_what_is_written_need_not_be_there() -> None:
    """Nor what may be no file, or a folder that is made."""
    given = replace(GIVEN, check_report="r.json", debug_dir="d", op_compiler_cache_dir="c", raw_ge_options="o")
    assert not problems_of(given)


@pytest.mark.parametrize(("shape", "checks"), [("x{1}:[1,4]", []), ("x{1}:[{bs},4]", ["placeholder"])])
def test_a_range_of_an_input_of_an_odd_name(shape: str, checks: list[str]) -> None:
    assert [item.check for item in problems_of(replace(GIVEN, input_shape_range=shape))] == checks
