"""The rules of atc's options, which people learn from its error codes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from onnxfuse.drivers.atc.shape_grammar import GrammarError, OutputType, parse_out_nodes, parse_output_type
from onnxfuse.drivers.atc.shape_rules import broken_shape_rules
from onnxfuse.drivers.atc.shell import SHELL_SYNTAX, Problem
from onnxfuse.drivers.atc.values import Kind, has_placeholder, option_name, text_of
from onnxfuse.drivers.atc.words import (
    SOC_VERSIONS,
    ElementType,
    Framework,
    InputFormat,
    Mode,
    Number,
    PrecisionMode,
    PrecisionModeV2,
    Release,
    Series,
    Word,
)

if TYPE_CHECKING:
    from onnxfuse.drivers.atc.options import AtcOptions

__all__ = ["broken_rules", "wrong_signs"]

# What atc takes in a path: ASCII letters and digits, a few signs, and Chinese characters.
_PATH: Final = re.compile(r"[A-Za-z0-9_./\u4e00-\u9fff-]*")
_LONGEST_PATH: Final = 4096

_MIXED: Final = (
    PrecisionMode.ALLOW_MIX_PRECISION,
    PrecisionMode.ALLOW_MIX_PRECISION_FP16,
    PrecisionMode.ALLOW_MIX_PRECISION_BF16,
)
_MIXED_V2: Final = (PrecisionModeV2.MIXED_FLOAT16, PrecisionModeV2.MIXED_BFLOAT16, PrecisionModeV2.MIXED_HIF8)

# By what atc is asked to do: what it cannot do without, with the code for its lack.
_REQUIRED: Final[dict[Mode, dict[str, str | None]]] = {
    Mode.CONVERT: {"model": "E10054", "framework": "E10007", "output": "E10054", "soc_version": "E10054"},
    Mode.CHECK: {"model": "E10054", "framework": "E10007"},
    Mode.TO_JSON: {"om": None, "json": None},
    Mode.SHOW: {"om": "E10057"},
}
_EXAMPLES: Final = {
    "model": "the ONNX file",
    "framework": "5 for ONNX",
    "output": "the path of the .om file, without .om",
    "soc_version": "the chip, `Ascend` and the name that npu-smi info shows: Ascend310P3",
    "om": "the file to look at",
    "json": "the file to write",
}


def broken_rules(options: AtcOptions, release: Release | None) -> Iterator[Problem]:
    """Yields the rules that these options break."""
    yield from _words(options)
    yield from _repeated(options)
    yield from _values(options, release)
    yield from _missing(options)
    yield from _paths(options)
    yield from _chip(options)
    yield from _layouts(options)
    yield from broken_shape_rules(options, release)
    yield from _outputs(options, release)
    yield from _together(options)


# ---------------------------------------------------------------------- words


def _words(options: AtcOptions) -> Iterator[Problem]:
    """Yields what is no option."""
    table = options.table()
    for group in options.other:
        head = group[0].partition("=")[0]
        name = option_name(head)
        if not name:
            message = "a stray word, and atc takes options only: quote the value it belongs to, or leave it out"
            yield Problem(head or "''", SHELL_SYNTAX, None, message)
        elif name in ("h", "help"):
            yield Problem(head, "no-conversion", None, "shows atc's help and converts nothing: leave it out")
        elif name in table:
            yield Problem(f"--{name}", "missing-value", None, f"has no value: write --{name}=value")
        else:
            yield Problem(head, "unknown-option", None, _unknown(name, table))


def _unknown(name: str, table: Iterable[str]) -> str:
    longer = [option for option in table if option.startswith(name)]
    if len(longer) == 1:
        return f"is no option of atc, though newer releases may take it for --{longer[0]}: write that"
    close = get_close_matches(name, table, 1)
    return "is no option of atc: " + (f"did you mean --{close[0]}?" if close else "leave it out")


def _repeated(options: AtcOptions) -> Iterator[Problem]:
    for name, values in options.repeated().items():
        message = f"is given {len(values)} times, and the last ({values[-1]}) counts: give it once"
        yield Problem(f"--{name}", "repeated-option", None, message)


def _values(options: AtcOptions, release: Release | None) -> Iterator[Problem]:
    """Yields what a single option may not be."""
    for name, value in options.given().items():
        of = options.table()[name]
        lacks_it = release is not None and release not in of.releases
        if lacks_it:
            hint = "tune with aoe instead" if name == "auto_tune_mode" else "leave it out"
            code = "E10001" if name == "auto_tune_mode" else None
            yield Problem(f"--{name}", "release", code, f"is no option of {release}: {hint}")
        if value == "":
            message = "has no value: write --name=value, without a blank between"
            yield Problem(f"--{name}", SHELL_SYNTAX, "E10004", message)
        elif has_placeholder(value):
            continue
        elif of.allowed and text_of(value) not in of.allowed:
            message = f"is {text_of(value)!r}, and can be {', '.join(of.allowed)}"
            yield Problem(f"--{name}", "value", of.code, message)
        elif of.pattern and not re.fullmatch(of.pattern, text_of(value)):
            yield Problem(f"--{name}", "value", of.code, f"is {text_of(value)!r}, and takes {of.example}")
        elif of.kind is Kind.NUMBER and not isinstance(value, int):
            yield Problem(f"--{name}", "value", "E10003", f"is {text_of(value)!r}, and takes digits alone")
        elif isinstance(value, Word | Number):
            yield from _taken(options, f"--{name}", value, None if lacks_it else release)


def _taken(options: AtcOptions, subject: str, word: Word | Number, release: Release | None) -> Iterator[Problem]:
    """Yields what of the release and the chip does not take a word. What is not known of a chip is not told."""
    only = word.taken.release
    if release is not None and only is not None and release is not only:
        message = f"is {word.value}, which {release} does not take: write another"
        yield Problem(subject, "release", "E10001", message)
    chips, series = word.taken.series, Series.of(options.soc_version)
    if chips is not None and series is not None and series not in chips:
        message = f"is {word.value}, which {options.soc_version} cannot do: write another"
        yield Problem(subject, "combination", None, message)


def _missing(options: AtcOptions) -> Iterator[Problem]:
    mode = Mode.CONVERT if options.mode is None else options.mode
    required = _REQUIRED.get(mode, {}) if isinstance(mode, Mode) and options.singleop is None else {}
    for name, code in required.items():
        if getattr(options, name) is None:
            yield Problem(f"--{name}", "missing-option", code, f"is required: {_EXAMPLES[name]}")
    if isinstance(options.framework, Framework) and options.framework is not Framework.ONNX:
        yield Problem("--framework", "framework", None, f"is {options.framework}, and 5 says that the model is ONNX")


# ---------------------------------------------------------------------- files and chips


def _paths(options: AtcOptions) -> Iterator[Problem]:
    for name, value in options.given().items():
        if not options.table()[name].is_path or not isinstance(value, str):
            continue
        if len(value) >= _LONGEST_PATH:
            yield Problem(f"--{name}", "path", "E10021", f"has {len(value)} characters: give a shorter path")
        elif not has_placeholder(value) and not _PATH.fullmatch(value):
            yield wrong_signs(name, value)
    if options.output is not None and options.output.endswith(".om"):
        message = f"ends in .om, which atc appends once more ({options.output}.om): leave it out"
        yield Problem("--output", "output-suffix", None, message)
    if options.output is not None and options.output.rpartition("/")[2] in ("", ".", "..") and options.output:
        yield Problem("--output", "path", "E10022", "is a folder: add the file's name, without .om")


def wrong_signs(name: str, path: str) -> Problem:
    """Returns what is wrong with a path that has signs which atc does not take."""
    odd = "".join(sorted(set(_PATH.sub("", path))))
    message = f"has {odd!r}, and atc takes letters, digits, `_`, `-`, `.` and `/` in a path: rename the file"
    return Problem(f"--{name}", "path", "E10001", message)


def _chip(options: AtcOptions) -> Iterator[Problem]:
    soc = options.soc_version
    if not soc or has_placeholder(soc):
        return
    given = soc.strip().casefold()
    alike = [name for name in SOC_VERSIONS if name.casefold() in (given, f"ascend{given}")]
    if soc not in alike and (alike or not re.fullmatch(r"Ascend[0-9]{3}[A-Za-z0-9_-]*", soc)):
        hint = (
            f"did you mean {alike[0]}?" if alike else "write `Ascend` and the name that npu-smi info shows: Ascend310P3"
        )
        yield Problem("--soc_version", "soc-version", None, f"is {soc!r}, which is no chip: {hint}")


def _layouts(options: AtcOptions) -> Iterator[Problem]:
    layout = options.input_format
    if layout is InputFormat.NHWC and options.insert_op_conf is None:
        message = "is NHWC, which ONNX models have with --insert_op_conf only: write NCHW, ND or NCDHW"
        yield Problem("--input_format", "combination", "E10001", message)
    if layout in (InputFormat.ND, InputFormat.NCDHW) and options.insert_op_conf:
        message = f"is {layout}, and --insert_op_conf wants NCHW or NHWC: write the layout of the images"
        yield Problem("--input_format", "combination", "E10001", message)


# ---------------------------------------------------------------------- outputs


def _outputs(options: AtcOptions, release: Release | None) -> Iterator[Problem]:
    nodes = None
    if options.out_nodes and not has_placeholder(options.out_nodes):
        try:
            nodes = parse_out_nodes(options.out_nodes)
        except GrammarError as error:
            yield Problem("--out_nodes", "out-nodes", error.code, str(error))
    if options.output_type and not has_placeholder(options.output_type):
        try:
            types = parse_output_type(options.output_type)
        except GrammarError as error:
            yield Problem("--output_type", "output-type", error.code, str(error))
        else:
            elements = {types} if isinstance(types, str) else {entry.element for entry in types}
            for element in sorted(elements):
                word = ElementType.__members__.get(element)
                if word is None:
                    message = f"names {element!r}, which is no type: FP32, FP16, UINT8 or INT8"
                    yield Problem("--output_type", "output-type", "E10001", message)
                else:
                    yield from _taken(options, "--output_type", word, release)
            named = {(node.name, node.index) for node in nodes or ()}
            if not isinstance(types, str):
                yield from _typed_outputs(types, named)
    yield from _adjusted(
        "is_output_adjust_hw_layout", options.is_output_adjust_hw_layout, "out_nodes", options.out_nodes
    )
    yield from _adjusted(
        "is_input_adjust_hw_layout", options.is_input_adjust_hw_layout, "input_fp16_nodes", options.input_fp16_nodes
    )


def _typed_outputs(types: tuple[OutputType, ...], named: set[tuple[str, int | None]]) -> Iterator[Problem]:
    for entry in types:
        if (entry.name, entry.index) not in named:
            message = f"has {entry.name}:{entry.index}, which is not in --out_nodes: name it there too"
            yield Problem("--output_type", "output-type", None, message)


def _adjusted(name: str, value: str | None, other: str, nodes: str | None) -> Iterator[Problem]:
    """Yields what is wrong with a list of truths, one for each of some nodes."""
    if not value or has_placeholder(value) or has_placeholder(nodes):
        return
    truths = value.split(",")
    if not set(truths) <= {"true", "false"}:
        yield Problem(f"--{name}", "value", "E10005", "takes true and false alone, with commas between")
    count = len([node for node in (nodes or "").split(";") if node])
    if len(truths) != count:
        yield Problem(
            f"--{name}", "combination", None, f"has {len(truths)} entries, and --{other} has {count}: give as many"
        )


# ---------------------------------------------------------------------- what does not go together


def _together(options: AtcOptions) -> Iterator[Problem]:
    if options.precision_mode and options.precision_mode_v2:
        message = "stands beside --precision_mode_v2: give one of them"
        yield Problem("--precision_mode", "combination", "E10056", message)
    if options.enable_compress_weight is True and options.compress_weight_conf:
        message = "stands beside --compress_weight_conf: give one of them"
        yield Problem("--enable_compress_weight", "combination", "E10047", message)
    if options.optypelist_for_implmode and options.op_select_implmode is None:
        message = "says nothing without --op_select_implmode: give both"
        yield Problem("--optypelist_for_implmode", "combination", "E10001", message)
    modes = (options.precision_mode, options.precision_mode_v2)
    mixed = options.precision_mode in _MIXED or options.precision_mode_v2 in _MIXED_V2
    if options.modify_mixlist and not mixed and not any(map(has_placeholder, modes)):
        message = f"goes with a mixed precision only: give --precision_mode={PrecisionMode.ALLOW_MIX_PRECISION}"
        yield Problem("--modify_mixlist", "combination", "E10001", message)
    if options.auto_tune_mode and options.op_bank_path:
        yield Problem("--auto_tune_mode", "combination", None, "does not go with --op_bank_path: leave one out")
    if options.weight and options.framework is Framework.ONNX:
        yield Problem(
            "--weight", "combination", None, "says nothing, since an ONNX file carries its weights: leave it out"
        )
