"""`onnxfuse bisect`, and the reproducers that it and `apply --reproducer` write."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxfuse.verification.region import Evidence, RegionVerifier
from tests.cli.conftest import COMMAND, Cli, environment, replay
from tests.cli.models import save

pytestmark = pytest.mark.usefixtures("installed")

PIPELINE = "keep-relu,neg-to-product{wrong=n2}"


@pytest.fixture
def negs(folder: Path) -> Path:
    """Five Negs in a row."""
    return save("negs", folder)


def script(folder: Path, text: str) -> str:
    """Writes a Python script to judge with; returns the command."""
    path = folder.parent / "judge.py"
    path.write_text(text)
    return shlex.join([sys.executable, str(path), "{model}", "{original}"])


def count(more: str) -> str:
    """A script that counts the products."""
    # As the field op_type stands in the file: importing onnx takes a second.
    return f"import sys\ncount = open(sys.argv[1], 'rb').read().count(b'\\x22\\x03Mul')\n{more}\n"


def written(folder: Path = Path()) -> Path:
    (path,) = folder.glob("onnxfuse-reproducer-*")
    return path


def report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


# ---- bisect


def test_says_what_it_tried_and_what_it_found(cli: Cli, negs: Path) -> None:
    done = cli("bisect", negs, "-p", PIPELINE)
    assert (done.code, done.out) == (1, "")
    lines = done.err.splitlines()
    assert lines[0] == "tried 0 passes, 0 rewrites: good"
    assert lines[1].startswith("tried 2 passes, 5 rewrites: bad: y: different: value: ")
    assert lines[-5:-3] == [
        "culprit pass: neg-to-product{wrong=n2}",
        "culprit rewrite: 3 at n2: n2 (Neg) -> n2 (Mul)",
    ]
    assert lines[-3].startswith("first difference: y: different: value: ")
    folder = written()
    assert lines[-2].startswith(
        f"reproducer: {folder}/: neg-to-product{{wrong=n2}} at n2 (rewrite 3) gives other results"
    )
    command = "onnxfuse verify before.onnx after.onnx --input-data inputs.npz"
    assert lines[-1] == f"shown by: cd {folder} && {command}"
    assert report(folder)["pipeline"] == PIPELINE
    assert report(folder)["versions"]["badmanners"] == "1.2"
    again = replay(folder, process=True)
    assert again.code == 1
    assert report(folder)["verdict"]["outputs"][0]["why"] in again.err


def test_json(cli: Cli, negs: Path) -> None:
    done = cli("bisect", negs, "-p", PIPELINE, "--json", "--reproducer", "there/it/is")
    assert done.code == 1
    found = done.json
    assert (found["answer"], found["passes"], found["partner"]) == ("bad", ["neg-to-product{wrong=n2}"], None)
    assert [one["index"] for one in found["rewrites"]] == [3]
    assert [one["answer"] for one in found["trials"]][:2] == ["good", "bad"]
    assert found["reproducer"] == str(written(Path("there/it/is")))
    assert found["command"] == report(written(Path("there/it/is")))["command"]


def test_two_that_are_wrong_together(cli: Cli, folder: Path) -> None:
    done = cli("bisect", save("clips", folder), "-p", "drop-clip")
    assert done.code == 1
    assert "it does no harm without rewrite 1 at second: second (Clip) -> nothing" in done.err.splitlines()
    assert report(written())["needs"]["index"] == 1


def test_a_pipeline_that_does_no_harm(cli: Cli, negs: Path, folder: Path) -> None:
    done = cli("bisect", negs, "-p", "neg-to-product", "--json")
    assert done.code == 0
    assert done.err.splitlines()[-1] == "nothing to find: the pipeline does no harm"
    assert (done.json["answer"], done.json["reproducer"], done.json["command"]) == ("good", None, None)
    assert list(folder.iterdir()) == [negs]
    assert cli("bisect", negs, "-p", PIPELINE, "--except", "n2").code == 0
    assert cli("bisect", negs, "-p", PIPELINE, "--skip", "neg-to-product").code == 0
    assert cli("bisect", negs, "-p", PIPELINE, "--verify", "region").code == 0


def test_inputs_of_the_users_own(cli: Cli, folder: Path) -> None:
    model = save("clips", folder)
    for name, values in (("inside", [1, 2]), ("outside", [1, 9])):
        np.savez(f"{name}.npz", x=np.array(values, np.int32))
    assert cli("bisect", model, "-p", "drop-clip", "--input-data", "inside.npz").code == 0
    assert cli("bisect", model, "-p", "drop-clip", "--input-data", "outside.npz").code == 1
    assert cli("bisect", model, "-p", "drop-clip", "--dim", "N=4").code == 1


# ---- another judge


def test_a_command_judges(cli: Cli, negs: Path, folder: Path) -> None:
    done = cli("bisect", negs, "-p", "neg-to-product", "--check", script(folder, count("sys.exit(3 * (count > 1))")))
    assert done.code == 1
    lines = done.err.splitlines()
    assert "culprit rewrite: 2 at n3: n3 (Neg) -> n3 (Mul)" in lines
    assert "first difference: --check ended with exit code 3" in lines
    # The models around it, since the region is right.
    folder = written()
    assert [len(onnx.load(folder / name).graph.node) for name in ("before.onnx", "after.onnx")] == [5, 5]
    assert "It does not call the difference one: it answers equivalent" in (folder / "README.txt").read_text()
    assert replay(folder).code == 0


def test_a_command_gets_the_original_too(cli: Cli, negs: Path, folder: Path) -> None:
    text = "import sys\nassert open(sys.argv[2], 'rb').read() == open('negs.onnx', 'rb').read()\nprint('seen')"
    done = cli("bisect", negs, "-p", "neg-to-product", "--check", script(folder, text), "--json")
    assert done.code == 0
    assert done.json["answer"] == "good"
    assert done.err.count("seen") == 2


def test_a_command_that_cannot_tell(cli: Cli, negs: Path, folder: Path) -> None:
    command = script(folder, count("sys.exit({0: 0, 5: 1}.get(count, 125))"))
    done = cli("bisect", negs, "-p", "neg-to-product", "--check", command)
    assert done.code == 5
    lines = done.err.splitlines()
    assert "could not tell: the judge cannot tell between these rewrites" in lines
    assert lines[-5:] == [f"  rewrite {5 - at} at n{at}: n{at} (Neg) -> n{at} (Mul)" for at in (4, 3, 2, 1, 0)]
    command = script(folder, count("sys.exit(125 if 1 < count < 4 else count > 3)"))
    assert cli("bisect", negs, "-p", "neg-to-product", "--check", command).code == 5
    command = script(folder, count("sys.exit(125 if count == 2 else count > 3)"))
    done = cli("bisect", negs, "-p", "neg-to-product", "--check", command)
    assert "culprit rewrite: 4 at n1: n1 (Neg) -> n1 (Mul)" in done.err.splitlines()
    assert done.code == 1


def test_a_command_that_dies(cli: Cli, negs: Path, folder: Path) -> None:
    text = count("import os\nif count > 4: os.kill(os.getpid(), 9)")
    done = cli("bisect", negs, "-p", "neg-to-product", "--check", script(folder, text))
    assert "first difference: --check was ended by signal 9" in done.err.splitlines()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false {model}", "the model is bad as it came, before any pass: --check ended with exit code 1"),
        ("is-not-here {model}", "--check is-not-here: cannot be run: No such file or directory"),
        ("./negs.onnx {model}", "--check ./negs.onnx: cannot be run: Permission denied"),
        ("true", "--check true: {model} must stand where the file to judge goes"),
        ("", "--check : {model} must stand where the file to judge goes"),
        ("true '{model}", "--check true '{model}: cannot be split into words: No closing quotation"),
    ],
)
def test_commands_that_are_none(cli: Cli, negs: Path, folder: Path, command: str, message: str) -> None:
    done = cli("bisect", negs, "-p", "neg-to-product", f"--check={command}")
    assert done.code == 2
    assert done.err.splitlines()[-1] == f"onnxfuse: error: {message}"
    assert "Traceback" not in done.err
    assert list(folder.iterdir()) == [negs]


def test_no_shell_runs_a_command(cli: Cli, negs: Path, folder: Path) -> None:
    assert (
        cli("bisect", negs, "-p", "neg-to-product", "--check", "true {model} ; touch made > made $(touch made)").code
        == 0
    )
    assert list(folder.iterdir()) == [negs]


def test_options_that_have_no_part_in_a_command_are_said(cli: Cli, negs: Path) -> None:
    done = cli("bisect", negs, "-p", "neg-to-product", "--check", "true {model}", "--seed", "3", "--dim", "N=2")
    assert done.err.splitlines()[:2] == [
        "note: --dim has no effect: the command judges",
        "note: --seed has no effect: the command judges",
    ]


# ---- mistakes and endings


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere.onnx"], "nowhere.onnx: cannot be read"),
        (["negs.onnx", "-p", "nonsense"], "there is no pass 'nonsense'"),
        (["negs.onnx", "--seed=-1"], "--seed is a whole number from 0 on, not -1"),
        (["negs.onnx", "--except", "n9"], "--except n9: the model has no node of this name"),
        (["negs.onnx", "--dim", "K=2"], "K"),
        (["negs.onnx", "--reproducer", "negs.onnx"], "negs.onnx is no folder"),
        (["negs.onnx", "--reproducer", "/proc/here"], "no reproducer can be written there"),
    ],
)
def test_mistakes(cli: Cli, negs: Path, folder: Path, argv: list[str], message: str) -> None:
    argv = argv if "-p" in argv else [*argv, "-p", PIPELINE]
    done = cli("bisect", *argv)
    assert done.code == 2
    assert message in done.err.splitlines()[-1]
    assert done.err.splitlines()[-1].startswith("onnxfuse: error: ")
    assert "Traceback" not in done.err
    assert list(folder.iterdir()) == [negs]


def test_a_pass_that_breaks_is_an_internal_error(cli: Cli, relu: Path) -> None:
    done = cli("bisect", relu, "-p", "raise-on-relu")
    assert done.code == 3
    assert report(written())["command"] == "onnxfuse bisect model.onnx --passes=raise-on-relu"


def test_ctrl_c_leaves_nothing_behind(folder: Path, package: Path, negs: Path) -> None:
    temporary = folder.parent / "temporary"
    temporary.mkdir()
    command = script(folder, "import sys, time\nprint('waiting', file=sys.stderr, flush=True)\ntime.sleep(60)")
    argv = [*COMMAND, "bisect", str(negs), "-p", "neg-to-product", "--check", command]
    more = {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        argv, env=environment(package, more=more), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == "waiting\n"
        assert len(list(temporary.iterdir())) == 1
        running.send_signal(signal.SIGINT)
        err = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert err.splitlines()[-1] == "onnxfuse: interrupted"
    assert not list(temporary.iterdir())
    assert list(folder.iterdir()) == [negs]


# ---- apply --reproducer


def test_a_rejected_rewrite_leaves_a_reproducer(cli: Cli, negs: Path) -> None:
    done = cli("apply", negs, "-o", "out.onnx", "-p", PIPELINE, "--reproducer", "there", "--json")
    assert done.code == 0
    folder = written(Path("there"))
    assert done.json["reproducers"] == [str(folder)]
    assert f"reproducer: {folder}/: neg-to-product{{wrong=n2}} at n2 was rejected: the replacement differs" in done.err
    found = report(folder)
    assert (found["pipeline"], found["pass"], found["at"]) == (PIPELINE, "neg-to-product{wrong=n2}", ["n2"])
    again = replay(folder)
    assert again.code == 1
    assert found["verdict"]["outputs"][0]["why"] in again.err
    # Again to the same place.
    assert cli("apply", negs, "-o", "out.onnx", "-p", PIPELINE, "--reproducer", "there").code == 0
    assert written(Path("there")) == folder


def test_equal_regions_leave_one_reproducer(cli: Cli, folder: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N] x) => (float[N] y) {'
        " [a] h = Relu(x) [b] m = Neg(h) [c] y = Relu(m) }"
    )
    onnx.save(model, "relus.onnx")
    done = cli("apply", "relus.onnx", "--dry-run", "-p", "relu-to-neg", "--reproducer", ".", "--json")
    assert len(done.json["reproducers"]) == 1
    assert report(written())["at"] == ["c", "a"]
    assert replay(written()).code == 1


def test_nothing_rejected_leaves_nothing(cli: Cli, negs: Path, folder: Path) -> None:
    done = cli("apply", negs, "--dry-run", "-p", "neg-to-product", "--reproducer", "there", "--json")
    assert done.json["reproducers"] == []
    assert list(folder.iterdir()) == [negs]
    assert cli("apply", negs, "--dry-run", "-p", PIPELINE, "--json").json["reproducers"] == []


@pytest.mark.parametrize("external", [False, True])
def test_weights_stay_at_home_unless_they_are_asked_for(cli: Cli, folder: Path, external: bool) -> None:
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N, 64] x, int32[N] i) => (float[N, 64] y, int32[N] j) {'
        " [product] y = MatMul(x, w) [negative] j = Neg(i) }"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, "w.onnx", save_as_external_data=external, location="w.bin", size_threshold=0)
    # A judge that dislikes what is right: no region shows it, so that whole models are written.
    argv = ["bisect", "w.onnx", "-p", "neg-to-product", "--check", script(folder, count("sys.exit(count)"))]
    for more, are in (([], "taken out"), (["--with-weights"], "as they are")):
        assert cli(*argv, "--reproducer", are, *more).code == 1
        found = written(Path(are))
        assert report(found)["weights"] == are
        for name in ("before.onnx", "after.onnx"):
            data = (found / name).read_bytes()
            assert (weights.tobytes() in data) is bool(more)
            assert any(row.tobytes() in data for row in weights) is bool(more)
            assert next(iter(onnx.load(found / name).graph.initializer)).name == "w"
            assert more or len(data) < 1000


def test_a_difference_of_the_whole_model_leaves_the_culprit(
    cli: Cli, negs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A verifier that is blind.
    monkeypatch.setattr(RegionVerifier, "check", lambda *_: Evidence("value-tested", "so be it"))
    done = cli("apply", negs, "-o", "out.onnx", "-p", PIPELINE, "--reproducer", "there", "--json")
    assert done.code == 1
    assert not Path("out.onnx").exists()
    folder = written(Path("there"))
    assert done.json["reproducers"] == [str(folder)]
    assert report(folder)["rewrite"]["index"] == 3
    assert [node.op_type for node in onnx.load(folder / "before.onnx").graph.node] == ["Neg"]
    assert replay(folder).code == 1


def test_the_folder_is_looked_at_before_the_work(cli: Cli, negs: Path) -> None:
    started = time.monotonic()
    done = cli("apply", negs, "-o", "out.onnx", "-p", "wait-on-neg", "--reproducer", "negs.onnx")
    assert time.monotonic() - started < 50  # the pass waits for a minute
    assert done.error == f"negs.onnx: {negs.absolute()} is no folder"


def test_help_is_readable(process: Cli) -> None:
    done = process("bisect", "--help")
    assert done.code == 0
    words = " ".join(done.out.split())
    assert "Exit code 1: a culprit was found; 0: the pipeline does no harm; 5: could not tell." in words
    assert "exit code 0 is good, 125 cannot tell, any other bad" in words
    assert max(map(len, done.out.splitlines())) <= 100


def test_no_leftovers_in_the_temporary_folder(
    cli: Cli, negs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = folder.parent / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert cli("bisect", negs, "-p", PIPELINE, "--check", script(folder, count("sys.exit(count > 1)"))).code == 1
    assert not list(temporary.iterdir())
