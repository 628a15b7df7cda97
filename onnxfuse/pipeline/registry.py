"""The passes there are, by name: the catalogue in `onnxfuse.passes`, those that other packages ship, and other tools.

Another package adds a pass with an entry point in the group `onnxfuse.passes`:

    [project.entry-points."onnxfuse.passes"]
    fold-my-op = "mypackage.fold_my_op:FoldMyOp"

Nothing is imported before it is asked for by name.

`onnxfuse.adapters` has what makes a pass of another tool. One of them has a name of its own (`onnxsim`); the others stand
for whatever their text names (`gs:mymodule.fix`), and are called by the prefix before it.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import onnxfuse.passes
from onnxfuse.errors import UsageError
from onnxfuse.pipeline.base import Pass

__all__ = ["GROUP", "PREFIXES", "TOOLS", "adapter", "origins", "pass_class", "presets", "unknown"]

GROUP = "onnxfuse.passes"

TOOLS: Final = {"onnxsim": "Onnxsim"}
"""Passes that another tool does: the name, which is the tool's too, and the class in `onnxfuse.adapters`."""

ADAPTERS: Final = "onnxfuse.adapters"

PREFIXES: Final = {"gs": "GsPass", "ir": "IrPass", "exec": "ExecPass"}
"""What stands before a text that names code to run, and the class that runs it."""


def class_name(name: str) -> str:
    """Returns the class of the pass `name`: `merge-sliced` is `MergeSliced`."""
    return "".join(part.capitalize() for part in name.split("-"))


@cache
def _catalogue() -> frozenset[str]:
    modules = (module.name for module in pkgutil.iter_modules(onnxfuse.passes.__path__))
    return frozenset(name.replace("_", "-") for name in modules if not name.startswith("_"))


@cache
def _shipped_by_others() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name in _catalogue() or point.name in found or point.name in presets() or point.name in TOOLS:
            other = found[point.name].value if point.name in found else "onnxfuse"
            raise UsageError(
                f"two passes are called {point.name!r}: {point.value} and {other}'s; uninstall one of them"
            )
        found[point.name] = point
    return found


def origins() -> dict[str, str]:
    """Returns every pass's name with where it comes from: `onnxfuse`, the distribution that ships it, or the tool.

    Raises:
        UsageError: Two packages ship a pass of one name.
    """
    names = dict.fromkeys(sorted(_catalogue()), "onnxfuse")
    names.update({name: name for name in TOOLS})
    for name, point in sorted(_shipped_by_others().items()):
        names[name] = point.dist.name if point.dist is not None else point.value
    return names


def adapter(prefix: str) -> Any:
    """Imports and returns the class that makes a pass of what stands behind a prefix."""
    return getattr(importlib.import_module(ADAPTERS), PREFIXES[prefix])


def presets() -> dict[str, str]:
    """Returns the presets' names with the pipelines they stand for."""
    return dict(onnxfuse.passes.PRESETS)


@cache
def pass_class(name: str) -> type[Pass]:
    """Imports and returns the pass `name`.

    Raises:
        UsageError: There is none of that name, or the package that ships it cannot be imported.
    """
    if name in _catalogue():
        module = importlib.import_module(f"onnxfuse.passes.{name.replace('-', '_')}")
        found = getattr(module, class_name(name))
    elif name in TOOLS:
        found = getattr(importlib.import_module(ADAPTERS), TOOLS[name])
    elif name in _shipped_by_others():
        point = _shipped_by_others()[name]
        try:
            found = point.load()
        except Exception as error:
            raise UsageError(f"the pass {name!r} cannot be imported from {point.value}: {error}") from error
    else:
        raise unknown(name)
    if not (isinstance(found, type) and issubclass(found, Pass)):
        raise UsageError(f"{found!r}, which is registered as the pass {name!r}, is not a subclass of onnxfuse.Pass")
    if found.name != name:
        raise UsageError(f"the pass {name!r} calls itself {found.name!r}: both names must be the same")
    return found


def unknown(name: str) -> UsageError:
    """Returns the error for a name that is no pass, with the nearest one that is."""
    known = [*origins(), *presets()]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]}?" if near else ""
    return UsageError(f"there is no pass {name!r}{hint} (onnxfuse passes lists them)")
