"""Small models on disk, and a package that ships passes of every bad manner."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx

__all__ = ["MODELS", "PASSES", "ops", "save", "save_package", "weighted"]

HEAD: Final = '<ir_version: 8, opset_import: ["": 17]>'
BOUNDS: Final = (
    "<int64[1] one = {1}, int64[1] end = {9223372036854775807}, int64[1] rows = {2}, int64[1] columns = {3}>"
)

MODELS: Final = {
    # Two Slices that merge.
    "pair": f"""{HEAD}
        g (float[N, 8, 16, 16] x) => (float[N, 8, 15, 15] y) {BOUNDS} {{
            [rows_cut] cropped = Slice(x, one, end, rows)
            [columns_cut] y = Slice(cropped, one, end, columns)
        }}""",
    # Two Slices that do not, because something else reads the first.
    "shared": f"""{HEAD}
        g (float[N, 8, 16, 16] x) => (float[N, 8, 15, 15] y, float[N, 8, 15, 16] z) {BOUNDS} {{
            [rows_cut] cropped = Slice(x, one, end, rows)
            [columns_cut] y = Slice(cropped, one, end, columns)
            [relu] z = Relu(cropped)
        }}""",
    # Nothing for a pass of the catalogue.
    "relu": f"{HEAD} g (float[N, 8] x) => (float[N, 8] y) {{ [relu] y = Relu(x) }}",
    "neg": f"{HEAD} g (float[N, 8] x) => (float[N, 8] y) {{ [relu] y = Neg(x) }}",
    # Integers: nothing rounds.
    "negs": f"""{HEAD} g (int32[N] x) => (int32[N] y) {{
        [n0] a = Neg(x) [n1] b = Neg(a) [n2] c = Neg(b) [n3] d = Neg(c) [n4] y = Neg(d)
    }}""",
    # Either Clip may go; not both.
    "clips": f"""{HEAD} g (int32[N] x) => (int32[N] y) <int32 low = {{0}}, int32 high = {{6}}> {{
        [first] h = Clip(x, low, high) [second] y = Clip(h, low, high)
    }}""",
    # Nodes without names.
    "unnamed": f"{HEAD} g (float[N, 8] x) => (float[N, 8] y) {{ y = Relu(x) }}",
    # A custom op that no runtime knows, before two Slices that merge.
    "custom": f"""<ir_version: 8, opset_import: ["": 17, "my.domain": 1]>
        g (float[N, 8, 16, 16] x) => (float[N, 8, 15, 15] y) {BOUNDS} {{
            [mine] c = my.domain.Mine(x)
            [rows_cut] cropped = Slice(c, one, end, rows)
            [columns_cut] y = Slice(cropped, one, end, columns)
        }}""",
    # Runs at batch 5 only: a size that is not tried unless it is asked for.
    "five": f"""{HEAD}
        g (float[N, 8, 16, 16] x) => (float[5, 1800] y)
        <int64[1] one = {{1}}, int64[1] end = {{9223372036854775807}}, int64[1] rows = {{2}}, int64[1] columns = {{3}},
         int64[2] five = {{5, 1800}}> {{
            cropped = Slice(x, one, end, rows)
            both = Slice(cropped, one, end, columns)
            y = Reshape(both, five)
        }}""",
    # Three reasons and more to decline.
    "pads": HEAD
    + "g (float[N, 8] x) => (float[N, M] y) <int64[4] a = {0,0,0,1}, int64[4] b = {0,0,0,2}, int64[4] c = {0,0,0,3},"
    + " int64[4] d = {0,0,0,4}, int64[4] zero = {0,0,0,0}> {"
    + " pa = Pad(x, a) pa2 = Pad(pa, a) pa3 = Pad(pa2, a) pb = Pad(pa3, b) pb2 = Pad(pb, b) pc = Pad(pb2, c)"
    + " pd = Pad(pc, d)"
    + " p = Pad(pd, zero) y = Relu(p) }",
}

PASSES: Final = '''
"""Passes of every bad manner."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np

from onnxfuse import Numerics, RewritePass


@dataclass(frozen=True)
class OnRelu(RewritePass):
    numerics = Numerics.EXACT
    ops = frozenset({"Relu"})

    def match(self, node, facts):
        return facts.region(node, data=node.inputs[0])

    def rewrite(self, match, build):
        return [build.op("Relu", match["data"])]


@dataclass(frozen=True)
class RaiseOnRelu(OnRelu):
    """Raise an error on every Relu."""

    name = "raise-on-relu"

    def match(self, node, facts):
        raise ValueError("no Relu, please")


@dataclass(frozen=True)
class ReluToNeg(OnRelu):
    """Replace Relu by what does something else."""

    name = "relu-to-neg"

    def rewrite(self, match, build):
        return [build.op("Neg", match["data"])]


@dataclass(frozen=True)
class KeepRelu(OnRelu):
    """Replace Relu by Relu, for ever."""

    name = "keep-relu"


@dataclass(frozen=True)
class WaitOnNeg(OnRelu):
    """Wait for a minute on every Neg."""

    name = "wait-on-neg"
    ops = frozenset({"Neg"})

    def match(self, node, facts):
        print("waiting", file=sys.stderr, flush=True)
        time.sleep(60)


@dataclass(frozen=True)
class NameRelu(OnRelu):
    """Decline every Relu, in words that are asked for."""

    to: str
    name = "name-relu"

    def match(self, node, facts):
        facts.decline(f"it is not called {self.to}")


@dataclass(frozen=True)
class NegToProduct(OnRelu):
    """Replace Neg by a product: at one node by a wrong one."""

    wrong: str = ""
    name = "neg-to-product"
    ops = frozenset({"Neg"})

    def rewrite(self, match, build):
        factor = -3 if match.nodes[0].name == self.wrong else -1
        return [build.op("Mul", match["data"], build.constant(np.array(factor, np.int32)))]


@dataclass(frozen=True)
class DropClip(OnRelu):
    """Drop every Clip."""

    name = "drop-clip"
    ops = frozenset({"Clip"})

    def rewrite(self, match, build):
        return [match["data"]]
'''

ENTRY_POINTS: Final = """[onnxfuse.passes]
raise-on-relu = badmanners:RaiseOnRelu
relu-to-neg = badmanners:ReluToNeg
keep-relu = badmanners:KeepRelu
wait-on-neg = badmanners:WaitOnNeg
name-relu = badmanners:NameRelu
neg-to-product = badmanners:NegToProduct
drop-clip = badmanners:DropClip
nowhere = badmanners_is_not_here:Nowhere
"""


def save(name: str, folder: Path) -> Path:
    """Writes a model of `MODELS` to `<name>.onnx`."""
    path = folder / f"{name}.onnx"
    onnx.save(onnx.parser.parse_model(MODELS[name]), path)
    return path


def weighted(path: Path, *, external: bool = False, change: float = 0.0) -> bytes:
    """Writes a MatMul and a Relu with 16 kB of weights, inside or beside the model; returns the weights."""
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    weights[3, 5] += change
    model = onnx.parser.parse_model(
        f"{HEAD} g (float[N, 64] x) => (float[N, 64] y) {{ [product] m = MatMul(x, w)  [relu] y = Relu(m) }}"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, path, save_as_external_data=external, location="w.bin" if external else None, size_threshold=0)
    return weights.tobytes()


def save_package(folder: Path) -> Path:
    """Writes a distribution `badmanners` with the passes of `PASSES`, as if installed; returns the folder."""
    (folder / "badmanners.py").write_text(PASSES)
    info = folder / "badmanners-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: badmanners\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def ops(path: Path) -> list[str]:
    """The operators of a model on disk, in order."""
    return [node.op_type for node in onnx.load(path).graph.node]
