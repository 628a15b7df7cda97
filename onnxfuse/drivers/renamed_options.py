"""Options, and the files that they name, that speak of nodes of a model as it was: what they say of the model as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from onnxfuse.drivers.atc_options import AtcOptions
from onnxfuse.drivers.findings import Finding, Severity
from onnxfuse.drivers.renames import GoneError, Outputs, Renames
from onnxfuse.drivers.shape_grammar import (
    GrammarError,
    OutNode,
    OutputType,
    out_nodes_text,
    output_type_text,
    parse_out_nodes,
    parse_output_type,
)

__all__ = ["Renamed", "renamed_options"]

OF_TYPES: Final = "OpType::"
CUSTOMIZED: Final = re.compile(r"(?P<name>.+?)::?(?:Input|Output)Dtype:")
MARK: Final = "\ufeff"


@dataclass(frozen=True)
class Renamed:
    """Options that speak of the model as it is.

    Attributes:
        options: They.
        files: What has to be written before a run: the text of files that the options name.
        findings: What became of names, and which are of no node.
    """

    options: AtcOptions
    files: Mapping[Path, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def renamed_options(options: AtcOptions, renames: Renames | None, now: Outputs, keep_dtype_to: Path) -> Renamed:
    """Returns options that speak of the model as it is, where they spoke of the model as it was. Nothing is written.

    Args:
        options: What is given: `out_nodes`, `output_type` and the files of `keep_dtype` and `customize_dtypes` name nodes.
        renames: What became of names; None where nothing did, and options are of the model as it is.
        now: The model as it is.
        keep_dtype_to: Where a file for `keep_dtype` goes, if the one that is given has other names.
    """
    found: list[Finding] = []
    mapped = options if renames is None else _with_outputs(options, renames, now, found)
    renames = renames or Renames()
    files: dict[Path, str] = {}
    if mapped.keep_dtype:
        mapped = _with_keep_dtype(mapped, renames, now, keep_dtype_to, files, found)
    if mapped.customize_dtypes:
        _look_at_customized(mapped.customize_dtypes, renames, now, found)
    return Renamed(mapped, files, tuple(dict.fromkeys(found)))


# ---- options


def _with_outputs(options: AtcOptions, renames: Renames, now: Outputs, found: list[Finding]) -> AtcOptions:
    try:
        outputs = parse_out_nodes(options.out_nodes) if options.out_nodes else ()
        types = parse_output_type(options.output_type) if options.output_type else ""
    except GrammarError:
        return options  # which is a problem of the options by themselves
    mapped = options
    if any(node.index is not None for node in outputs):
        places = [_place(renames, node.name, node.index or 0, now, found) for node in outputs]
        mapped = replace(mapped, out_nodes=out_nodes_text(OutNode(*place) for place in places))
    if not isinstance(types, str):
        placed = [(_place(renames, entry.name, entry.index, now, found), entry.element) for entry in types]
        text = output_type_text(OutputType(*place, element) for place, element in placed)
        mapped = replace(mapped, output_type=text)
    return mapped


def _place(renames: Renames, name: str, index: int, now: Outputs, found: list[Finding]) -> tuple[str, int]:
    try:
        place = renames.output(name, index, now)
    except GoneError as gone:
        found.append(Finding(Severity.ERROR, "out-nodes", str(gone), gone.cure, (f"{name}:{index}",), "E11017"))
        return name, index
    if place != (name, index):
        message = f"{name}:{index} is {place[0]}:{place[1]} now, and is asked for by that name"
        found.append(Finding(Severity.NOTE, "out-nodes", message, "", ()))
    return place


# ---- files


def _with_keep_dtype(
    options: AtcOptions, renames: Renames, now: Outputs, to: Path, files: dict[Path, str], found: list[Finding]
) -> AtcOptions:
    given = options.keep_dtype or ""
    text = _read(given, "keep-dtype", found)
    if text is None:
        return options
    lines = text.removeprefix(MARK).splitlines()
    stand = {name: renames.nodes_now(name, now) for line in lines if (name := line.strip())}
    _tell_unknown(
        [name for name in stand if stand[name] is None and not name.startswith(OF_TYPES)],
        given,
        now,
        "keep-dtype",
        found,
    )
    gone = {name: nodes for name, nodes in stand.items() if nodes is not None and nodes != (name,)}
    if not gone and lines == text.splitlines():
        return options
    kept = list(
        dict.fromkeys(node for name, nodes in stand.items() for node in (nodes if nodes is not None else (name,)))
    )
    for name in [name for name, nodes in gone.items() if not nodes]:
        message = f"nothing stands for {name} any more, so that nothing is kept of it"
        found.append(Finding(Severity.NOTE, "keep-dtype", message, "", (given,)))
    if not kept:
        found.append(Finding(Severity.NOTE, "keep-dtype", f"{given} names nothing else, and is not handed on", ""))
        return replace(options, keep_dtype=None)
    if to.exists() and to.samefile(given):
        message = f"{given} is where names of today would be written to, and would be lost"
        found.append(Finding(Severity.ERROR, "keep-dtype", message, "give a file of another name", ("--keep_dtype",)))
        return options
    files[to] = "".join(f"{name}\n" for name in kept)
    why = "names nodes that are gone" if gone else "begins with a byte order mark, which atc would take for a name"
    found.append(
        Finding(Severity.NOTE, "keep-dtype", f"{given} {why}: {to}, with the nodes of today, is handed on", "")
    )
    return replace(options, keep_dtype=str(to))


def _look_at_customized(given: str, renames: Renames, now: Outputs, found: list[Finding]) -> None:
    """Tells of nodes that are gone: types are of each input and output, and may not fit the nodes that stand for them."""
    text = _read(given, "customize-dtypes", found)
    if text is None:
        return
    lines = [line.strip() for line in text.removeprefix(MARK).splitlines()]
    parts = [CUSTOMIZED.match(line) for line in lines if line and not line.startswith(OF_TYPES)]
    stand = {part["name"]: renames.nodes_now(part["name"], now) for part in parts if part}
    _tell_unknown([name for name, nodes in stand.items() if nodes is None], given, now, "customize-dtypes", found)
    for name, nodes in stand.items():
        if nodes is not None and nodes != (name,):
            became = f": {', '.join(nodes)} stands for it" if nodes else ", and nothing stands for it"
            message = f"{name} is gone{became}, and what is said of it is handed on as it is, without effect"
            cure = "say it of nodes of today, with a type for each of their inputs and outputs"
            found.append(Finding(Severity.WARNING, "customize-dtypes", message, cure, (given,)))


def _tell_unknown(names: list[str], given: str, now: Outputs, check: str, found: list[Finding]) -> None:
    if names:
        near = now.near(names[0])
        message = f"{given} names what is no node of the model: the converter refuses that, or passes over it"
        cure = f"is {near} meant?" if near else "name nodes of the main graph"
        found.append(Finding(Severity.WARNING, check, message, cure, tuple(names)))


def _read(given: str, check: str, found: list[Finding]) -> str | None:
    try:
        return Path(given).read_bytes().decode()
    except OSError:
        return None  # which `problems_of` tells
    except ValueError:
        found.append(Finding(Severity.ERROR, check, f"{given} is no text in UTF-8", "give a text file of node names"))
        return None
