"""`python -m tests.verification.float_pairs [PART OF A NAME]`: what `onnxfuse.verify` says of every pair."""

from __future__ import annotations

import argparse
import sys
import time

import onnxfuse
from tests.verification.float_pairs import PAIRS, Pair


def main() -> int:
    """Prints a line a pair, and the count; returns 1 where one is told wrong that the rule can resolve."""
    parser = argparse.ArgumentParser(prog="python -m tests.verification.float_pairs", allow_abbrev=False)
    parser.add_argument("part", nargs="?", default="", help="only pairs whose name has this in it")
    part = parser.parse_args().part
    pairs = [pair for pair in PAIRS if part in pair.name]
    wrong = sum(_line(pair) for pair in pairs)
    print(f"{len(pairs) - wrong} of {len(pairs)} as they should be")
    return int(wrong > 0)


def _line(pair: Pair) -> bool:
    started = time.perf_counter()
    verdict = onnxfuse.verify(*pair.build())
    seconds = time.perf_counter() - started
    told = verdict.status == pair.truth
    mark = "" if told else "BELOW " if pair.below_resolution else "WRONG "
    why = verdict.outputs[0].why or ""
    print(f"{mark:6}{pair.truth:11}{verdict.status!s:11}{seconds:6.2f} s  {pair.name}: {why}", flush=True)
    return not told and not pair.below_resolution


if __name__ == "__main__":
    sys.exit(main())
