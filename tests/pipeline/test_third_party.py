"""A package of somebody else's, installed beside onnxfuse by pip: a pass over regions, and one over whole models."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnx
import pytest

import onnxfuse
from onnxfuse.testing.laws import LAWS
from tests.examples.commands import need

ROOT: Final = Path(onnxfuse.__file__).parent.parent
PACKAGE: Final = Path(__file__).parent / "third_party"
NAMES: Final = ("remove-double-neg", "collapse-abs")
ONNXFUSE: Final = ("-m", "onnxfuse.cli.main")

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N] x) => (float[N] y) {
    a = Neg (x)
    b = Neg (a)
    c = Abs (b)
    d = Abs (c)
    y = Exp (d)
}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the package to."""
    need("hatchling", importlib.util.find_spec("hatchling") is not None)
    need("pip", importlib.util.find_spec("pip") is not None)
    folder = tmp_path_factory.mktemp("third_party")
    shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *options,
        "--target",
        str(folder / "site"),
        str(folder / "source"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def python(installed: Path, folder: Path, *argv: str | Path, also: Sequence[Path] = ()) -> str:
    """Runs Python where the package is installed; returns what it prints."""
    path = os.pathsep.join(map(str, [*also, installed, ROOT]))
    environment = {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, *argv], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_pip_installs_what_a_package_consists_of(installed: Path) -> None:
    assert sorted(path.name for path in installed.iterdir()) == ["acme_passes", "acme_passes-1.4.dist-info"]


def test_its_passes_are_listed_and_have_pages(installed: Path, tmp_path: Path) -> None:
    lines = [line.split()[:3] for line in python(installed, tmp_path, *ONNXFUSE, "passes").splitlines()]
    for name in NAMES:
        assert [name, "exact", "acme-passes"] in lines

    pages = python(installed, tmp_path, *ONNXFUSE, "passes", *NAMES)
    assert pages.startswith("remove-double-neg\n\nRemove two Negs in a row.\n\nWhat it does:\n")
    assert "\n\ncollapse-abs\n\nCollapse several Abs in a row into one.\n\nWhat it does:\n" in pages
    assert pages.count("When it declines:") == 2


def test_its_passes_run_by_name_on_the_command_line(installed: Path, tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "in.onnx")
    said = python(installed, tmp_path, *ONNXFUSE, "apply", "in.onnx", "-o", "out.onnx", "-p", ",".join(NAMES))

    rows = [line.split()[:4] for line in said.splitlines() if line.startswith(NAMES)]
    assert rows == [["remove-double-neg", "1", "0", "0"], ["collapse-abs", "1", "0", "0"]]
    assert [node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node] == ["Abs", "Exp"]
    assert onnxfuse.verify(tmp_path / "in.onnx", tmp_path / "out.onnx").equivalent
    python(installed, tmp_path, *ONNXFUSE, "apply", "--check", "out.onnx", "-p", ",".join(NAMES))


IN_PYTHON = """
import json, sys
import onnx_ir as ir
import onnxfuse
from acme_passes.collapse_abs import CollapseAbs
from acme_passes.remove_double_neg import RemoveDoubleNeg

def ops(model):
    return [node.op_type for node in model.graph]

model = onnxfuse.load("in.onnx")
by_name = onnxfuse.apply(model, "remove-double-neg,collapse-abs")
by_object = onnxfuse.apply(model, [RemoveDoubleNeg(), CollapseAbs()])
in_theirs = ir.passes.Sequential(RemoveDoubleNeg(), CollapseAbs())(onnxfuse.load("in.onnx"))
print(json.dumps({
    "by name": ops(by_name.model),
    "by object": ops(by_object.model),
    "in theirs": ops(in_theirs.model),
    "given": ops(model),
    "pipeline": by_object.report.pipeline,
    "verified": by_name.report.verdict.equivalent,
}))
"""


def test_its_passes_run_from_python(installed: Path, tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "in.onnx")
    found = json.loads(python(installed, tmp_path, "-c", IN_PYTHON))

    assert found == {
        "by name": ["Abs", "Exp"],
        "by object": ["Abs", "Exp"],
        "in theirs": ["Abs", "Exp"],
        "given": ["Neg", "Neg", "Abs", "Abs", "Exp"],
        "pipeline": "remove-double-neg,collapse-abs",
        "verified": True,
    }


def test_its_laws_are_checked_by_the_tests_that_check_ours(installed: Path, tmp_path: Path) -> None:
    chosen = " or ".join(f"{name}-{law}" for name in NAMES for law in LAWS)
    pytest_ = ("-m", "pytest", "-v", "-p", "no:cacheprovider", "-o", "addopts=", "--rootdir", ROOT)
    said = python(installed, tmp_path, *pytest_, ROOT / "tests/laws/test_laws.py", "-k", chosen)

    for name in NAMES:
        assert all(f"test_law[{name}-{law}] PASSED" in said for law in LAWS)


OWN_TESTS = """
import onnx
import pytest
from acme_passes.collapse_abs import CollapseAbs
from acme_passes.remove_double_neg import RemoveDoubleNeg
from onnxfuse.testing import assert_equivalent, check_declines, check_rewrite

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => '
ONE = HEAD + "(float[N] y) { a = Abs (x) y = Exp (a) }"
TWO = HEAD + "(float[N] y) { a = Abs (x) b = Abs (a) y = Exp (b) }"


def test_rewrites():
    check_rewrite(TWO, ONE, CollapseAbs())
    check_rewrite(TWO, ONE, "collapse-abs")


def test_declines():
    check_declines(HEAD + "(float[N] y) { a = Abs (x) y = Abs (a) }", CollapseAbs(), "what y gives is an output")
    check_declines(
        HEAD + "(float[N] a, float[N] y) { a = Neg (x) b = Neg (a) y = Exp (b) }", RemoveDoubleNeg(), "another use"
    )


@pytest.mark.xfail(strict=True)
def test_with_a_reproducer():
    one = onnx.parser.parse_model(ONE)
    assert_equivalent(one, onnx.parser.parse_model(ONE.replace("Abs", "Neg")))
"""


def test_its_own_tests_use_the_kit_and_the_plugin(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_acme.py").write_text(OWN_TESTS)
    plugin = ("-p", "onnxfuse.testing.pytest_plugin", "--onnxfuse-reproducers", "wrong")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        said = python(installed, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin)

    assert "2 passed, 1 xfailed" in said
    (reproducer,) = (tmp_path / "wrong").iterdir()
    assert (reproducer / "README.txt").exists()
