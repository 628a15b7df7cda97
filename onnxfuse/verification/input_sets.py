"""Which sets of inputs two models are compared on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from onnxfuse.errors import UsageError
from onnxfuse.verification.compare import is_float
from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError
from onnxfuse.verification.inputs import Binding, Family, InputError, InputSpec, bind, draw, free_inputs, ladder_draws

if TYPE_CHECKING:
    from onnxfuse.verification.model import ModelCheck

__all__ = ["CutError", "Feeds", "InputSet", "StopError", "sets_of"]

Feeds = Mapping[str, Any]

SIZES: Final = (1, 2, 3, 4, 8, 16, 32, 64)
DISTINCT_SIZES: Final = (2, 3, 5, 4, 7, 6)


class StopError(Exception):
    """Nothing more can be compared; the message says why."""


class CutError(Exception):
    """The budget is used up."""


@dataclass(frozen=True)
class InputSet:
    """One set of inputs: `normal` where nothing extreme is in it, so that only rounding may differ."""

    label: str
    normal: bool
    make: Callable[[], Feeds]


def sets_of(
    check: ModelCheck, data: Sequence[Feeds] | None, dims: Mapping[str, int] | None, seed: int
) -> list[InputSet]:
    """The user's input sets, or a plan of drawn ones at the smallest binding at which the first model runs."""
    specs = free_inputs(check.a.proto)
    required = [spec for spec in specs if not spec.overridable]
    if data is not None:
        return [_user_set(index, feeds, specs) for index, feeds in enumerate(data)]
    binding = _smallest_binding(check, specs, dims, seed)
    first = f" at {binding}" if binding.sizes else ""

    def planned(chosen: list[InputSpec], at: Binding, counts: Mapping[Family, int], suffix: str) -> Iterator[InputSet]:
        for family, count in counts.items():
            for index in range(count):
                label = f"{family} {index}{suffix}"
                yield InputSet(
                    label,
                    family == "normal",
                    lambda f=family, i=index: draw(chosen, at, f, i, seed),  # type: ignore[misc]
                )

    if not check.full:
        return list(planned(required, binding, {"normal": 1}, first))
    # Without inputs there is only one input set.
    counts: dict[Family, int] = {"normal": 3, "ladder": ladder_draws(required, binding)} if required else {"normal": 1}
    sets = list(planned(required, binding, counts, first))
    done = [binding]
    for sizes in (DISTINCT_SIZES, DISTINCT_SIZES[::-1]):
        other = bind(specs, user=dims, sizes=sizes)
        if other not in done:
            done.append(other)
            sets += planned(required, other, {"normal": 1, "ladder": 2}, f" at {other}")
    if len(required) < len(specs):
        counts = {"normal": 1, "ladder": ladder_draws(specs, binding)}
        sets += planned(specs, binding, counts, f"{first} with replaced defaults")
    return sets


def _user_set(index: int, feeds: Feeds, specs: Sequence[InputSpec]) -> InputSet:
    known = {spec.name for spec in specs}
    missing = [spec.name for spec in specs if not spec.overridable and spec.name not in feeds]
    unknown = [name for name in feeds if name not in known]
    if missing or unknown:
        what = f"has nothing for input {missing[0]}" if missing else f"has {unknown[0]}, which is no input"
        raise UsageError(
            f"input set {index} {what}; the inputs are: {', '.join(spec.name for spec in specs) or 'none'}"
        )
    return InputSet(f"data {index}", True, lambda: dict(feeds))


def _smallest_binding(check: ModelCheck, specs: list[InputSpec], dims: Mapping[str, int] | None, seed: int) -> Binding:
    """The smallest binding at which the first model runs and no float output is empty; its results are kept."""
    required = [spec for spec in specs if not spec.overridable]
    empty: tuple[Binding, Feeds, list[Any]] | None = None
    tried: list[Binding] = []
    reason = ""
    for size in SIZES:
        binding = bind(specs, user=dims, sizes=(size,))
        if binding in tried:
            break
        tried.append(binding)
        try:
            feeds = draw(required, binding, "normal", 0, seed)
            results = check.run_first(feeds)
        except InputError as error:
            raise StopError(str(error)) from error
        except CutError:
            raise StopError(
                f"the first model did not finish one run at {binding or 'its sizes'} {check.within}"
            ) from None
        except EvaluationTimeoutError as error:
            reason = str(error)
            break
        except EvaluationError as error:
            reason = str(error)
            continue
        if not any(isinstance(x, np.ndarray) and x.size == 0 and is_float(x.dtype) for x in results):
            check.keep(feeds, results)
            return binding
        empty = empty or (binding, feeds, results)
    if empty is None:
        at = f" at {tried[0]}" if tried[0].sizes else ""
        if len(tried) > 1:
            at = f" with its symbolic dims ({', '.join(tried[0].sizes)}) at any size tried from 1 to {SIZES[-1]}"
        raise StopError(f"the first model does not run{at}: {reason}")
    check.notes.append("at every size that was tried, some float output is empty")
    check.keep(*empty[1:])
    return empty[0]
