"""What atc takes of each option by itself: names and values, by generation of CANN and by chip, and what goes together."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.fakes.converter import check_path, manner
from tests.fakes.flags import CodeError

__all__ = ["check_options", "names_of"]

ERA_5_WORDS = """
    model output framework weight input_shape input_shape_range h cal_conf insert_op_conf op_name_map target om json mode
    out_nodes op_precision_mode precision_mode modify_mixlist keep_dtype input_format check_report input_fp16_nodes
    is_output_adjust_hw_layout is_input_adjust_hw_layout output_type op_select_implmode optypelist_for_implmode singleop
    disable_reuse_memory auto_tune_mode soc_version core_type aicore_num buffer_optimize fusion_switch_file
    save_original_model dynamic_batch_size dynamic_image_size dynamic_dims enable_small_channel enable_compress_weight
    compress_weight_conf enable_single_stream log dump_mode op_debug_level enable_scope_fusion_passes debug_dir
    op_compiler_cache_dir op_compiler_cache_mode mdl_bank_path op_bank_path display_model_info device_id help
    """
ERA_5 = set(ERA_5_WORDS.split())
NEW_WORDS = """
    input_hint_shape host_env_os host_env_cpu precision_mode_v2 customize_dtypes is_weight_clip optimization_switch oo_level
    virtual_type compression_optimize_conf sparsity external_weight jit_compile export_compile_stat deterministic
    deterministic_level status_check atomic_clean_policy op_debug_config
    """
NEW = ERA_5 | set(NEW_WORDS.split())
REQUIRED = (("model", "E10054"), ("output", "E10054"), ("soc_version", "E10054"), ("framework", "E10007"))
READ = (
    *("insert_op_conf", "keep_dtype", "modify_mixlist", "op_precision_mode", "fusion_switch_file", "customize_dtypes"),
    *("compress_weight_conf", "compression_optimize_conf", "op_debug_config"),
)
PATHS = (
    *READ,
    "model",
    "output",
    "check_report",
    "debug_dir",
    "op_compiler_cache_dir",
    "mdl_bank_path",
    "op_bank_path",
)

# Option: the code of a value that is none; the values of all releases; those that newer ones have too.
TRUTH = ("E10005", "true false", "")
SWITCH = ("E10006", "0 1", "")
VALUES: dict[str, tuple[str, str, str]] = {
    "framework": ("E10007", "5", ""),
    "mode": ("E10001", "0 1 3 5 6", "7 30"),
    "log": ("E10010", "debug info warning error null", ""),
    "input_format": ("E10001", "NCHW NHWC NCDHW ND", ""),
    "precision_mode": (
        "E10001",
        "force_fp16 force_fp32 allow_mix_precision allow_fp32_to_fp16 must_keep_origin_dtype",
        "cube_fp16in_fp32out allow_mix_precision_fp16 allow_mix_precision_bf16 allow_fp32_to_bf16",
    ),
    "precision_mode_v2": (
        "E10001",
        "",
        "fp16 origin cube_fp16in_fp32out mixed_float16 mixed_bfloat16 cube_hif8 mixed_hif8",
    ),
    "op_select_implmode": (
        "E10001",
        "high_precision high_performance",
        "high_precision_for_all high_performance_for_all",
    ),
    "buffer_optimize": ("E10001", "l1_optimize l2_optimize off_optimize", ""),
    "core_type": ("E10001", "AiCore VectorCore", ""),
    "op_compiler_cache_mode": ("E10001", "enable disable force", ""),
    "op_debug_level": ("E10001", "0 1 2 3 4", ""),
    "host_env_os": ("E10001", "", "linux minios"),
    "host_env_cpu": ("E10001", "", "x86_64 aarch64"),
    "oo_level": ("E10001", "", "O1 O3"),
    "external_weight": ("E10006", "", "0 1 2"),
    "jit_compile": ("E10001", "", "0 1 2"),
    "export_compile_stat": ("E10001", "", "0 1 2"),
    "deterministic_level": ("E10001", "", "0 1 2 3"),
    **dict.fromkeys(("enable_single_stream", "enable_compress_weight", "save_original_model"), TRUTH),
    **dict.fromkeys(("disable_reuse_memory", "enable_small_channel", "display_model_info", "dump_mode"), SWITCH),
    **dict.fromkeys(("is_weight_clip", "virtual_type", "sparsity", "deterministic"), SWITCH),
    **dict.fromkeys(("status_check", "atomic_clean_policy"), SWITCH),
}
PATTERNS = {
    "device_id": r"[0-9]+",
    "aicore_num": r"[0-9]+(\|[0-9]*)?",
    "optimization_switch": r"[^:;]+:(on|off)(;[^:;]+:(on|off))*;?",
}
TRUTHS = {"1": "true", "t": "true", "y": "true", "yes": "true", "0": "false", "f": "false", "n": "false", "no": "false"}
OUTPUTS = {"FP32", "FP16", "UINT8"}
NEW_OUTPUTS = OUTPUTS | {"INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64", "DOUBLE"}
# `Ascend` and what npu-smi shows; that name is not in lower case.
CHIP = re.compile(r"Ascend[0-9]{3}([A-Z_][A-Za-z0-9_-]*)?")
WITHOUT_BF16 = re.compile(r"Ascend(310|310P\w*|710|910(A|B|ProA|ProB|PremiumA))")
OTHER_THAN_310P = re.compile(r"Ascend(310|310B\w*|910\w*|950\w*)")
MIXED = {"allow_mix_precision", "allow_mix_precision_fp16", "allow_mix_precision_bf16"}
MIXED_V2 = {"mixed_float16", "mixed_bfloat16", "mixed_hif8"}


def era_5() -> bool:
    """Says whether it is to be one of CANN 5."""
    return os.environ.get("FAKE_ERA") == "5"


def names_of() -> set[str]:
    """The options there are."""
    return ERA_5 if era_5() else NEW


def wrong(name: str, value: str, code: str = "E10001", why: str = "not one of those that are allowed") -> CodeError:
    """An option's value that is refused."""
    return CodeError(code, f"Value [{value}] for parameter [--{name}] is invalid. Reason: {why}.")


def check_options(flags: dict[str, str]) -> None:
    """Checks options without a look at the model.

    Raises:
        CodeError: A rule is broken.
    """
    for name, code in REQUIRED:
        if not flags.get(name):
            raise CodeError(code, f"The value of the required parameter [--{name}] is empty.")
    for name, value in flags.items():
        if not value:
            raise CodeError("E10004", f"Value for --{name} is empty.")
        _check_value(name, value)
    for name in PATHS:
        if name in flags:
            check_path(name, flags[name])
    if flags["output"].rpartition("/")[2] in ("", ".", "..") or Path(flags["output"]).is_dir():
        raise CodeError("E10022", f"Path [{flags['output']}] for --output has no file name.")
    for name in READ:
        if name in flags and not Path(flags[name]).is_file():
            raise CodeError("E10410", f"Open file[{flags[name]}] of --{name} failed. No such file or directory")
    _check_chip(flags)
    _check_layout(flags)
    _check_pairs(flags)
    for element in _elements(flags.get("output_type", "")):
        if element not in (OUTPUTS if era_5() else NEW_OUTPUTS):
            raise wrong("output_type", flags["output_type"])


def _check_value(name: str, value: str) -> None:
    if name in VALUES:
        code, all_of_them, newer = VALUES[name]
        if code == "E10005":
            value = TRUTHS.get(value.lower(), value.lower())
        elif re.fullmatch("[0-9]+", value):
            value = str(int(value))
        if value not in (all_of_them if era_5() else f"{all_of_them} {newer}").split():
            raise wrong(name, value, code)
    if name in PATTERNS and not re.fullmatch(PATTERNS[name], value):
        raise wrong(name, value)
    if name == "auto_tune_mode":
        if not era_5():
            raise wrong(name, value, why="it is deprecated, use AOE")
        if not {part.strip() for part in value.split(",")} <= {"RL", "GA"}:
            raise wrong(name, value)


def _check_chip(flags: dict[str, str]) -> None:
    chip = flags["soc_version"]
    if manner() != "any-text" and not CHIP.fullmatch(chip):
        raise wrong("soc_version", chip)
    if WITHOUT_BF16.fullmatch(chip):
        for name in ("precision_mode", "precision_mode_v2"):
            if re.search("bf16|bfloat16", flags.get(name, "")):
                raise wrong(name, flags[name], why=f"{chip} has no bfloat16")
    if flags.get("core_type") == "VectorCore" and OTHER_THAN_310P.fullmatch(chip):
        raise wrong("core_type", "VectorCore", why=f"{chip} has none of their own")


def _check_layout(flags: dict[str, str]) -> None:
    layout = flags.get("input_format", "NCHW")
    if "insert_op_conf" in flags:
        if "dynamic_dims" in flags:
            raise CodeError("E10001", "--insert_op_conf cannot be used together with --dynamic_dims.")
        if layout not in ("NCHW", "NHWC"):
            raise wrong("input_format", layout, why="AIPP wants NCHW or NHWC")
    elif layout == "NHWC":
        raise wrong("input_format", layout, why="an ONNX model has it with AIPP only")


def _check_pairs(flags: dict[str, str]) -> None:
    """Refuses options that exclude each other, and those that say nothing without another."""
    if "precision_mode" in flags and "precision_mode_v2" in flags:
        raise CodeError("E10056", "--precision_mode and --precision_mode_v2 cannot be used together.")
    compressed = TRUTHS.get(flags.get("enable_compress_weight", "").lower(), flags.get("enable_compress_weight", ""))
    if compressed.lower() == "true" and "compress_weight_conf" in flags:
        raise CodeError("E10047", "--enable_compress_weight and --compress_weight_conf cannot be used together.")
    if "optypelist_for_implmode" in flags and "op_select_implmode" not in flags:
        raise wrong("optypelist_for_implmode", flags["optypelist_for_implmode"], why="--op_select_implmode is not set")
    mixed = flags.get("precision_mode") in MIXED or flags.get("precision_mode_v2") in MIXED_V2
    if "modify_mixlist" in flags and not mixed:
        raise wrong("modify_mixlist", flags["modify_mixlist"], why="no mixed precision is set")
    if "auto_tune_mode" in flags and "op_bank_path" in flags:
        raise wrong("auto_tune_mode", flags["auto_tune_mode"], why="--op_bank_path is set")
    for name, entries in (
        ("is_input_adjust_hw_layout", "input_fp16_nodes"),
        ("is_output_adjust_hw_layout", "out_nodes"),
    ):
        if name in flags:
            truths = flags[name].split(",")
            if not set(truths) <= {"true", "false"}:
                raise wrong(name, flags[name], "E10005", "it takes true and false")
            if len(truths) != len(list(filter(None, flags.get(entries, "").split(";")))):
                raise wrong(name, flags[name], why=f"it has one entry for each of --{entries}")


def _elements(text: str) -> list[str]:
    """The types that --output_type names."""
    if ":" not in text:
        return [text] if text else []
    entries = [entry.split(":") for entry in text.removesuffix(";").split(";")]
    if any(len(entry) != 3 or not entry[0].strip() or not entry[1].strip().isdecimal() for entry in entries):
        raise wrong("output_type", text, why="entries are node:index:type")
    return [entry[2].strip() for entry in entries]
