"""Files that are no models, or hardly."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx

from tests.hostile.cases import legal, model_of, node, refused, with_slices


def _good() -> bytes:
    return with_slices(model_of([node("Relu", "x", "y")])).SerializeToString()


def _cut_at(sixteenth: int) -> Callable[[Path], bytes]:
    def cut(_: Path) -> bytes:
        data = _good()
        return data[: len(data) * sixteenth // 16]

    cut.__name__ = f"cut_after_{sixteenth}_of_16"
    return cut


for sixteenth in range(1, 16):
    refused("")(_cut_at(sixteenth))


@refused("is empty")
def empty_file(_: Path) -> bytes:
    return b""


@refused("corrupt")
def trailing_garbage(_: Path) -> bytes:
    return _good() + b"\xff" * 20


@legal()
def unknown_fields(_: Path) -> bytes:
    # Field 1000 as a number, field 1001 as bytes: a later version of the format might have them.
    return _good() + b"\xc0\x3e\x07" + b"\xca\x3e\x05hello"


@refused("several graphs")
def two_graphs(_: Path) -> bytes:
    return _good() + onnx.ModelProto(graph=onnx.GraphProto(name="second")).SerializeToString()


@refused("corrupt")
def varint_without_an_end(_: Path) -> bytes:
    return b"\x08" + b"\xff" * 100_000


@refused("corrupt")
def length_of_2_63(_: Path) -> bytes:
    return b"\x08\x08\x3a" + b"\xff" * 8 + b"\x7f" + b"x"


@refused("corrupt")
def groups_nested_100_000_deep(_: Path) -> bytes:
    return b"\x08\x08\x3a\x00" + b"\x0b" * 100_000 + b"\x0c" * 100_000


@refused("corrupt")
def groups_without_an_end_in_the_graph(_: Path) -> bytes:
    inner = b"\x0b" * 1000
    return b"\x08\x08\x3a" + bytes([0xE8, 0x07]) + inner


@refused("no graph")
def wrong_wire_type_for_the_graph(_: Path) -> bytes:
    return b"\x08\x08" + b"\x38\x01"


@refused("")
def wrong_wire_types_inside(_: Path) -> bytes:
    # GraphProto.node as a number, initializer as a fixed64.
    inner = b"\x08\x01" + b"\x29" + bytes(8)
    return b"\x3a" + bytes([len(inner)]) + inner


@refused("the file is text")
def text(_: Path) -> bytes:
    return b"import os\nos.system('touch owned')\n" * 50


@refused("the file is text")
def json_text(_: Path) -> bytes:
    return b'{"graph": {"node": [1, 2, 3]}}'


@refused("the file is text")
def python_text(_: Path) -> bytes:
    return b"#!/usr/bin/env python\n" + b"x = 1\n" * 100


@refused("is a zip archive")
def zip_archive(_: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.onnx", bytes(100_000_000))
    return buffer.getvalue()


@refused("is packed by gzip")
def gzip_archive(_: Path) -> bytes:
    return gzip.compress(bytes(100_000_000))


class _Owned:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch owned",)


@refused("is a pickle")
def pickle_that_runs_a_command(_: Path) -> bytes:
    return pickle.dumps(_Owned())


@refused("the file is text")
def pickle_of_the_first_protocol(_: Path) -> bytes:
    return pickle.dumps(_Owned(), protocol=0)


@refused("corrupt")
def numpy_file(_: Path) -> bytes:
    return b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + pickle.dumps(_Owned())


@refused("Git LFS")
def pointer_of_git_lfs(_: Path) -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"


@refused("is a folder")
def folder(folder: Path) -> Path:
    (folder / "model.onnx").mkdir()
    return folder / "model.onnx"


@refused("no regular file")
def named_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "model.onnx")
    return folder / "model.onnx"


@refused("no regular file")
def device(_: Path) -> Path:
    return Path("/dev/zero")


@refused("No such file")
def missing_file(folder: Path) -> Path:
    return folder / "missing.onnx"


@refused("ymbolic link")
def links_in_a_circle(folder: Path) -> Path:
    (folder / "model.onnx").symlink_to("other.onnx")
    (folder / "other.onnx").symlink_to("model.onnx")
    return folder / "model.onnx"


@refused("name too long")
def name_too_long(folder: Path) -> Path:
    return folder / ("m" * 300)


@refused("Permission denied")
def file_that_may_not_be_read(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(_good())
    path.chmod(0)
    return path


@refused("")
def sparse_file_of_100_gb(folder: Path) -> Path:
    """Zeros for ever: a tag of 0 is none."""
    path = folder / "model.onnx"
    path.write_bytes(_good())
    os.truncate(path, 100 << 30)
    return path


@refused("beside its weights")
def sparse_file_of_3_gb_in_one_field(folder: Path) -> Path:
    """One text of three gigabytes, where there are weights else: protobuf reads no more than two."""
    path = folder / "model.onnx"
    size = 3 << 30
    varint = bytes([size >> 7 * i & 0x7F | (0x80 if i < 4 else 0) for i in range(5)])
    path.write_bytes(_good() + b"\x32" + varint)
    os.truncate(path, path.stat().st_size + size)
    return path


@legal(large=True)
def sparse_file_of_3_gb_of_weights(folder: Path) -> Path:
    """Weights of three gigabytes in the model's own file: they are mapped, not read."""
    path = folder / "model.onnx"
    size = 3 << 30

    def varint(number: int) -> bytes:
        out = bytearray()
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        return bytes([*out, number])

    model = with_slices(model_of([node("Add", "x w", "y")]))
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    header = onnx.TensorProto(name="w", dims=[size // 4], data_type=1).SerializeToString()
    tensor = len(header) + 1 + len(varint(size)) + size
    start = b"\x2a" + varint(tensor) + header + b"\x4a" + varint(size)
    whole = len(graph) + len(start) + size
    path.write_bytes(model.SerializeToString() + b"\x3a" + varint(whole) + graph + start)
    os.truncate(path, path.stat().st_size + size)
    return path
