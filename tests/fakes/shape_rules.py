"""What atc asks of options that speak of shapes: `--input_shape`, its ranges, and the profiles of `--dynamic_*`."""

from __future__ import annotations

import re

from tests.fakes.flags import CodeError
from tests.fakes.graph_rules import Graph
from tests.fakes.option_rules import era_5, wrong

__all__ = ["check_shapes"]

DYNAMIC = ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims")
Shapes = dict[str, list[int]]


def check_shapes(flags: dict[str, str], graph: Graph) -> Shapes:
    """Checks the input shapes and the profiles; returns the shapes.

    Raises:
        CodeError: A rule is broken.
    """
    given = [name for name in (*DYNAMIC, "input_shape_range") if name in flags]
    if len(given) > 1:
        raise CodeError("E10009", f"{', '.join(f'--{name}' for name in given)} cannot be set at the same time.")
    if "input_hint_shape" in flags:
        if set(given) & set(DYNAMIC):
            raise wrong("input_hint_shape", flags["input_hint_shape"], why=f"--{given[0]} is set")
        _check_hints(flags["input_hint_shape"])
    ranged = given == ["input_shape_range"]
    stated = _ranges(flags[given[0]], graph) if ranged else _shapes(flags, graph, profiled=bool(given))
    if graph.unranked - set(stated):
        raise wrong("input_shape", flags.get("input_shape", ""), why="an input has no shape, in the model neither")
    _against(stated, graph, "input_shape_range" if ranged else "input_shape")
    if ranged:
        return {**graph.inputs, **stated}
    shapes = {**graph.inputs, **stated}
    if given:
        _check_profiles(flags, given[0], stated)
    elif era_5() and any(-1 in dims for dims in shapes.values()):
        raise CodeError("E10011", "Value for --input_shape is invalid: a dim of -1 is not positive.")
    return shapes


# ---- shapes


def _shapes(flags: dict[str, str], graph: Graph, *, profiled: bool) -> Shapes:
    text = flags.get("input_shape", "")
    if not text:
        return {}
    ranged = "~" in text
    entries = [entry.rpartition(":") for entry in text.split(";")]
    if not any(colon for _, colon, _ in entries):
        if profiled or era_5() or not (ranged or "-1" in text):
            raise wrong("input_shape", text, "E10002", "it names no input")
        names = list(graph.inputs)
        if len(entries) > len(names):
            raise wrong("input_shape", text, "E10002", "there are not so many inputs")
        entries = [(name, ":", dims) for name, (_, _, dims) in zip(names, entries, strict=False)]
    shapes: Shapes = {}
    for name, colon, dims in entries:
        if not colon or not name.strip():
            raise wrong("input_shape", text, "E10002", "an entry is no name and shape")
        shapes[name.strip()] = [_dim(dim.strip(), text) for dim in dims.split(",")] if dims.strip() else []
    if ranged and profiled:
        raise CodeError("E10040", "A range in --input_shape is not allowed together with profiles.")
    if ranged and (era_5() or re.fullmatch(r"Ascend310B\w*", flags.get("soc_version", ""))):
        raise wrong("input_shape", text, "E10002", "it has a range")
    if era_5() and not all(shapes.values()):
        raise wrong("input_shape", text, "E10002", "an entry has no dims")
    return shapes


def _dim(text: str, whole: str) -> int:
    if "~" in text:
        return _range(text, "input_shape", whole, "E10002")
    if text == "-1":
        return -1
    if not re.fullmatch(r"-?[0-9]+", text):
        raise wrong("input_shape", whole, "E10002", f"{text} is no integer")
    if int(text) <= 0:
        raise wrong("input_shape", whole, "E10011", f"{text} is not positive")
    if int(text) >= 2**63:
        raise wrong("input_shape", whole, "E10013", f"{text} is out of range")
    return int(text)


def _range(text: str, option: str, whole: str, code: str) -> int:
    found = re.fullmatch(r"([0-9]+)\s*~\s*([0-9]+)", text)
    if not found or not int(found[1]) <= int(found[2]) < 2**63:
        raise wrong(option, whole, code, f"{text} is no range")
    return -1


def _ranges(text: str, graph: Graph) -> Shapes:
    option = "input_shape_range"
    shapes: Shapes = {}
    if ":" in text:
        pieces = [entry.rpartition(":") for entry in text.split(";")]
        named = [(name.strip(), dims.strip()) for name, _, dims in pieces]
    elif re.fullmatch(r"\s*\[[^][]*\](\s*,\s*\[[^][]*\])*\s*", text):
        shown = re.findall(r"\[[^][]*\]", text)
        if len(shown) > len(graph.inputs):
            raise wrong(option, text, "E10048", "there are not so many inputs")
        named = list(zip(graph.inputs, shown, strict=False))
    else:
        raise wrong(option, text, "E10048", "it is no list of shapes in brackets")
    for name, dims in named:
        if not name or not re.fullmatch(r"\[[^][]*\]", dims):
            raise wrong(option, text, "E10048", "an entry is no name and shape in brackets")
        shapes[name] = []
        for dim in dims[1:-1].split(",") if dims[1:-1].strip() else []:
            dim = dim.strip()
            if "~" in dim:
                shapes[name].append(_range(dim, option, text, "E10048"))
            elif re.fullmatch(r"-1|[0-9]+", dim) and int(dim) < 2**63:
                shapes[name].append(int(dim))
            else:
                raise wrong(option, text, "E10048", f"{dim} is no size")
    return shapes


def _against(shapes: Shapes, graph: Graph, option: str) -> None:
    for name, dims in shapes.items():
        graph.check_input(name, option)
        if name not in graph.unranked and len(dims) != len(graph.inputs[name]):
            raise CodeError("E10049", f"The rank of [{name}] in --{option} differs from that in the model.")


def _check_hints(text: str) -> None:
    places = []
    for entry in text.split(";"):
        found = re.fullmatch(r"\s*([0-9]+)\s*:\s*\[\s*([0-9]+(\s*,\s*[0-9]+)*)?\s*\]\s*", entry)
        if not found:
            raise wrong("input_hint_shape", text, "E10014", f"{entry} is no index and shape")
        places.append(int(found[1]))
    if len(set(places)) < len(places):
        raise wrong("input_hint_shape", text, "E10014", "an index repeats")


# ---- profiles


def _check_profiles(flags: dict[str, str], option: str, shapes: Shapes) -> None:
    if "input_shape" not in flags:
        raise CodeError("E10004", "Value for --input_shape is empty.")
    layout = flags.get("input_format", "NCHW")
    if (option == "dynamic_dims" and layout != "ND") or (
        option == "dynamic_image_size" and layout not in ("NCHW", "NHWC")
    ):
        raise wrong("input_format", layout, "E10003", f"--{option} wants another")
    free = {name: [axis for axis, dim in enumerate(dims) if dim == -1] for name, dims in shapes.items()}
    profiles = _profiles(
        option, flags[option], most=256 if flags.get("soc_version", "").startswith("Ascend950") else 100
    )
    if option == "dynamic_batch_size":
        if any(not dims for dims in shapes.values()):
            raise CodeError("E10012", "An input of --input_shape has no batch for --dynamic_batch_size.")
        if any(axes not in ([], [0]) for axes in free.values()):
            raise CodeError("E10018", "With --dynamic_batch_size only the batch in --input_shape may be -1.")
        if not any(free.values()):
            raise CodeError("E10031", "With --dynamic_batch_size a batch in --input_shape must be -1.")
        return
    if not any(free.values()):
        raise CodeError("E10040", f"--{option} is set, but no dim in --input_shape is -1.")
    if option == "dynamic_image_size":
        places = [1, 2] if flags.get("input_format") == "NHWC" else [2, 3]
        if any(axes and (axes != places or len(shapes[name]) != 4) for name, axes in free.items()):
            raise CodeError("E10019", "With --dynamic_image_size only height and width in --input_shape must be -1.")
    elif any(len(profile) != sum(map(len, free.values())) for profile in profiles):
        raise CodeError("E10045", "The number of -1 in --input_shape is not that of a profile of --dynamic_dims.")


def _profiles(option: str, text: str, *, most: int) -> list[list[int]]:
    batches = option == "dynamic_batch_size"
    groups = text.split(",") if batches else text.removesuffix(";").split(";")
    groups = groups[:-1] if batches and text.endswith(",") else groups
    blanks = " *" if option == "dynamic_image_size" else ""
    if any(not re.fullmatch(f"{blanks}[0-9]+{blanks}(,{blanks}[0-9]+{blanks})*", group) for group in groups):
        raise wrong(option, text, "E10001" if option == "dynamic_dims" else "E10003", "it is no list of sizes")
    profiles = [[int(number) for number in group.split(",")] for group in groups]
    if option == "dynamic_image_size" and any(len(profile) != 2 for profile in profiles):
        raise CodeError("E10020", "Each profile of --dynamic_image_size has a height and a width.")
    if len(profiles) < 2:
        raise CodeError("E10035", f"--{option} must have at least 2 profiles.")
    if len(profiles) > most:
        raise CodeError("E10036", f"--{option} can have at most {most} profiles.")
    if len({len(profile) for profile in profiles}) > 1:
        raise CodeError("E10037", f"The profiles of --{option} are of unequal length.")
    if any(number <= 0 for profile in profiles for number in profile):
        raise CodeError("E10038", f"A profile of --{option} is not positive.")
    if len({tuple(profile) for profile in profiles}) < len(profiles):
        raise CodeError("E10039", f"A profile of --{option} repeats.")
    return profiles
