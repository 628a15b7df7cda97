"""A seeded draw of faults, each tried in a child process; the score is the share of effective ones that were caught."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from benchmarks.isolation import Child, ChildError, ChildRaisedError
from tests.mutation.faults import Fault, faults_in
from tests.mutation.trial import CATALOGUE, TARGETS, Target, Verdict, trial

__all__ = ["Drawn", "Tried", "campaign", "draw", "score"]

LIMIT_S: Final = 240.0

T = TypeVar("T")


@dataclass(frozen=True)
class Drawn:
    """A fault and where it is made."""

    target: Target
    fault: Fault

    def __str__(self) -> str:
        return f"{self.target.module.rpartition('.')[2]} {self.fault}"


@dataclass(frozen=True)
class Tried:
    """A fault and what became of it."""

    drawn: Drawn
    verdict: Verdict


def draw(count: int | None, seed: int = 0) -> list[Drawn]:
    """Draws faults, half of them from the catalogue's own passes; within a half, files and kinds take turns.

    Args:
        count: How many; None for all there are.
        seed: Of the draw.
    """
    rng = random.Random(seed)
    own = [target for target in TARGETS if target.module.startswith(CATALOGUE)]
    others = [target for target in TARGETS if target not in own]
    if count is None:
        return [Drawn(target, fault) for target in TARGETS for fault in faults_in(target.path.read_text("utf-8"))]
    halves = [_in_turns([_by_kind(target, rng) for target in targets]) for targets in (own, others)]
    drawn = [item for _, item in zip(range(count // 2), halves[0], strict=False)]
    return drawn + [item for _, item in zip(range(count - len(drawn)), halves[1], strict=False)]


def _by_kind(target: Target, rng: random.Random) -> Iterator[Drawn]:
    kinds: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults_in(target.path.read_text("utf-8")):
        kinds[fault.kind].append(fault)
    for faults in kinds.values():
        rng.shuffle(faults)
    order = list(kinds.values())
    rng.shuffle(order)
    return (Drawn(target, fault) for fault in _in_turns([iter(faults) for faults in order]))


def _in_turns(sources: Sequence[Iterator[T]]) -> Iterator[T]:
    left = list(sources)
    while left:
        for source in tuple(left):
            try:
                yield next(source)
            except StopIteration:
                left.remove(source)


def campaign(drawn: Sequence[Drawn], *, tell: Callable[[Tried], None] | None = None) -> list[Tried]:
    """Tries faults. One that hangs, or ends the process, is caught: nothing came out."""
    tried = []
    with Child(limit_s=LIMIT_S) as child:
        for item in drawn:
            try:
                verdict = child.call(trial, item.target.module, item.target.runs, item.fault.source)
            except ChildRaisedError:
                raise  # what a faulty pass raises is dealt with in the child: this is a fault of ours
            except ChildError as error:
                verdict = Verdict("caught", (str(error),))
            tried.append(Tried(item, verdict))
            if tell is not None:
                tell(tried[-1])
    return tried


def score(tried: Sequence[Tried]) -> float:
    """Returns the share of the faults that had an effect which were caught."""
    outcomes = [one.verdict.outcome for one in tried]
    effective = outcomes.count("caught") + outcomes.count("survived")
    return outcomes.count("caught") / effective if effective else 1.0
