"""The public names: what there is, where it comes from, and that looking costs nothing."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from pathlib import Path

import pytest

import onnxfuse
import onnxfuse.passes
from onnxfuse import errors
from onnxfuse.report.records import Report
from tests.imports import loaded_after

ROOT = Path(__file__).parent.parent

# A name that goes from this list, or changes what it means, breaks somebody's code.
PUBLIC = {
    "Applied": "onnxfuse.report.records",
    "Builder": "onnxfuse.rewriting.builder",
    "Declined": "onnxfuse.report.records",
    "Facts": "onnxfuse.rewriting.match",
    "Failed": "onnxfuse.report.records",
    "Match": "onnxfuse.rewriting.match",
    "MissingExtraError": "onnxfuse.errors",
    "ModelError": "onnxfuse.errors",
    "ModelPass": "onnxfuse.pipeline.base",
    "Numerics": "onnxfuse.pipeline.base",
    "OnnxfuseError": "onnxfuse.errors",
    "Pass": "onnxfuse.pipeline.base",
    "PassError": "onnxfuse.errors",
    "Pipeline": "onnxfuse.pipeline.pipeline",
    "Rejected": "onnxfuse.report.records",
    "Repeat": "onnxfuse.pipeline.pipeline",
    "Report": "onnxfuse.report.records",
    "Result": "onnxfuse.pipeline.manager",
    "RewritePass": "onnxfuse.pipeline.base",
    "ToolError": "onnxfuse.errors",
    "UsageError": "onnxfuse.errors",
    "Verdict": "onnxfuse.verification.verdict",
    "VerificationError": "onnxfuse.errors",
    "VerifyLevel": "onnxfuse.pipeline.manager",
    "apply": "onnxfuse.pipeline.manager",
    "load": "onnxfuse.model_io",
    "save": "onnxfuse.model_io",
    "verify": "onnxfuse.pipeline.manager",
}


def test_the_names() -> None:
    assert sorted(PUBLIC) == onnxfuse.__all__
    assert dir(onnxfuse) == sorted([*PUBLIC, "__version__"])


@pytest.mark.parametrize("name", PUBLIC)
def test_each_name_is_where_it_was(name: str) -> None:
    thing = getattr(onnxfuse, name)
    assert thing is getattr(importlib.import_module(PUBLIC[name]), name)
    assert inspect.getdoc(thing), f"{name} has no docstring"
    assert thing.__module__ == PUBLIC[name]


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"module 'onnxfuse' has no attribute 'optimize'"):
        onnxfuse.optimize  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'optimize'"):
        exec("from onnxfuse import optimize")


def test_star_import() -> None:
    namespace: dict[str, object] = {}
    exec("from onnxfuse import *", namespace)
    assert set(PUBLIC) <= set(namespace)


def test_every_pass_is_importable_by_its_class() -> None:
    modules = [module.name for module in pkgutil.iter_modules(onnxfuse.passes.__path__) if module.name[0] != "_"]
    assert {"merge_sliced", "remove_pad"} <= set(modules)
    for module in modules:
        name = "".join(part.capitalize() for part in module.split("_"))
        kind = getattr(importlib.import_module(f"onnxfuse.passes.{module}"), name)
        assert issubclass(kind, onnxfuse.RewritePass | onnxfuse.ModelPass)
        assert getattr(onnxfuse.passes, name) is kind


def test_import_is_cheap() -> None:
    assert loaded_after("import onnxfuse") == set()
    assert loaded_after("import onnxfuse; dir(onnxfuse); onnxfuse.__version__; onnxfuse.OnnxfuseError") == set()
    assert loaded_after("import onnxfuse; onnxfuse.Pipeline.parse; onnxfuse.Numerics; onnxfuse.Report") == set()


ADAPTERS = ["ExecPass", "GsPass", "IrPass", "Onnxsim"]


def test_the_adapters() -> None:
    import onnxfuse.adapters

    assert onnxfuse.adapters.__all__ == ADAPTERS
    for name in ADAPTERS:
        assert inspect.getdoc(getattr(onnxfuse.adapters, name)), f"{name} has no docstring"
    assert list(inspect.signature(onnxfuse.adapters.ExecPass).parameters) == ["command", "timeout"]
    for kind in (onnxfuse.adapters.GsPass, onnxfuse.adapters.IrPass):
        assert list(inspect.signature(kind).parameters)[1:] == ["text"]
    assert list(inspect.signature(onnxfuse.Pipeline.parse).parameters) == ["text", "trusted", "folder"]


def test_import_of_an_adapter_needs_no_other_tool() -> None:
    assert not loaded_after("from onnxfuse.adapters import ExecPass, GsPass, IrPass, Onnxsim") & {"onnx", "onnx_ir"}


def test_import_of_a_pass_needs_no_runtime() -> None:
    assert "onnxruntime" not in loaded_after("from onnxfuse.passes import MergeSliced, RemovePad; MergeSliced()")


def test_signatures() -> None:
    assert list(inspect.signature(onnxfuse.apply).parameters) == [
        "model",
        "passes",
        "verify",
        "skip",
        "exclude",
        "dims",
        "input_data",
        "budget",
        "limit",
        "custom_op_library",
        "progress",
    ]
    assert inspect.signature(onnxfuse.apply).parameters["passes"].default == "default"
    assert inspect.signature(onnxfuse.apply).parameters["verify"].default == "model"
    assert list(inspect.signature(onnxfuse.verify).parameters) == [
        "a",
        "b",
        "dims",
        "input_data",
        "seed",
        "families",
        "rtol",
        "atol",
        "custom_op_library",
        "budget",
        "progress",
    ]
    for function in (onnxfuse.apply, onnxfuse.verify):
        options = list(inspect.signature(function).parameters.values())[2:]
        assert {option.kind for option in options} == {inspect.Parameter.KEYWORD_ONLY}
    assert onnxfuse.Result._fields == ("model", "report")
    assert [str(level) for level in onnxfuse.VerifyLevel] == ["off", "structure", "region", "model"]
    assert [str(numerics) for numerics in onnxfuse.Numerics] == ["exact", "rounding", "approximate"]


EXIT_CODES = {
    "OnnxfuseError": 2,
    "UsageError": 2,
    "ModelError": 2,
    "MissingExtraError": 2,
    "PassError": 3,
    "ToolError": 4,
    "VerificationError": 1,
}


def test_exit_codes() -> None:
    assert set(EXIT_CODES) == set(errors.__all__)
    for name, code in EXIT_CODES.items():
        kind = getattr(errors, name)
        assert issubclass(kind, errors.OnnxfuseError)
        assert kind.exit_code == code, name


def test_a_missing_extra_names_the_command() -> None:
    error = errors.MissingExtraError("onnxsim", extra="simplify", purpose="for the pass onnxsim")
    assert str(error) == "onnxsim is needed for the pass onnxsim: pip install 'onnxfuse[simplify]'"
    assert error.exit_code == 2


def test_the_extras_that_errors_may_name_are_there() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) >= {"simplify", "graphsurgeon", "export"}
    assert project["scripts"] == {"onnxfuse": "onnxfuse.cli.main:main"}


def test_a_verification_error_carries_the_report() -> None:
    report = typing.cast(Report, object())
    error = errors.VerificationError("they differ", report)
    assert str(error) == "they differ"
    assert error.report is report


def test_the_version_is_one() -> None:
    parts = onnxfuse.__version__.split(".")
    assert len(parts) == 3
    assert all(part.isdecimal() for part in parts)
    assert f"## {onnxfuse.__version__}" in (ROOT / "CHANGELOG.md").read_text()
