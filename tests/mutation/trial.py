"""What becomes of one fault: the pass that has it runs, verified, over all its models."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import onnx

import onnxfuse
from onnxfuse import RewritePass
from onnxfuse.errors import OnnxfuseError, VerificationError
from tests.mutation.corpus import Model, corpus_of
from tests.mutation.oracle import Expected, expected_of

__all__ = ["TARGETS", "Target", "Verdict", "pass_of", "trial"]


class Target(NamedTuple):
    """A source file in which faults are made.

    Attributes:
        module: Its dotted name.
        runs: The module of the pass that is then run.
    """

    module: str
    runs: str

    @property
    def path(self) -> Path:
        """The file."""
        spec = importlib.util.find_spec(self.module)
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin)


RAISED: Final = re.compile(r" failed at .*: \w+(Error|Exception): ")
CATALOGUE: Final = "onnxfuse.passes"
FIXTURES: Final = "tests.mutation.passes"
WRITTEN: Final = (
    *("absorb_transpose", "flatten_concat", "fold_batch_norm", "fuse_gelu", "matmul_add_to_gemm", "merge_casts"),
    *("merge_clips", "merge_pads", "merge_reshapes", "merge_transposes", "pad_into_conv"),
)
TARGETS: Final = (
    Target(f"{CATALOGUE}.merge_sliced", f"{CATALOGUE}.merge_sliced"),
    Target(f"{CATALOGUE}._slices", f"{CATALOGUE}.merge_sliced"),
    Target(f"{CATALOGUE}.remove_pad", f"{CATALOGUE}.remove_pad"),
    Target(f"{CATALOGUE}.transpose_around_softmax", f"{CATALOGUE}.transpose_around_softmax"),
    *(Target(f"{FIXTURES}.{name}", f"{FIXTURES}.{name}") for name in WRITTEN),
)


@dataclass(frozen=True)
class Verdict:
    """What became of a fault.

    Attributes:
        outcome: `survived` where a model with other results came out; else `caught` where one was kept from coming out;
            else `no effect`: every model came out as before, or with the same results.
        how: How it was caught, each way once: `rejected`, `structure`, `whole model`, or `raised`, where the pass broke
            before it built anything; or how results differ.
        models: The models on which that happened.
    """

    outcome: str
    how: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


def trial(module: str, runs: str, source: str) -> Verdict:
    """Runs a pass with a fault over its corpus.

    Args:
        module: Where the fault is.
        runs: The module of the pass.
        source: The faulty source.
    """
    try:
        pass_ = _loaded(module, runs, source)
    except Exception as error:
        return Verdict("caught", (f"does not load: {type(error).__name__}",))
    caught: dict[str, str] = {}
    for model in _corpus(runs):
        outcome, how = _on_model(pass_, model, runs)
        if outcome == "survived":
            return Verdict("survived", (how,), (model.name,))
        if outcome == "caught":
            caught.setdefault(how, model.name)
    return Verdict("caught" if caught else "no effect", tuple(caught), tuple(caught.values()))


def _on_model(pass_: RewritePass, model: Model, runs: str) -> tuple[str, str]:
    right = _unverified(runs)[model.name]
    try:
        if onnxfuse.apply(model.data, pass_, verify="structure").model == right:
            return "no effect", ""
    except OnnxfuseError as error:
        return "caught", "raised" if RAISED.search(str(error)) else "structure"
    try:
        result = onnxfuse.apply(model.data, pass_, verify="model")
    except VerificationError:
        return "caught", "whole model"
    except OnnxfuseError as error:
        return "caught", "raised" if RAISED.search(str(error)) else "structure"
    if result.model not in (model.data, right) and (difference := _expected(runs, model.name).difference(result.model)):
        return "survived", difference
    return ("caught", "rejected") if result.report.rejected else ("no effect", "")


def _loaded(module: str, runs: str, source: str) -> RewritePass:
    """Returns the pass as it is where `module` has this source."""
    sources = {module: source}
    if runs != module:
        sources[runs] = inspect.getsource(importlib.import_module(runs))
    real = {name: sys.modules.get(name) for name in sources}
    try:
        for name, text in sources.items():
            faulty = types.ModuleType(name)
            sys.modules[name] = faulty
            exec(compile(text, f"<{name}>", "exec"), faulty.__dict__)
        return pass_of(sys.modules[runs])
    finally:
        for name, original in real.items():
            if original is None:
                del sys.modules[name]
            else:
                sys.modules[name] = original


def pass_of(module: types.ModuleType) -> RewritePass:
    """Returns the pass that a module defines."""
    (kind,) = (
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, RewritePass) and item.__module__ == module.__name__
    )
    return kind()


@functools.cache
def _corpus(runs: str) -> list[Model]:
    pass_ = pass_of(importlib.import_module(runs))
    return corpus_of(pass_.name, pass_.ops)


@functools.cache
def _unverified(runs: str) -> dict[str, bytes]:
    """What the right pass makes of every model, unverified."""
    pass_ = pass_of(importlib.import_module(runs))
    return {model.name: onnxfuse.apply(model.data, pass_, verify="off").model for model in _corpus(runs)}


@functools.cache
def _expected(runs: str, name: str) -> Expected:
    (model,) = (model for model in _corpus(runs) if model.name == name)
    exact = pass_of(importlib.import_module(runs)).numerics is onnxfuse.Numerics.EXACT
    proto = onnx.load_from_string(model.data)
    if model.case is None:
        return expected_of(proto, exact=exact)
    return expected_of(proto, given=model.case.feeds, oracle=model.case.oracle, exact=exact)
