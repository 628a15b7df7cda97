"""The options of `atc`, the compiler of Ascend: a command line as a value, read, checked, changed and written again.

options = AtcOptions.parse("atc --model=m.onnx --framework=5 --output=m --soc_version=Ascend310")
options.problems()                                              # what is wrong with it
dataclasses.replace(options, soc_version="Ascend310P3").argv()  # the same words, and one changed
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.drivers.atc.command_line import read_command
from onnxfuse.drivers.atc.shell import Problem
from onnxfuse.drivers.atc.values import Kind, Option, Value, has_placeholder, option, text_of, typed
from onnxfuse.drivers.atc.words import (
    BufferOptimize,
    CacheMode,
    CoreType,
    Framework,
    ImplMode,
    InputFormat,
    LogLevel,
    Mode,
    OoLevel,
    PrecisionMode,
    PrecisionModeV2,
    Release,
)

if TYPE_CHECKING:
    from onnxfuse.model_io import ModelLike

__all__ = ["AtcOptions"]

PROGRAM: Final = "atc"
_SWITCHES: Final = "[^:;]+:(on|off)(;[^:;]+:(on|off))*;?"
_TUNERS: Final = r"\s*(RL|GA)\s*(,\s*(RL|GA)\s*)?"
_OPTION: Final = re.compile(r"--?([A-Za-z][^=]*)(=?)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Written:
    """What of a command line belongs together: an option with its value, or words of no option.

    Attributes:
        words: Its words as they stand there.
        name: The option's name; None where atc knows none of that name, or it has no value.
        value: The option's value.
    """

    words: tuple[str, ...]
    name: str | None = None
    value: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class AtcOptions:
    """The options of one run of atc, named as atc names them; None where one is not given.

    A value that its option's vocabulary knows is a member of that vocabulary (which equals its text), a number or a truth;
    any other stays the text it is: `$1`, `{chip_name}`, and what atc would refuse. An `os.PathLike` that is given for a path
    becomes its text; anything else that is no text, number or truth is a TypeError.

    Attributes:
        other: What of a command line is no known option with a value, in the groups it came in.
    """

    # what goes in and what comes out
    model: str | None = option(Kind.PATH)
    framework: Framework | int | str | None = option(Framework, code="E10007")
    output: str | None = option(Kind.PATH)
    soc_version: str | None = option()
    mode: Mode | int | str | None = option(Mode)
    weight: str | None = option(Kind.PATH)
    om: str | None = option(Kind.PATH)
    json: str | None = option(Kind.PATH)
    check_report: str | None = option(Kind.PATH)
    dump_mode: int | str | None = option(Kind.SWITCH)
    # inputs
    input_format: InputFormat | str | None = option(InputFormat)
    input_shape: str | None = option()
    input_shape_range: str | None = option()
    input_hint_shape: str | None = option(only=Release.CURRENT)
    dynamic_batch_size: str | None = option()
    dynamic_image_size: str | None = option()
    dynamic_dims: str | None = option()
    insert_op_conf: str | None = option(Kind.FILE)
    input_fp16_nodes: str | None = option()
    is_input_adjust_hw_layout: str | None = option()
    # outputs
    out_nodes: str | None = option()
    output_type: str | None = option()
    is_output_adjust_hw_layout: str | None = option()
    host_env_os: str | None = option(only=Release.CURRENT, allowed="linux minios")
    host_env_cpu: str | None = option(only=Release.CURRENT, allowed="x86_64 aarch64")
    # precision
    precision_mode: PrecisionMode | str | None = option(PrecisionMode)
    precision_mode_v2: PrecisionModeV2 | str | None = option(PrecisionModeV2, only=Release.CURRENT)
    modify_mixlist: str | None = option(Kind.FILE)
    keep_dtype: str | None = option(Kind.FILE)
    customize_dtypes: str | None = option(Kind.FILE, only=Release.CURRENT)
    is_weight_clip: int | str | None = option(Kind.SWITCH, only=Release.CURRENT)
    allow_hf32: bool | str | None = option(Kind.FLAG, only=Release.CURRENT)
    op_select_implmode: ImplMode | str | None = option(ImplMode)
    optypelist_for_implmode: str | None = option()
    op_precision_mode: str | None = option(Kind.FILE)
    # how it is compiled
    fusion_switch_file: str | None = option(Kind.FILE)
    optimization_switch: str | None = option(only=Release.CURRENT, like=(_SWITCHES, "PassA:on;PassB:off"))
    oo_level: OoLevel | str | None = option(OoLevel, only=Release.CURRENT)
    buffer_optimize: BufferOptimize | str | None = option(BufferOptimize)
    enable_small_channel: int | str | None = option(Kind.SWITCH)
    disable_reuse_memory: int | str | None = option(Kind.SWITCH)
    core_type: CoreType | str | None = option(CoreType)
    aicore_num: str | None = option(like=(r"[0-9]+(\|[0-9]*)?", "8, 8| or 20|40"))
    virtual_type: int | str | None = option(Kind.SWITCH, only=Release.CURRENT)
    enable_compress_weight: bool | str | None = option(Kind.FLAG)
    compress_weight_conf: str | None = option(Kind.FILE)
    compression_optimize_conf: str | None = option(Kind.FILE, only=Release.CURRENT)
    sparsity: int | str | None = option(Kind.SWITCH, only=Release.CURRENT)
    external_weight: int | str | None = option(Kind.NUMBER, only=Release.CURRENT, allowed="0 1 2", code="E10006")
    jit_compile: int | str | None = option(Kind.NUMBER, only=Release.CURRENT, allowed="0 1 2")
    enable_single_stream: bool | str | None = option(Kind.FLAG)
    mdl_bank_path: str | None = option(Kind.PATH)
    op_bank_path: str | None = option(Kind.PATH)
    auto_tune_mode: str | None = option(only=Release.CANN_5, like=(_TUNERS, 'RL, GA or "RL,GA"'))
    device_id: int | str | None = option(Kind.NUMBER)
    ac_parallel_enable: int | str | None = option(Kind.SWITCH, only=Release.CURRENT)
    tiling_schedule_optimize: int | str | None = option(Kind.SWITCH, only=Release.CURRENT)
    shape_generalized_build_mode: str | None = option(only=Release.CURRENT, allowed="shape_generalized shape_precise")
    static_model_ops_lower_limit: str | None = option(only=Release.CURRENT)
    enable_attr_compression: bool | str | None = option(Kind.FLAG, only=Release.CURRENT)
    raw_ge_options: str | None = option(Kind.PATH, only=Release.CURRENT)
    raw_ge_options_ignore_unsupported: bool | str | None = option(Kind.FLAG, only=Release.CURRENT)
    cluster_config: str | None = option(Kind.PATH, only=Release.CURRENT)
    hccl_sub_comm_config: str | None = option(Kind.PATH, only=Release.CURRENT)
    build_config: str | None = option(only=Release.CURRENT)
    quant_dumpable: int | str | None = option(Kind.SWITCH, only=Release.CURRENT)
    # logs, caches, debugging
    log: LogLevel | str | None = option(LogLevel, code="E10010")
    debug_dir: str | None = option(Kind.PATH)
    op_debug_level: int | str | None = option(Kind.NUMBER, allowed="0 1 2 3 4")
    op_debug_config: str | None = option(Kind.FILE, only=Release.CURRENT)
    op_compiler_cache_mode: CacheMode | str | None = option(CacheMode)
    op_compiler_cache_dir: str | None = option(Kind.PATH)
    display_model_info: int | str | None = option(Kind.SWITCH)
    export_compile_stat: int | str | None = option(Kind.NUMBER, only=Release.CURRENT, allowed="0 1 2")
    save_original_model: bool | str | None = option(Kind.FLAG)
    deterministic: int | str | None = option(Kind.SWITCH, only=Release.CURRENT)
    deterministic_level: int | str | None = option(Kind.NUMBER, only=Release.CURRENT, allowed="0 1 2 3")
    status_check: int | str | None = option(Kind.SWITCH, only=Release.CURRENT)
    atomic_clean_policy: int | str | None = option(Kind.SWITCH, only=Release.CURRENT)
    # not for ONNX, or of no use today
    op_name_map: str | None = option(Kind.PATH)
    enable_scope_fusion_passes: str | None = option()
    singleop: str | None = option(Kind.FILE)
    cal_conf: str | None = option(Kind.PATH)
    target: str | None = option()
    other: tuple[tuple[str, ...], ...] = ()
    _written: tuple[Written, ...] = field(default=(), compare=False)
    _shell: tuple[Problem, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        for name, of in self.table().items():
            object.__setattr__(self, name, typed(of, getattr(self, name)))

    def __repr__(self) -> str:
        parts = [f"{name}={text_of(value)!r}" for name, value in self.given().items()]
        return f"AtcOptions({', '.join([*parts, *([f'other={self.other!r}'] if self.other else [])])})"

    @classmethod
    def parse(cls, line: str) -> AtcOptions:
        """Reads a command line, in any form that atc takes: `--a=b`, `--a b`, `-a b`, quoted, on several lines.

        It never raises: what is wrong with the line is among `problems()`. Where an option is given twice, the last counts.
        """
        command = read_command(line, PROGRAM)
        return replace(cls.from_words(command.words), _shell=command.problems)

    @classmethod
    def from_words(cls, words: Sequence[str]) -> AtcOptions:
        """Reads the words of a command, those after `atc`. As `parse` does, but that no shell is to read them."""
        written = tuple(_grouped(words))
        values: dict[str, Any] = {group.name: group.value for group in written if group.name is not None}
        other = tuple(group.words for group in written if group.name is None)
        return cls(**values, other=other, _written=written)

    @classmethod
    def from_model(
        cls,
        model: ModelLike,
        /,
        *,
        soc_version: str | None,
        batch_size: int | None = None,
        output: str | os.PathLike[str] | None = None,
        dims: Mapping[str, int] | None = None,
        **options: Any,
    ) -> AtcOptions:
        """Returns the options for a model: its file, inputs and shapes are filled in. The weights are not read.

        Args:
            model: A model of any kind; `--model` is filled in where it is a path.
            soc_version: The chip: "Ascend310P3"; None for the one that is attached, which only aoe can take.
            batch_size: The size of the inputs' first axis where that is symbolic.
            output: The compiled model's path; without it the model's, with `_bs<batch_size>`. A `.om` at its end is dropped,
                since atc appends it.
            dims: Sizes of other symbolic dims, by name or by place ("input.1"); one without is -1: dynamic, or filled by a
                profile.
            options: Any other option of atc.

        Raises:
            ModelError: The model cannot be read.
            UsageError: An input cannot be told to atc, or the model's batch is another one.
        """
        from onnxfuse.drivers.atc.model import options_from_model

        given = {"soc_version": soc_version, **options}
        return cls(**options_from_model(model, batch_size=batch_size, dims=dims or {}, output=output, given=given))

    def given(self) -> dict[str, Value]:
        """Returns the options that are given, by name, in the order of a command line written anew."""
        values = {name: getattr(self, name) for name in self.table()}
        return {name: value for name, value in values.items() if value is not None}

    def argv(self) -> list[str]:
        """Returns the command as words, the first of them `atc`: for a process, not for a shell.

        What came from a line stays as it stood there, in its order and spelling; an option with another value keeps its
        place and form, one that is None is left out, and one that was not there follows as `--name=value`.
        """
        words = [PROGRAM]
        last = {group.name: at for at, group in enumerate(self._written) if group.name is not None}
        given, table, others = self.given(), self.table(), list(self.other)
        for at, group in enumerate(self._written):
            if group.name is None:
                if group.words in others:
                    others.remove(group.words)
                    words += group.words
            elif group.name in given:
                value = given[group.name]
                same = typed(table[group.name], group.value) == value
                words += group.words if same or at != last[group.name] else _rewritten(group, text_of(value))
        words += [f"--{name}={text_of(value)}" for name, value in given.items() if name not in last]
        return [*words, *(word for group in others for word in group)]

    def placeholders(self) -> tuple[str, ...]:
        """Returns the names of the options that something is yet to be filled in to: `$1`, `${bs}`, `{chip_name}`."""
        return tuple(name for name, value in self.given().items() if has_placeholder(value))

    @staticmethod
    @cache
    def table() -> dict[str, Option]:
        """Returns what is known of each option, by name."""
        return {entry.name: entry.metadata["option"] for entry in fields(AtcOptions) if "option" in entry.metadata}

    def repeated(self) -> dict[str, tuple[str, ...]]:
        """Returns the options that the command line gave more than once, with their values in that order."""
        values: dict[str, list[str]] = {}
        for group in self._written:
            if group.name is not None and getattr(self, group.name) is not None:
                values.setdefault(group.name, []).append(group.value)
        return {name: tuple(found) for name, found in values.items() if len(found) > 1}

    def problems(self, release: Release | None = None) -> tuple[Problem, ...]:
        """Returns what is wrong with these options, the shell's constructs first.

        Args:
            release: The generation of CANN that runs them; without it, an option that any of them has is right.
        """
        from onnxfuse.drivers.atc.rules import broken_rules

        return (*self._shell, *broken_rules(self, release))


def _grouped(words: Sequence[str]) -> list[Written]:
    """Puts together what belongs together."""
    groups: list[Written] = []
    at = 0
    while at < len(words):
        word = words[at]
        found = _OPTION.fullmatch(word)
        at += 1
        if found is None:
            groups.append(Written((word,)))
            continue
        name = found[1].replace("-", "_")
        known = name if name in AtcOptions.table() else None
        if found[2]:
            groups.append(Written((word,), known, found[3]))
        elif at < len(words) and not _begins_an_option(words[at]):
            groups.append(Written((word, words[at]), known, words[at]))
            at += 1
        else:
            groups.append(Written((word,)))
    return groups


def _begins_an_option(word: str) -> bool:
    """Says whether a word is never the value of the one before; no option's name begins with a digit, as `-1` does."""
    return word.startswith("-") and not word[1:2].isdigit()


def _rewritten(group: Written, value: str) -> tuple[str, ...]:
    """Returns an option's words with another value, in the form they had."""
    head = group.words[0].partition("=")[0]
    if len(group.words) == 1 or _begins_an_option(value):
        return (f"{head}={value}",)
    return (head, value)
