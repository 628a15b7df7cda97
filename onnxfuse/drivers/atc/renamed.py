"""Options, and the files that they name, that speak of nodes of a model as it was: what they say of the model as it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.atc.shape_grammar import (
    GrammarError,
    OutNode,
    OutputType,
    out_nodes_text,
    output_type_text,
    parse_out_nodes,
    parse_output_type,
)
from onnxfuse.drivers.findings import Finding, Severity
from onnxfuse.drivers.renames import GoneError, Outputs, Renames

__all__ = ["Renamed", "renamed_options"]

OF_TYPES: Final = "OpType::"
CUSTOMIZED: Final = re.compile(r"(?P<name>.+?)::?(?:Input|Output)Dtype:")
MARK: Final = "\ufeff"


@dataclass(frozen=True)
class Renamed:
    """Options that speak of the model as it is.

    Attributes:
        options: They.
        files: What has to be written before a run: the text of files that the options name, of which none is there.
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
        keep_dtype_to: Where a file for `keep_dtype` goes, if the one that is given has other names. One that is there is
            handed on if it holds the same, and never replaced.
    """
    names = _Names(renames or Renames(), now)
    mapped = options if renames is None else names.outputs(options)
    files: dict[Path, str] = {}
    if mapped.keep_dtype:
        mapped = names.kept(mapped, mapped.keep_dtype, keep_dtype_to, files)
    if mapped.customize_dtypes:
        names.customized(mapped.customize_dtypes)
    return Renamed(mapped, files, tuple(dict.fromkeys(names.found)))


class _Names:
    """Follows names, and tells of them.

    Args:
        renames: What became of them.
        now: The model as it is.

    Attributes:
        found: What there is to tell.
    """

    def __init__(self, renames: Renames, now: Outputs) -> None:
        self.renames = renames
        self.now = now
        self.found: list[Finding] = []

    # ---- options

    def outputs(self, options: AtcOptions) -> AtcOptions:
        """Returns options that ask for the outputs of today."""
        try:
            outputs = parse_out_nodes(options.out_nodes) if options.out_nodes else ()
            types = parse_output_type(options.output_type) if options.output_type else ""
        except GrammarError:
            return options  # which is a problem of the options by themselves
        mapped = options
        if any(node.index is not None for node in outputs):
            places = [self._place(node.name, node.index or 0) for node in outputs]
            mapped = replace(mapped, out_nodes=out_nodes_text(OutNode(*place) for place in places))
        if not isinstance(types, str):
            placed = [(self._place(entry.name, entry.index), entry.element) for entry in types]
            text = output_type_text(OutputType(*place, element) for place, element in placed)
            mapped = replace(mapped, output_type=text)
        return mapped

    def _place(self, name: str, index: int) -> tuple[str, int]:
        try:
            place = self.renames.output(name, index, self.now)
        except GoneError as gone:
            at = (f"{name}:{index}",)
            self.found.append(Finding(Severity.ERROR, "out-nodes", str(gone), gone.cure, at, "E11017"))
            return name, index
        if place != (name, index):
            message = f"{name}:{index} is {place[0]}:{place[1]} now, and is asked for by that name"
            self.found.append(Finding(Severity.NOTE, "out-nodes", message, ""))
        return place

    # ---- files

    def kept(self, options: AtcOptions, given: str, to: Path, files: dict[Path, str]) -> AtcOptions:
        """Returns options whose `keep_dtype` has the nodes of today, with the file that this takes put into `files`."""
        text = self._read(given, "keep-dtype")
        if text is None:
            return options
        lines = text.removeprefix(MARK).splitlines()
        stand = self._stand(filter(None, map(str.strip, lines)), given, "keep-dtype")
        gone = {name: nodes for name, nodes in stand.items() if nodes != (name,)}
        if not gone and not text.startswith(MARK):
            return options
        for name in (name for name, nodes in gone.items() if not nodes):
            self._note(f"nothing stands for {name} any more, so that nothing is kept of it", given)
        if not any(stand.values()):
            self._note(f"{given} names nothing else, and is not handed on")
            return replace(options, keep_dtype=None)
        text = "".join(f"{name}\n" for name in dict.fromkeys(name for nodes in stand.values() for name in nodes))
        there = os.path.lexists(to)
        if there and not _holds(to, text):
            message = f"{to}, where the nodes of today are to be written, is there and holds something else"
            self.found.append(Finding(Severity.ERROR, "keep-dtype", message, "rename it, or give another -o"))
            return options
        why = "names nodes that are gone" if gone else "begins with a byte order mark, which atc would take for a name"
        self._note(f"{given} {why}: {to}, with the nodes of today, is handed on")
        if not there:
            files[to] = text
        return replace(options, keep_dtype=str(to))

    def customized(self, given: str) -> None:
        """Tells of nodes that are gone: types are of each input and output, and what stands for a node may have others."""
        text = self._read(given, "customize-dtypes")
        if text is None:
            return
        if text.startswith(MARK):
            message = f"{given} begins with a byte order mark, which atc would take for a name"
            self.found.append(Finding(Severity.WARNING, "customize-dtypes", message, "save it without"))
        parts = map(CUSTOMIZED.match, map(str.strip, text.removeprefix(MARK).splitlines()))
        names = [part["name"] for part in parts if part and not part.string.startswith(OF_TYPES)]
        for name, nodes in self._stand(names, given, "customize-dtypes").items():
            if nodes != (name,):
                became = (
                    f"was replaced: {', '.join(nodes)} stands for it" if nodes else "is gone: nothing stands for it"
                )
                message = f"{name} {became}, and the file is handed on as it is"
                cure = "name nodes of today, with a type for each of their inputs and outputs"
                self.found.append(Finding(Severity.WARNING, "customize-dtypes", message, cure, (given,)))

    def _note(self, message: str, *at: str) -> None:
        self.found.append(Finding(Severity.NOTE, "keep-dtype", message, "", at))

    def _stand(self, names: Iterable[str], given: str, check: str) -> dict[str, tuple[str, ...]]:
        """Returns what stands for each name: itself for a type, and for what is no node, of which it tells."""
        stand = {name: None if name.startswith(OF_TYPES) else self.renames.nodes_now(name, self.now) for name in names}
        unknown = tuple(name for name, nodes in stand.items() if nodes is None and not name.startswith(OF_TYPES))
        if unknown:
            near = self.now.near(unknown[0])
            message = f"{given} names what is no node of the model: the converter refuses that, or passes over it"
            cure = f"is {near} meant?" if near else "name nodes of the main graph"
            self.found.append(Finding(Severity.WARNING, check, message, cure, unknown))
        return {name: (name,) if nodes is None else nodes for name, nodes in stand.items()}

    def _read(self, given: str, check: str) -> str | None:
        try:
            return Path(given).read_bytes().decode()
        except OSError:
            return None  # which `problems_of` tells
        except ValueError:
            message = f"{given} is no text in UTF-8"
            self.found.append(Finding(Severity.ERROR, check, message, "give a text file of node names"))
            return None


def _holds(path: Path, text: str) -> bool:
    try:
        return path.is_file() and path.read_bytes() == text.encode()
    except OSError:
        return False
