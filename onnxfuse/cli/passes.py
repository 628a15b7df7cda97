"""`onnxfuse passes`: what passes there are; with a name, its page."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from onnxfuse.cli import options

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "passes",
        help="list the passes; with a name, show its page",
        description="Lists the passes and presets. With names, shows what each does and when it declines.",
        allow_abbrev=False,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="passes to describe")
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    from onnxfuse.pipeline import registry
    from onnxfuse.pipeline.pipeline import option_names
    from onnxfuse.report.text import table

    origins, presets = registry.origins(), registry.presets()
    for name in arguments.names:
        if name not in origins:
            raise registry.unknown(name)
    chosen = arguments.names or list(origins)
    entries = []
    for name in chosen:
        kind = registry.pass_class(name)
        page = inspect.getdoc(kind) or ""
        entries.append(
            {
                "name": name,
                "summary": page.partition("\n")[0],
                "numerics": str(kind.numerics),
                "options": option_names(kind),
                "presets": [preset for preset, members in presets.items() if name in members.split(",")],
                "origin": origins[name],
                "page": page,
            }
        )
    if arguments.json:
        options.print_json({"passes": entries, "presets": presets})
    elif arguments.names:
        print("\n\n".join(f"{entry['name']}\n\n{entry['page']}" for entry in entries))
    else:
        rows = [
            (str(e["name"]), str(e["numerics"]), ", ".join(e["presets"]), str(e["origin"]), str(e["summary"]))
            for e in entries
        ]
        print("\n".join(table(("pass", "numerics", "presets", "from", "what it does"), rows)))
        print("\n".join(["", *table(("preset", "stands for"), list(presets.items()))]))
    return 0
