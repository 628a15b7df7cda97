"""Runs pipelines: order, verification, skipping, and the report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from onnxfuse.errors import PassError, UsageError, VerificationError
from onnxfuse.model_io import ModelLike, Opened, open_model
from onnxfuse.pipeline.base import ModelPass, Pass, RewritePass
from onnxfuse.pipeline.evaluable import evaluable_before, evaluable_of
from onnxfuse.pipeline.pipeline import Pipeline, PipelineLike, Repeat
from onnxfuse.report.facts import facts_of, facts_of_ir
from onnxfuse.report.records import PassReport, Report
from onnxfuse.verification.verdict import Status, Verdict

if TYPE_CHECKING:
    from onnxfuse.rewriting.engine import Admit
    from onnxfuse.rewriting.naming import Names
    from onnxfuse.verification.input_data import InputData
    from onnxfuse.verification.model import Tolerance
    from onnxfuse.verification.region import RegionVerifier

__all__ = ["PassManager", "Progress", "Result", "VerifyLevel", "apply", "verify"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is."""

DEFAULT_BUDGET = 60.0
# What Python's timers take on every platform.
LONGEST_BUDGET = 1e9


class VerifyLevel(StrEnum):
    """How much is verified; each level includes those before it."""

    OFF = "off"
    STRUCTURE = "structure"
    REGION = "region"
    MODEL = "model"


class Result(NamedTuple):
    """What `apply` returns.

    Attributes:
        model: The model, of the kind that was given (for a path: an `onnx_ir.Model`).
        report: What was done, and what was not, and why.
    """

    model: Any
    report: Report


@dataclass
class PassManager:
    """How a pipeline is run.

    Attributes:
        pipeline: What to run.
        verify: How much is verified.
        exclude: Names of nodes that no rewrite may touch.
        dims: Sizes of symbolic dims for the whole-model check, by name or as `INPUT.AXIS`; never written into the
            model.
        input_data: Input sets for the whole-model check, used instead of drawn ones: arrays by name, or the path of
            an `.npz`, of a folder of such, or of an `.info` list.
        budget: Seconds for the whole-model check.
        progress: Told how far the run is.
        limit: How many rewrites to apply at the most; None for all.
        admit: Says of every rewrite whether it is put in: see `Engine`.
        on_pass: Called with every pass that has run and its report, in order.
        custom_op_library: The path of a shared library that registers custom operators with onnxruntime, for the
            whole-model check.
    """

    pipeline: Pipeline
    verify: VerifyLevel = VerifyLevel.MODEL
    exclude: Sequence[str] = ()
    dims: Mapping[str, int] | None = None
    input_data: Sequence[InputData] | None = None
    budget: float = DEFAULT_BUDGET
    progress: Progress | None = None
    limit: int | None = None
    admit: Admit | None = None
    on_pass: Callable[[Pass, PassReport], None] | None = None
    custom_op_library: str | None = None

    def run(self, opened: Opened) -> Report:
        """Runs the pipeline on an opened model, whose working copy it changes.

        Raises:
            PassError: A pass broke its contract.
            UsageError: `dims` or `input_data` speak of what the model does not have.
        """
        start = time.perf_counter()
        before = facts_of(opened)
        run = _Run(self, opened)
        run.members(self.pipeline.members)
        verdict = None
        if run.modified and self.verify is VerifyLevel.MODEL:
            verdict = self._check(opened)
        return Report(
            pipeline=str(self.pipeline),
            verify=str(self.verify),
            passes=tuple(run.reports),
            before=before,
            after=facts_of_ir(opened.working_model()) if run.modified else before,
            verdict=verdict,
            notes=run.notes(),
            seconds=time.perf_counter() - start,
            version=_version(),
        )

    def _check(self, opened: Opened) -> Verdict:
        from onnxfuse.verification.model import check_models

        progress = self.progress
        if progress is not None:
            progress("whole model", 0, 1)
        return check_models(
            evaluable_before(opened),
            evaluable_of(opened.working_model(), opened),
            families="quick",
            dims=self.dims,
            data=self.input_data,
            custom_op_library=self.custom_op_library,
            budget_s=self.budget,
            progress=None
            if progress is None
            else lambda name, done, total: progress(f"whole model: {name}", done, total),
        )


@dataclass
class _Run:
    """One run of a pipeline over one model."""

    manager: PassManager
    opened: Opened
    reports: list[PassReport] = field(default_factory=list)
    modified: bool = False

    def members(self, members: Iterable[Pass | Repeat]) -> int:
        """Runs passes in order; returns how many rewrites were applied."""
        applied = 0
        for member in members:
            if isinstance(member, Repeat):
                for _ in range(member.max_rounds):
                    count = self.members(member.members)
                    applied += count
                    if not count or not self.left:
                        break
            else:
                report = self._run(member)
                self.reports.append(report)
                if self.manager.on_pass is not None:
                    self.manager.on_pass(member, report)
                applied += len(report.applied)
        return applied

    @property
    def left(self) -> float:
        """How many rewrites may still be applied."""
        return math.inf if self.manager.limit is None else self.manager.limit - self._applied

    @property
    def _applied(self) -> int:
        return sum(len(report.applied) for report in self.reports)

    def notes(self) -> tuple[str, ...]:
        """What else is to be said of the run."""
        if self.left:
            return ()
        return (f"the {self._limit_text} was reached: no candidate after that was asked",)

    @property
    def _limit_text(self) -> str:
        limit = self.manager.limit
        return f"limit of {limit} rewrite{'s' * (limit != 1)}"

    def _run(self, pass_: Pass) -> PassReport:
        label, numerics = str(pass_), str(pass_.numerics)
        if isinstance(pass_, ModelPass):
            return self._run_model_pass(pass_)
        if not isinstance(pass_, RewritePass):
            raise PassError(f"{label} is neither a RewritePass nor a ModelPass: what it does cannot be verified")
        if not self.modified and not any(map(self.opened.may_contain, pass_.ops)):
            return PassReport(label, numerics, skipped=f"the model has no {' or '.join(sorted(pass_.ops))}")
        if not self.left:
            return PassReport(label, numerics, skipped=f"the {self._limit_text} was reached")
        from onnxfuse.model_io.origin import paused_gc
        from onnxfuse.rewriting.engine import Engine

        progress = self.manager.progress
        sessions = self._verifier.sessions if self._verifier is not None else 0
        with paused_gc():
            report = Engine(
                self.opened.working_model(),
                pass_,
                label=label,
                numerics=numerics,
                verifier=self._verifier,
                structure=self.manager.verify is not VerifyLevel.OFF,
                names=self._names,
                excluded=frozenset(self.manager.exclude),
                first_index=1 + self._applied,
                limit=None if self.manager.limit is None else self.manager.limit - self._applied,
                admit=self.manager.admit,
                progress=None if progress is None else lambda done, total: progress(label, done, total),
            ).run()
        self.modified = self.modified or bool(report.applied)
        return replace(report, sessions=report.sessions - sessions)

    def _run_model_pass(self, pass_: ModelPass) -> PassReport:
        if not self.left:
            return PassReport(str(pass_), str(pass_.numerics), skipped=f"the {self._limit_text} was reached")
        from onnxfuse.pipeline.model_pass import ModelPassRun

        if self.manager.progress is not None:
            self.manager.progress(str(pass_), 0, 1)
        sessions = self._verifier.sessions if self._verifier is not None else 0
        run = ModelPassRun(pass_, self.opened, self.manager, self._verifier, 1 + self._applied, self.left)
        report = run.run()
        if report.applied:
            self.modified = True
            vars(self).pop("_names", None)  # names may have come back
        return replace(report, sessions=report.sessions - sessions)

    @cached_property
    def _names(self) -> Names:
        from onnxfuse.rewriting.naming import Names

        return Names(self.opened.working_model())

    @cached_property
    def _verifier(self) -> RegionVerifier | None:
        if self.manager.verify in (VerifyLevel.OFF, VerifyLevel.STRUCTURE):
            return None
        from onnxfuse.verification.region import RegionVerifier

        return RegionVerifier()


def apply(
    model: ModelLike,
    passes: PipelineLike = "default",
    *,
    verify: VerifyLevel | str = VerifyLevel.MODEL,
    skip: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dims: Mapping[str, int] | None = None,
    input_data: Sequence[InputData] | None = None,
    budget: float = DEFAULT_BUDGET,
    limit: int | None = None,
    custom_op_library: str | None = None,
    progress: Progress | None = None,
) -> Result:
    """Runs passes over a model; each rewrite is compared with what it replaces before it is put in.

    Args:
        model: A path, `bytes`, an `onnx.ModelProto`, an `onnx_ir.Model`, an `onnx_graphsurgeon.Graph` or a
            `torch.onnx.ONNXProgram`. It is not changed.
        passes: A pipeline, as text or object; presets stand in it by name: `"default,transpose-around-softmax{axis=1}"`.
        verify: `off`, `structure`, `region` (each rewrite on its own region), or `model` (and the whole model, once).
        skip: Names of passes to leave out.
        exclude: Names of nodes that no rewrite may touch.
        dims: Sizes of symbolic dims for the whole-model check, by name or as `INPUT.AXIS`; never written into the
            model.
        input_data: Input sets for the whole-model check, used instead of drawn ones: arrays by name, or the path of
            an `.npz`, of a folder of such, or of an `.info` list.
        budget: Seconds for the whole-model check; what it cuts is listed as not-run in the verdict.
        limit: How many rewrites to apply at the most: the first ones, the same for every larger limit. None for all.
        custom_op_library: The path of a shared library that registers custom operators with onnxruntime, for the
            whole-model check. Without it they are left out of it.
        progress: Called with what is being done, how much is done, and how much there is.

    Returns:
        The new model, of the kind that was given (for a path: an `onnx_ir.Model`), and the report. Where nothing
        matched, the bytes are the same.

    Raises:
        ModelError: The model cannot be read.
        UsageError: The pipeline, or another argument, is wrong.
        PassError: A pass broke its contract.
        VerificationError: The whole model gives other results than before; it carries the report.
    """
    pipeline = Pipeline.of(passes).without(skip)
    opened = open_model(model)
    manager = PassManager(
        pipeline,
        verify=_level(verify),
        exclude=exclude,
        dims=dims,
        input_data=input_data,
        budget=_budget(budget),
        progress=progress,
        limit=_limit(limit),
        custom_op_library=custom_op_library,
    )
    report = manager.run(opened)
    raise_on_failure(report)
    return Result(opened.result() if report.modified else opened.unchanged(), report)


def _level(level: VerifyLevel | str) -> VerifyLevel:
    try:
        return VerifyLevel(level)
    except ValueError as error:
        raise UsageError(f"verify={level!r}: one of {', '.join(VerifyLevel)} is expected") from error


def _limit(count: int | None) -> int | None:
    if count is not None and count < 0:
        raise UsageError(f"limit={count!r}: a number of rewrites from 0 on is expected")
    return count


def _budget(seconds: float) -> float:
    if not 0 < seconds <= LONGEST_BUDGET:
        raise UsageError(f"budget={seconds!r}: a number of seconds above 0 and at most {LONGEST_BUDGET:g} is expected")
    return seconds


def raise_on_failure(report: Report) -> None:
    """Raises where a run must not give out a model.

    Raises:
        PassError: A pass broke on a candidate.
        VerificationError: The whole-model check found a difference.
    """
    for pass_report in report.passes:
        for failed in pass_report.failed:
            raise PassError(f"{pass_report.name} failed at {failed.at}: {failed.error}")
    if report.verdict is not None and report.verdict.status is Status.DIFFERENT:
        raise VerificationError(f"the rewritten model differs from the original: {report.verdict.explain()}", report)


def verify(
    a: ModelLike,
    b: ModelLike,
    *,
    dims: Mapping[str, int] | None = None,
    input_data: Sequence[InputData] | None = None,
    seed: int = 0,
    families: Iterable[str] | None = None,
    rtol: float | Mapping[str | None, float] | None = None,
    atol: float | Mapping[str | None, float] | None = None,
    custom_op_library: str | None = None,
    budget: float | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Says whether two models are equivalent.

    Args:
        a: The original, of any kind that `load` takes.
        b: The model that should do the same.
        dims: Sizes of symbolic dims, by name or as `INPUT.AXIS`.
        input_data: Input sets to use instead of drawn ones: arrays by name, or the path of an `.npz`, of a folder of
            such, or of an `.info` list.
        seed: Of the drawn inputs.
        families: What the inputs are filled with: of `normal`, `ladder`, `constants`, `unique`, `ties`, `special`,
            `wide`, `small`, `offset`, and `bindings` for more sizes of the symbolic dims. None for all.
        rtol: A tolerance of your own instead of the rounding rule, |a - b| <= atol + rtol |a|: a number for all float
            outputs, or numbers by output. Where inputs are extreme, what exceeds it is left to the rounding rule.
        atol: Likewise, in the units of the output.
        custom_op_library: The path of a shared library that registers custom operators with onnxruntime. Without it
            they are left out: what they read is compared, and what they give is drawn.
        budget: Seconds after which what is left is listed as not-run; None for no limit.
        progress: Called with what is being done, how much is done, and how much there is.

    Returns:
        The verdict: `equivalent`, `different`, or `not-run` where nothing differs but something could not be decided.

    Raises:
        ModelError: One of the models cannot be read.
        UsageError: `dims`, `input_data`, `rtol` or `atol` speak of what the model does not have, or `families` of no
            family.
    """
    from onnxfuse.verification.model import check_models

    if seed < 0:
        raise UsageError(f"seed={seed}: a number from 0 on is expected")
    return check_models(
        evaluable_before(open_model(a)),
        evaluable_before(open_model(b)),
        families="full",
        dims=dims,
        data=input_data,
        seed=seed,
        selected=families,
        tolerances=_tolerances(rtol, atol),
        custom_op_library=custom_op_library,
        budget_s=None if budget is None else _budget(budget),
        progress=progress,
    )


def _tolerances(
    rtol: float | Mapping[str | None, float] | None, atol: float | Mapping[str | None, float] | None
) -> dict[str | None, Tolerance]:
    """The user's tolerances by output; None for all other outputs."""
    from onnxfuse.verification.model import Tolerance

    given: dict[str | None, dict[str, float]] = {}
    for key, value in (("rtol", rtol), ("atol", atol)):
        by_output = value if isinstance(value, Mapping) else {} if value is None else {None: value}
        for output, number in by_output.items():
            if not 0 <= number < math.inf:
                raise UsageError(f"{key}={number!r}: a number from 0 on is expected")
            given.setdefault(output, {})[key] = number
    return {output: Tolerance(**numbers) for output, numbers in given.items()}


def _version() -> str:
    from onnxfuse import __version__

    return __version__
