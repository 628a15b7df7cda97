"""atc, as far as its command line, its files and its messages go."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.fakes.converter import begin_half, block, check_path, manner, record, write_om
from tests.fakes.flags import CodeError, FlagError, read_flags
from tests.fakes.graph_rules import Graph, check_out_nodes, check_shapes

__all__ = ["main"]

FAILED = 255
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
ONE_OF = {
    "log": ("E10010", {"debug", "info", "warning", "error", "null"}),
    "framework": ("E10007", {"5"}),
    "disable_reuse_memory": ("E10006", {"0", "1"}),
    "enable_single_stream": ("E10005", {"true", "false"}),
    "buffer_optimize": ("E10003", {"l1_optimize", "l2_optimize", "off_optimize"}),
    "input_format": ("E10003", {"NCHW", "NHWC", "NCDHW", "ND"}),
    "precision_mode": (
        "E10001",
        {
            *("force_fp16", "force_fp32", "allow_mix_precision", "allow_fp32_to_fp16", "must_keep_origin_dtype"),
            *("cube_fp16in_fp32out", "allow_mix_precision_fp16", "allow_mix_precision_bf16", "allow_fp32_to_bf16"),
        },
    ),
}
FILES = ("insert_op_conf", "keep_dtype", "modify_mixlist", "op_precision_mode", "fusion_switch_file")


def main(words: list[str]) -> int:
    """Converts, or fails, and returns the exit code."""
    record()
    try:
        flags = read_flags(words, ERA_5 if os.environ.get("FAKE_ERA") == "5" else NEW, switches=("help", "h"))
    except FlagError as error:
        print(error, file=sys.stderr)
        return FAILED
    if {"help", "h"} & set(flags):
        print("usage: atc <args>")
        return 0
    print("ATC start working now, please wait for a moment.", flush=True)
    if manner() == "silent":
        return FAILED
    try:
        if manner().startswith("fail:"):
            raise CodeError(manner().removeprefix("fail:"), "")
        facts = _checked(flags)
    except CodeError as error:
        if error.code.startswith(("E13", "E16", "E11")):
            Path("check_result.json").write_text("{}")
        _fail(block(error.code) if not str(error).partition(": ")[2] else [str(error)])
        return FAILED
    begin_half(flags["output"])
    Path("kernel_meta").mkdir(exist_ok=True)
    Path("fusion_result.json").write_text("[]")
    write_om(flags["output"], facts)
    if flags.get("external_weight", "0") != "0":
        folder = Path(flags["output"]).parent / "weight"
        folder.mkdir(exist_ok=True)
        (folder / Path(flags["output"]).name).write_bytes(b"weights")
    if os.environ.get("FAKE_ERA") != "5":
        print("...")
    if manner() != "no-marker":
        print("ATC run success, welcome to the next use.")
    if manner() == "warnings":
        for node in ("AveragePool_1", "AveragePool_2"):
            print(
                f"W11001: High-priority service of op[{node}] is invalid, low-priority service is used. It can work "
                "normally but may affect performance."
            )
    return 1 if manner() == "exit-1" else 0


def _checked(flags: dict[str, str]) -> dict[str, object]:
    """Checks all that it knows the rules of; returns what the model is made of."""
    if not Path(os.environ.get("ASCEND_OPP_PATH", "/nonsense")).is_dir():
        raise CodeError("E40001", "The environment is invalid: ASCEND_OPP_PATH is not set or no folder.")
    for name in ("model", "output", "soc_version"):
        if not flags.get(name):
            raise CodeError("E10054", f"The value of the required parameter [--{name}] is empty.")
    if "framework" not in flags:
        raise CodeError("E10007", "The value of [--framework] is missing.")
    for name, (code, values) in ONE_OF.items():
        if name in flags and flags[name] not in values:
            raise CodeError(code, f"Value [{flags[name]}] for [--{name}] is invalid.")
    for name in ("model", "output"):
        check_path(name, flags[name])
    if flags["output"].endswith("/") or Path(flags["output"]).is_dir():
        raise CodeError("E10022", f"Path [{flags['output']}] for --output has no file name.")
    for name in FILES:
        if flags.get(name) and not Path(flags[name]).is_file():
            raise CodeError("E10410", f"Open file[{flags[name]}] failed. No such file or directory")
    if "precision_mode" in flags and "precision_mode_v2" in flags:
        raise CodeError("E10056", "--precision_mode and --precision_mode_v2 cannot be used together.")
    if "auto_tune_mode" in flags and os.environ.get("FAKE_ERA") != "5":
        raise CodeError("E10001", "--auto_tune_mode is deprecated, use AOE.")
    graph = Graph(flags["model"])
    shapes = check_shapes(flags, graph)
    check_out_nodes(flags, graph)
    if manner() in {f"fail-batch:{dims[0]}" for dims in shapes.values() if dims}:
        raise CodeError("E40021", "")
    folder = Path(flags["output"]).parent
    if not os.access(folder, os.W_OK):
        raise CodeError("E13004", f"Write file[{flags['output']}.om] failed.")
    return {"flags": flags, "model": str(Path(flags["model"]).resolve()), "inputs": shapes}


def _fail(lines: list[str]) -> None:
    print("ATC run failed, Please check the detail log, Try 'atc --help' for more information")
    for line in lines:
        print(line)
