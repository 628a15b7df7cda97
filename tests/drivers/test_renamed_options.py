"""Options, and files that they name, after a rewrite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import onnx
import pytest

from onnxfuse.cli.main import main
from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.atc.renamed import Renamed, renamed_options
from onnxfuse.drivers.findings import Severity
from onnxfuse.drivers.renames import Outputs, Renames
from onnxfuse.model_io import open_model
from tests.drivers.test_renames import MODEL

TO: Final = Path("kept.txt")

# With a Pad that pads nothing, and nodes without a name before and behind what goes.
PADDED: Final = (
    MODEL.replace("[cut] a =", "d = Abs(x) [pad] p = Pad(d, none) [cut] a =")
    .replace("Slice(x, one", "Slice(p, one")
    .replace("int64[1] one", "int64[8] none = {0, 0, 0, 0, 0, 0, 0, 0}, int64[1] one")
)


@pytest.fixture
def rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with a model, what the passes for Ascend made of it, and the report."""
    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.parser.parse_model(PADDED), "m.onnx")
    assert main(["apply", "m.onnx", "-o", "out.onnx", "-p", "ascend", "--json"]) == 0
    Path("report.json").write_text(capsys.readouterr().out)
    return tmp_path


def now() -> Outputs:
    return Outputs.of(onnx.load("out.onnx").graph)


def renamed(options: AtcOptions) -> Renamed:
    return renamed_options(options, Renames.read(Path("report.json"), open_model(Path("out.onnx"))), now(), TO)


def test_options(rewritten: Path) -> None:
    Path("keep.txt").write_text("cut\nscaled\nOpType::Softmax\n\n soft \n")
    given = AtcOptions(
        out_nodes="scaled:0;soft:0",
        output_type="scaled:0:FP16;soft:0:FP32",
        keep_dtype="keep.txt",
        soc_version="Ascend310",
    )
    made = renamed(given)
    node = now().places["c"][0]
    assert made.options.out_nodes == f"scaled:0;{node}:0"
    assert made.options.output_type == f"scaled:0:FP16;{node}:0:FP32"
    assert made.options.keep_dtype == "kept.txt"
    lines = made.files[TO].splitlines()
    assert lines[:3] == ["cut_again", "scaled", "OpType::Softmax"]
    assert [now().values[name] for name in lines[3:]]  # all are nodes
    assert len(lines[3:]) == 3
    assert not TO.exists()
    assert [finding.severity for finding in made.findings] == [Severity.NOTE, Severity.NOTE]
    assert made.findings[0].message == f"soft:0 is {node}:0 now, and is asked for by that name"


def test_options_that_need_nothing(rewritten: Path) -> None:
    Path("keep.txt").write_text("scaled\nOpType::Softmax\n")
    given = AtcOptions(out_nodes="scaled:0", output_type="FP16", keep_dtype="keep.txt")
    assert renamed(given) == Renamed(given)
    assert renamed_options(given, None, now(), TO) == Renamed(given)
    assert renamed(AtcOptions(out_nodes="y;z")).options.out_nodes == "y;z"


def test_options_that_speak_of_what_is_gone(rewritten: Path) -> None:
    Path("odd.txt").write_bytes(b"\xff")
    given = AtcOptions(out_nodes="cut:0", keep_dtype="odd.txt", customize_dtypes="odd.txt")
    made = renamed(given)
    assert made.options == given
    assert [(finding.severity, finding.check) for finding in made.findings] == [
        (Severity.ERROR, "out-nodes"),
        (Severity.ERROR, "keep-dtype"),
        (Severity.ERROR, "customize-dtypes"),
    ]
    assert made.findings[1].message == "odd.txt is no text in UTF-8"


def test_nothing_is_kept_of_what_has_no_successor(rewritten: Path) -> None:
    Path("keep.txt").write_text("pad\n")
    made = renamed(AtcOptions(keep_dtype="keep.txt"))
    assert (made.options.keep_dtype, made.files) == (None, {})
    assert [str(finding) for finding in made.findings] == [
        "note: keep-dtype: nothing stands for pad any more, so that nothing is kept of it (at keep.txt)",
        "note: keep-dtype: keep.txt names nothing else, and is not handed on",
    ]
    Path("keep.txt").write_text("pad\ncut\n")
    made = renamed(AtcOptions(keep_dtype="keep.txt"))
    assert made.files == {TO: "cut_again\n"}
    assert len(made.findings) == 2


def test_what_nothing_used_any_more(rewritten: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Constants that only a removed node read are gone with it, and no report tells of them."""
    text = PADDED.replace("int64[8] none = {0, 0, 0, 0, 0, 0, 0, 0}, ", "").replace(
        "[pad]", "[zeros] none = Constant <value = int64[8] {0, 0, 0, 0, 0, 0, 0, 0}> () [pad]"
    )
    onnx.save(onnx.parser.parse_model(text), "m.onnx")
    assert main(["apply", "m.onnx", "-o", "out.onnx", "-p", "ascend", "--json"]) == 0
    Path("report.json").write_text(capsys.readouterr().out)
    Path("keep.txt").write_text("zeros\nscaled\n")
    made = renamed(AtcOptions(keep_dtype="keep.txt"))
    assert made.files == {TO: "scaled\n"}
    assert made.findings[0].message == "nothing stands for zeros any more, so that nothing is kept of it"


def test_a_byte_order_mark(rewritten: Path) -> None:
    Path("keep.txt").write_text("\ufeffcut\nscaled\n", encoding="utf-8")
    assert renamed(AtcOptions(keep_dtype="keep.txt")).files == {TO: "cut_again\nscaled\n"}
    Path("keep.txt").write_text("\ufeffscaled\n", encoding="utf-8")
    for made in (
        renamed(AtcOptions(keep_dtype="keep.txt")),
        renamed_options(AtcOptions(keep_dtype="keep.txt"), None, now(), TO),
    ):
        assert made.files == {TO: "scaled\n"}
        assert "byte order mark" in made.findings[0].message
    Path("types.txt").write_text("\ufeffscaled::InputDtype:float32,OutputDtype:float32\n", encoding="utf-8")
    (finding,) = renamed(AtcOptions(customize_dtypes="types.txt")).findings
    assert (finding.severity, finding.cure) == (Severity.WARNING, "save it without")


def test_nodes_without_a_name(rewritten: Path) -> None:
    """The converter counts them, and one that stood before another may be gone."""
    was = Outputs.of(onnx.load("m.onnx").graph)
    Path("keep.txt").write_text("".join(f"{name}\n" for name in was.values))
    made = renamed(AtcOptions(keep_dtype="keep.txt"))
    assert set(made.files[TO].splitlines()) == set(now().values)
    renames = Renames.read(Path("report.json"), open_model(Path("out.onnx")))
    stand = {value: renames.nodes_now(was.places[value][0], now()) for value in ("d", "b", "y", "z")}
    assert stand == {value: (now().places[value][0],) for value in stand}


@pytest.mark.parametrize("with_report", [True, False])
@pytest.mark.parametrize(
    ("option", "line"), [("keep_dtype", "{}"), ("customize_dtypes", "{}::InputDtype:float32,OutputDtype:float32")]
)
def test_names_of_no_node(rewritten: Path, with_report: bool, option: str, line: str) -> None:
    Path("names.txt").write_text("".join(f"{line.format(name)}\n" for name in ("NOPE", "scaled", "OpType::Add")))
    given = AtcOptions.from_words([f"--{option}=names.txt"])
    made = renamed(given) if with_report else renamed_options(given, None, now(), TO)
    assert (made.options, made.files) == (given, {})
    (finding,) = made.findings
    assert (finding.severity, finding.check, finding.at) == (Severity.WARNING, option.replace("_", "-"), ("NOPE",))
    Path("names.txt").write_text(f"{line.format('scald')}\n")
    made = renamed(given) if with_report else renamed_options(given, None, now(), TO)
    assert made.findings[0].cure == "is scaled meant?"


@pytest.mark.parametrize("colons", [":", "::"])
def test_customized_types_of_what_is_gone(rewritten: Path, colons: str) -> None:
    """They are of each input and output, and those that stand for a node may have others."""
    lines = [
        f"{name}{colons}InputDtype:float16,OutputDtype:float16\n" for name in ("cut", "scaled", "pad", "OpType::Add")
    ]
    Path("types.txt").write_text("".join(lines))
    given = AtcOptions(customize_dtypes="types.txt")
    made = renamed(given)
    assert (made.options, made.files) == (given, {})
    assert [(finding.severity, finding.check) for finding in made.findings] == [
        (Severity.WARNING, "customize-dtypes")
    ] * 2
    assert made.findings[0].message.startswith("cut was replaced: cut_again stands for it, ")
    assert made.findings[1].message.startswith("pad is gone: nothing stands for it, ")


@pytest.mark.parametrize(
    "what", ["the one that is given", "a link to it", "another", "a folder", "a link to nothing", "a pipe"]
)
def test_what_is_there_is_not_written_over(rewritten: Path, what: str) -> None:
    given = "keep.txt"
    Path(given).write_text("cut\n")
    if what == "the one that is given":
        Path(given).rename(TO)
        given = str(TO.absolute())
    elif what == "a folder":
        TO.mkdir()
    elif what == "a pipe":
        os.mkfifo(TO)  # which nobody writes to
    elif what == "another":
        TO.write_text("cut_again\nact\n")
    else:
        TO.symlink_to(given if what == "a link to it" else "nothing")
    made = renamed(AtcOptions(keep_dtype=given))
    assert (made.options, made.files) == (AtcOptions(keep_dtype=given), {})
    (finding,) = made.findings
    assert (finding.severity, finding.check) == (Severity.ERROR, "keep-dtype")
    assert finding.message == "kept.txt, where the nodes of today are to be written, is there and holds something else"


def test_what_is_there_and_holds_the_same(rewritten: Path) -> None:
    Path("keep.txt").write_text("cut\n")
    TO.write_text("cut_again\n")
    made = renamed(AtcOptions(keep_dtype="keep.txt"))
    assert (made.options.keep_dtype, made.files) == ("kept.txt", {})


def test_a_name_that_is_too_long(rewritten: Path) -> None:
    Path("keep.txt").write_text("cut\n")
    renames, to = Renames.read(Path("report.json"), open_model(Path("out.onnx"))), Path("x" * 300)
    assert renamed_options(AtcOptions(keep_dtype="keep.txt"), renames, now(), to).files == {to: "cut_again\n"}


def test_a_file_that_is_not_there(rewritten: Path) -> None:
    """The options by themselves have that problem."""
    given = AtcOptions(keep_dtype="no.txt", customize_dtypes="$TYPES")
    assert renamed(given) == Renamed(given)
