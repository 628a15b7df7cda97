"""Which sets of inputs two models are compared on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from onnxfuse.errors import UsageError
from onnxfuse.verification.draws import Family, Feeds, draw, drawn_elements, planned_counts
from onnxfuse.verification.element_types import is_inexact, numpy_dtype
from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError
from onnxfuse.verification.input_data import DataSet, InputData, data_sets
from onnxfuse.verification.inputs import Binding, InputError, InputSpec, TooLargeError, bind, free_inputs, given_sizes
from onnxfuse.verification.model_constants import constants_of, integers_of

if TYPE_CHECKING:
    from onnxfuse.verification.model_check import ModelCheck

__all__ = ["FAMILY_NAMES", "SIZES", "CutError", "Feeds", "InputSet", "Progress", "StopError", "sets_of", "user_sets"]

Progress = Callable[[str, int, int], None]
"""Told what is being done with which input set, how many are done, and how many there are."""

FAMILY_NAMES: Final = (*get_args(Family), "bindings")
"""What can be selected; `bindings` are more sizes of the symbolic dims, with a few draws of some families at each."""

ATTEMPTS: Final = 3
"""So many normal draws are tried before a model counts as one that does not run."""
MOST_TIMEOUTS: Final = 3
"""A model of which so many runs did not end is not tried on."""
SIZES: Final = (1, 2, 3, 4, 8, 16, 32, 64)
"""Tried in turn for all symbolic dims, until a model runs."""
DISTINCT_SIZES: Final = (2, 3, 5, 4, 7, 6)
MORE_BINDINGS: Final = 9
"""Besides the first."""
AT_BINDINGS: Final[Mapping[Family, int]] = {"normal": 1, "unique": 1, "ladder": 2, "special": 1}
AT_FAR: Final[Mapping[Family, int]] = {"normal": 1, "unique": 1}
FAR: Final = (7, 1025)
"""The integers beyond which dims are tried: those below are reached by the other bindings."""
MOST_FAR: Final = 3
FAR_ELEMENTS: Final = 1 << 16
REPLACED: Final[Mapping[Family, int]] = {"normal": 1, "unique": 1, "ties": 3, "special": 1}
"""With the defaults of overridable inputs replaced; of the ladder as many as use it up."""


class StopError(Exception):
    """Nothing more can be compared; the message says why."""


class CutError(Exception):
    """The budget is used up."""


@dataclass(frozen=True)
class InputSet:
    """One set of inputs.

    Attributes:
        label: Its name in reports.
        family: What it was drawn from; `data` for the user's own.
        binding: The sizes of symbolic dims in it; of no dim for the user's own.
        make: Makes it, each time the same.
    """

    label: str
    family: str
    binding: Binding
    make: Callable[[], Feeds]

    @property
    def normal(self) -> bool:
        """Whether nothing extreme is in it, so that only rounding may differ."""
        return self.family in ("normal", "data")


def sets_of(
    check: ModelCheck,
    data: Sequence[InputData] | None,
    dims: Mapping[str, int] | None,
    seed: int,
    families: Iterable[str] | None = None,
) -> list[InputSet]:
    """Plans a comparison: the user's input sets, or drawn ones.

    The quick check has one normal input, at the smallest binding at which the first model runs. The full one begins at
    dims that differ from each other, where the first model runs on such, and goes on at other bindings; one at which it
    does not run is dropped as a whole, and noted.

    Args:
        check: The comparison; it runs the first model.
        data: The user's own input sets, or the files with them.
        dims: The user's sizes of symbolic dims; these are never varied.
        seed: Of the random numbers.
        families: Names in `FAMILY_NAMES`; None for all.

    Returns:
        The sets, in the order in which they are run.

    Raises:
        StopError: If the first model runs at no binding.
        UsageError: If `data`, `dims` or `families` speak of what is not there.
    """
    chosen = _selected(families)
    specs = free_inputs(check.a.proto)
    if data is not None:
        return user_sets(data, specs, dims)
    if not check.full:
        plan = _Plan(check, specs, dims, seed, ("normal",), ())
        binding = plan.first(())
        return [*plan.sets(plan.required, binding, {"normal": 1})]
    constants = dict.fromkeys((*constants_of(check.a.proto), *constants_of(check.b.proto)))
    return _Plan(check, specs, dims, seed, chosen, tuple(constants)).full()


def _selected(families: Iterable[str] | None) -> tuple[str, ...]:
    if families is None:
        return FAMILY_NAMES
    from difflib import get_close_matches

    chosen = tuple(families)
    for name in chosen:
        if name not in FAMILY_NAMES:
            near = get_close_matches(name, FAMILY_NAMES, n=1)
            hint = f": did you mean {near[0]}?" if near else f"; there are {', '.join(FAMILY_NAMES)}"
            raise UsageError(f"no family of inputs is named {name!r}{hint}")
    if not chosen:
        raise UsageError(f"no family of inputs is selected; there are {', '.join(FAMILY_NAMES)}")
    return chosen


def user_sets(data: Sequence[InputData], specs: Sequence[InputSpec], dims: Mapping[str, int] | None) -> list[InputSet]:
    """The user's own input sets.

    Args:
        data: As arrays, or where they lie.
        specs: The inputs of the model.
        dims: The user's sizes of symbolic dims.

    Returns:
        The sets, in order; making one reads it.

    Raises:
        UsageError: If they cannot be read, or are not for these inputs; making one raises it too.
    """
    given = given_sizes(specs, dims)
    known = {spec.name for spec in specs}
    sets: list[InputSet] = []
    for found in (found for source in data for found in data_sets(source, specs, given)):
        missing = [spec.name for spec in specs if not spec.overridable and spec.name not in found.names]
        unknown = [name for name in found.names if name not in known]
        if missing or unknown:
            what = f"has nothing for input {missing[0]}" if missing else f"has {unknown[0]}, which is no input"
            raise UsageError(
                f"input set {len(sets)} {what}; the inputs are: {', '.join(spec.name for spec in specs) or 'none'}"
            )
        sets.append(InputSet(f"data {len(sets)}", "data", Binding({}), partial(_fitting, found, specs, len(sets))))
    return sets


def _fitting(found: DataSet, specs: Sequence[InputSpec], index: int) -> Feeds:
    """Reads an input set of the user's; raises `UsageError` where an array is not what the model declares."""
    feeds = dict(found.make())
    for spec in specs:
        array, wanted = feeds.get(spec.name), numpy_dtype(spec.dtype)
        if spec.kind != "tensor" or not isinstance(array, np.ndarray) or wanted is None:
            continue
        if array.dtype.kind in "biuf" and wanted.kind in "biuf" and array.dtype != wanted:
            raise UsageError(f"input set {index}: {spec.name} is {array.dtype}, and the model takes {wanted}")
        fits = spec.dims is None or (
            len(spec.dims) == array.ndim
            and all(dim == size for dim, size in zip(spec.dims, array.shape, strict=True) if isinstance(dim, int))
        )
        if not fits:
            declared = ", ".join("?" if dim is None else str(dim) for dim in spec.dims or ())
            raise UsageError(f"input set {index}: {spec.name} is {list(array.shape)}, and the model takes [{declared}]")
    return feeds


class _Plan:
    """The drawn sets of one comparison."""

    def __init__(
        self,
        check: ModelCheck,
        specs: list[InputSpec],
        dims: Mapping[str, int] | None,
        seed: int,
        chosen: Sequence[str],
        constants: tuple[float, ...],
    ) -> None:
        self.check = check
        self.specs = specs
        self.required = [spec for spec in specs if not spec.overridable]
        self.dims = dims
        self.seed = seed
        self.chosen = chosen
        self.constants = constants
        self.tried: list[Binding] = []
        self.lead = 0  # the first normal draw on which the first model runs

    def full(self) -> list[InputSet]:
        """The plan of the full comparison; what finds most comes first."""
        first = self.first((DISTINCT_SIZES, DISTINCT_SIZES[::-1]))
        # Without inputs there is only one input set.
        counts: dict[Family, int] = {"normal": 1}
        if self.required:
            counts = planned_counts(self.required, first, self.constants)
        sets = [*self.sets(self.required, first, self._of(counts))]
        early = sum(inputs.family in ("normal", "ladder") for inputs in sets)
        more = [*self._bindings(first)] if "bindings" in self.chosen else []
        if len(self.required) < len(self.specs):
            counts = {**REPLACED, "ladder": planned_counts(self.specs, first)["ladder"]}
            more += self.sets(self.specs, first, self._of(counts), " with replaced defaults")
        return [*sets[:early], *more, *sets[early:]]

    def _of(self, counts: Mapping[Family, int]) -> dict[Family, int]:
        return {family: count for family, count in counts.items() if family in self.chosen}

    def sets(
        self, specs: list[InputSpec], binding: Binding, counts: Mapping[Family, int], suffix: str = "", turn: int = 0
    ) -> Iterator[InputSet]:
        """Sets of some families; with `turn` n from where those of turn n - 1 ended."""
        at = f" at {binding}" if binding.sizes else ""
        for family, count in counts.items():
            # What goes on with `unique` is the next digit of numbers that are the same at no other binding.
            start = 0 if family == "unique" else turn * count + (self.lead if family == "normal" else 0)
            for index in range(start, start + count):
                label = f"{family} {index}{at}{suffix}"
                yield InputSet(label, family, binding, self._maker(specs, binding, family, index))

    def _maker(self, specs: list[InputSpec], binding: Binding, family: Family, index: int) -> Callable[[], Feeds]:
        return lambda: draw(specs, binding, family, index, seed=self.seed, constants=self.constants)

    def _bindings(self, first: Binding) -> Iterator[InputSet]:
        """A few draws at other sizes: all different, all equal, 1 against others, 0, and one dim at a time."""
        turns = [DISTINCT_SIZES, DISTINCT_SIZES[::-1], (1,), (2,), (3,), (7,), (1, 3), (3, 1), (0,)]
        bindings = [bind(self.specs, user=self.dims, sizes=sizes) for sizes in turns]
        zero, one = (bind(self.specs, user=self.dims, sizes=(size,)).sizes for size in (0, 1))
        free = [symbol for symbol in first.sizes if zero[symbol] != one[symbol]]
        if free:
            bindings.append(Binding({**first.sizes, free[0]: 0}))
        # Most models run at few sizes of their images or sentences, but at many of their batches.
        bindings += [Binding({**first.sizes, symbol: size}) for symbol in free for size in (1, 2, 3)]
        refused: list[tuple[Binding, str]] = []
        done = 0
        for binding in bindings:
            if binding in self.tried or done == MORE_BINDINGS:
                continue
            self.tried.append(binding)
            try:
                self.check.run_first(draw(self.required, binding, "normal", 0, seed=self.seed))
            except CutError:
                self.check.not_run.append(f"other sizes of the symbolic dims were not tried {self.check.within}")
                break
            except (EvaluationError, InputError) as error:
                refused.append((binding, str(error)))
                continue
            done += 1
            yield from self.sets(self.required, binding, AT_BINDINGS, turn=done)
        yield from self._far(first, free)
        if refused:
            self.check.dropped += len(refused)
            where, reason = "; ".join(str(binding) for binding, _ in refused), refused[0][1]
            self.check.notes.append(f"not compared at {where}, since the first model does not run there: {reason}")

    def _far(self, first: Binding, free: Sequence[str]) -> Iterator[InputSet]:
        """One dim at a time beyond the model's own integers: there an end of a Slice or a bound of a Clip comes to bear."""
        integers = integers_of(self.check.a.proto) | integers_of(self.check.b.proto)
        numbers = sorted(abs(c) for c in integers if FAR[0] <= abs(c) < FAR[1])
        sizes = list(dict.fromkeys((numbers[-1] + 1, (numbers[-1] + numbers[0]) // 2))) if numbers else []
        for symbol, size in itertools.product(free[:MOST_FAR], sizes):
            binding = Binding({**first.sizes, symbol: size})
            if binding in self.tried or drawn_elements(self.required, binding) > FAR_ELEMENTS:
                continue
            self.tried.append(binding)
            try:
                self.check.run_first(draw(self.required, binding, "normal", 0, seed=self.seed))
            except (CutError, EvaluationError, InputError):
                continue  # an extra that most models do not run at: no sentence is worth it
            yield from self.sets(self.required, binding, AT_FAR)

    def first(self, wishes: Sequence[Sequence[int]]) -> Binding:
        """The first binding at which the first model runs and no float output is empty.

        Its results are kept for the first input set, which is the same.

        Args:
            wishes: Sizes for the symbols in turn, each tried before one size for all of them.

        Returns:
            The binding.

        Raises:
            StopError: If there is none.
        """
        turns = [bind(self.specs, user=self.dims, sizes=turn) for turn in (*wishes, *((size,) for size in SIZES))]
        turns = [binding for place, binding in enumerate(turns) if binding not in turns[:place]]
        reasons: list[str] = []
        timeouts = 0
        for attempt in range(ATTEMPTS):
            empty: tuple[Binding, Feeds, list[Any]] | None = None
            slow: list[Binding] = []
            for binding in turns:
                if any(all(binding.sizes[name] >= size for name, size in each.sizes.items()) for each in slow):
                    continue
                try:
                    feeds, results = self._try(binding, attempt)
                except (EvaluationError, TooLargeError) as error:
                    reasons.append(str(error))
                    if isinstance(error, EvaluationTimeoutError):
                        slow.append(binding)
                        timeouts += 1
                        if timeouts == MOST_TIMEOUTS:
                            raise StopError(f"the first model does not run{self._tried_text()}: {error}") from None
                    continue
                if not any(isinstance(x, np.ndarray) and x.size == 0 and is_inexact(x.dtype) for x in results):
                    return self._keep(attempt, binding, feeds, results)
                empty = empty or (binding, feeds, results)
            if empty is not None:
                self.check.notes.append("at every size that was tried, some float output is empty")
                return self._keep(attempt, *empty)
        raise StopError(f"the first model does not run{self._tried_text()}: {reasons[0]}")

    def _try(self, binding: Binding, attempt: int) -> tuple[Feeds, list[Any]]:
        """Runs the first model on a normal draw; raises `EvaluationError` or `TooLargeError` where it does not run."""
        if binding not in self.tried:
            self.tried.append(binding)
        try:
            feeds = draw(self.required, binding, "normal", attempt, seed=self.seed)
            return feeds, self.check.run_first(feeds)
        except TooLargeError:
            raise
        except InputError as error:
            raise StopError(str(error)) from error
        except CutError:
            at = binding or "its sizes"
            raise StopError(f"the first model did not finish one run at {at} {self.check.within}") from None

    def _keep(self, attempt: int, binding: Binding, feeds: Feeds, results: list[Any]) -> Binding:
        """Begins the normal draws with this one."""
        self.lead = attempt
        if "normal" in self.chosen:
            self.check.keep(feeds, results)
        return binding

    def _tried_text(self) -> str:
        first = self.tried[0].sizes
        if len(self.tried) > 1:
            sizes = [size for binding in self.tried for size in binding.sizes.values()]
            return f" with its symbolic dims ({', '.join(first)}) at any size tried from {min(sizes)} to {max(sizes)}"
        return f" at {self.tried[0]}" if first else ""
