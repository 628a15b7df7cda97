"""What atc asks of a model, and of options that name its nodes and outputs."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.flags import CodeError
from tests.fakes.option_rules import era_5, wrong

__all__ = ["Graph", "check_fp16_inputs", "check_outputs"]

OLDEST = 8
NEWEST = 18
NEWEST_OF_ERA_5 = 13


class Graph:
    """What is known of a model: its inputs with their ranks, its nodes as the converter names them.

    Raises:
        CodeError: It is not there, or is none that the converter takes.
    """

    def __init__(self, path: str) -> None:
        import onnx

        if not Path(path).is_file():
            raise CodeError("E10410", f"Open file[{path}] failed. No such file or directory")
        try:
            model = onnx.load(path, load_external_data=False)
        except Exception as error:
            raise CodeError("E10041", f"Loading the ONNX file {path} failed.") from error
        self.opset = _opset(model)
        weights = {tensor.name for tensor in model.graph.initializer}
        weights |= {tensor.values.name for tensor in model.graph.sparse_initializer}
        values = [value for value in model.graph.input if value.name not in weights]
        self.inputs = {
            value.name: [dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim]
            for value in values
        }
        self.unranked = {value.name for value in values if not value.type.tensor_type.HasField("shape")}
        if not self.inputs:
            raise CodeError("E16001", "The model has no input node.")
        self.nodes: dict[str, int] = {}
        self.inside = {*weights, *(name for node in model.graph.node for name in node.output)}
        unnamed = 0
        for node in model.graph.node:
            name = node.name
            if not name:
                name = f"{node.op_type}_{unnamed}"
                unnamed += 1
            if name in self.nodes or name in self.inputs:
                raise CodeError("E13009", f"Operator name [{name}] repeats.")
            self.nodes[name] = len(node.output)
        self.outputs = [value.name for value in model.graph.output]

    def check_input(self, name: str, option: str) -> None:
        """Refuses what is no input.

        Raises:
            CodeError: It is none.
        """
        if name not in self.inputs:
            code = "E10017" if name in self.nodes or name in self.inside else "E10016"
            raise CodeError(code, f"Opname [{name}] specified in --{option} is not an input of the model.")


def _opset(model: object) -> int:
    versions = {entry.domain: entry.version for entry in model.opset_import}  # type: ignore[attr-defined]
    if len(versions) > 1 and any(not node.domain for node in model.graph.node):  # type: ignore[attr-defined]
        raise CodeError("E16005", "The ONNX model has several domains in opset_import, and nodes without a domain.")
    opset = int(versions.get("", versions.get("ai.onnx", OLDEST)))
    if not OLDEST <= opset <= (NEWEST_OF_ERA_5 if era_5() else NEWEST):
        raise CodeError("E16002", f"No parser is registered for the operators of ai.onnx::{opset}.")
    return opset


def check_fp16_inputs(flags: dict[str, str], graph: Graph) -> list[str]:
    """Returns the inputs that are declared float16.

    Raises:
        CodeError: One is no input.
    """
    names = [name.strip() for name in flags.get("input_fp16_nodes", "").split(";") if name.strip()]
    for name in names:
        graph.check_input(name, "input_fp16_nodes")
    return names


def check_outputs(flags: dict[str, str], graph: Graph) -> None:
    """Checks the outputs that are asked for, and the types of each.

    Raises:
        CodeError: A rule is broken.
    """
    text = flags.get("out_nodes", "")
    named = _indexed(text, graph) if text else []
    types = flags.get("output_type", "")
    if ":" in types:
        for entry in types.removesuffix(";").split(";"):
            name, index, _ = (part.strip() for part in entry.split(":"))
            if (name, int(index)) not in named:
                raise wrong("output_type", types, why=f"{name}:{index} is not in --out_nodes")


def _indexed(text: str, graph: Graph) -> list[tuple[str, int]]:
    entries = [entry.strip() for entry in text.removesuffix(";").split(";")]
    if not all(entries):
        raise wrong("out_nodes", text, why="an entry is empty")
    by_node = [":" in entry for entry in entries]
    if not any(by_node):
        for entry in entries:
            if entry not in graph.outputs:
                raise CodeError("E10016", f"Opname [{entry}] specified in --out_nodes is no output of the model.")
        return []
    if not all(by_node):
        raise wrong("out_nodes", text, why="names of nodes and of outputs are mixed")
    found = []
    for entry in entries:
        parts = [part.strip() for part in entry.split(":")]
        if len(parts) != 2 or not parts[0]:
            raise wrong("out_nodes", text, why=f"{entry} is not name:index")
        if not parts[1].isdecimal():
            raise wrong("out_nodes", text, "E10003", f"{parts[1]} is no index")
        if parts[0] not in graph.nodes:
            raise CodeError("E11017", f"The node [{parts[0]}] in --out_nodes is not in the model.")
        if int(parts[1]) >= graph.nodes[parts[0]]:
            raise wrong("out_nodes", text, "E10003", f"{parts[0]} has no output {parts[1]}")
        found.append((parts[0], int(parts[1])))
    return found
