"""Real small models with something wrong in them, through every command: it works, or there is one clear line."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from onnxfuse.cli.main import main
from onnxfuse.errors import ModelError
from onnxfuse.model_io import wire
from tests.model_io.models import chain, everything
from tests.model_io.test_fuzz import SLICES, damaged, twisted

EXAMPLES: Final = int(os.environ.get("ONNXFUSE_EXAMPLES", "60"))
MEMORY: Final = 3 << 30
GAUNTLET: Final = Path(__file__).parent.parent / "gauntlet" / "models"
# Those that the passes of the catalogue look at, and those with bodies and functions.
WORDS: Final = ("slice", "pad", "if_", "loop", "scan", "function", "opset", "subgraph", "captured")


def _seeds() -> list[onnx.ModelProto]:
    paths = [path for path in sorted(GAUNTLET.glob("*.onnx")) if any(word in path.stem for word in WORDS)]
    small = [onnx.load(path) for path in paths if path.stat().st_size < 20_000]
    return [SLICES, chain(), everything(), *small]


SEEDS: Final = _seeds()

fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True, scope="module")
def little_memory() -> Iterator[None]:
    """What asks for gigabytes gets an error, and not the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (int(used.split()[1]) * 1024 + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


# ------------------------------------------------------------------------------------------------ fields


def _deleted(data: bytes, field: wire.Field, _: bytes) -> bytes:
    return data[: field.start] + data[field.end :]


def _doubled(data: bytes, field: wire.Field, _: bytes) -> bytes:
    return data[: field.end] + data[field.start : field.end] + data[field.end :]


def _replaced(data: bytes, field: wire.Field, other: bytes) -> bytes:
    return data[: field.start] + other + data[field.end :]


def _emptied(data: bytes, field: wire.Field, _: bytes) -> bytes:
    return data[: field.start] + wire.field_bytes(field.number, b"") + data[field.end :]


def _fields(data: bytes) -> list[wire.Field]:
    try:
        return list(wire.fields(memoryview(data)))
    except ModelError:
        return []


@st.composite
def rearranged(draw: st.DrawFn) -> bytes:
    """Draws a model of which some fields, at any depth, are gone, doubled, emptied, or another of the same message."""
    data = draw(st.sampled_from(SEEDS)).SerializeToString()
    for _ in range(draw(st.integers(1, 3))):
        data = _changed(draw, data, depth=0)
    return data or b"\0"


def _changed(draw: st.DrawFn, data: bytes, depth: int) -> bytes:
    entries = _fields(data)
    if not entries:
        return data
    field = draw(st.sampled_from(entries))
    if field.wire == wire.LENGTH_DELIMITED and (depth == 0 or draw(st.booleans())):
        inner = data[field.payload : field.end]
        if _fields(inner):
            anew = _changed(draw, inner, depth + 1)
            return data[: field.start] + wire.field_bytes(field.number, anew) + data[field.end :]
    other = draw(st.sampled_from(entries))
    change = draw(st.sampled_from([_deleted, _doubled, _replaced, _emptied]))
    return change(data, field, data[other.start : other.end])


# ------------------------------------------------------------------------------------------------ what must hold


def run(*argv: str | Path) -> tuple[int, str]:
    """Runs a command; checks that what it refuses it refuses in one line."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        code = main(list(map(str, argv)))
    text = err.getvalue()
    assert "Traceback" not in text, text
    if code == 2:
        (line,) = text.splitlines()
        assert line.startswith("onnxfuse: error: ")
    return code, text


def check(data: bytes, *, whole: bool) -> None:
    """Gives a model to every command."""
    with tempfile.TemporaryDirectory() as folder:
        model, out = Path(folder, "model.onnx"), Path(folder, "out.onnx")
        model.write_bytes(data)
        inspected, said = run("inspect", model, "--json")
        assert inspected in (0, 2), said
        applied, said = run(
            "apply", model, "-o", out, *(["--verify-budget", "3"] if whole else ["--verify", "region"]), "--why"
        )
        assert applied == inspected, said
        assert out.exists() == (applied == 0)
        if applied == 0:
            differs, said = run("diff", model, out)
            assert differs in (0, 1), said
            if differs == 0:
                assert out.read_bytes() == data
            if whole:
                verified, said = run("verify", model, out, "--verify-budget", "3")
                assert verified in (0, 5), said


@fuzz
@given(rearranged(), st.integers(0, 9))
def test_rearranged_fields(data: bytes, tenth: int) -> None:
    check(data, whole=tenth == 0)


@fuzz
@given(damaged(SEEDS), st.integers(0, 9))
def test_damaged_bytes(data: bytes, tenth: int) -> None:
    check(data, whole=tenth == 0)


@fuzz
@given(twisted(SEEDS), st.integers(0, 9))
@example(onnx.ModelProto(), 0)
def test_twisted_messages(model: onnx.ModelProto, tenth: int) -> None:
    check(model.SerializeToString() or b"\0", whole=tenth == 0)
