"""`onnxfuse passes`: what passes there are; with a name, its page."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

from onnxfuse.cli import options
from onnxfuse.errors import UsageError

__all__ = ["add_parser"]

PREFIXED: Final = {
    "gs:module.function": "a function over an onnx_graphsurgeon.Graph, which it edits or returns",
    "ir:module.Pass": "a pass of onnx_ir, a rewrite rule of onnxscript, or a function over an onnx_ir.Model",
    "exec:'tool {in} {out}'": "a command that reads one model and writes another; no shell",
}


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "passes",
        help="list the passes; with a name, show its page",
        description="Lists the passes and presets. With names, shows what each does and when it declines.",
        allow_abbrev=False,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="passes and presets to describe")
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    from onnxfuse.pipeline import registry

    origins, presets = registry.origins(), registry.presets()
    for name in arguments.names:
        if name not in origins and name not in presets:
            raise registry.unknown(name)
    # A name that is given must be there; in the list, a package that is broken must not hide all the others.
    entries = [_entry(name, origins[name], strict=bool(arguments.names)) for name in _chosen(arguments.names)]
    if arguments.json:
        options.print_json({"passes": entries, "presets": presets, "prefixes": PREFIXED})
    elif arguments.names:
        options.show("\n\n".join(_page(name, entries, presets) for name in dict.fromkeys(arguments.names)))
    else:
        options.show(_list(entries, presets))
    return 0


def _chosen(names: Sequence[str]) -> list[str]:
    """Returns the passes that are asked about: all, or those named, presets by their members."""
    from onnxfuse.pipeline import registry

    chosen: dict[str, None] = {}
    for name in names or registry.origins():
        chosen.update(dict.fromkeys(_members(name)))
    return list(chosen)


def _members(name: str) -> list[str]:
    """Returns the passes of a preset, and a pass by itself."""
    from onnxfuse.pipeline import registry
    from onnxfuse.pipeline.pipeline import Pipeline

    return options.pass_names(Pipeline.parse(name).members) if name in registry.presets() else [name]


def _entry(name: str, origin: str, *, strict: bool) -> dict[str, Any]:
    from onnxfuse.pipeline import registry
    from onnxfuse.pipeline.pipeline import option_names

    try:
        kind = registry.pass_class(name)
    except UsageError as error:
        if strict:
            raise
        return {"name": name, "summary": str(error), "numerics": None, "options": [], "presets": [], "origin": origin}
    page = inspect.getdoc(kind) or ""
    return {
        "name": name,
        "summary": page.partition("\n")[0],
        "numerics": str(kind.numerics),
        "options": option_names(kind),
        "presets": [preset for preset in registry.presets() if name in _members(preset)],
        "origin": origin,
        "page": page,
    }


def _page(name: str, entries: Sequence[Mapping[str, Any]], presets: Mapping[str, str]) -> str:
    if name in presets:
        return f"{name}\n\nA preset: {presets[name]}"
    (entry,) = (entry for entry in entries if entry["name"] == name)
    return f"{name}\n\n{entry['page']}"


def _list(entries: Sequence[Mapping[str, Any]], presets: Mapping[str, str]) -> str:
    from onnxfuse.report.text import table

    rows = [(e["name"], e["numerics"] or "?", ", ".join(e["presets"]), e["origin"], e["summary"]) for e in entries]
    lines = table(("pass", "numerics", "presets", "from", "what it does"), rows)
    lines += ["", *table(("preset", "stands for"), list(presets.items()))]
    lines += ["", *table(("code of your own", "what it runs"), list(PREFIXED.items()))]
    return "\n".join(lines)
