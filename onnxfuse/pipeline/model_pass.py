"""Runs a pass that makes a whole model of a whole model: what it changed is found, verified, and put in, or none of it.

Where the pass hands back another model, only the regions that are not the same in both are put into the model that it
was given: all else stays byte for byte as it was, whatever got lost on the way. Where it hands back the very copy that
it was given, changed in place, that copy is taken as it would be written. Either is made beside the working model, which
stays what it is until all is verified.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import onnx
import onnx_ir as ir

from onnxfuse.errors import ModelError, PassError, ToolError
from onnxfuse.model_io import Opened, copy_of, load_emitted
from onnxfuse.model_io.emit import emit
from onnxfuse.model_io.origin import paused_gc, subgraphs
from onnxfuse.model_io.types import read_only
from onnxfuse.pipeline.base import ModelPass
from onnxfuse.pipeline.evaluable import evaluable_of
from onnxfuse.report.records import Applied, Declined, Failed, PassReport, Place, Rejected
from onnxfuse.rewriting.alignment import Alignment, IncomparableError, align
from onnxfuse.rewriting.match import Decline, Facts, node_label
from onnxfuse.rewriting.sameness import Computations
from onnxfuse.rewriting.stripped import resolve_stripped
from onnxfuse.rewriting.transplant import Replacement, Transplant
from onnxfuse.verification.eval_model import EvalModel, invalid
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.evidence import GRADE_ALL, GRADE_TESTED, NOT_RUN, REJECTED, Evidence
from onnxfuse.verification.interface import compare_interface
from onnxfuse.verification.model import check_models
from onnxfuse.verification.region_model import Region, draws_numbers, with_context
from onnxfuse.verification.reproducer import first_difference
from onnxfuse.verification.verdict import Status, Verdict
from onnxfuse.verification.versions import VersionVerifier, version_matters

if TYPE_CHECKING:
    from onnxfuse.pipeline.manager import PassManager
    from onnxfuse.verification.region import RegionVerifier

__all__ = ["ModelPassRun"]

WHOLE: Final = Place("the model", "")

# A larger region is as well compared as a part of the whole model.
LARGEST: Final = 256

# How many steps back from a region is looked for what explains it, one after the other.
CONTEXTS: Final = (1, 3)

Refusal = Declined | Rejected | Failed


@dataclass
class ModelPassRun:
    """One run of a pass over the working model.

    Attributes:
        pass_: The pass.
        opened: The model.
        manager: How the pipeline is run.
        verifier: Compares regions; None to compare nothing.
        first_index: The number of the first rewrite.
        left: How many rewrites may still be applied.
    """

    pass_: ModelPass
    opened: Opened
    manager: PassManager
    verifier: RegionVerifier | None
    first_index: int
    left: float
    _verify_seconds: float = field(default=0.0, init=False)

    def run(self) -> PassReport:
        """Runs the pass, and takes over what it did where that is right."""
        start = time.perf_counter()
        with paused_gc():
            found = self._outcome()
        outcomes = found if isinstance(found, list) else [found]
        return PassReport(
            name=str(self.pass_),
            numerics=str(self.pass_.numerics),
            applied=tuple(outcome for outcome in outcomes if isinstance(outcome, Applied)),
            declined=tuple(outcome for outcome in outcomes if isinstance(outcome, Declined)),
            rejected=tuple(outcome for outcome in outcomes if isinstance(outcome, Rejected)),
            failed=tuple(outcome for outcome in outcomes if isinstance(outcome, Failed)),
            seconds=time.perf_counter() - start,
            verify_seconds=self._verify_seconds,
            visited=1,
            sessions=self.verifier.sessions if self.verifier is not None else 0,
        )

    def _outcome(self) -> list[Applied | Declined] | Refusal:
        working = self.opened.working_model()
        copy = copy_of(working)
        try:
            with read_only(copy):
                new = self.pass_.change(copy, Facts(copy))
            if not isinstance(new, ir.Model):
                raise PassError(f"change returned {type(new).__name__}, not an onnx_ir.Model")
            if new is not copy:
                resolve_stripped(new, working)
            base = copy_of(working)
            seen = _as_written(new) if new is copy else new
            comparison = _Comparison(self, base, seen, align(base, seen), new if new is copy else base)
            found = comparison.outcome()
            if isinstance(found, list) and new is not copy and (left := _left(working, new)):
                found.append(Declined(WHOLE, f"the interface stays as it was: {'; '.join(left)}"))
            return found
        except Decline as decline:
            return Declined(WHOLE, decline.reason, _name(decline.at))
        except (ToolError, ModelError, IncomparableError) as error:
            return Rejected(WHOLE, str(error))
        except Exception as error:  # noqa: BLE001 - whatever a pass raises is a finding about the pass, and is reported
            text = f"{type(error).__name__}: {error}" if not isinstance(error, PassError) else str(error)
            return Failed(WHOLE, text, traceback.format_exc())

    def took(self, seconds: float) -> None:
        """Counts time as spent on verification."""
        self._verify_seconds += seconds


@dataclass
class _Comparison:
    """What a pass made, laid over what it was given.

    Attributes:
        run: The run of the pass.
        base: A copy of the working model, into which what is new can be put.
        new: What the pass made.
        alignment: How they lie.
        result: What is to be the working model: `base`, or the copy that the pass changed in place.
    """

    run: ModelPassRun
    base: ir.Model
    new: ir.Model
    alignment: Alignment
    result: ir.Model

    def __post_init__(self) -> None:
        self.transplant = Transplant(self.base, self.new, self.alignment, str(self.run.pass_))
        self.facts = Facts(self.base)
        self.places = [self._place(replacement) for replacement in self.transplant.replacements]

    def outcome(self) -> list[Applied | Declined] | Refusal:
        """Takes over what can be taken; returns that, or why nothing is."""
        replacements = self.transplant.replacements
        count = len(replacements) + len(self.alignment.opsets)
        for place, replacement in zip(self.places, replacements, strict=True):
            for label in _labels(replacement.change.before):
                if label in self.run.manager.exclude:
                    return Declined(place, "the node is left out by --except", label)
        if count > self.run.left:
            return Declined(WHOLE, f"it makes {count} rewrites at once, and the limit leaves {self.run.left:g}")
        if not count and self.result is self.base:
            return []
        start = time.perf_counter()
        found = self._regions()
        gone = [_values(replacement) for replacement in replacements]
        if self.result is self.base:
            self.transplant.commit()
        refusal = self._refusal(found)
        self.run.took(time.perf_counter() - start)
        if refusal is not None:
            return refusal
        applied: list[Applied | Declined] = [
            self._applied(number, found[number], gone[number]) for number in range(len(replacements))
        ]
        for before, after in self.alignment.opsets.values():
            evidence = replace(found[-1], text=f"opset {before} -> {after}: {found[-1].text}")
            applied.append(self._of_model(self.run.first_index + len(applied), evidence))
        if not count:
            if _light(self.new) == _light(self.run.opened.working_model()):
                return []
            text = "nothing that the model computes has changed"
            applied = [self._of_model(self.run.first_index, Evidence(GRADE_ALL, text, 0.0))]
        self.run.opened.replace_working_model(self.result)
        return applied

    # ------------------------------------------------------------------ verification

    def _regions(self) -> list[Evidence]:
        """The evidence for each replacement, and for a change of opset one more."""
        replacements = self.transplant.replacements
        if self.run.verifier is None:
            text = f"not compared: the level of verification is {self.run.manager.verify}"
            return [Evidence(NOT_RUN, text)] * (len(replacements) + len(self.alignment.opsets))
        found = [self._compared(replacement) for replacement in replacements]
        if self.alignment.opsets:
            found.append(self._versions())
        return found

    def _refusal(self, found: list[Evidence]) -> Rejected | None:
        """Why the result is not to be taken; what the whole model settles is settled in `found`."""
        if str(self.run.manager.verify) == "off":
            return None
        working = evaluable_of(self.run.opened.working_model(), self.run.opened)
        result = evaluable_of(self.result, self.run.opened)
        taken_as_it_is = self.result is not self.base
        broken = invalid(result, types=taken_as_it_is)
        if broken and not invalid(working, types=taken_as_it_is):
            return Rejected(WHOLE, f"what it made is no valid ONNX: {broken}")
        if taken_as_it_is:  # also what is declared of inputs and outputs
            lines = [line for group in compare_interface(working.proto, result.proto) for line in group]
            if lines:
                return Rejected(WHOLE, f"interface: {'; '.join(lines)}")
            if self.run.verifier is not None and (why := _load_failure(working, result)) is not None:
                return Rejected(WHOLE, f"onnxruntime loads the model as it was, and not what it made: {why}")
        verdict: Verdict | None = None
        for number, evidence in enumerate(found):
            if evidence.grade != REJECTED:
                continue
            place = self.places[number] if number < len(self.places) else WHOLE
            if not self._may_be_overruled(number, evidence):
                return Rejected(place, evidence.text, evidence.details)
            if verdict is None:
                verdict = self._verdict(working, result)
                if not verdict.draws and (why := _load_failure(working, result)) is not None:
                    return Rejected(place, f"onnxruntime loads the model as it was, and not what it made: {why}")
            settled = _by_whole(verdict, evidence)
            if settled.grade == REJECTED:
                return Rejected(place, settled.text, settled.details)
            found[number] = settled
        return None

    def _may_be_overruled(self, number: int, evidence: Evidence) -> bool:
        """Says whether the whole model can tell better than a region: that what differs never comes to it.

        That cannot be told of sizes, of which there are more than can be tried.
        """
        if evidence.final or not evidence.details:
            return not evidence.final
        if not str(evidence.details.get("difference", "")).startswith("value") or number >= len(self.places):
            return False
        change = self.transplant.replacements[number].change
        shapes = [self.facts.shape(value) for node in change.before for value in node.inputs if value is not None]
        return all(shape is not None and all(isinstance(dim, int) for dim in shape) for shape in shapes)

    def _verdict(self, working: EvalModel, result: EvalModel) -> Verdict:
        manager = self.run.manager
        return check_models(
            working,
            result,
            families="full",
            dims=manager.dims,
            custom_op_library=manager.custom_op_library,
            budget_s=manager.budget,
        )

    def _compared(self, replacement: Replacement) -> Evidence:
        """Compares a region with what is to replace it."""
        if not replacement.outputs:
            return Evidence(GRADE_ALL, "nothing reads what they compute", 0.0)
        before, after = replacement.change.before, tuple(replacement.nodes)
        if not self.alignment.opsets and self._computations.same(after, replacement.outputs):
            return Evidence(GRADE_ALL, "the same operators compute the same of the same", 0.0)
        if any(True for node in (*before, *after) for _ in subgraphs(node)):
            return Evidence(REJECTED, "not verified: the region holds a node with a body")
        region = self._region(before, after, replacement.outputs)
        if draws_numbers(region):
            # Whether two of them draw the same is a matter of the whole model.
            return Evidence(REJECTED, "not verified: the region draws random numbers")
        if len(region.before) + len(region.after) > LARGEST:
            return Evidence(REJECTED, f"not verified: the region has {len(region.before)} nodes")
        first = evidence = self._check(region)
        for depth in CONTEXTS:
            if evidence.grade != REJECTED or evidence.final:
                return evidence
            # What comes in may be one of the other, or never negative: what computes it runs along.
            evidence = self._check(with_context(region, depth))
        return first if evidence.grade == REJECTED else evidence

    def _check(self, region: Region) -> Evidence:
        if self.alignment.opsets and self._is_under_opset(region.outputs[0][0].graph):
            return self._version_verifier.check(region)
        assert self.run.verifier is not None  # noqa: S101 - `_regions` saw to it
        return self.run.verifier.check(region)

    def _versions(self) -> Evidence:
        """Compares what every operator does that has another definition in the new version."""
        before, after = self.alignment.opsets[""]
        checked = 0
        for node in self.alignment.nodes.values():
            if not version_matters(node, before, after) or not self._is_under_opset(node.graph):
                continue
            copy = ir.Node(
                node.domain, node.op_type, node.inputs, node.attributes.values(), num_outputs=len(node.outputs)
            )
            pairs = []
            for old, new in zip(node.outputs, copy.outputs, strict=True):
                new.name = f"{old.name}'" if old.name else ""
                if old.name:
                    pairs.append((old, new))
            evidence = self._check(self._region((node,), (copy,), tuple(pairs)))
            for index in range(len(copy.inputs)):
                copy.replace_input_with(index, None)
            if evidence.grade == REJECTED:
                return replace(evidence, text=f"{node.op_type} {node_label(node)}: {evidence.text}")
            checked += 1
        return Evidence(GRADE_TESTED, f"{checked} nodes whose operators are defined anew do what they did")

    def _is_under_opset(self, graph: ir.Graph | ir.Function | None) -> bool:
        """Says whether the model's versions hold in a graph: a function, and what is in it, imports its own."""
        return isinstance(graph, ir.Graph) and self.facts.opset_imports(graph) is self.base.graph.opset_imports

    @cached_property
    def _computations(self) -> Computations:
        return Computations(self.base, self.facts.scopes)

    @cached_property
    def _version_verifier(self) -> VersionVerifier:
        return VersionVerifier(self.new.graph.opset_imports, self.run.manager.budget)

    def _region(
        self,
        before: tuple[ir.Node, ...],
        after: tuple[ir.Node, ...],
        outputs: tuple[tuple[ir.Value, ir.Value], ...],
    ) -> Region:
        graph = outputs[0][0].graph
        return Region(
            before=before,
            after=after,
            outputs=outputs,
            opset_imports=self.facts.opset_imports(graph or self.base.graph),
            ir_version=self.base.ir_version,
            shapes=self.facts.shapes,
            contents=self.facts.constant,
            numerics=str(self.run.pass_.numerics),
        )

    # ------------------------------------------------------------------ records

    def _place(self, replacement: Replacement) -> Place:
        node = next(iter((*reversed(replacement.change.before), *reversed(replacement.nodes))), None)
        if node is None:
            return WHOLE
        return Place(node_label(node), node.op_type, self.facts.scopes.get(replacement.change.graph, ()))

    def _applied(self, number: int, evidence: Evidence, gone: dict[str, str | None]) -> Applied:
        replacement = self.transplant.replacements[number]
        before = replacement.change.before
        added = tuple((node_label(node), node.op_type) for node in replacement.nodes)
        return replace(
            self._of_model(self.run.first_index + number, evidence),
            at=self.places[number],
            removed=tuple((node_label(node), node.op_type) for node in before),
            added=added,
            values=gone,
            nodes={node_label(node): tuple(name for name, _ in added) for node in before},
        )

    def _of_model(self, index: int, evidence: Evidence) -> Applied:
        return Applied(index, WHOLE, (), (), evidence.grade, evidence.text, evidence.max_error, {}, {})


def _values(replacement: Replacement) -> dict[str, str | None]:
    """The values that are gone with a region."""
    kept = {old.name for old, _ in replacement.outputs}
    nodes = replacement.change.before
    return {str(v.name): None for node in nodes for v in node.outputs if v.name and v.name not in kept}


def _labels(nodes: Iterable[ir.Node]) -> Iterator[str]:
    """The names of nodes and of all that is in their bodies."""
    for node in nodes:
        yield node_label(node)
        for body in subgraphs(node):
            yield from _labels(body)


def _by_whole(verdict: Verdict, evidence: Evidence) -> Evidence:
    """What the comparison of the whole models says, where that of a region did not settle it."""
    drawn = any(output.basis == "random" for output in verdict.outputs)
    if verdict.status is Status.EQUIVALENT and not drawn:
        text = f"the whole model is equivalent on {verdict.draws} input sets; for itself: {evidence.text}"
        return Evidence(GRADE_TESTED, text)
    found = "what draws random numbers is not compared by value" if drawn else first_difference(verdict)
    not_run = "" if verdict.status is Status.DIFFERENT else "not verified: "
    return replace(evidence, text=f"{not_run}{found}; the region for itself: {evidence.text}")


def _load_failure(before: EvalModel, after: EvalModel) -> str | None:
    """Why onnxruntime does not load a model, where it loads the one before."""
    try:
        failure = Evaluator(after.proto, weights=after.weights, expose=False).why_not_onnxruntime
        if failure is None:
            return None
    except EvaluationError as error:
        failure = str(error)
    try:
        loaded = Evaluator(before.proto, weights=before.weights, expose=False).why_not_onnxruntime is None
    except EvaluationError:
        loaded = False
    return failure if loaded else None


def _left(before: ir.Model, after: ir.Model) -> list[str]:
    """What another model declares of inputs, or of the order of outputs, that is not taken over."""
    lines = [line for group in compare_interface(_light(before), _light(after)) for line in group]
    return [line for line in lines if line.startswith("input ") or " in another order" in line]


def _as_written(model: ir.Model) -> ir.Model:
    """Reads a model as it would be written; raises `ModelError` where that is no model."""
    return load_emitted(emit(model))


def _light(model: ir.Model) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(emit(model).light())


def _name(at: ir.Node | ir.Value | None) -> str | None:
    return node_label(at) if isinstance(at, ir.Node) else None if at is None else str(at.name)
