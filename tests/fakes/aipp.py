"""What atc asks of the file of `--insert_op_conf`, which is protobuf text."""

from __future__ import annotations

import re
from pathlib import Path

from tests.fakes.flags import CodeError

__all__ = ["check_aipp"]

BLOCK = re.compile(r"\s*aipp_op\s*:?\s*\{([^{}]*)\}\s*")
FIELD = re.compile(r"\s*([a-z][a-z0-9_]*)\s*:\s*(\"[^\"]*\"|[A-Za-z0-9_.+-]+)\s*[,;]?")


def check_aipp(path: str, inputs: list[str], halves: list[str]) -> None:
    """Checks the file against the inputs.

    Args:
        path: The file.
        inputs: The model's inputs.
        halves: Those that are declared float16.

    Raises:
        CodeError: It is none that AIPP reads, or it is of an input that is float16.
    """
    text = re.sub("#.*", "", Path(path).read_bytes().decode(errors="replace"))
    blocks = BLOCK.findall(text)
    if not blocks or BLOCK.sub("", text).strip():
        raise _invalid("it is no list of aipp_op { ... }")
    for block in blocks:
        if FIELD.sub("", block).strip():
            raise _invalid("a line is no field and value")
        fields = dict(FIELD.findall(block))
        if fields.get("aipp_mode") not in ("static", "dynamic"):
            raise _invalid("aipp_mode is static or dynamic")
        rank = fields.get("related_input_rank", "0")
        if not rank.isdecimal() or int(rank) >= len(inputs):
            raise _invalid(f"related_input_rank {rank} is no input of the model")
        if inputs[int(rank)] in halves:
            raise CodeError("E10034", f"AIPP is on the input [{inputs[int(rank)]}], which --input_fp16_nodes names.")


def _invalid(why: str) -> CodeError:
    return CodeError("E10052", f"The AIPP configuration of --insert_op_conf is invalid: {why}.")
