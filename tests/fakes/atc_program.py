"""atc, as far as its command line, its files and its messages go."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.fakes.aipp import check_aipp
from tests.fakes.converter import begin_half, block, manner, record, write_om
from tests.fakes.flags import CodeError, FlagError, read_flags
from tests.fakes.graph_rules import Graph, check_fp16_inputs, check_outputs
from tests.fakes.option_rules import check_options, names_of
from tests.fakes.shape_rules import check_shapes

__all__ = ["main"]

FAILED = 255


def main(words: list[str]) -> int:
    """Converts, or fails, and returns the exit code."""
    record()
    try:
        flags = read_flags(words, names_of(), switches=("help", "h"))
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
    check_options(flags)
    graph = Graph(flags["model"])
    shapes = check_shapes(flags, graph)
    halves = check_fp16_inputs(flags, graph)
    if "insert_op_conf" in flags:
        check_aipp(flags["insert_op_conf"], list(graph.inputs), halves)
    check_outputs(flags, graph)
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
