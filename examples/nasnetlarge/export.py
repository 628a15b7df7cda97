"""Export NASNet-A-Large to ONNX: ``python export.py OUT.onnx [--checkpoint FILE.pth] [--opset 11] [--seed 0]``.

The TorchScript exporter is used, at opset 11, with the batch left symbolic: the graph that Ascend's guide for this
model starts from. Needs torch and onnx.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

__all__ = ["EXPORTING", "NETWORK"]

# By path: this file may be run, or read by a test, from anywhere.
EXPORTING = runpy.run_path(str(Path(__file__).parents[1] / "exporting.py"), run_name="exporting")

NETWORK = EXPORTING["Network"](
    title="NASNet-A-Large",
    definition=Path(__file__).with_name("model.py"),
    class_name="NASNetALarge",
    input_name="image",
    output_name="class",
    opset=11,
    checkpoint="the public port",
)

if __name__ == "__main__":
    sys.exit(EXPORTING["main"](NETWORK))
