"""Which part may import which: arrows only go down."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import onnxfuse

ROOT: Final = Path(onnxfuse.__file__).parent
BELOW: Final = {
    "errors": {"report"},  # which one of them carries, as a type
    "analysis": {"errors"},
    "model_io": {"errors"},
    "verification": {"__version__", "errors", "analysis"},
    "report": {"model_io", "verification"},
    "rewriting": {"errors", "analysis", "model_io", "verification", "report"},
    "pipeline": {
        *("__version__", "errors", "model_io", "verification", "report", "rewriting"),
        "passes",  # only the registry, which lists what is there
    },
    "weights": {"errors", "model_io", "verification"},
    "drivers": {"errors", "analysis", "model_io", "verification", "report", "pipeline"},
    "adapters": {"errors", "model_io", "rewriting", "pipeline", "drivers"},
    "testing": {"errors", "model_io", "verification", "report", "pipeline", "weights"},
    "cli": {"__version__", "errors", "model_io", "verification", "report", "pipeline", "weights", "drivers"},
}


def part_of(module: str) -> str:
    """The part that a module, or a name in it, below `onnxfuse` belongs to."""
    return module.partition(".")[0]


def imported(file: Path) -> Iterator[str]:
    """The modules below `onnxfuse` that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("onnxfuse.") for name in names if name.startswith("onnxfuse."))


@pytest.mark.parametrize("part", BELOW)
def test_a_part_imports_only_what_is_below_it(part: str) -> None:
    home = ROOT / part
    files = sorted(home.rglob("*.py")) if home.is_dir() else [home.with_suffix(".py")]
    assert files
    for file in files:
        above = {name for name in imported(file) if part_of(name) not in {part, *BELOW[part]}}
        assert not above, f"{file.relative_to(ROOT)} imports {', '.join(sorted(above))}"


def test_only_the_registry_knows_of_passes() -> None:
    files = {file for file in (ROOT / "pipeline").rglob("*.py") if any(map(is_pass, imported(file)))}
    assert files == {ROOT / "pipeline" / "registry.py"}


def is_pass(module: str) -> bool:
    """Whether a module, or a name in it, is among the passes."""
    return part_of(module) == "passes"


def test_every_part_has_its_layer() -> None:
    parts = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__", "passes"} == set(BELOW)
