"""The options of atc as a value: read from any text, written word by word, changed one at a time."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.atc.values import Kind
from onnxfuse.drivers.atc.words import Framework, InputFormat, LogLevel, Mode, PrecisionMode, Release
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


@EXAMPLES
@given(OPTIONS, st.sampled_from(Release))
def test_a_release_can_only_lack_something(options: AtcOptions, release: Release) -> None:
    anywhere, there = options.problems(), options.problems(release)
    assert set(anywhere) <= set(there)
    assert len(set(there)) == len(there)


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
    with pytest.raises(TypeError, match="not PosixPath"):
        AtcOptions(input_shape=Path("x"))  # type: ignore[arg-type]


def test_a_path_may_be_one() -> None:
    options = AtcOptions(model=Path("a/m.onnx"), keep_dtype=Path("keep.txt"))  # type: ignore[arg-type]
    assert (options.model, options.keep_dtype) == ("a/m.onnx", "keep.txt")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["--device_id", "-1"], {"device_id": "-1"}),
        (["--input_shape", "-1,3", "--log", "info"], {"input_shape": "-1,3", "log": "info"}),
        (["--model", "-x"], {}),
        (["--model", "-"], {}),
    ],
)
def test_no_option_begins_with_a_digit(words: list[str], given: dict[str, str]) -> None:
    options = AtcOptions.parse(shlex.join(["atc", *words]))
    assert options.given() == given
    assert options.argv() == ["atc", *words]
    changed = dataclasses.replace(options, device_id="-2")
    assert AtcOptions.parse(shlex.join(changed.argv())) == changed


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
    assert [Release.of(version) for version in ("", "5", "05.1", "5.0.4", "5.1.RC1", "6.0.1", "8.0.0")] == [
        None,
        *4 * [Release.CANN_5],
        *2 * [Release.CURRENT],
    ]
    for text in ("4", "five", "5x"):
        with pytest.raises(UsageError, match="no version of CANN"):
            Release.of(text)


def test_options_are_read_without_onnx() -> None:
    program = (
        "import sys; from onnxfuse.drivers.atc.options import AtcOptions; AtcOptions.parse('atc --model=x').problems();"
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
