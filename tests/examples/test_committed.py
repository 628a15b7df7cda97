"""The graphs without weights that are committed: small, and as their READMEs count them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.examples.commands import ROOT

EXAMPLES = ROOT / "examples"
GRAPHS = sorted(EXAMPLES.glob("*/*.onnx"))
# For each the least count of stripped initializers and of the elements in them, and the most bytes of the file.
EXPECTED = {
    "nasnetlarge/nasnetlarge.onnx": (700, 88_000_000, 400_000),
    "deepmar/deepmar.onnx": (100, 23_000_000, 40_000),
    "deepmar/deepmar_oldpad.onnx": (100, 23_000_000, 40_000),
    "lvvit_s/lvvit_s.onnx": (180, 26_000_000, 200_000),
    "lvvit_s/lvvit_s_opset11.onnx": (180, 26_000_000, 200_000),
}


def name(path: Path) -> str:
    return str(path.relative_to(EXAMPLES))


def test_all_are_known() -> None:
    assert {name(path) for path in GRAPHS} == set(EXPECTED)


@pytest.mark.parametrize("path", GRAPHS, ids=name)
def test_what_was_stripped_says_so(path: Path) -> None:
    count, elements, size = EXPECTED[name(path)]
    initializers = onnx.load(path).graph.initializer
    stripped = [tensor for tensor in initializers if tensor.doc_string == "stripped"]
    assert len(stripped) > count
    assert not any(tensor.raw_data or tensor.float_data for tensor in stripped)
    assert sum(int(np.prod(tensor.dims)) for tensor in stripped) > elements
    assert path.stat().st_size < size
    assert all(tensor.raw_data for tensor in initializers if tensor.doc_string != "stripped")


@pytest.mark.parametrize("path", GRAPHS, ids=name)
def test_the_readmes_count_right(path: Path) -> None:
    """Where a folder has several graphs, the README counts the ops of one, and the nodes of each."""
    text = path.with_name("README.md").read_text()
    ops = Counter(node.op_type for node in onnx.load(path).graph.node)
    totals = [tuple(map(int, found)) for found in re.findall(r"(\d+) nodes, and (\d+) Constant nodes", text)]
    assert (ops.total() - ops["Constant"], ops["Constant"]) in totals
    assert len(totals) == len({item for item in GRAPHS if item.parent == path.parent})
    (listed,) = re.findall(r"Constant nodes: ([^.]*)", text)
    counts = re.findall(r"(\w+) (\d+)", listed)
    assert len(counts) >= 10
    if path.stem in ("deepmar", "lvvit_s_opset11"):
        return
    assert {op_type: int(count) for op_type, count in counts} == {op_type: ops[op_type] for op_type, _ in counts}
