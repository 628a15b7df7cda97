"""What goes to a tool and what comes back is compared with what the model declares, and with each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxfuse.drivers.datasets import UNCHECKED, OutputSize, check_outputs, output_sizes
from onnxfuse.drivers.outputs.files import UnreadableError, elements
from onnxfuse.errors import ToolError, UsageError
from tests.drivers.tools import Tools, om, raw_dataset

BOTH = ["benchmark", "ais_bench"]


def model(inputs: str, output: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17, "my": 1]> g ({inputs}) => ({output} y) {{ y = my.Op(x) }}'
    )


# ---------------------------------------------------------------------------- outputs


WIDTHS = {
    "float64": (2, 4, 8),
    "float32": (2, 4),
    "float16": (2, 4),
    "int64": (1, 2, 4, 8),
    "int32": (1, 2, 4),
    "uint16": (1, 2),
    "int8": (1,),
    "bool": (1,),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_what_a_run_may_leave_is_what_verify_reads(name: str, tmp_path: Path) -> None:
    kind = {"float32": "float", "float64": "double"}.get(name, name)
    (found,) = output_sizes(model("float[1, 3] x", f"{kind}[1, 6]"), 1)
    assert found == OutputSize("y", tuple(6 * width for width in WIDTHS[name]))
    like = np.zeros((1, 6), name)
    for size in range(1, 60):
        (tmp_path / "y.bin").write_bytes(bytes(size))
        try:
            read = elements(tmp_path / "y.bin", like, None)
        except UnreadableError:
            assert not found.allows(size)
        else:
            assert found.allows(size)
            assert (read.size, read.nbytes, read.dtype.kind) == (6, size, like.dtype.kind)


@pytest.mark.parametrize(
    ("inputs", "output", "batch", "sizes"),
    [
        ("float[1, 3] x", "float[100, 4]", 1, (800, 1600)),
        ("float[1, 3] x", "float[1, 4]", 1, (8, 16)),
        ("float[N, 3] x", "float[N, 4]", 1, (8, 16)),
        ("float[N, 3] x", "float[N, 4]", 8, (8, 16)),
        ("float[8, 3] x", "float[8, 4]", 8, (8, 16)),
        ("float[8, 3] x", "float[80, 4]", 8, (80, 160)),
        ("float[8, 3] x", "int64[M, 4]", 8, None),
        ("float[8, 3] x", "float[12, 4]", 8, ()),
        ("float[N, 3] x", "float[8, 4]", 8, ()),
        ("float[N, 3] x, float[7] z", "float[8, 4]", 8, ()),
        ("float[8, 3] x", "string[8, 4]", 8, None),
    ],
)
def test_the_part_of_one_sample(inputs: str, output: str, batch: int, sizes: tuple[int, ...] | None) -> None:
    (found,) = output_sizes(model(inputs, output), batch)
    assert found.varies == (sizes is None)
    if sizes is not None:
        assert found == OutputSize("y", sizes)


def left(folder: Path, *sizes: int) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for number, size in enumerate(sizes):
        files[f"s{number}"] = [folder / f"s{number}_1.bin"]
        files[f"s{number}"][0].write_bytes(bytes(size))
    return files


def test_each_sample_may_have_as_much_as_a_symbolic_dim_says(tmp_path: Path) -> None:
    sizes = output_sizes(model("float[1, 3, H] x", "float[found, 5]"), 1)
    (note,) = check_outputs(left(tmp_path, 20, 60, 0, 10), sizes, "tool")
    assert note == (
        "the model does not say how large output y of a sample is: all that is known is that a file has a multiple of "
        "10 or 20 bytes"
    )
    with pytest.raises(
        ToolError, match=r"an output of y of 64 bytes, and it should have a multiple of 10 or 20: s1_1\.bin"
    ):
        check_outputs(left(tmp_path, 20, 64), sizes, "tool")
    # That dim is an input's, which a compiled model has one size for.
    sizes = output_sizes(model("float[1, 3, H] x", "float[1, H, 5]"), 1)
    assert check_outputs(left(tmp_path, 40, 40), sizes, "tool") == ()
    with pytest.raises(ToolError, match="left outputs of different sizes, 40 and 60 bytes"):
        check_outputs(left(tmp_path, 40, 60), sizes, "tool")


def test_what_cannot_be_checked_is_told(tmp_path: Path) -> None:
    sizes = output_sizes(model("float[N, 3] x", "float[8, 4]"), 8)
    (note,) = check_outputs(left(tmp_path, 4, 4), sizes, "tool")
    assert note == "the model does not say what of output y is one sample's: its files were compared with each other"
    assert check_outputs(left(tmp_path, 4, 4), None, "tool") == (UNCHECKED,)
    for unknown in (sizes, None):
        with pytest.raises(ToolError, match="different sizes, 4 and 8"):
            check_outputs(left(tmp_path, 4, 8), unknown, "tool")
        with pytest.raises(ToolError, match=r"of 0 bytes, and it should have some: s1_1\.bin"):
            check_outputs(left(tmp_path, 4, 0), unknown, "tool")
    with pytest.raises(ToolError, match=r"an output of y of 4 bytes, and it should have 800 or 1600: s0_1\.bin"):
        check_outputs(left(tmp_path, 4, 4), output_sizes(model("float[1, 3] x", "float[100, 4]"), 1), "tool")


# ---------------------------------------------------------------------------- inputs


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("size", "message"),
    [
        (100, r"line 2: \./s1\.bin has 100 bytes, and \./s0\.bin has 288: a compiled model takes inputs of one size"),
        (0, r"line 2: \./s1\.bin is empty"),
    ],
)
def test_inputs_that_do_not_fit_each_other_start_nothing(tools: Tools, name: str, size: int, message: str) -> None:
    dataset = raw_dataset(Path("data"), 3)
    Path("data/s1.bin").write_bytes(bytes(size))
    with tools.backend(name).compile(om(Path("m.om"))) as compiled, pytest.raises(UsageError, match=message):
        compiled.infer(dataset, Path("out"))
    assert tools.record == []
    assert not Path("out").exists()


def test_each_input_has_a_size_of_its_own(tools: Tools) -> None:
    dataset = raw_dataset(Path("data"), 2, inputs=2)
    with tools.backend("benchmark").compile(om(Path("m.om"), inputs=2)) as compiled:
        compiled.infer(dataset, Path("out"))
    Path("data/s0_in1.bin").write_bytes(b"")
    with (
        tools.backend("benchmark").compile(Path("m.om")) as compiled,
        pytest.raises(UsageError, match=r"s0_in1\.bin is empty"),
    ):
        compiled.infer(dataset, Path("more"))
