"""Models as text."""

from __future__ import annotations

from typing import Final

import onnx
import onnx.parser

__all__ = ["HEADER", "parse"]

HEADER: Final = '<ir_version: 10, opset_import: ["" : 21, "f" : 1]>\n'
"""What most models begin with; local functions are of the domain f."""


def parse(text: str, header: str = HEADER) -> onnx.ModelProto:
    """Reads a model; it need not be valid."""
    return onnx.parser.parse_model(header + text)
