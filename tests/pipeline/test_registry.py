"""The passes by name: ours, and those that another package ships."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import onnxfuse.passes
from onnxfuse import UsageError
from onnxfuse.passes import MergeSliced
from onnxfuse.pipeline import registry

MODULE = '''
"""A pass from elsewhere."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import onnxfuse


class Mode(StrEnum):
    GENTLE = "gentle"
    HARD = "hard"


@dataclass(frozen=True)
class FoldShiny(onnxfuse.RewritePass):
    """Fold a Neg of a Neg."""

    name: ClassVar[str] = "fold-shiny"
    numerics: ClassVar[onnxfuse.Numerics] = onnxfuse.Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Neg"})

    count: int = 1
    deep: bool = False
    label: str = ""
    mode: Mode = Mode.GENTLE
    limit: int | None = None

    def match(self, node, facts):
        before = facts.producer(node.inputs[0], "Neg")
        return None if before is None else facts.region(before, node)

    def rewrite(self, match, build):
        return [match.inputs[0]]


NOT_A_PASS = 1
'''

REPORT = """
import json
import sys

from onnxfuse import UsageError
from onnxfuse.pipeline import registry
from onnxfuse.pipeline.pipeline import Pipeline


def said(call):
    try:
        return str(call())
    except UsageError as error:
        return f"UsageError: {error}"
"""


def run(tmp_path: Path, code: str, **distributions: dict[str, str]) -> Any:
    """Runs code where distributions with such entry points are installed; returns what it prints, as JSON."""
    (tmp_path / "shiny_passes.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "broken_passes.py").write_text("raise RuntimeError('half an installation')", encoding="utf-8")
    for distribution, points in distributions.items():
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        name = distribution.replace("_", "-")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        lines = [f"{point} = {value}" for point, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[onnxfuse.passes]", *lines, ""]), encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    child = subprocess.run(
        [sys.executable, "-c", REPORT + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path.cwd(),
        env={**os.environ, "PYTHONPATH": path},
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def test_pass_of_another_package(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
        origins = registry.origins()
        early = "shiny_passes" in sys.modules
        text = 'fold-shiny{count=-2,deep=true,label="a \\\\"b\\\\", c",mode=hard,limit=3}'
        pipeline = Pipeline.parse(f"remove-pad,{text}")
        import onnx.parser
        import onnxfuse
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]>'
            'g (float[N] x) => (float[M] y) { a = Neg(x) b = Neg(a) y = Exp(b) }'
        )
        result = onnxfuse.apply(model, "fold-shiny")
        print(json.dumps({
            "origins": origins,
            "early": early,
            "text": str(pipeline),
            "same": Pipeline.parse(str(pipeline)) == pipeline,
            "options": [str(getattr(pipeline.members[1], n)) for n in ("count", "deep", "label", "mode", "limit")],
            "ops": [node.op_type for node in result.model.graph.node],
            "near": said(lambda: Pipeline.parse("fold-shine")),
            "wrong": said(lambda: Pipeline.parse("fold-shiny{mode=soft}")),
        }))
        """,
        shiny_passes={"fold-shiny": "shiny_passes:FoldShiny"},
    )

    assert found["origins"] == {**registry.origins(), "fold-shiny": "shiny-passes"}
    assert found["early"] is False
    assert found["text"] == r'remove-pad,fold-shiny{count=-2,deep=true,label="a \"b\", c",mode=hard,limit=3}'
    assert found["same"] is True
    assert found["options"] == ["-2", "True", 'a "b", c', "hard", "3"]
    assert found["ops"] == ["Exp"]
    assert (
        found["near"]
        == "UsageError: there is no pass 'fold-shine': did you mean fold-shiny? (onnxfuse passes lists them)"
    )
    assert found["wrong"] == "UsageError: fold-shiny{mode} is one of gentle, hard, not 'soft'"


CLASHES: dict[str, tuple[dict[str, dict[str, str]], str]] = {
    "with a pass of ours": (
        {"shiny_passes": {"merge-sliced": "shiny_passes:FoldShiny"}},
        "two passes are called 'merge-sliced': shiny_passes:FoldShiny and onnxfuse's; uninstall one of them",
    ),
    "with a preset": (
        {"shiny_passes": {"default": "shiny_passes:FoldShiny"}},
        "two passes are called 'default': shiny_passes:FoldShiny and onnxfuse's; uninstall one of them",
    ),
    "with each other": (
        {"a_passes": {"fold-shiny": "a:FoldShiny"}, "b_passes": {"fold-shiny": "b:FoldShiny"}},
        "two passes are called 'fold-shiny': {0}:FoldShiny and {1}:FoldShiny's; uninstall one of them",
    ),
}


@pytest.mark.parametrize("case", CLASHES)
def test_name_that_is_taken(tmp_path: Path, case: str) -> None:
    distributions, text = CLASHES[case]
    found = run(tmp_path, "print(json.dumps([said(registry.origins), said(registry.origins)]))", **distributions)

    # Which of two packages is found first is up to the file system; the second question gets the same answer.
    assert found[0] == found[1]
    assert found[0] in {f"UsageError: {text.format(*order)}" for order in (("a", "b"), ("b", "a"))}


def test_package_that_is_broken(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
        names = ("lost", "broken", "no-pass", "no-attribute", "misnamed", "remove-pad")
        print(json.dumps({name: said(lambda: Pipeline.parse(name)) for name in names}))
        """,
        shiny_passes={
            "lost": "no_such_module:Lost",
            "broken": "broken_passes:Broken",
            "no-pass": "shiny_passes:NOT_A_PASS",
            "no-attribute": "shiny_passes:Missing",
            "misnamed": "shiny_passes:FoldShiny",
        },
    )

    assert found["lost"].startswith("UsageError: the pass 'lost' cannot be imported from no_such_module:Lost: ")
    assert found["broken"] == (
        "UsageError: the pass 'broken' cannot be imported from broken_passes:Broken: half an installation"
    )
    assert found["no-pass"] == (
        "UsageError: 1, which is registered as the pass 'no-pass', is not a subclass of onnxfuse.Pass"
    )
    assert found["no-attribute"].startswith(
        "UsageError: the pass 'no-attribute' cannot be imported from shiny_passes:Missing"
    )
    # What is written as `fold-shiny` would not read back.
    assert found["misnamed"].startswith("UsageError: ")
    assert found["remove-pad"] == "remove-pad"


def test_ours_are_listed_from_their_folder() -> None:
    files = {
        file.stem.replace("_", "-")
        for file in Path(onnxfuse.passes.__path__[0]).glob("*.py")
        if not file.stem.startswith("_")
    }

    assert {name for name, origin in registry.origins().items() if origin == "onnxfuse"} == files
    assert list(registry.origins()) == [*sorted(files), *registry.TOOLS]


def test_pass_by_name() -> None:
    assert registry.pass_class("merge-sliced") is MergeSliced
    with pytest.raises(UsageError, match="there is no pass '-slices'"):
        registry.pass_class("-slices")
    with pytest.raises(UsageError, match="there is no pass 'default'"):
        registry.pass_class("default")


def test_listing_imports_neither_onnx_nor_a_runtime(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
        registry.origins(), registry.presets(), Pipeline.parse("default")
        print(json.dumps([name for name in ("onnx", "onnx_ir", "onnxruntime") if name in sys.modules]))
        """,
    )

    assert found == []


def test_folder_of_passes_is_no_module_of_its_own() -> None:
    code = "import sys; sys.path.insert(0, '.'); import passes"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path.cwd())

    if (Path.cwd() / "passes" / "__init__.py").exists():
        assert child.returncode == 1
        assert "ImportError: import onnxfuse.passes, not passes" in child.stderr
