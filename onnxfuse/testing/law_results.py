"""Laws about what comes out: of the examples themselves, again and again, and among the passes of onnx_ir."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import onnx

from onnxfuse.pipeline.base import Pass
from onnxfuse.pipeline.manager import apply
from onnxfuse.testing.canonical import canonical, text_diff
from onnxfuse.testing.examples import Example
from onnxfuse.testing.trial import check_results, check_valid, fires, require

__all__ = [
    "example",
    "finished",
    "hash_seed",
    "input_kept",
    "marks",
    "no_match",
    "onnx_ir",
    "state",
    "whole_model",
]

BYSTANDERS: Final = ("Celu", "Erf", "Softsign", "Mish")
"""Ops of one float input; a model of one that the pass does not ask for has no match."""


def example(given: Example) -> None:
    """The example comes out as written."""
    check_valid(given.before)
    check_valid(given.after)
    after = fires(given, given.before).model
    if canonical(after) != canonical(given.after):
        difference = text_diff(given.after, after) or "the texts are the same: a type or the contents differ"
        raise AssertionError(f"the result is not what the example says:\n{difference}")


def whole_model(given: Example) -> None:
    """The whole-model check agrees."""
    verdict = fires(given, given.before, verify="model").report.verdict
    require(
        verdict is not None and verdict.equivalent, verdict.explain() if verdict else "the whole model was not compared"
    )


def no_match(given: Example) -> None:
    """Where nothing matches, nothing happens."""
    ops: frozenset[str] = getattr(given.pass_, "ops", frozenset())
    # At the opset that the pass leaves behind: one that raises it has a match in a model of any other.
    opset = next((opset.version for opset in given.after.opset_import if opset.domain in ("", "ai.onnx")), 18)
    op_type = next(
        (name for name in BYSTANDERS if name not in ops and onnx.defs.has(name, max_inclusive_version=opset)), None
    )
    require(op_type, f"not checked: the pass asks for each of {', '.join(BYSTANDERS)}")
    data = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N] x) => (float[N] y) {{ y = {op_type}(x) }}'
    ).SerializeToString()
    _unchanged(given, data)


def finished(given: Example) -> None:
    """What is left does not match again."""
    _unchanged(given, given.after.SerializeToString())


def _unchanged(given: Example, data: bytes) -> None:
    result = apply(data, given.pass_)
    places = ", ".join(str(outcome.at) for outcome in result.report.applied)
    require(not result.report.modified, f"it rewrote {places or 'nothing, but says that it did'}")
    require(result.model == data, "the bytes are not the same")
    require(result.report.verdict is None, "nothing was rewritten, yet the whole model was compared")


def hash_seed(given: Example) -> None:
    """The bytes are the same in processes with other hash seeds."""
    data = given.before.SerializeToString()
    try:
        # The standard library's pickle of a pass names its class, which the other process imports.
        call = pickle.dumps((given.pass_, data))
        require(pickle.loads(call)[0] == given.pass_, "a pickled pass does not come back equal")  # noqa: S301 - our own
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(f"not checked, since another process cannot import the pass: {error}") from error
    here = _digest(given.pass_, data)
    for number in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": number, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", "from onnxfuse.testing.law_results import main; main()"]
        child = subprocess.run(command, input=call, capture_output=True, env=environment, check=False)
        lines = child.stderr.decode(errors="replace").strip().splitlines()
        require(child.returncode == 0, f"not checked, since another process fails: {lines[-1] if lines else child}")
        require(child.stdout.decode().strip() == here, f"with PYTHONHASHSEED={number} other bytes come out")


def main() -> None:
    """Reads a pass and a model, and writes the digest of the result: the other process."""
    pass_, data = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - written by hash_seed
    sys.stdout.write(_digest(pass_, data))


def _digest(pass_: Pass, data: bytes) -> str:
    return hashlib.sha256(apply(data, pass_, verify="off").model).hexdigest()


def input_kept(given: Example) -> None:
    """Models of the other kinds are left alone, too; that a ModelProto is, every run checks."""
    import onnx_ir as ir

    data = given.before.SerializeToString()
    model = ir.from_proto(given.before)
    as_ir = ir.to_proto(model).SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(data)
        for kind in (model, path, data):
            require(apply(kind, given.pass_).report.applied, f"nothing was rewritten in {type(kind).__name__}")
        require(path.read_bytes() == data, "the file has changed")
    require(ir.to_proto(model).SerializeToString() == as_ir, "the onnx_ir.Model has changed")
    result = apply(ir.from_proto(given.before), given.pass_).model
    require(canonical(ir.to_proto(result)) == canonical(given.after), "an onnx_ir.Model gives another result")


def state(given: Example) -> None:
    """What the pass is does not change as it runs."""
    before = copy.deepcopy(vars(given.pass_))
    fires(given, given.before)
    require(vars(given.pass_) == before, f"it was {before}, and is {vars(given.pass_)} after a run")


def marks(given: Example) -> None:
    """New nodes say what made them."""
    result = fires(given, given.before)
    added = {name for applied in result.report.applied for name, _ in applied.added}
    old = {node.SerializeToString() for node in given.before.graph.node}
    for node in result.model.graph.node:
        name = node.name or node.output[0]
        if name in added and node.SerializeToString() not in old:
            found = {entry.key: entry.value for entry in node.metadata_props}.get("onnxfuse.pass")
            require(found == str(given.pass_), f"the new node {name} has the mark {found!r}")


def onnx_ir(given: Example) -> None:
    """It runs in a pipeline of onnx_ir's own."""
    import onnx_ir as ir
    from onnx_ir.passes.common import TopologicalSortPass

    pass_: Any = given.pass_
    require(isinstance(given.pass_, ir.passes.PassBase), "it is no onnx_ir.passes.PassBase")
    model = ir.from_proto(given.before)
    as_given = ir.to_proto(model).SerializeToString()
    outcome = ir.passes.Sequential(pass_, TopologicalSortPass(), pass_)(model)
    require(outcome.modified, "it does not say that it modified the model")
    if pass_.in_place:
        require(outcome.model is model, "another model comes out than went in")
    else:
        require(outcome.model is not model, "it is not in place, and the model that went in comes out")
        require(ir.to_proto(model).SerializeToString() == as_given, "the model that went in has changed")
    after = ir.to_proto(outcome.model)
    require(canonical(after) == canonical(given.after), "another result comes out there")
    require(not pass_(outcome.model).modified, "a second run modifies the model again")
    check_results(given, given.before, after)
