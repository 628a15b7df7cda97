"""`onnxfuse profile`: where the time of a run on a device goes, and which pass would help."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfuse.cli import options
from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    from onnxfuse.drivers.profile import Profile, ProfiledOp

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "profile",
        help="show where the time of a run on a device goes, and which pass would help",
        description="Reads an op_summary of msprof: the time of each type of operator, over several runs averaged, and what share "
        "converts layouts. With the model, operators are mapped back to its nodes, and the passes named that would rewrite "
        "these.",
        allow_abbrev=False,
    )
    parser.add_argument("csv", metavar="CSV", type=Path, help="op_summary_*.csv")
    parser.add_argument("--model", metavar="MODEL", type=Path, help="the ONNX model that was compiled")
    parser.add_argument(
        "--report",
        metavar="FILE",
        type=Path,
        help="what onnxfuse apply --json printed when it made MODEL: shows which nodes of the model before that stand behind it",
    )
    parser.add_argument("--model-id", metavar="ID", help="the rows of this model, where the file has those of several")
    parser.add_argument("--device-id", metavar="ID", help="the rows of this device, likewise")
    parser.add_argument(
        "--top", metavar="N", type=int, default=10, help="list the N slowest operators (default: %(default)s)"
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    if arguments.top < 0:
        raise UsageError(f"--top is a whole number from 0 on, not {arguments.top}")
    if arguments.report is not None and arguments.model is None:
        raise UsageError("--report says what became of nodes: give the model that was compiled too, with --model")
    options.quiet_libraries()
    from onnxfuse.drivers.op_summary import read
    from onnxfuse.drivers.profile import passes_by_node, profile

    summary = read(arguments.csv, model_id=arguments.model_id, device_id=arguments.device_id)
    if arguments.model is None:
        found = profile(summary)
    else:
        from onnxfuse.drivers.renames import Renames
        from onnxfuse.model_io import open_model

        opened = open_model(arguments.model)
        origins = {} if arguments.report is None else Renames.read(arguments.report, opened).origins
        nodes = opened.as_source().proto.graph.node
        found = profile(summary, nodes, *passes_by_node(arguments.model), origins)
    if arguments.json:
        model = None if arguments.model is None else str(arguments.model)
        options.print_json({"csv": str(arguments.csv), "model": model, **found.to_dict(arguments.top)})
    else:
        from onnxfuse.report.text import one_line

        options.show("\n".join(map(one_line, _lines(found, arguments.top, mapped=arguments.model is not None))))
    return 0


def _lines(found: Profile, top: int, *, mapped: bool) -> Iterator[str]:
    from onnxfuse.report.text import table

    def share(time: float) -> str:
        return f"{100 * time / found.total:.1f} %" if found.total else "0 %"

    header = ("type", "ops", "time (us)", "share", *(("nodes", "passes") if mapped else ()))
    rows = [
        (t.type, str(t.count), f"{t.time:.1f}", share(t.time))
        + ((", ".join(t.op_types), ", ".join(t.passes)) if mapped else ())
        for t in found.types
    ]
    yield from table(header, rows, right=(1, 2, 3))
    yield ""
    yield f"one run takes {found.total:.1f} us; layout conversion {share(found.layout)}, Casts put in {share(found.casts)}"
    for name, time in found.passes.items():
        yield f"{name} would rewrite what takes {time:.1f} us, {share(time)} (conversions beside it included)"
    if mapped and not found.passes:
        yield "no pass would rewrite any of it"
    if found.unmapped:
        yield f"operators that take {share(found.unmapped)} have names that are no node's: is it the model that was compiled?"
    yield from (f"note: {note}" for note in found.notes)
    if top:
        yield ""
        header = ("slowest", "type", "time (us)", "share", *(("nodes", "passes") if mapped else ()))
        rows = [
            (one.op.name, one.op.type, f"{one.op.time:.1f}", share(one.op.time))
            + ((_where(one), ", ".join(one.passes)) if mapped else ())
            for one in found.ops[:top]
        ]
        yield from table(header, rows, right=(2, 3))


def _where(one: ProfiledOp) -> str:
    if one.nodes:
        return ", ".join(one.nodes) + (f" (was {', '.join(one.was)})" if one.was else "")
    return f"beside {' and '.join(one.between)}" if one.between else ""
