"""The rules of atc's options that name shapes: what `--input_shape` and the profiles of the three `--dynamic_*` may say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from onnxfuse.drivers.atc.shape_grammar import (
    ANY,
    DimRange,
    GrammarError,
    InputShape,
    parse_hint_shape,
    parse_input_shape,
    parse_profiles,
    parse_shape_range,
)
from onnxfuse.drivers.atc.shell import Problem
from onnxfuse.drivers.atc.values import has_placeholder
from onnxfuse.drivers.atc.words import InputFormat, Release, Series

if TYPE_CHECKING:
    from onnxfuse.drivers.atc.options import AtcOptions

__all__ = ["PROFILES", "broken_shape_rules"]

PROFILES: Final = ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims")

_RULE: Final = "input-shape"
_MOST_PROFILES: Final = 100
_MOST_PROFILES_950: Final = 256
_LARGEST_BATCH: Final = 2048  # as the vendor's guide has it


def broken_shape_rules(options: AtcOptions, release: Release | None) -> Iterator[Problem]:
    """Yields what is wrong with shapes and profiles."""
    yield from _grammar(options)
    given = [name for name in PROFILES if getattr(options, name)]
    exclusive = [*given, *(["input_shape_range"] if options.input_shape_range else [])]
    if len(exclusive) > 1:
        message = f"stands beside {' and '.join(f'--{name}' for name in exclusive[1:])}: give one of them"
        yield Problem(f"--{exclusive[0]}", "profiles", "E10009", message)
    elif options.input_shape_range and options.input_shape:
        message = "is not looked at where --input_shape_range is given: leave one of them out"
        yield Problem("--input_shape", _RULE, None, message)
    shapes = _shapes(options)
    if given and not options.input_shape:
        message = f"is required by --{given[0]}: give it, with -1 for the axes that the profiles fill"
        yield Problem("--input_shape", "profiles", "E10004", message)
    for name in given:
        yield from _profiles(options, name, shapes)
    if shapes is not None:
        yield from _inputs(options, shapes, release, profiled=bool(given))
    if options.input_hint_shape and given:
        yield Problem(
            "--input_hint_shape", "profiles", "E10001", f"does not go with --{given[0]}: leave one of them out"
        )


def _shapes(options: AtcOptions) -> tuple[InputShape, ...] | None:
    """Returns what `--input_shape` says, None where it is not given or says nothing that can be read."""
    try:
        return parse_input_shape(options.input_shape) if options.input_shape else None
    except GrammarError:
        return None


def _grammar(options: AtcOptions) -> Iterator[Problem]:
    readers: tuple[tuple[str, Callable[[str], object]], ...] = (
        ("input_shape", parse_input_shape),
        ("input_shape_range", parse_shape_range),
        ("input_hint_shape", parse_hint_shape),
    )
    for name, read in readers:
        value = getattr(options, name)
        if value:
            try:
                read(value)
            except GrammarError as error:
                yield Problem(f"--{name}", _RULE, error.code, str(error))


def _inputs(
    options: AtcOptions, shapes: tuple[InputShape, ...], release: Release | None, *, profiled: bool
) -> Iterator[Problem]:
    names = [shape.name for shape in shapes if shape.name]
    for name in sorted(name for name, count in Counter(names).items() if count > 1):
        yield Problem("--input_shape", _RULE, None, f"gives input {name!r} twice: give it once")
    dims = [dim for shape in shapes for dim in shape.dims]
    ranged = any(isinstance(dim, DimRange) for dim in dims)
    if ranged and profiled:
        message = "has a range, and profiles fill -1 only: write -1, or leave the profiles out"
        yield Problem("--input_shape", "profiles", "E10040", message)
    dynamic = ranged or ANY in dims
    if not names and not any(isinstance(dim, str) for dim in dims) and (profiled or not dynamic):
        yield Problem("--input_shape", _RULE, "E10002", "names no input: write name:1,3,224,224")
    if ranged and Series.of(options.soc_version) is Series.A310B:
        yield Problem(
            "--input_shape", _RULE, None, f"has a range, which {options.soc_version} does not know: write a size"
        )
    if release is Release.CANN_5 and not profiled and dynamic:
        message = (
            "has an axis without a size, and CANN 5 takes that in --input_shape_range only: write it there, or profiles"
        )
        yield Problem("--input_shape", _RULE, "E10002" if ranged else "E10011", message)
    if release is Release.CANN_5 and any(not shape.dims for shape in shapes):
        yield Problem(
            "--input_shape", _RULE, "E10002", "has an input without dims, which CANN 5 does not take: give dims"
        )


# ---------------------------------------------------------------------- profiles


def _profiles(options: AtcOptions, name: str, shapes: tuple[InputShape, ...] | None) -> Iterator[Problem]:
    """Yields what is wrong with one of the options of profiles."""
    option, text = f"--{name}", getattr(options, name)
    yield from _layout(options, name)
    profiles: tuple[tuple[int, ...], ...] | None = None
    if not has_placeholder(text):
        try:
            profiles = parse_profiles(name, text)
        except GrammarError as error:
            yield Problem(option, "profiles", error.code, str(error))
    if profiles is not None:
        yield from _counted(options, option, profiles)
        if name == "dynamic_batch_size" and max(map(max, profiles)) > _LARGEST_BATCH:
            yield Problem(option, "profiles", None, f"has a batch over {_LARGEST_BATCH}, the largest: take it out")
    if shapes is not None:
        yield from _AXES[name](options, shapes, profiles)


def _counted(options: AtcOptions, option: str, profiles: tuple[tuple[int, ...], ...]) -> Iterator[Problem]:
    most = _MOST_PROFILES_950 if Series.of(options.soc_version) is Series.A950 else _MOST_PROFILES
    if len(profiles) < 2:
        message = "has one profile, and atc wants 2 at least: add one, or write its sizes into --input_shape"
        yield Problem(option, "profiles", "E10035", message)
    if len(profiles) > most:
        yield Problem(
            option, "profiles", "E10036", f"has {len(profiles)} profiles, and {most} is the most: leave some out"
        )
    twice = next((profile for profile, count in Counter(profiles).items() if count > 1), None)
    if twice is not None:
        yield Problem(option, "profiles", "E10039", f"has {','.join(map(str, twice))} twice: take one away")
    if any(size == 0 for profile in profiles for size in profile):
        yield Problem(option, "profiles", "E10038", "has a size of 0: sizes are positive")


def _layout(options: AtcOptions, name: str) -> Iterator[Problem]:
    layout = options.input_format
    if name == "dynamic_dims":
        if options.insert_op_conf:
            yield Problem(f"--{name}", "profiles", "E10001", "does not go with --insert_op_conf: leave one of them out")
        if layout != InputFormat.ND and not has_placeholder(layout):
            is_now = "NCHW where it is not given" if layout is None else str(layout)
            yield Problem("--input_format", "profiles", "E10001", f"is {is_now}, and --dynamic_dims wants ND: write ND")
    elif name == "dynamic_image_size" and layout in (InputFormat.ND, InputFormat.NCDHW):
        message = f"is {layout}, and --dynamic_image_size wants NCHW or NHWC: write the layout of the images"
        yield Problem("--input_format", "profiles", "E10003", message)


def _batch_axes(
    _: AtcOptions, shapes: tuple[InputShape, ...], __: tuple[tuple[int, ...], ...] | None
) -> Iterator[Problem]:
    if any(not shape.dims for shape in shapes):
        message = "has an input without dims, which has no batch for --dynamic_batch_size: give its dims"
        yield Problem("--input_shape", "profiles", "E10012", message)
    if any(ANY in shape.dims[1:] for shape in shapes):
        message = "has -1 on another axis than the first, and --dynamic_batch_size fills the first only: give its size"
        yield Problem("--input_shape", "profiles", "E10018", message)
    first = [shape.dims[0] for shape in shapes if shape.dims]
    if ANY not in first and not any(isinstance(dim, str) for dim in first):
        message = "has no -1 on a first axis for --dynamic_batch_size to fill: write -1 for the batch"
        yield Problem("--input_shape", "profiles", "E10031", message)


def _image_axes(
    options: AtcOptions, shapes: tuple[InputShape, ...], _: tuple[tuple[int, ...], ...] | None
) -> Iterator[Problem]:
    height = 1 if options.input_format == InputFormat.NHWC else 2
    free = [shape for shape in shapes if ANY in shape.dims]
    for shape in free:
        axes = [axis for axis, dim in enumerate(shape.dims) if dim == ANY]
        if len(shape.dims) != 4 or axes != [height, height + 1]:
            message = (
                f"has -1 in {shape.name!r} elsewhere than for height and width alone, which --dynamic_image_size fills"
            )
            yield Problem(
                "--input_shape", "profiles", "E10019", f"{message}: write -1 for both, and sizes for the rest"
            )
    if not free and not any(isinstance(dim, str) for shape in shapes for dim in shape.dims):
        message = "has no image with -1 for height and width, which --dynamic_image_size fills: write -1 for both"
        yield Problem("--input_shape", "profiles", "E10040", message)


def _any_axes(
    _: AtcOptions, shapes: tuple[InputShape, ...], profiles: tuple[tuple[int, ...], ...] | None
) -> Iterator[Problem]:
    dims = [dim for shape in shapes for dim in shape.dims]
    free, unknown = dims.count(ANY), any(isinstance(dim, str) for dim in dims)
    if not free and not unknown:
        yield Problem(
            "--input_shape", "profiles", "E10040", "has no -1 for --dynamic_dims to fill: write -1 for those axes"
        )
        return
    for profile in profiles or ():
        if len(profile) < free or (len(profile) > free and not unknown):
            message = (
                f"has {','.join(map(str, profile))}, and --input_shape has {free} axes of -1: "
                "each profile gives as many sizes, in the order of the inputs"
            )
            yield Problem("--dynamic_dims", "profiles", "E10003", message)
            return
    if len({len(profile) for profile in profiles or ()}) > 1:
        yield Problem("--dynamic_dims", "profiles", "E10037", "has profiles of different lengths: give all the same")


_AXES: Final = {"dynamic_batch_size": _batch_axes, "dynamic_image_size": _image_axes, "dynamic_dims": _any_axes}
