"""What a pass is."""

from __future__ import annotations

import dataclasses
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx_ir.passes import PassBase

    from onnxfuse.report.records import PassReport
    from onnxfuse.rewriting.builder import Builder
    from onnxfuse.rewriting.match import Facts, Match

else:
    PassBase = ABC  # at run time `_register` tells onnx_ir, as soon as there is one

__all__ = ["ModelPass", "Numerics", "Pass", "RewritePass", "format_options", "format_value"]

_LOGGER = logging.getLogger("onnxfuse")


def _register() -> None:
    """Makes `isinstance(pass_, onnx_ir.passes.PassBase)` true, as soon as there is an onnx_ir."""
    passes = sys.modules.get("onnx_ir.passes")
    if passes is not None:
        passes.PassBase.register(Pass)


class Numerics(StrEnum):
    """What a pass does to numbers."""

    EXACT = "exact"
    """Bit-identical for every input, NaN, infinities and -0 included."""
    ROUNDING = "rounding"
    """The same real function; floating-point operations are reassociated."""
    APPROXIMATE = "approximate"
    """Another function; only on request."""


class Pass(PassBase):
    """A unit in a pipeline.

    A pass is a frozen dataclass whose fields are its options. It is also an `onnx_ir.passes` pass (in place), so it
    runs in anyone's pipeline; there, too, each rewrite is verified before it is put in.
    """

    name: ClassVar[str]
    """What it is called in a pipeline: the file's name with dashes."""
    numerics: ClassVar[Numerics]
    """What it does to numbers."""

    def __init_subclass__(cls) -> None:
        _register()

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Makes a pass."""
        del arguments, options  # the dataclass takes them
        _register()
        return super().__new__(cls)

    def __str__(self) -> str:
        """Returns the pass with those options that differ from the defaults; `Pipeline.parse` reads it back."""
        return self.name + format_options(self)

    @property
    def in_place(self) -> bool:
        """True: an `onnx_ir` pass manager gets back the model it gave."""
        return True

    @property
    def changes_input(self) -> bool:
        """True: the model given is the model changed."""
        return True

    @property
    def destructive(self) -> bool:
        """False: the model given is not lost."""
        return False

    def __call__(self, model: ir.Model | ir.passes.PassResult, /) -> ir.passes.PassResult:
        """Runs the pass on an `onnx_ir.Model`, in place, verifying each rewrite on its region.

        Raises:
            PassError: The pass broke its contract.
        """
        import onnx_ir as ir

        _register()
        return self.call(model.model if isinstance(model, ir.passes.PassResult) else model)

    @abstractmethod
    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass on `model`, in place."""


class RewritePass(Pass):
    """A pass that replaces regions of the graph, one after the other, until nothing more matches.

    `match` looks, `rewrite` builds; the engine verifies and splices. Nothing is kept on `self` between the two.
    """

    ops: ClassVar[frozenset[str]]
    """The op_types (of the default domain) that `match` is asked about. A model without them is not even opened."""

    @abstractmethod
    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        """Looks at one candidate.

        Args:
            node: A node whose op_type is in `ops`.
            facts: What is known of the model.

        Returns:
            The region to replace (`facts.region(...)`), or None where the pattern is absent. Where the pattern is
            there but a precondition is not met, `facts.decline(reason)` ends the call.
        """

    @abstractmethod
    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        """Builds the replacement beside the graph.

        Args:
            match: What `match` returned.
            build: Makes nodes and constants.

        Returns:
            For each of `match.outputs` the value that takes its place: a new one, or one of `match.inputs`.
        """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass on `model`, in place.

        Raises:
            PassError: The pass broke its contract on a candidate, or does not reach its fixpoint.
        """
        import onnx_ir as ir

        from onnxfuse.errors import PassError
        from onnxfuse.rewriting.engine import Engine
        from onnxfuse.verification.region import RegionVerifier

        report = Engine(model, self, label=str(self), numerics=str(self.numerics), verifier=RegionVerifier()).run()
        if report.failed:
            raise PassError(f"{self} failed at {report.failed[0].at}: {report.failed[0].error}")
        _log(report)
        return ir.passes.PassResult(model, modified=bool(report.applied))


class ModelPass(Pass):
    """A pass that makes a whole model of a whole model.

    It says nothing of what it changed: that is found by comparing the two, and verified before it is put in. Where
    anything of it is wrong, none of it is.
    """

    @abstractmethod
    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        """Makes the new model.

        Args:
            model: A copy of the model, which shares its tensors: it may be changed. Tensors are not to be written into.
            facts: What is known of `model`, as long as it is not changed. `facts.decline(reason)` ends the call where a
                precondition is not met.

        Returns:
            `model` itself, changed in place, or another model. An initializer with the doc string `stripped` and no
            data stands for the one of that name in `model`.

        Raises:
            ToolError: What does the work failed.
        """

    @property
    def in_place(self) -> bool:
        """False: the model given is kept, and another one comes back."""
        return False

    @property
    def changes_input(self) -> bool:
        """False: the model given is kept."""
        return False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass on `model`, which stays as it is.

        Raises:
            PassError: The pass broke its contract.
        """
        import onnx_ir as ir

        from onnxfuse.pipeline.manager import apply

        result = apply(model, self, verify="region")
        _log(result.report.passes[0])
        return ir.passes.PassResult(result.model, modified=result.report.modified)


def _log(report: PassReport) -> None:
    """Logs what came of each candidate: a pipeline of `onnx_ir` hands on no report."""
    for outcome in report.rejected:
        _LOGGER.warning("%s: rejected at %s: %s", report.name, outcome.at, outcome.reason)
    for declined in report.declined:
        _LOGGER.info("%s: declined at %s: %s", report.name, declined.at, declined.reason)
    for applied in report.applied:
        _LOGGER.info("%s: applied at %s: %s, %s", report.name, applied.at, applied.grade, applied.evidence)


def format_options(instance: Any) -> str:
    """Returns `{name=value,...}` for the fields of a dataclass that differ from their defaults; empty for none."""
    parts = []
    for option in dataclasses.fields(instance):
        value = getattr(instance, option.name)
        if not option.init or not option.repr or value == option.default:
            continue
        parts.append(f"{option.name.replace('_', '-')}={format_value(value)}")
    return "{" + ",".join(parts) + "}" if parts else ""


def format_value(value: Any) -> str:
    """Returns a value as it stands in a pipeline: in quotation marks where it needs them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        value = value.value
    text = str(value)
    plain = text != "" and all(character.isalnum() or character in "_-.+:/<>" for character in text)
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
