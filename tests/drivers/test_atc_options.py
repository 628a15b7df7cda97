"""The options of atc as a value: read from any text, written word by word, changed one at a time."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxfuse.drivers.atc_options import AtcOptions
from onnxfuse.drivers.atc_values import Framework, InputFormat, Kind, LogLevel, Mode, PrecisionMode, Release
from onnxfuse.errors import UsageError
from tests.profile import EXAMPLES

TEXTS: Final = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
HOSTILE: Final = st.sampled_from(
    ["a;b", "$(rm -rf ~)", "`id`", "a b", "a\nb", "'", '"', "\\", "-x", "--model=y", "", "$1", "{a b}"]
)


def values_of(name: str) -> st.SearchStrategy[Any]:
    of = AtcOptions.table()[name]
    usual = [*of.allowed] or {Kind.NUMBER: ["7"]}.get(of.kind, ["x"])
    return st.sampled_from(usual) | HOSTILE | TEXTS | st.booleans() | st.integers(-3, 10**20)


OPTIONS: Final = st.fixed_dictionaries({}, optional={name: values_of(name) for name in AtcOptions.table()}).map(
    lambda given: AtcOptions(**given)
)
LINES: Final = st.text(
    st.sampled_from("""ab=-_ \t\n\r'"\\$#`;|&<>(){}[],:*?~!@1""") | st.characters(codec="utf-8"), max_size=40
).flatmap(lambda text: st.sampled_from([text, f"atc {text}", f"atc --model={text}", f"atc --model {text} --log=info"]))


def shell_syntax(options: AtcOptions) -> list[str]:
    return [problem.subject for problem in options.problems() if problem.rule == "shell-syntax"]


@EXAMPLES
@given(OPTIONS)
def test_what_is_written_is_read_back(options: AtcOptions) -> None:
    line = shlex.join(options.argv())
    again = AtcOptions.parse(line)
    assert again == options
    assert again.argv() == options.argv() == shlex.split(line)
    words = AtcOptions.from_words(options.argv()[1:])
    assert words == options
    assert words.argv() == options.argv()
    assert not [problem for problem in again.problems() if problem.rule in ("unknown-option", "missing-value")]


@EXAMPLES
@given(LINES)
@example("atc --model='")
@example("atc --model=x\\")
@example('atc --model="\\$x"')
@example("")
@example('"')
@example("\\")
def test_any_text_is_read_and_written_as_a_shell_would(line: str) -> None:
    options = AtcOptions.parse(line)
    assert options.argv()[0] == "atc"
    if not shell_syntax(options):
        assert options.argv() == shlex.split(line.replace("\\\n", ""))
    again = AtcOptions.parse(shlex.join(options.argv()))
    assert again == options
    assert again.argv() == options.argv()
    assert AtcOptions.parse(line) == options
    for problem in options.problems():
        assert problem.subject
        assert problem.message


@EXAMPLES
@given(LINES)
def test_a_text_that_shlex_cannot_split_has_a_problem(line: str) -> None:
    try:
        shlex.split(line)
    except ValueError:
        assert shell_syntax(AtcOptions.parse(line))


@EXAMPLES
@given(OPTIONS, st.sampled_from(sorted(AtcOptions.table())), HOSTILE)
def test_one_value_is_changed_in_its_place(options: AtcOptions, name: str, value: str) -> None:
    options = AtcOptions.parse(shlex.join(options.argv()))
    before, changed = options.argv(), dataclasses.replace(options, **{name: value})  # type: ignore[arg-type]
    after = changed.argv()
    assert AtcOptions.parse(shlex.join(after)) == changed
    if getattr(options, name) is None:
        assert after[:-1] == before
    else:
        assert len([1 for old, new in zip(before, after, strict=True) if old != new]) <= 1
        gone = dataclasses.replace(options, **{name: None}).argv()  # type: ignore[arg-type]
        assert len(gone) == len(before) - 1
        assert [word for word in before if word in gone] == gone


def test_order_spelling_and_form_are_kept() -> None:
    line = 'atc --soc_version $1 --out-nodes="a:0" -log error --model=m.onnx --framework 05'
    options = AtcOptions.parse(line)
    assert options.argv() == shlex.split(line)
    assert (options.soc_version, options.out_nodes, options.log, options.framework) == ("$1", "a:0", "error", 5)
    changed = dataclasses.replace(options, out_nodes="b:0", log="info", soc_version="X", model=None, output="m")
    assert changed.argv() == [
        *("atc", "--soc_version", "X", "--out-nodes=b:0", "-log", "info", "--framework", "05", "--output=m")
    ]


def test_a_value_that_begins_with_a_dash_stays_a_value() -> None:
    options = dataclasses.replace(AtcOptions.parse("atc --model m.onnx"), model="--weird")
    assert options.argv() == ["atc", "--model=--weird"]
    assert AtcOptions.parse(shlex.join(options.argv())).model == "--weird"


def test_values_are_what_they_say() -> None:
    options = AtcOptions.parse(
        "atc --framework=5 --mode=0 --log=error --input_format=NCHW --precision_mode=force_fp32 --save_original_model=Yes"
        " --enable_small_channel=1 --op_debug_level=x --buffer_optimize=$b"
    )
    assert options.framework is Framework.ONNX
    assert options.mode is Mode.CONVERT
    assert options.log is LogLevel.ERROR
    assert options.input_format is InputFormat.NCHW
    assert options.precision_mode is PrecisionMode.FORCE_FP32
    assert options.save_original_model is True
    assert options.enable_small_channel == 1
    assert options.op_debug_level == "x"
    assert options.buffer_optimize == "$b"
    assert options == AtcOptions(
        framework="5",
        mode=0,
        log="error",
        input_format="NCHW",
        precision_mode="force_fp32",
        save_original_model=True,
        enable_small_channel=True,
        op_debug_level="x",
        buffer_optimize="$b",
    )


def test_a_value_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="not list"):
        AtcOptions(model=["m.onnx"])  # type: ignore[arg-type]


def test_the_last_of_several_counts_and_all_stay() -> None:
    options = AtcOptions.parse("atc --log=debug --model=m.onnx --log=error")
    assert options.log is LogLevel.ERROR
    assert options.argv() == ["atc", "--log=debug", "--model=m.onnx", "--log=error"]
    assert options.repeated() == {"log": ("debug", "error")}
    assert dataclasses.replace(options, log="info").argv() == ["atc", "--log=debug", "--model=m.onnx", "--log=info"]
    assert dataclasses.replace(options, log=None).argv() == ["atc", "--model=m.onnx"]


def test_what_is_no_option_is_kept_and_can_be_taken_away() -> None:
    options = AtcOptions.parse("atc --device 0 --model=m.onnx stray --log")
    assert options.other == (("--device", "0"), ("stray",), ("--log",))
    assert options.argv() == ["atc", "--device", "0", "--model=m.onnx", "stray", "--log"]
    assert dataclasses.replace(options, other=()).argv() == ["atc", "--model=m.onnx"]
    assert options != dataclasses.replace(options, other=())


def test_lines_may_be_continued() -> None:
    line = 'atc --model=m.onnx \\\n    --input_shape="x:1,3;\\\ny:2" \\\n  --log=error\n'
    options = AtcOptions.parse(line)
    assert options.argv() == ["atc", "--model=m.onnx", "--input_shape=x:1,3;y:2", "--log=error"]
    assert not shell_syntax(options)


@pytest.mark.parametrize(
    ("line", "subject", "words"),
    [
        ("atc --model=m >log.txt --log=info", ">", ["--model=m", "--log=info"]),
        ("atc --model=m 2>&1", "2>&", ["--model=m"]),
        ("atc --model=m &>log", "&>", ["--model=m"]),
        ("atc --model=m <in", "<", ["--model=m"]),
        ("atc --model=m # why", "#", ["--model=m"]),
        ("atc --model=m | tee log", "|", ["--model=m"]),
        ("atc --model=m && ls", "&&", ["--model=m"]),
        ("cd x && atc --model=m", "&&", ["--model=m"]),
        ("atc --input_shape=x:1;y:2 --log=info", ";", ["--input_shape=x:1"]),
        ("atc --model=m &", "&", ["--model=m"]),
        ("(atc --model=m)", "(", ["--model=m"]),
        ("atc --model=`ls`", "`", ["--model=`ls`"]),
        ("atc --model=$(ls -1)/m", "$(", ["--model=$(ls -1)/m"]),
        ('atc --model="$(ls -1)/m"', "$(", ["--model=$(ls -1)/m"]),
        ("atc --model='m", "'", ["--model=m"]),
        ('atc --model="m --log=info', '"', ["--model=m --log=info"]),
        ("atc --model=m\\", "\\", ["--model=m"]),
        ("atc --model=m \\ \n --log=info", "\\", ["--model=m", "--log=info"]),
        ("atc --model=m \\\r\n --log=info", "\\", ["--model=m", "--log=info"]),
        ("atc --model=m\n--log=info", "line break", ["--model=m", "--log=info"]),
        ("atc --model=m\nls", "line break", ["--model=m"]),
        ("atc --output=m_{batch size}_x", "{batch size}", ["--output=m_{batch size}_x"]),
        ("atc --output=m_{1,2}", "{1,2}", ["--output=m_{1,2}"]),
        ("atc --output=m_{1..3}", "{1..3}", ["--output=m_{1..3}"]),
        ("atc --output={\\ ,'a'}", "{\\ ,'a'}", ["--output={ ,a}"]),
        ("atc --output=m_${a", "${", ["--output=m_${a"]),
        ("atc --output=$'m'", "$'", ["--output=$m"]),
        ('atc --output="\\$m"', "\\$", ["--output=$m"]),
        ("atc --model= m", "--model", ["--model=", "m"]),
        ("atc --model ''", "--model", ["--model", ""]),
        ("atc --model=m x", "x", ["--model=m", "x"]),
        ("atc --model=m --", "--", ["--model=m", "--"]),
        ("A=1 atc --model=m", "A=1", ["--model=m"]),
        ("nohup atc --model=m", "nohup", ["--model=m"]),
        ("sudo -E atc --model=m", "sudo", ["--model=m"]),
        ("$ atc --model=m", "$", ["--model=m"]),
        ("/usr/bin/atc --model=m", "/usr/bin/atc", ["--model=m"]),
        ("--model=m", "--model=m", ["--model=m"]),
        ("aoe --model=m", "aoe", ["aoe", "--model=m"]),
        ("", "''", []),
    ],
)
def test_what_only_a_shell_understands_is_named(line: str, subject: str, words: list[str]) -> None:
    options = AtcOptions.parse(line)
    assert subject in shell_syntax(options)
    assert options.argv() == ["atc", *words]


@pytest.mark.parametrize(
    "line",
    [
        "atc --soc_version=Ascend${chip_name}",
        'atc --input_shape="x:${bs},{n},$1"',
        "atc --output=bs{batch_size}",
        "atc --soc_version=Ascend{$chip}",
        "atc --model=${a[i]} --output=a#b",
        "atc --input_shape='x:1;y:{batch size}'",
        "  atc --model=m\n",
    ],
)
def test_what_a_shell_takes_is_no_problem(line: str) -> None:
    options = AtcOptions.parse(line)
    assert not shell_syntax(options)
    assert options.argv() == shlex.split(line)


def test_hostile_values_reach_the_tool_as_they_are(tmp_path: Path) -> None:
    hostile = ["a;b", "$(id)", "`id`", "a b", "a\nb", "it's", 'say "x"', "back\\slash", "*", "-x", "--log=x", "ä\t"]
    tool = tmp_path / "atc"
    tool.write_text(f"#!{sys.executable}\nimport sys\nprint(ascii(sys.argv[1:]))\n")
    tool.chmod(0o755)
    options = [AtcOptions(model=value, output=value, input_shape=f"{value}:1") for value in hostile]
    for entry in options:
        argv = [str(tool), *entry.argv()[1:]]
        ran = subprocess.run(argv, check=True, capture_output=True, text=True)
        by_shell = subprocess.run(["/bin/sh", "-c", shlex.join(argv)], check=True, capture_output=True, text=True)
        assert ran.stdout.strip() == by_shell.stdout.strip() == ascii(argv[1:])
        assert AtcOptions.parse(shlex.join(entry.argv())) == entry


def test_what_is_yet_to_be_filled_in_is_told() -> None:
    options = AtcOptions.parse("atc --model=$m --output={x} --soc_version=Ascend310")
    assert options.placeholders() == ("model", "output")
    quoted = AtcOptions.parse("atc --input_shape='x:${bs},3'")
    assert ("quoted-placeholder", "${bs}") in [(problem.rule, problem.subject) for problem in quoted.problems()]


def test_it_is_shown_short() -> None:
    assert repr(AtcOptions(model="m.onnx", framework=5)) == "AtcOptions(model='m.onnx', framework='5')"


def test_versions_belong_to_releases() -> None:
    assert [Release.of(version) for version in ("5", "5.0.4", "5.1.RC1", "6.0.1", "8.0.0")] == [
        *3 * [Release.CANN_5],
        *2 * [Release.CURRENT],
    ]


# ---------------------------------------------------------------------- a model's options


def model(*inputs: onnx.ValueInfoProto, initializers: tuple[str, ...] = ()) -> onnx.ModelProto:
    nodes = [helper.make_node("Identity", [value.name], [f"{value.name}_out"]) for value in inputs]
    outputs = [helper.make_tensor_value_info(f"{value.name}_out", TensorProto.FLOAT, None) for value in inputs]
    tensors = [helper.make_tensor(name, TensorProto.FLOAT, [1], [0.0]) for name in initializers]
    graph = helper.make_graph(nodes, "g", list(inputs), outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def floats(name: str, shape: list[int | str | None] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def test_a_model_fills_in_its_file_inputs_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "net.v2.onnx"
    onnx.save(model(floats("x", ["N", 3, 8, 8]), floats("w", [1]), initializers=("w",)), path)
    options = AtcOptions.from_model(path, soc_version="Ascend310P3", batch_size=4, log="error")
    assert options.argv() == [
        "atc",
        f"--model={path}",
        "--framework=5",
        f"--output={tmp_path}/net.v2_bs4",
        "--soc_version=Ascend310P3",
        "--input_format=NCHW",
        "--input_shape=x:4,3,8,8",
        "--log=error",
    ]
    assert options.problems() == ()


def test_the_symbol_of_a_batch_is_filled_in_wherever_it_is() -> None:
    net = model(floats("ids", ["N", "S"]), floats("onnx::m:0", [1, "N", None]), floats("s", []))
    options = AtcOptions.from_model(net, soc_version="Ascend310", batch_size=2, dims={"S": 128}, output="o.om")
    assert options.input_shape == "ids:2,128;onnx::m:0:1,2,-1;s:"
    assert options.input_format == "ND"
    assert options.output == "o"
    assert options.model is None


def test_dims_are_named_by_symbol_or_place() -> None:
    net = model(floats("x", [None, "S", None]), floats("y", ["N", 3]))
    options = AtcOptions.from_model(net, soc_version="Ascend310", batch_size=2, dims={"x.1": 5, "x.2": 7})
    assert options.input_shape == "x:2,5,7;y:2,3"
    with pytest.raises(UsageError, match="'T'"):
        AtcOptions.from_model(net, soc_version="Ascend310", dims={"T": 5})
    with pytest.raises(UsageError, match="'y.1'"):
        AtcOptions.from_model(net, soc_version="Ascend310", dims={"y.1": 5})
    with pytest.raises(UsageError, match="3 is given"):
        AtcOptions.from_model(net, soc_version="Ascend310", batch_size=2, dims={"N": 3})


def test_what_is_given_stands_above_what_the_model_tells() -> None:
    options = AtcOptions.from_model(
        model(floats("x", ["N", 3, 8, 8])), soc_version="X", output="o", input_shape="x:1,3,4,4", model="m.onnx"
    )
    assert (options.model, options.input_shape, options.input_format) == ("m.onnx", "x:1,3,4,4", None)
    profiles = AtcOptions.from_model(
        model(floats("x", ["N", 3, 8, 8])), soc_version="Ascend310", model="m.onnx", output="o", dynamic_dims="1;4"
    )
    assert (profiles.input_shape, profiles.input_format) == ("x:-1,3,8,8", "ND")
    assert profiles.problems() == ()


@pytest.mark.parametrize(
    ("value", "batch", "message"),
    [
        (floats("x", [1, 3]), 4, "fixed"),
        (floats("x", ["N", 3]), 0, "1 or more"),
        (floats("a;b", ["N"]), 1, "cannot read this name"),
        (floats("x", None), None, "has no shape"),
        (helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1]), None, "no tensor"),
    ],
)
def test_inputs_that_atc_cannot_be_told(value: onnx.ValueInfoProto, batch: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AtcOptions.from_model(model(value), soc_version="Ascend310", batch_size=batch)


def test_options_are_read_without_onnx() -> None:
    program = (
        "import sys; from onnxfuse.drivers.atc_options import AtcOptions; AtcOptions.parse('atc --model=x').problems();"
        "sys.exit(any(name in sys.modules for name in ('onnx', 'onnx_ir', 'numpy', 'onnxruntime')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_page_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "drivers.md").read_text(encoding="utf-8")
    section = page.partition("## Command lines of atc\n")[2].partition("\n## ")[0]
    exec(section.partition("```python\n")[2].partition("```")[0], {})
    *problems, argv = capsys.readouterr().out.splitlines()
    assert [problem.partition(":")[0] for problem in problems] == [">", "--output", "--soc_version"]
    line = "atc --framework 5 --model=m.onnx --output=m --soc_version=Ascend310P3 --input_shape=x:-1,3 --dynamic_batch_size=1,4"
    assert argv == str(line.split())
