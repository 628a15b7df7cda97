"""Objects of other packages: found by their names, and run so that what goes wrong in them is one line."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from onnxfuse.errors import ToolError, UsageError

__all__ = ["call", "label_of", "load_named", "one_line"]

# Characters of a message that is quoted.
LONGEST: Final = 500


def load_named(prefix: str, target: str, folder: Path | None = None) -> Any:
    """Imports what `package.module.name` names.

    Args:
        prefix: What the name stands behind in a pipeline, for messages.
        target: The name, with dots.
        folder: Where its module is looked for first; None for nowhere but in `sys.path`.

    Raises:
        UsageError: There is no such module, it fails when it is imported, or it has no such attribute.
    """
    where = f"{prefix}:{target}"
    if target.startswith("<"):
        raise UsageError(f"{where} stands for an object of a Python program, which text cannot name")
    parts = target.split(".")
    if not all(part.isidentifier() for part in parts):
        raise UsageError(f"{where}: a module and a name in it are expected, with a dot between them")
    if len(parts) == 1:
        raise UsageError(f"{where}: what of the module? {where}.NAME is expected")
    with _looking_in(folder):
        found: Any = _imported(parts[0], where)
        for count, part in enumerate(parts[1:], 2):
            found = _attribute(found, part, ".".join(parts[:count]), where)
    if isinstance(found, ModuleType):
        raise UsageError(f"{where} is a module: {where}.NAME is expected")
    return found


@contextmanager
def _looking_in(folder: Path | None) -> Iterator[None]:
    """Puts a folder at the head of the path, and afterwards at its end: what it holds must hide nothing of others."""
    if folder is None:
        yield
        return
    place = str(folder.absolute())
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(place)
        if place not in sys.path:
            sys.path.append(place)


def _imported(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise UsageError(f"{where}: there is no module {name}") from error
        raise UsageError(f"{where}: the module {name} cannot be imported: {_told(error)}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{where}: the module {name} cannot be imported: {_told(error)}") from error


def _attribute(holder: Any, part: str, name: str, where: str) -> Any:
    try:
        return getattr(holder, part)
    except AttributeError:
        if isinstance(holder, ModuleType) and hasattr(holder, "__path__"):
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name != name:
                    raise UsageError(f"{where}: the module {name} cannot be imported: {_told(error)}") from error
            except (Exception, SystemExit) as error:
                raise UsageError(f"{where}: the module {name} cannot be imported: {_told(error)}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{where}: {name} cannot be had: {_told(error)}") from error
    what = "the module" if isinstance(holder, ModuleType) else "the class" if isinstance(holder, type) else "the object"
    raise UsageError(f"{where}: {what} {name.rpartition('.')[0]} has no attribute {part}")


def label_of(thing: Any) -> str:
    """Returns the name that `load_named` finds `thing` by; where there is none, what it is, in angle brackets."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str):
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        # What a script defines has no name outside of that script.
        if found is thing and module != "__main__":
            return f"{module}.{name}"
    own = getattr(thing, "name", None)
    said = name if isinstance(name, str) else own if isinstance(own, str) and own else type(thing).__qualname__
    return f"<{said.strip('<>')}>"


def call(function: Callable[..., Any], *arguments: Any, of: Any) -> Any:
    """Calls a function of somebody else's.

    Args:
        function: What to call.
        arguments: What with.
        of: Whose it is: the user's function, or pass. Where an error is raised below it, its own line is told.

    Raises:
        ToolError: It raised something; the message has the type, the message and the place.
    """
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        raise ToolError(_told(error, of=of)) from error


def _told(error: BaseException, of: Any = None) -> str:
    """Returns the type, the message and the place of the first cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = one_line(f"{type(error).__name__}: {error}") if str(error) else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    own = _file_of(of)
    frame = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1] if frames else None)
    if isinstance(error, SyntaxError) and error.filename is not None:
        return text  # which says where
    return text if frame is None else f"{text} ({frame.filename}:{frame.lineno})"


def _file_of(thing: Any) -> str | None:
    try:
        return inspect.getfile(thing if inspect.isroutine(thing) or isinstance(thing, type) else type(thing))
    except (TypeError, OSError):
        return None


def one_line(text: str) -> str:
    """Returns a message as one line of some length."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
