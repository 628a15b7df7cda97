"""Whether atc can read the file of `--insert_op_conf`, which says how images become the inputs of a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from onnxfuse.drivers.findings import Finding, Severity

__all__ = ["check_aipp"]

# Protobuf text; a sign of no other kind is one by itself.
_TOKENS: Final = re.compile(r"#[^\n]*|\s+|\"[^\"\n]*\"|'[^'\n]*'|[\w.+-]+|.", re.ASCII)
_WORD: Final = re.compile(r"[\w.+-]+|\".*\"|'.*'", re.ASCII)
_OPEN: Final = {"{": "}", "<": ">"}
_MODES: Final = ("static", "dynamic")


class _NoAippError(ValueError):
    """A text is none that AIPP reads."""


def check_aipp(given: str, inputs: Sequence[str], halves: Sequence[str]) -> Iterator[Finding]:
    """Yields what is wrong with a file for AIPP. One that cannot be read is a problem of the options.

    Args:
        given: The file's path.
        inputs: The model's inputs, in order.
        halves: Those that `--input_fp16_nodes` names.
    """
    try:
        blocks = _blocks(Path(given).read_bytes().decode())
    except OSError:
        return
    except ValueError as error:
        why = str(error) if isinstance(error, _NoAippError) else "it is no text in UTF-8"
        yield _invalid(given, why, "write aipp_op { aipp_mode: static ... }")
        return
    for block in blocks:
        mode, place = block.get("aipp_mode"), block.get("related_input_rank", "0")
        if mode not in _MODES:
            yield _invalid(given, f"aipp_mode is {mode or 'missing'}", f"write one of {', '.join(_MODES)}")
        if not (place.isdecimal() and len(place) < 10 and int(place) < len(inputs)):
            message = f"related_input_rank is {place}, and the model has {len(inputs)} inputs, counted from 0"
            yield _invalid(given, message, "write the place of one")
        elif inputs[int(place)] in halves:
            message = f"{given} makes {inputs[int(place)]} uint8, and --input_fp16_nodes makes it float16"
            yield Finding(Severity.ERROR, "aipp", message, "leave one of them out", ("--insert_op_conf",), "E10034")


def _invalid(given: str, why: str, cure: str) -> Finding:
    return Finding(Severity.ERROR, "aipp", f"{given}: {why}", cure, ("--insert_op_conf",), "E10052")


def _blocks(text: str) -> list[dict[str, str]]:
    """Returns the fields of each `aipp_op { name: value ... }`.

    Raises:
        _NoAippError: It is something else.
    """
    tokens = [token for token in _TOKENS.findall(text) if not token.startswith("#") and token.strip()]
    tokens.reverse()
    blocks = []
    while tokens:
        word = tokens.pop()
        if word != "aipp_op":
            raise _NoAippError(f"{word[:40]!r} stands where aipp_op is expected")
        if tokens[-1:] == [":"]:
            tokens.pop()
        end = _OPEN.get(tokens.pop()) if tokens else None
        if end is None:
            raise _NoAippError("aipp_op is not followed by {")
        blocks.append(_fields(tokens, end))
        if tokens[-1:] in ([","], [";"]):
            tokens.pop()
    if not blocks:
        raise _NoAippError("there is no aipp_op")
    return blocks


def _fields(tokens: list[str], end: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    while tokens[-1:] != [end]:
        name, colon, value = (tokens.pop() if tokens else "" for _ in range(3))
        if not (name.isidentifier() and colon == ":" and _WORD.fullmatch(value)):
            shown = " ".join(filter(None, (name, colon, value)))
            raise _NoAippError(f"{shown[:40]!r} is no field and value" if shown else f"{end} is missing")
        fields[name] = value
        if tokens[-1:] in ([","], [";"]):
            tokens.pop()
    tokens.pop()
    return fields
