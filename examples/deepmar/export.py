"""Export DeepMAR to ONNX: ``python export.py OUT.onnx [--checkpoint FILE.pth] [--old-pad] [--opset 11] [--seed 0]``.

The TorchScript exporter is used, at opset 11, with the batch left symbolic: the graph that Ascend's guide for this
model starts from, once ``--old-pad`` has put the Pad back that today's exporter no longer writes. Needs torch and onnx.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["EXPORTING", "NETWORK", "write_pools_as_before"]

# By path: this file may be run, or read by a test, from anywhere.
EXPORTING = runpy.run_path(str(Path(__file__).parents[1] / "exporting.py"), run_name="exporting")


def write_pools_as_before(model: onnx.ModelProto) -> None:
    """Write each AveragePool that counts its padding as torch before 1.9 did: a Pad, and an AveragePool without pads.

    The Pad was there even where it adds nothing. Its pads are a Constant, its value is left out, and the AveragePool has
    no ``count_include_pad``. The new nodes are named by their place, as those exporters named all nodes.

    Args:
        model: The export, edited in place.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "AveragePool" and "count_include_pad" in attributes:
            begin, end = np.split(np.array(attributes["pads"].ints, dtype=np.int64), 2)
            # A Pad of a [B, C, H, W] tensor has entries for B and C too.
            pads = np.concatenate([np.pad(part, (2, 0)) for part in (begin, end)])
            constant, pad = f"Constant_{len(nodes)}", f"Pad_{len(nodes) + 1}"
            nodes += [
                helper.make_node("Constant", [], [f"{constant}_output"], constant, value=numpy_helper.from_array(pads)),
                helper.make_node("Pad", [node.input[0], f"{constant}_output"], [f"{pad}_output"], pad, mode="constant"),
            ]
            node.input[0] = f"{pad}_output"
            attributes["pads"].ints[:] = [0] * len(begin) + [0] * len(end)
            node.attribute.remove(attributes["count_include_pad"])
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


NETWORK = EXPORTING["Network"](
    title="DeepMAR",
    definition=Path(__file__).with_name("model.py"),
    class_name="DeepMAR",
    input_name="actual_input_1",
    output_name="output1",
    opset=11,
    checkpoint="the public code",
    edits=(
        EXPORTING["Edit"](
            option="--old-pad",
            help="write the pooling as exporters before torch 1.9 did, with a Pad before it (opsets 11 to 13)",
            # Below 11 the pads are an attribute; above 13 those exporters could not go.
            opsets=range(11, 14),
            change=write_pools_as_before,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(EXPORTING["main"](NETWORK))
