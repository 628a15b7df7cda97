"""The examples that the laws start from: pairs of models, before and after.

In a pass's docstring, under the heading Example, stand one or more pairs of ONNX text, Before and After. Where the pass
needs options, a line before the first pair gives it as it stands in a pipeline:

Example:
        set-dim{name=N,to=1}

        Before:
            ...
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from onnxfuse.errors import UsageError
from onnxfuse.pipeline.base import Pass
from onnxfuse.pipeline.pipeline import Pipeline, has_required_options, option_names
from onnxfuse.pipeline.registry import pass_class

__all__ = ["Example", "ModelText", "PassLike", "examples_of", "read_model", "sections"]

ModelText = str | onnx.ModelProto
"""A whole model: in ONNX's text form, or as a message."""

PassLike = Pass | type[Pass] | str
"""A pass, its class, or the name of a registered one."""


@dataclass(frozen=True)
class Example:
    """One pair of models.

    Attributes:
        pass_: The pass, with its options.
        before: What goes in.
        after: What must come out.
    """

    pass_: Pass
    before: onnx.ModelProto
    after: onnx.ModelProto


def read_model(model: ModelText) -> onnx.ModelProto:
    """Returns a model from its text; a message comes back as it is.

    Raises:
        UsageError: The text is no model; the error names the line.
    """
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        return onnx.parser.parse_model(textwrap.dedent(model))
    except onnx.parser.ParseError as error:
        raise UsageError(f"the text is no ONNX model: {error}") from error


def sections(kind: type[Pass]) -> dict[str, str]:
    """Returns the text under each heading of a pass's docstring, in order."""
    parts = re.split(r"^(\S.*):\n", inspect.cleandoc(kind.__doc__ or ""), flags=re.MULTILINE)
    return {heading: textwrap.dedent(text) for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def examples_of(pass_: PassLike, given: Sequence[tuple[ModelText, ModelText]] | None = None) -> list[Example]:
    """Returns the examples of a pass.

    Args:
        pass_: The pass, its class, or the name of a registered one.
        given: Pairs of models, before and after, that `pass_` turns one into the other; those of its docstring by
            default. There, a line of options takes the place of the options of `pass_`.

    Raises:
        UsageError: There is no such pass or no example, an example cannot be read, or the pass cannot be made without
            being told its options.
    """
    if isinstance(pass_, str):
        pass_ = pass_class(pass_)
    if given is None:
        return _documented(pass_)
    if not given:
        raise UsageError(f"{_class(pass_).name}: examples is empty; the laws need at least one pair of models")
    made = _made(pass_)
    return [Example(made, read_model(before), read_model(after)) for before, after in given]


def _documented(pass_: Pass | type[Pass]) -> list[Example]:
    name = _class(pass_).__name__
    example = sections(_class(pass_)).get("Example", "")
    stated, *texts = re.split(r"^(?:Before|After):\n", example, flags=re.MULTILINE)
    if not texts:
        raise UsageError(
            f"the docstring of {name} has no Example with Before and After: give the laws "
            "examples=[(before, after)], two models as ONNX text or ModelProto"
        )
    if len(texts) % 2:
        raise UsageError(f"the Example of {name}: Before and After come in pairs")
    made = _stated(_class(pass_), stated.strip()) if stated.strip() else _made(pass_)
    models = [read_model(text) for text in texts]
    return [Example(made, *pair) for pair in zip(models[::2], models[1::2], strict=True)]


def _stated(kind: type[Pass], text: str) -> Pass:
    members = Pipeline.parse(text).members
    if len(members) != 1 or not isinstance(members[0], kind):
        raise UsageError(f"the Example of {kind.__name__} is for {text}, which is another pass")
    return members[0]


def _class(pass_: Pass | type[Pass]) -> type[Pass]:
    return pass_ if isinstance(pass_, type) else type(pass_)


def _made(pass_: Pass | type[Pass]) -> Pass:
    if isinstance(pass_, Pass):
        return pass_
    if has_required_options(pass_):
        raise UsageError(f"{pass_.name} needs {', '.join(option_names(pass_))}: give an instance")
    return pass_()
