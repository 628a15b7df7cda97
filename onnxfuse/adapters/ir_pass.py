"""Passes of onnx_ir, rules of onnxscript, and functions over an `onnx_ir.Model`, as members of a pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from onnxfuse.adapters.foreign import call, label_of, load_named
from onnxfuse.errors import ToolError, UsageError
from onnxfuse.pipeline.base import ModelPass, Numerics, format_value

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse.rewriting.match import Facts

__all__ = ["IrPass"]


@dataclass(frozen=True)
class IrPass(ModelPass):
    """Runs a pass of onnx_ir, rewrite rules of onnxscript, or a function over an `onnx_ir.Model`.

    Attributes:
        target: An `onnx_ir.passes.PassBase`, or a class of such that takes no arguments; a `RewriteRule`, a
            `RewriteRuleSet`, a class of `RewriteRuleClassBase`, or a sequence of rules; or a function that takes an
            `onnx_ir.Model`, edits it in place or not, and returns nothing, a model, or a `PassResult`.
        text: What names it in a pipeline; found out where it is not given.
    """

    name: ClassVar[str] = "ir"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    target: Any = field(repr=False)
    text: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.text:
            object.__setattr__(self, "text", label_of(self.target))
        # What is wrong with the target is to be known before anything runs.
        object.__setattr__(self, "target", _instance(self.target, str(self)))

    @classmethod
    def parse(cls, text: str, *, folder: Path | None = None) -> Self:
        """Makes the pass that `ir:text` names.

        Raises:
            UsageError: It cannot be imported, or is nothing of that kind.
        """
        return cls(load_named(cls.name, text, folder), text)

    def __str__(self) -> str:
        """Returns the text that `Pipeline.parse` reads back, where text can name the target."""
        return f"{self.name}:{format_value(self.text)}"

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        """Runs it.

        Raises:
            ToolError: It raised something, or returned something else.
        """
        import onnx_ir as ir

        del facts
        made = call(_runner(self.target), model, of=_first(self.target))
        if made is None:
            return model
        if isinstance(made, ir.passes.PassResult):
            made = made.model
        if not isinstance(made, ir.Model):
            raise ToolError(f"it returned {made!r:.100}: an onnx_ir.Model, a PassResult or None is expected")
        return made


def _instance(target: Any, where: str) -> Any:
    """Returns what is to run: for a class what it makes without arguments, for one rule or several a set of them.

    Raises:
        UsageError: The target is nothing that can run.
    """
    import onnx_ir as ir

    if isinstance(target, type):
        if _is_a(target, "RewriteRuleClassBase"):
            target = _made(getattr(target, "rule"), where)  # noqa: B009 - which type checkers do not know
        elif issubclass(target, ir.passes.PassBase):
            target = _made(target, where)
        else:
            raise UsageError(f"{where} is a class, and no pass of onnx_ir and no rule of onnxscript")
    rules = list(target) if isinstance(target, (list, tuple)) else [target]
    if rules and all(_is_a(type(rule), "RewriteRule") for rule in rules):
        from onnxscript.rewriter import RewriteRuleSet

        return RewriteRuleSet(rules)
    if not (isinstance(target, ir.passes.PassBase) or _is_a(type(target), "RewriteRuleSet") or callable(target)):
        raise UsageError(
            f"{where} is {type(target).__name__!r}: a pass of onnx_ir, a rule of onnxscript or a function is expected"
        )
    return target


def _made(kind: Callable[[], Any], where: str) -> Any:
    needed = [
        parameter.name
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise UsageError(
            f"{where} needs arguments ({', '.join(needed)}): name an instance, or a function that makes one"
        )
    try:
        return call(kind, of=kind)
    except ToolError as error:
        raise UsageError(f"{where} cannot be made: {error}") from error


def _runner(target: Any) -> Callable[[ir.Model], Any]:
    return _rewritten_by(target) if _is_a(type(target), "RewriteRuleSet") else target


def _rewritten_by(rules: Any) -> Callable[[ir.Model], Any]:
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    def run(model: ir.Model) -> None:
        # As onnxscript.rewriter.rewrite, but nothing is cleaned up where no rule matched.
        if rules.apply_to_model(model):
            RemoveUnusedNodesPass()(model)

    return run


def _first(target: Any) -> Any:
    """Returns what the user wrote: of rules, the first one's own replacement."""
    if _is_a(type(target), "RewriteRuleSet"):
        rule = target.rules[0]
        return getattr(getattr(rule, "_replacement_pattern", None), "_function", rule)
    return target


def _is_a(kind: type, name: str) -> bool:
    """Says whether a class is one of onnxscript's of this name, without importing onnxscript."""
    return any(base.__name__ == name and base.__module__.partition(".")[0] == "onnxscript" for base in kind.__mro__)
