"""Runs a rewriter over the onnx package's own backend models: some 2,000, with at least one for every op.

They are the breadth that hand-made cases lack: old and new opsets, rare dtypes, sequences, functions expanded to
primitive ops, and real topologies. What a rewriter leaves alone must come back byte for byte; what it changes must be
valid, keep its interface, and compute what the original computes on the stored inputs. The stored outputs are not used:
their tolerances could hide a difference, and a runtime's own fault would look like ours.

    python -m tests.backend.suite -p default
"""

from __future__ import annotations

import argparse
import functools
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from tests.gauntlet.feeds import Feed
from tests.gauntlet.isolation import Child, ChildDiedError
from tests.gauntlet.judge import Outcome, Verdict, judge_structure, judge_values
from tests.gauntlet.oracle import Oracle, Outputs, Tolerance, difference, run

__all__ = ["KINDS", "BackendModel", "BackendScore", "Transform", "load_models", "score_models", "table"]

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted", "light")

Transform = Callable[[bytes], bytes]
"""A rewriter: a serialized model in, a serialized model out."""


@dataclass(frozen=True)
class BackendModel:
    """One model of the onnx package.

    Attributes:
        kind: One of `KINDS`.
        name: The test's name; unique within its kind.
        data: The serialized model.
        tolerance: (rtol, atol) that the package grants a backend.
        load_feeds: Reads the stored input sets; a call, since few models need theirs.
    """

    kind: str
    name: str
    data: bytes = field(repr=False)
    tolerance: tuple[float, float]
    load_feeds: Callable[[], list[Feed]] = field(repr=False)


@dataclass(frozen=True)
class BackendScore:
    """What a rewriter made of a model.

    Attributes:
        model: The model.
        verdict: What is to be said of it; kind `identical` where the bytes are the original's.
    """

    model: BackendModel
    verdict: Verdict

    @property
    def changed(self) -> bool:
        """Whether the rewriter gave other bytes back."""
        return self.verdict.outcome is not Outcome.CRASH and self.verdict.kind != "identical"


@functools.cache
def load_models(kind: str) -> Sequence[BackendModel]:
    """Loads the models of a kind; the node models are generated, which takes some 7 s, so that is done once."""
    if kind == "light":
        folder = Path(onnx.backend.test.__file__).parent / "data" / "light"
        return [
            BackendModel(kind, path.stem, path.read_bytes(), (1e-3, 1e-5), functools.partial(_random_feeds, path))
            for path in sorted(folder.glob("*.onnx"))
        ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the generators overflow on purpose
        tests = load_model_tests(kind=kind)
    models = []
    for test in tests:
        tolerance = (test.rtol, max(test.atol, 1e-6))
        if test.model is not None:
            data, load = test.model.SerializeToString(), functools.partial(_generated_feeds, test)
        else:
            folder = Path(str(test.model_dir))  # a test without a model has a folder
            data, load = (folder / "model.onnx").read_bytes(), functools.partial(_stored_feeds, folder)
        models.append(BackendModel(kind, test.name, data, tolerance, load))
    return models


def score_models(models: Iterable[BackendModel], transform: Transform, *, exact: bool = False) -> list[BackendScore]:
    """Runs a rewriter on models and judges what it made, in a child process: a runtime may die of a model.

    Args:
        models: The models.
        transform: The rewriter.
        exact: Hold outputs to bit equality instead of the package's own tolerance.
    """
    scores = []
    with Child() as child:
        for model in models:
            try:
                result = transform(model.data)
            except Exception as error:
                verdict = Verdict(Outcome.CRASH, "exception", f"{type(error).__name__}: {error}")
            else:
                verdict = _judge(child, model, result, "bits" if exact else model.tolerance)
            scores.append(BackendScore(model, verdict))
    return scores


def table(scores: Sequence[BackendScore]) -> str:
    """Counts scores: a line a kind, and one for all."""
    columns = ["models", "changed", *Outcome]
    lines = [f"{'':20}" + "".join(f"{column:>12}" for column in columns)]
    for kind in [*KINDS, "all"]:
        rows = [score for score in scores if kind in (score.model.kind, "all")]
        outcomes = Counter(score.verdict.outcome for score in rows)
        figures = [len(rows), sum(score.changed for score in rows), *(outcomes[outcome] for outcome in Outcome)]
        lines.append(f"{kind:20}" + "".join(f"{figure:12}" for figure in figures))
    return "\n".join(lines)


def _judge(child: Child, model: BackendModel, result: bytes, tolerance: Tolerance) -> Verdict:
    if result == model.data:
        return Verdict(Outcome.EQUIVALENT, "identical")
    feeds = model.load_feeds()
    try:
        return child.call(_judge_changed, model.data, result, feeds, tolerance)
    except ChildDiedError as error:
        reason = str(error)
    try:
        child.call(_evaluate, model.data, feeds)
    except ChildDiedError:  # the original kills the runtime as well
        return Verdict(Outcome.NOT_RUN, "", "the original kills the runtime")
    return Verdict(Outcome.INVALID, "runtime-died", reason)


def _judge_changed(data: bytes, result: bytes, feeds: Sequence[Feed], tolerance: Tolerance) -> Verdict:
    try:
        changed = onnx.load_from_string(result)
    except Exception as error:
        return Verdict(Outcome.INVALID, "unloadable", str(error))
    if verdict := judge_structure(onnx.load_from_string(data), changed):
        return verdict
    evaluated = _evaluate(data, feeds)
    if evaluated is None:
        return Verdict(Outcome.NOT_RUN, "", "no oracle runs the original")
    oracle, expected, deterministic = evaluated
    return judge_values(changed, expected, feeds, oracle=oracle, tolerance=tolerance if deterministic else "shape")


def _evaluate(data: bytes, feeds: Sequence[Feed]) -> tuple[Oracle, list[Outputs], bool] | None:
    """Runs an original on the first oracle that can, twice, to tell whether it is random by itself."""
    model = onnx.load_from_string(data)
    for oracle in Oracle:
        try:
            first, second = run(model, feeds, oracle), run(model, feeds, oracle)
        except Exception:  # an op, opset or dtype that this oracle does not know
            continue
        return oracle, first, difference(first, second, "exact") is None
    return None


def _generated_feeds(test: Any) -> list[Feed]:
    names = [value.name for value in test.model.graph.input]
    return [dict(zip(names, inputs, strict=False)) for inputs, _ in test.data_sets or []]


def _stored_feeds(folder: Path) -> list[Feed]:
    inputs = onnx.load(folder / "model.onnx").graph.input
    feeds = []
    for data_set in sorted(folder.glob("test_data_set_*")):
        feed: Feed = {}
        for place in range(len(list(data_set.glob("input_*.pb")))):
            feed[inputs[place].name] = _stored_value(inputs[place], (data_set / f"input_{place}.pb").read_bytes())
        feeds.append(feed)
    return feeds


def _stored_value(declared: onnx.ValueInfoProto, data: bytes) -> Any:
    if declared.type.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if declared.type.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _random_feeds(path: Path) -> list[Feed]:
    """Draws inputs for a light model: only its outputs are stored."""
    graph = onnx.load(path).graph
    defaults = {tensor.name for tensor in graph.initializer}
    feed: Feed = {}
    for value in graph.input:
        if value.name not in defaults:
            shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
            feed[value.name] = np.random.RandomState(0).rand(*shape).astype(np.float32)
    return [feed]


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.backend.suite", description="Score a pipeline.")
    parser.add_argument("-p", "--passes", default="default", help="the pipeline (default: %(default)s)")
    parser.add_argument("--kind", choices=KINDS, help="only the models of this kind")
    parser.add_argument("--exact", action="store_true", help="hold outputs to bit equality")
    options = parser.parse_args(arguments)
    # Imported here: the child process that judges a rewriter must not share code with it.
    import onnxfuse

    def transform(data: bytes) -> bytes:
        result: bytes = onnxfuse.apply(data, options.passes).model
        return result

    scores = []
    for kind in [options.kind] if options.kind else KINDS:
        scores += score_models(load_models(kind), transform, exact=options.exact)
    failed = [score for score in scores if score.verdict.outcome not in (Outcome.EQUIVALENT, Outcome.NOT_RUN)]
    for score in failed:
        print(f"{score.model.kind}/{score.model.name}: {score.verdict}", file=sys.stderr)
    print(table(scores))
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
