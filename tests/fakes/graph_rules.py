"""What atc asks of options that speak of the graph: shapes, profiles, outputs."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.flags import CodeError

__all__ = ["Graph", "check_out_nodes", "check_shapes"]

DYNAMIC = ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims")


class Graph:
    """What is known of a model: its inputs with their ranks, its nodes as the converter names them."""

    def __init__(self, path: str) -> None:
        import onnx

        if not Path(path).is_file():
            raise CodeError("E10410", f"Open file[{path}] failed. No such file or directory")
        try:
            model = onnx.load(path, load_external_data=False)
        except Exception as error:
            raise CodeError("E10041", f"Loading the ONNX file {path} failed.") from error
        weights = {tensor.name for tensor in model.graph.initializer}
        values = [value for value in model.graph.input if value.name not in weights]
        self.inputs = {
            value.name: [dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim] for value in values
        }
        if not self.inputs:
            raise CodeError("E16001", "The model has no input node.")
        self.nodes: dict[str, int] = {}
        unnamed = 0
        for node in model.graph.node:
            name = node.name
            if not name:
                name = f"{node.op_type}_{unnamed}"
                unnamed += 1
            if name in self.nodes:
                raise CodeError("E13009", f"Operator name [{name}] repeats.")
            self.nodes[name] = len(node.output)
        self.outputs = [value.name for value in model.graph.output]
        self.opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def check_shapes(flags: dict[str, str], graph: Graph) -> dict[str, list[int]]:
    """Checks the input shapes and the profiles; returns the shapes.

    Raises:
        CodeError: A rule is broken.
    """
    given = [name for name in (*DYNAMIC, "input_shape_range") if flags.get(name)]
    if len(given) > 1:
        raise CodeError("E10009", f"{', '.join(given)} cannot be set at the same time.")
    shapes = _shapes(flags, graph, free=bool(given))
    if not given or given == ["input_shape_range"]:
        return shapes
    (option,) = given
    if not flags.get("input_shape"):
        raise CodeError("E10004", "Value for --input_shape is empty.")
    free = {name: [axis for axis, dim in enumerate(dims) if dim == -1] for name, dims in shapes.items()}
    if not any(free.values()):
        code = "E10031" if option == "dynamic_batch_size" else "E10040"
        raise CodeError(code, f"--{option} is set, but no dim in --input_shape is -1.")
    profiles = _profiles(option, flags[option])
    if option == "dynamic_batch_size" and any(axes not in ([], [0]) for axes in free.values()):
        raise CodeError("E10018", "When --dynamic_batch_size is set, only the batch may be -1.")
    if option == "dynamic_image_size":
        places = [2, 3] if flags.get("input_format", "NCHW") == "NCHW" else [1, 2]
        if any(axes not in ([], places) for axes in free.values()):
            raise CodeError("E10019", "When --dynamic_image_size is set, only height and width must be -1.")
        if any(len(profile) != 2 for profile in profiles):
            raise CodeError("E10020", "Each profile of --dynamic_image_size has a height and a width.")
    if option == "dynamic_dims":
        if flags.get("input_format") != "ND":
            raise CodeError("E10003", "When --dynamic_dims is set, --input_format must be ND.")
        if any(len(profile) != sum(map(len, free.values())) for profile in profiles):
            raise CodeError("E10045", "The number of -1 in --input_shape is not that of a profile of --dynamic_dims.")
    return shapes


def _shapes(flags: dict[str, str], graph: Graph, *, free: bool) -> dict[str, list[int]]:
    text = flags.get("input_shape", "")
    if not text:
        return graph.inputs
    shapes = {}
    for entry in text.split(";"):
        name, colon, dims = (part.strip() for part in entry.rpartition(":"))
        if not colon:
            raise CodeError("E10002", f"Value [{text}] for --input_shape is invalid: {entry}")
        if name not in graph.inputs:
            code = "E10017" if name in graph.nodes else "E10016"
            raise CodeError(code, f"Opname [{name}] specified in --input_shape is not an input of the model.")
        shapes[name] = [_dim(dim.strip(), free=free) for dim in dims.split(",")] if dims else []
        if len(shapes[name]) != len(graph.inputs[name]):
            raise CodeError("E10049", f"The rank of [{name}] in --input_shape differs from that in the model.")
    return shapes


def _dim(text: str, *, free: bool) -> int:
    if "~" in text:
        if free:
            raise CodeError("E10040", "A range is not allowed together with profiles.")
        return -1
    try:
        size = int(text)
    except ValueError:
        raise CodeError("E10002", f"Value for --input_shape is invalid: {text} is no integer.") from None
    if size <= 0 and size != -1:
        raise CodeError("E10011", f"Value for --input_shape is invalid: {text} is not positive.")
    return size


def _profiles(option: str, text: str) -> list[list[int]]:
    separator = "," if option == "dynamic_batch_size" else ";"
    try:
        profiles = [[int(number) for number in entry.split(",")] for entry in text.split(separator)]
    except ValueError:
        raise CodeError("E10003", f"Value [{text}] for --{option} is invalid.") from None
    if len(profiles) < 2:
        raise CodeError("E10035", f"--{option} must have at least 2 profiles.")
    if len(profiles) > 100:
        raise CodeError("E10036", f"--{option} can have at most 100 profiles.")
    if len({len(profile) for profile in profiles}) > 1:
        raise CodeError("E10037", f"The profiles of --{option} are of unequal length.")
    if any(number <= 0 for profile in profiles for number in profile):
        raise CodeError("E10038", f"A profile of --{option} is not positive.")
    if len({tuple(profile) for profile in profiles}) < len(profiles):
        raise CodeError("E10039", f"A profile of --{option} repeats.")
    return profiles


def check_out_nodes(flags: dict[str, str], graph: Graph) -> None:
    """Checks the outputs that are asked for.

    Raises:
        CodeError: A rule is broken.
    """
    text = flags.get("out_nodes", "")
    if not text:
        return
    entries = text.split(";")
    if all(entry in graph.outputs for entry in entries):
        return
    for entry in entries:
        parts = entry.split(":")
        if len(parts) != 2 or not parts[1].isdecimal():
            raise CodeError("E10001", f"Value [{text}] for --out_nodes is invalid: {entry} is not name:index.")
        if parts[0] not in graph.nodes:
            raise CodeError("E11017", f"The node [{parts[0]}] in --out_nodes is not in the model.")
        if int(parts[1]) >= graph.nodes[parts[0]]:
            raise CodeError(
                "E10003", f"Value [{text}] for --out_nodes is invalid: {parts[0]} has no output {parts[1]}."
            )
