"""`onnxfuse inspect`: what is in a model, and what would match."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfuse.cli import options
from onnxfuse.errors import PassError, UsageError

if TYPE_CHECKING:
    import onnx

    from onnxfuse.model_io import Opened

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "inspect",
        help="show a model's interface, ops and sizes, and which passes would match",
        description="Shows a model's interface, opsets, ops and sizes, and how often each pass would apply.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", type=Path)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    options.quiet_libraries()
    from onnxfuse.model_io import open_model

    opened = open_model(arguments.model)
    data = _describe(opened, arguments.model)
    if arguments.json:
        options.print_json(data)
    else:
        options.show(_text(data))
    return 0


def _describe(opened: Opened, path: Path) -> dict[str, Any]:
    from onnxfuse.model_io.files import external_tensors
    from onnxfuse.report.facts import facts_of

    source = opened.as_source()
    proto = source.proto
    facts = facts_of(opened)
    locations = {e.value for t in external_tensors(proto) for e in t.external_data if e.key == "location"}
    initializers = {tensor.name for tensor in proto.graph.initializer}
    fixed = initializers if proto.ir_version < 4 else set()
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "ir_version": proto.ir_version,
        "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
        "opsets": {entry.domain: entry.version for entry in proto.opset_import},
        "inputs": [_value(value) for value in proto.graph.input if value.name not in fixed],
        "outputs": [_value(value) for value in proto.graph.output],
        "nodes": facts.nodes,
        "ops": dict(facts.ops),
        "functions": [f"{function.domain}::{function.name}" for function in proto.functions],
        "initializers": len(initializers),
        "external_data": sorted(locations),
        "would_match": _matches(opened, path),
    }


def _matches(opened: Opened, path: Path) -> dict[str, dict[str, Any]]:
    from onnxfuse.model_io import open_model
    from onnxfuse.pipeline import registry
    from onnxfuse.pipeline.manager import PassManager, VerifyLevel
    from onnxfuse.pipeline.pipeline import Pipeline, has_required_options

    found: dict[str, dict[str, Any]] = {}
    changed = False
    for name in registry.origins():
        if name in registry.TOOLS:
            continue  # to know what it would do is to run it
        try:
            if has_required_options(registry.pass_class(name)):
                continue  # it does nothing until it is told what
            if changed:  # a pass is asked about the model as it came
                opened = open_model(path)
            changed = True  # until it is known that it did not, also where the pass breaks
            report = PassManager(Pipeline.parse(name), verify=VerifyLevel.OFF).run(opened)
            changed = report.modified
        except (UsageError, PassError) as error:
            found[name] = {"matches": 0, "declined": 0, "error": str(error)}
            continue
        failed = report.failed[0].error if report.failed else None
        found[name] = {"matches": len(report.applied), "declined": len(report.declined), "error": failed}
    return found


def _value(value: onnx.ValueInfoProto) -> dict[str, Any]:
    from onnxfuse.report.diff import element_text

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return {"name": value.name, "type": kind or "unknown", "shape": None}
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim]
    return {"name": value.name, "type": element_text(tensor.elem_type), "shape": shape}


def _text(data: dict[str, Any]) -> str:
    from onnxfuse.report.text import counted, one_line, table

    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in data["opsets"].items())
    lines = [
        f"{data['path']}: {options.size_text(data['bytes'])}, IR version {data['ir_version']}, opset {opsets}"
        + (f", by {data['producer']}" if data["producer"] else ""),
        *(f"input   {_value_text(value)}" for value in data["inputs"]),
        *(f"output  {_value_text(value)}" for value in data["outputs"]),
        f"{counted(data['nodes'], 'node')}, {counted(data['initializers'], 'initializer')}"
        + (f", external data in {', '.join(data['external_data'])}" if data["external_data"] else "")
        + (f", functions {', '.join(data['functions'])}" if data["functions"] else ""),
        "",
    ]
    ops = sorted(data["ops"].items(), key=lambda item: (-item[1], item[0]))
    lines += table(("op", "nodes"), [(name, str(count)) for name, count in ops], right=(1,))
    rows = [(name, str(c["matches"]), str(c["declined"])) for name, c in data["would_match"].items()]
    lines += ["", *table(("pass", "would apply", "declined"), rows, right=(1, 2))]
    lines += [f"  {name} failed: {c['error']}" for name, c in data["would_match"].items() if c["error"]]
    return "\n".join(map(one_line, lines))


def _value_text(value: dict[str, Any]) -> str:
    from onnxfuse.report.diff import dim_text

    shape = "?" if value["shape"] is None else ", ".join(map(dim_text, value["shape"]))
    return f"{value['name']}  {value['type']} [{shape}]"
