"""Other people's passes on the command line: files beside it, pipelines from files, trust."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import Cli

GIVEN = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N, 8] x) => (float[N, 8] y) { [one] a = Identity(x) [two] b = Identity(a) [three] y = Relu(b) }"""

FIX = """
import onnx_ir as ir

print("imported")

def fix(model):
    print("fixing")
    for node in list(model.graph):
        if node.op_type == "Identity":
            ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
            model.graph.remove(node, safe=True)

def wrong(model):
    for node in model.graph:
        if node.op_type == "Relu":
            node.op_type = "Abs"

def boom(model):
    raise ValueError("no such thing")
"""


@pytest.fixture(autouse=True)
def fixes(folder: Path) -> Iterator[None]:
    """A model, and a module with functions, in the current folder."""
    onnx.save(onnx.parser.parse_model(GIVEN), folder / "in.onnx")
    (folder / "fixes.py").write_text(FIX)
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("fixes", None)


def ops(path: str) -> list[str]:
    """The op_types of a model's nodes."""
    return [node.op_type for node in onnx.load(path).graph.node]


def test_a_file_beside_the_command(cli: Cli) -> None:
    done = cli("apply", "in.onnx", "-o", "out.onnx", "-p", "ir:fixes.fix,merge-sliced", "--json")
    assert done.code == 0
    assert ops("out.onnx") == ["Relu"]
    assert done.json["passes"][0]["pass"] == "ir:fixes.fix"  # and nothing else is on stdout
    assert "imported" in done.err
    assert "fixing" in done.err


def test_the_model_on_stdout_is_the_model_alone(process: Cli) -> None:
    done = process("apply", "in.onnx", "-o", "-", "-p", "ir:fixes.fix")
    assert [node.op_type for node in onnx.load_from_string(done.data).graph.node] == ["Relu"]


def test_a_wrong_one(cli: Cli) -> None:
    done = cli("apply", "in.onnx", "-o", "out.onnx", "-p", "ir:fixes.wrong")
    assert done.code == 0
    assert "rejected: ir:fixes.wrong at " in done.err
    assert Path("out.onnx").read_bytes() == Path("in.onnx").read_bytes()
    assert cli("apply", "in.onnx", "-o", "strict.onnx", "-p", "ir:fixes.wrong", "--strict").code == 1
    assert not Path("strict.onnx").exists()


def test_one_that_raises(cli: Cli) -> None:
    done = cli("apply", "in.onnx", "-o", "out.onnx", "-p", "ir:fixes.boom,remove-pad")
    assert done.code == 0
    assert f"ValueError: no such thing ({Path('fixes.py').absolute()}:19)" in done.err
    assert "Traceback" not in done.err
    assert cli("apply", "in.onnx", "-o", "out.onnx", "-p", "ir:fixes.boom", "--strict").code == 1


@pytest.mark.parametrize(
    ("passes", "says"),
    [
        ("ir:nofixes.fix", "ir:nofixes.fix: there is no module nofixes"),
        ("ir:fixes.fax", "ir:fixes.fax: the module fixes has no attribute fax"),
        ("exec:'cp {in}'", 'exec:"cp {in}": {out} must stand where the path of the model that the command writes goes'),
    ],
)
def test_mistakes(cli: Cli, passes: str, says: str) -> None:
    done = cli("apply", "in.onnx", "-o", "out.onnx", "-p", passes)
    assert done.code == 2
    assert done.err.splitlines()[-1] == f"onnxfuse: error: {says}"
    assert not Path("out.onnx").exists()


def test_leaving_one_out_and_asking_why(cli: Cli) -> None:
    done = cli("apply", "in.onnx", "--check", "-p", "ir:fixes.fix,ir:fixes.wrong", "--skip", "ir:fixes.fix", "--json")
    assert [item["pass"] for item in done.json["passes"]] == ["ir:fixes.wrong"]
    assert cli("apply", "in.onnx", "--check", "-p", "ir:fixes.fix", "--why", "ir:fixes.fix").code == 1
    assert "does not have this pass" in cli("apply", "in.onnx", "--check", "--why", "ir:fixes.fix").error
    assert "there is no pass 'irr'" in cli("apply", "in.onnx", "--check", "--why", "irr").error


def test_bisect_names_the_culprit(cli: Cli) -> None:
    copy = shlex.join([sys.executable, "-c", "import shutil, sys; shutil.copyfile(*sys.argv[1:])", "{in}", "{out}"])
    done = cli("bisect", "in.onnx", "-p", f"ir:fixes.fix,ir:fixes.wrong,exec:{json.dumps(copy)},remove-pad", "--json")
    assert done.code == 1
    assert done.json["passes"] == ["ir:fixes.wrong"]


# ---- pipelines from files


def test_a_pipeline_from_a_file(cli: Cli) -> None:
    Path("passes.txt").write_text("# what we always do\nremove-pad,\nmerge-sliced  # Slices\n")
    done = cli("apply", "in.onnx", "--check", "-p", "@passes.txt", "--json")
    assert [item["pass"] for item in done.json["passes"]] == ["remove-pad", "merge-sliced"]


def test_code_in_a_file_is_run_where_that_is_trusted(cli: Cli) -> None:
    Path("passes.txt").write_text("remove-pad\nir:fixes.fix\n")
    assert cli("apply", "in.onnx", "-o", "out.onnx", "-p", "@passes.txt").error == (
        "passes.txt: ir:fixes.fix runs code, and the pipeline comes from a file: it does so only where that is trusted "
        "(--trust)"
    )
    assert not Path("out.onnx").exists()
    assert cli("apply", "in.onnx", "-o", "out.onnx", "-p", "@passes.txt", "--trust").code == 0
    assert ops("out.onnx") == ["Relu"]
    assert cli("bisect", "in.onnx", "-p", "@passes.txt").code == 2
    assert cli("bisect", "in.onnx", "-p", "@passes.txt", "--trust").code == 0


def test_files_that_are_no_pipeline(cli: Cli, folder: Path) -> None:
    Path("empty.txt").write_text("# nothing\n")
    Path("wrong.txt").write_text("merge-sliced\nremove-pad )\n")
    Path("bytes.txt").write_bytes(b"\xff\xfe")
    Path("unknown.txt").write_text("merge-slicedd")

    def error(name: str) -> str:
        return cli("apply", "in.onnx", "--check", "-p", f"@{name}").error

    assert error("none.txt") == "--passes @none.txt: the file cannot be read: No such file or directory"
    assert error("") == "--passes @: the file cannot be read: Is a directory"
    assert error("bytes.txt").startswith("--passes @bytes.txt: the file cannot be read: 'utf-8' codec can't decode")
    assert error("empty.txt") == "empty.txt: the pipeline is empty: name at least one pass or preset"
    assert error("wrong.txt").startswith("wrong.txt: line 2 of the pipeline cannot be read at character 12: ")
    assert error("unknown.txt").startswith("unknown.txt: there is no pass 'merge-slicedd': did you mean merge-sliced?")


# ---- what there is


def test_the_list_says_that_they_are_there(cli: Cli) -> None:
    lines = cli("passes").out.splitlines()
    starts = {line.split("  ")[0] for line in lines}
    assert {"onnxsim", "gs:module.function", "ir:module.Pass", "exec:'tool {in} {out}'"} <= starts
    assert cli("passes", "onnxsim").out.startswith("onnxsim\n\nSimplify the model with onnxsim")


def test_the_help_says_that_they_are_there(process: Cli) -> None:
    for command in ("apply", "bisect"):
        said = " ".join(process(command, "--help").out.split())
        assert "onnxsim, gs:module.function, ir:module.Pass and exec:'tool {in} {out}'; @FILE reads them" in said
        assert "--trust" in said


def test_inspect_runs_none_of_them(cli: Cli) -> None:
    assert "onnxsim" not in cli("inspect", "in.onnx", "--json").json["would_match"]
