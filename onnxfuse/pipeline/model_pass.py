"""Runs a pass that makes a whole model of a whole model: what it changed is found, verified, and put in, or none of it.

Where the pass hands back another model, only the regions that are not the same in both are put into the model that it
was given: all else stays byte for byte as it was, whatever got lost on the way. Where it hands back the very copy that
it was given, changed in place, nothing can have got lost, and that copy is taken.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import onnx
import onnx_ir as ir

from onnxfuse.errors import PassError, ToolError
from onnxfuse.model_io import Opened, copy_of
from onnxfuse.model_io.emit import emit
from onnxfuse.model_io.origin import paused_gc
from onnxfuse.pipeline.base import ModelPass
from onnxfuse.pipeline.evaluable import evaluable_of
from onnxfuse.report.records import Applied, Declined, Failed, PassReport, Place, Rejected
from onnxfuse.rewriting.alignment import Alignment, IncomparableError, align
from onnxfuse.rewriting.match import Decline, Facts, node_label
from onnxfuse.rewriting.sameness import Computations
from onnxfuse.rewriting.stripped import resolve_stripped
from onnxfuse.rewriting.transplant import Replacement, Transplant
from onnxfuse.verification.evidence import GRADE_ALL, GRADE_TESTED, NOT_RUN, REJECTED, Evidence
from onnxfuse.verification.interface import compare_interface
from onnxfuse.verification.region_model import Region, draws_numbers, with_context
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

    def _outcome(self) -> list[Applied] | Refusal:
        working = self.opened.working_model()
        copy = copy_of(working)
        try:
            new = self.pass_.change(copy, Facts(copy))
            if not isinstance(new, ir.Model):
                raise PassError(f"change returned {type(new).__name__}, not an onnx_ir.Model")
            if new is not copy:
                resolve_stripped(new, working)
            alignment = align(working, new)
        except Decline as decline:
            return Declined(WHOLE, decline.reason, _name(decline.at))
        except (ToolError, IncomparableError) as error:
            return Rejected(WHOLE, str(error))
        except Exception as error:  # noqa: BLE001 - whatever a pass raises is a finding about the pass, and is reported
            text = f"{type(error).__name__}: {error}" if not isinstance(error, PassError) else str(error)
            return Failed(WHOLE, text, traceback.format_exc())
        comparison = _Comparison(self, working, new, alignment)
        found = comparison.outcome()
        if not isinstance(found, list):
            comparison.transplant.discard()
        elif new is copy:
            comparison.transplant.discard()
            differences, _ = compare_interface(_light(working), _light(new))
            if differences:
                return Rejected(WHOLE, f"interface: {'; '.join(differences)}")
            if not found and _light(new) != _light(working):
                text = "nothing that the model computes has changed"
                found = [Applied(self.first_index, WHOLE, (), (), GRADE_ALL, text, 0.0, {}, {})]
            if found:
                self.opened.replace_working_model(new)
        else:
            comparison.transplant.commit()
        return found

    def took(self, seconds: float) -> None:
        """Counts time as spent on verification."""
        self._verify_seconds += seconds


@dataclass
class _Comparison:
    """The working model and the new one, laid over each other."""

    run: ModelPassRun
    working: ir.Model
    new: ir.Model
    alignment: Alignment

    def __post_init__(self) -> None:
        self.transplant = Transplant(self.working, self.new, self.alignment, str(self.run.pass_))
        self.facts = Facts(self.working)

    def outcome(self) -> list[Applied] | Refusal:
        """What can be taken over, or why nothing is."""
        replacements = self.transplant.replacements
        for replacement in replacements:
            for node in replacement.change.before:
                if node_label(node) in self.run.manager.exclude:
                    return Declined(self._place(replacement), "the node is left out by --except", node_label(node))
        count = len(replacements) + len(self.alignment.opsets)
        if count > self.run.left:
            return Declined(WHOLE, f"it makes {count} rewrites at once, and the limit leaves {self.run.left:g}")
        start = time.perf_counter()
        found = self._verified() if count else []
        self.run.took(time.perf_counter() - start)
        if not isinstance(found, list):
            return found
        applied = [
            self._applied(self.run.first_index + number, replacement, evidence)
            for number, (replacement, evidence) in enumerate(zip(replacements, found, strict=False))
        ]
        for before, after in self.alignment.opsets.values():
            evidence = found[-1]
            text = f"opset {before} -> {after}: {evidence.text}"
            index = self.run.first_index + len(applied)
            applied.append(Applied(index, WHOLE, (), (), evidence.grade, text, evidence.max_error, {}, {}))
        return applied

    # ------------------------------------------------------------------ verification

    def _verified(self) -> list[Evidence] | Rejected:
        """The evidence for each replacement, and for a change of opset one more."""
        level = str(self.run.manager.verify)
        replacements = self.transplant.replacements
        count = len(replacements) + len(self.alignment.opsets)
        if level != "off" and (broken := self._invalid()) is not None:
            return Rejected(WHOLE, f"what it made is no valid ONNX: {broken}")
        if self.run.verifier is None:
            return [Evidence(NOT_RUN, f"not compared: the level of verification is {level}")] * count
        found = []
        for replacement in replacements:
            evidence = self._compared(replacement)
            if evidence.grade == REJECTED and (evidence := self._by_whole(evidence)).grade == REJECTED:
                return Rejected(self._place(replacement), evidence.text, evidence.details)
            found.append(evidence)
        if self.alignment.opsets:
            evidence = self._versions()
            if evidence.grade == REJECTED and (evidence := self._by_whole(evidence)).grade == REJECTED:
                return Rejected(WHOLE, evidence.text, evidence.details)
            found.append(evidence)
        return found

    def _compared(self, replacement: Replacement) -> Evidence:
        """Compares a region with what is to replace it."""
        if not replacement.outputs:
            return Evidence(GRADE_ALL, "nothing reads what they compute", 0.0)
        before, after = replacement.change.before, tuple(replacement.nodes)
        if not self.alignment.opsets and self._computations.same(after, replacement.outputs):
            return Evidence(GRADE_ALL, "the same operators compute the same of the same", 0.0)
        region = self._region(before, after, replacement.outputs)
        if draws_numbers(region):
            # Whether two of them draw the same is a matter of the whole model.
            return Evidence(REJECTED, "not verified: the region draws random numbers")
        if len(region.before) + len(region.after) > LARGEST:
            return Evidence(REJECTED, f"not verified: the region has {len(region.before)} nodes")
        first = evidence = self._check(region)
        for depth in CONTEXTS:
            if evidence.grade != REJECTED:
                return evidence
            # What comes in may be one of the other, or never negative: what computes it runs along.
            evidence = self._check(with_context(region, depth))
        return first if evidence.grade == REJECTED else evidence

    def _check(self, region: Region) -> Evidence:
        if self.alignment.opsets:
            return self._version_verifier.check(region)
        assert self.run.verifier is not None  # noqa: S101 - `_verified` saw to it
        return self.run.verifier.check(region)

    def _versions(self) -> Evidence:
        """Compares what every operator does that has another definition in the new version."""
        before, after = self.alignment.opsets[""]
        checked = 0
        for node in self.alignment.nodes.values():
            if not version_matters(node, before, after) or not isinstance(node.graph, ir.Graph):
                continue
            if node.graph in self.facts.functions:
                continue  # a function imports versions of its own
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

    def _by_whole(self, evidence: Evidence) -> Evidence:
        """What the comparison of the whole models says, where that of a region did not settle it."""
        verdict = self._verdict
        if verdict.status is Status.EQUIVALENT:
            text = f"the whole model is equivalent on {verdict.draws} input sets; for itself: {evidence.text}"
            return Evidence(GRADE_TESTED, text)
        not_run = "not verified: " if verdict.status is Status.NOT_RUN else ""
        return replace(evidence, text=f"{not_run}{verdict.explain()}; the region for itself: {evidence.text}")

    @cached_property
    def _computations(self) -> Computations:
        return Computations(self.working, self.facts.scopes)

    @cached_property
    def _verdict(self) -> Verdict:
        from onnxfuse.verification.model import check_models

        manager = self.run.manager
        return check_models(
            evaluable_of(self.working, self.run.opened),
            evaluable_of(self.new, self.run.opened),
            families="full",
            dims=manager.dims,
            custom_op_library=manager.custom_op_library,
            budget_s=manager.budget,
        )

    def _invalid(self) -> str | None:
        from onnxfuse.verification.eval_model import invalid

        broken = invalid(evaluable_of(self.new, self.run.opened))
        return broken if broken and not invalid(evaluable_of(self.working, self.run.opened)) else None

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
            opset_imports=self.facts.opset_imports(graph or self.working.graph),
            ir_version=self.working.ir_version,
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

    def _applied(self, index: int, replacement: Replacement, evidence: Evidence) -> Applied:
        before = replacement.change.before
        kept = {old.name for old, _ in replacement.outputs}
        added = tuple((node_label(node), node.op_type) for node in replacement.nodes)
        return Applied(
            index=index,
            at=self._place(replacement),
            removed=tuple((node_label(node), node.op_type) for node in before),
            added=added,
            grade=evidence.grade,
            evidence=evidence.text,
            max_error=evidence.max_error,
            values={str(v.name): None for node in before for v in node.outputs if v.name and v.name not in kept},
            nodes={node_label(node): tuple(name for name, _ in added) for node in before},
        )


def _light(model: ir.Model) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(emit(model).light())


def _name(at: ir.Node | ir.Value | None) -> str | None:
    return node_label(at) if isinstance(at, ir.Node) else None if at is None else str(at.name)
