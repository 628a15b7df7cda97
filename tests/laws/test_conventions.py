"""How a pass is named, documented and written."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import onnxfuse.passes
from onnxfuse import ModelPass, Numerics, Pipeline, RewritePass
from onnxfuse.pipeline import registry
from onnxfuse.testing.examples import Example, sections

HEADINGS = ("What it does", "Why", "Example", "When it declines", "Numerics", "Options", "References")
NAMES = tuple(name for name in registry.origins() if name not in registry.TOOLS)
OURS = [name for name, origin in registry.origins().items() if origin == "onnxfuse"]
VERBS = frozenset(
    {
        *("merge", "remove", "fold", "fuse", "absorb", "split", "move", "collapse", "narrow", "expand", "resolve"),
        *("normalize", "share", "unify", "clamp", "pad", "infer", "set", "select", "extract", "convert"),
    }
)
ALLOWED_IMPORTS = {"numpy", "onnx", "onnx_ir", "onnxruntime", "ml_dtypes", *sys.stdlib_module_names}


def test_there_are_passes() -> None:
    assert {"convert-opset", "merge-sliced", "remove-pad"} <= set(NAMES)


def test_file_class_and_name_agree(name: str) -> None:
    kind = registry.pass_class(name)

    assert kind.name == name
    assert kind.__name__ == "".join(part.capitalize() for part in name.split("-"))
    if name in OURS:
        assert kind.__module__ == f"onnxfuse.passes.{name.replace('-', '_')}"
        assert getattr(onnxfuse.passes, kind.__name__) is kind
        assert kind.__name__ in onnxfuse.passes.__all__


@pytest.mark.parametrize("name", OURS)
def test_name_starts_with_a_verb_or_says_from_what_to_what(name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)
    first = name.split("-", maxsplit=1)[0]
    assert first in VERBS or "-to-" in name or name == "transpose-around-softmax"


def test_presets_hold_what_exists() -> None:
    for preset, text in registry.presets().items():
        assert str(Pipeline.parse(preset)) == str(Pipeline.parse(text))
        assert preset not in NAMES


def test_pass_is_a_frozen_dataclass_and_keeps_nothing(examples: list[Example]) -> None:
    for example in examples:
        pass_: Any = example.pass_
        assert dataclasses.is_dataclass(pass_)
        assert all(option.init for option in dataclasses.fields(pass_))
        assert vars(pass_).keys() == {option.name for option in dataclasses.fields(pass_)}
        assert hash(pass_) == hash(example.pass_.__class__(**vars(pass_)))
        with pytest.raises(dataclasses.FrozenInstanceError):
            example.pass_.anything = 1  # type: ignore[attr-defined]


def test_pass_states_its_numerics_and_what_it_is_asked_about(name: str) -> None:
    kind = registry.pass_class(name)

    assert isinstance(kind.numerics, Numerics)
    assert issubclass(kind, RewritePass) != issubclass(kind, ModelPass)
    if issubclass(kind, RewritePass):
        assert isinstance(kind.ops, frozenset)
        assert kind.ops


def test_text_of_a_pass_parses_back(examples: list[Example]) -> None:
    for example in examples:
        assert Pipeline.parse(str(example.pass_)).members == (example.pass_,)
        assert str(example.pass_).startswith(example.pass_.name)


def test_docstring_has_the_fixed_headings(name: str) -> None:
    kind = registry.pass_class(name)
    found = sections(kind)

    assert tuple(found) == HEADINGS
    assert all(text.strip() for text in found.values())
    summary = inspect.cleandoc(kind.__doc__ or "").splitlines()[0]
    assert summary.endswith(".")
    assert kind.numerics in found["Numerics"].lower()
    assert "http" in found["References"]


def test_docstring_names_every_option(name: str) -> None:
    kind = registry.pass_class(name)
    text = sections(kind)["Options"]
    options = [option.name.replace("_", "-") for option in dataclasses.fields(kind)]  # type: ignore[arg-type]

    assert all(option in text for option in options)
    assert options or text.strip() == "None."


@pytest.mark.parametrize("file", sorted(Path(onnxfuse.passes.__path__[0]).glob("*.py")), ids=lambda file: file.name)
def test_passes_use_only_the_public_interface(file: Path) -> None:
    public = set(onnxfuse.__all__)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= ALLOWED_IMPORTS, file.name
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module == "onnxfuse":
                assert {alias.name for alias in node.names} <= public, file.name
            else:
                assert module.startswith("onnxfuse.passes.") or module.split(".")[0] in ALLOWED_IMPORTS, file.name


@pytest.mark.parametrize(
    "imports",
    ["import onnx_ir, onnxfuse", "import onnxfuse, onnx_ir", "from onnxfuse.pipeline import registry; import onnx_ir"],
    ids=["onnx_ir-first", "onnxfuse-first", "registry-first"],
)
def test_every_pass_is_a_pass_of_onnx_ir_whatever_is_imported_first(imports: str) -> None:
    code = (
        f"{imports}\n"
        "from onnxfuse.pipeline import registry\n"
        "import onnx_ir.passes\n"
        "for name in registry.origins():\n"
        "    kind = registry.pass_class(name)\n"
        "    print(name, issubclass(kind, onnx_ir.passes.PassBase))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())

    assert run.stdout.splitlines() == [f"{name} True" for name in registry.origins()]
