"""The example in each pass's docstring, as models: the seed of every law that needs the pass to fire.

Under the heading Example stand one or more pairs of ONNX text, Before and After. Where the pass needs options, a line
before the first pair gives it as it stands in a pipeline:

    Example:
        set-dim{name=N,to=1}

        Before:
            ...
"""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass
from typing import Final

import onnx

from onnxfuse import Pass, Pipeline
from onnxfuse.pipeline import registry

__all__ = ["HEADINGS", "NAMES", "Seed", "sections", "seeds"]

HEADINGS: Final = ("What it does", "Why", "Example", "When it declines", "Numerics", "Options", "References")
NAMES: Final = tuple(registry.origins())


@dataclass(frozen=True)
class Seed:
    """One pair of models.

    Attributes:
        pass_: The pass, with the options that its example states.
        before: What goes in.
        after: What must come out.
    """

    pass_: Pass
    before: onnx.ModelProto
    after: onnx.ModelProto


def sections(kind: type[Pass]) -> dict[str, str]:
    """Returns the text under each heading of a pass's docstring, in order."""
    parts = re.split(r"^(\S.*):\n", inspect.cleandoc(kind.__doc__ or ""), flags=re.MULTILINE)
    return {heading: textwrap.dedent(text) for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def seeds(name: str) -> list[Seed]:
    """Returns the examples of the pass `name`."""
    example = sections(registry.pass_class(name))["Example"]
    stated, *texts = re.split(r"^(?:Before|After):\n", example, flags=re.MULTILINE)
    (pass_,) = Pipeline.parse(stated.strip() or name).members
    assert isinstance(pass_, Pass)
    models = [onnx.parser.parse_model(textwrap.dedent(text)) for text in texts]
    assert models, f"{name} has no example"
    assert len(models) % 2 == 0, f"{name}: Before and After come in pairs"
    return [Seed(pass_, *pair) for pair in zip(models[::2], models[1::2], strict=True)]
