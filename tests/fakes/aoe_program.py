"""aoe, as far as its command line and its files go; what it prints is not documented."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.fakes.converter import begin_half, block, check_path, manner, record, write_om
from tests.fakes.flags import CodeError, FlagError, read_flags
from tests.fakes.graph_rules import Graph, check_outputs
from tests.fakes.shape_rules import check_shapes

__all__ = ["main"]

KNOWN_WORDS = """
    model framework job_type output weight input_shape input_format dynamic_batch_size dynamic_image_size dynamic_dims
    out_nodes output_type input_fp16_nodes insert_op_conf is_input_adjust_hw_layout is_output_adjust_hw_layout op_name_map
    reload device progress_bar singleop model_path host_env_os host_env_cpu aicore_num virtual_type ip port log
    op_select_implmode precision_mode help
    """
KNOWN = set(KNOWN_WORDS.split())
SHORT = {"m": "model", "f": "framework", "j": "job_type", "w": "weight"}


def main(words: list[str]) -> int:
    """Tunes, or fails, and returns the exit code."""
    record()
    try:
        flags = read_flags(words, KNOWN, switches=("help", "reload"), short=SHORT)
    except FlagError as error:
        print(error, file=sys.stderr)
        return 1
    print("[Aoe]work start", flush=True)
    if manner() == "silent":
        return 1
    try:
        if manner().startswith("fail:"):
            raise CodeError(manner().removeprefix("fail:"), "")
        facts = _checked(flags)
    except CodeError as error:
        print("\n".join(block(error.code) if not str(error).partition(": ")[2] else [str(error)]))
        return 1
    output = flags["output"]
    begin_half(output)
    write_om(output, facts)
    bank = os.environ.get("TUNE_BANK_PATH")
    if bank and manner() != "no-repository":
        (Path(bank) / "tuned.json").write_text("{}")
    Path("aoe_result_opat_20240101_pid1.json").write_text("{}")
    print("[Aoe]work end")
    return 1 if manner() == "exit-1" else 0


def _checked(flags: dict[str, str]) -> dict[str, object]:
    for name in ("model", "output", "job_type", "framework"):
        if not flags.get(name):
            raise CodeError("E10054", f"The value of the required parameter [--{name}] is empty.")
    if flags["job_type"] not in ("1", "2"):
        raise CodeError("E10003", f"Value [{flags['job_type']}] for [--job_type] is invalid.")
    if flags["framework"] != "5":
        raise CodeError("E10007", f"Value [{flags['framework']}] for [--framework] is invalid.")
    for name in ("model", "output"):
        check_path(name, flags[name])
    bank = os.environ.get("TUNE_BANK_PATH")
    if bank and not os.access(bank, os.R_OK | os.W_OK | os.X_OK):
        raise CodeError("E10001", f"TUNE_BANK_PATH [{bank}] is no folder that can be written to.")
    graph = Graph(flags["model"])
    shapes = check_shapes(flags, graph)
    check_outputs(flags, graph)
    return {"flags": flags, "model": str(Path(flags["model"]).resolve()), "inputs": shapes}
