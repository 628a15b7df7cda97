"""`python -m tests.mutation [--count N | --all]`: tries faults, and lists those that got through."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.campaign import Tried, campaign, draw, score

BAR = 0.99
WAYS = ("rejected", "whole model", "structure", "raised")


def main() -> int:
    """Prints a line a fault and the score; returns 1 where it is below 99 %."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", allow_abbrev=False)
    parser.add_argument("--count", type=int, default=300, help="how many faults (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="all there are")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument("--only", default="", help="only files whose name has this in it")
    parser.add_argument("--json", type=Path, help="write what became of each")
    arguments = parser.parse_args()
    drawn = draw(None if arguments.all else arguments.count, arguments.seed)
    drawn = [item for item in drawn if arguments.only in item.target.module]
    tried = campaign(drawn, tell=_line)
    reached = score(tried)
    ways = Counter(_way(one.verdict.how) for one in tried if one.verdict.outcome == "caught")
    print(f"\n{len(tried)} faults: {dict(Counter(one.verdict.outcome for one in tried))}")
    print(f"caught by: {dict(ways)}")
    print(f"score: {reached:.4f}")
    for one in tried:
        if one.verdict.outcome == "survived":
            print(f"survived: {one.drawn}: {one.verdict.models[0]}: {one.verdict.how[0]}")
    if arguments.json is not None:
        rows = [{"fault": str(one.drawn), **vars(one.verdict)} for one in tried]
        arguments.json.write_text(json.dumps({"score": reached, "faults": rows}, indent=1) + "\n", encoding="utf-8")
    return int(reached < BAR)


def _way(how: Sequence[str]) -> str:
    """Returns how a fault was caught that was caught in several ways: where it built something, that counts."""
    return next((way for way in WAYS if way in how), how[0])


def _line(one: Tried) -> None:
    print(
        f"{one.verdict.outcome:10}{one.drawn}: {', '.join(one.verdict.how)} {', '.join(one.verdict.models[:2])}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
