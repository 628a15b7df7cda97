"""What a file is that turned out to be no ONNX model, by how it begins; nothing of it is opened or unpacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["what_else"]

BEGINNINGS: Final[Mapping[bytes, str]] = {
    b"version https://git-lfs.github": "the file is a pointer of Git LFS, not the model itself: run git lfs pull",
    b"PK\x03\x04": "not an ONNX model: the file is a zip archive (a checkpoint of PyTorch is one): unpack it, or export it",
    b"\x1f\x8b\x08": "not an ONNX model: the file is packed by gzip: unpack it",
    b"\x80\x02": "not an ONNX model: the file is a pickle, which is not read: export the model",
    b"\x80\x03": "not an ONNX model: the file is a pickle, which is not read: export the model",
    b"\x80\x04": "not an ONNX model: the file is a pickle, which is not read: export the model",
    b"\x80\x05": "not an ONNX model: the file is a pickle, which is not read: export the model",
}


def what_else(beginning: bytes) -> str | None:
    """Returns what is to be said of a file that begins so and is no model; None where that tells nothing."""
    for start, says in BEGINNINGS.items():
        if beginning.startswith(start):
            return says
    if beginning.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in beginning):
        return "not an ONNX model, or corrupt: the file is text"
    return None
