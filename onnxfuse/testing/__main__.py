"""Takes the weights out of a model, or puts seeded random ones in."""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx

from onnxfuse.testing.weights import fill, strip


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m onnxfuse.testing", description=__doc__)
    parser.add_argument("action", choices=("strip", "fill"))
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    arguments = parser.parse_args()
    if not arguments.model.is_file():
        parser.error(f"{arguments.model}: no such file")
    model = onnx.load(arguments.model)
    done = strip(model) if arguments.action == "strip" else fill(model, seed=arguments.seed)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(done, arguments.output)


if __name__ == "__main__":
    main()
