"""Reproducers: folders with all that is needed to see a difference or an error again.

    onnxfuse-reproducer-1a2b3c4d/
        README.txt     what it is, and the one command that shows it
        report.json    the same for programs, with the versions
        before.onnx    of a difference: the two models, and inputs that show it
        after.onnx
        inputs.npz
        error.txt      of an error: the traceback, and the models that were read

A folder has the hash of its contents in its name: what is there already is written once, and nothing is written over.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from onnxfuse.errors import UsageError
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.model import Tolerance, check_models
from onnxfuse.verification.stand_ins import embedded, has_weights, same_weights, with_stand_ins, without_weights
from onnxfuse.verification.verdict import Status, Verdict

__all__ = [
    "Difference",
    "Rebuild",
    "check_folder",
    "compared",
    "first_difference",
    "write_difference",
    "write_error",
    "write_folder",
    "write_reproducer",
]

STEM: Final = "onnxfuse-reproducer"
SCHEMA: Final = 1
"""Version of `report.json`."""
# Random weights say nothing that their seed does not say: above this they are left out.
MOST_STAND_INS: Final = 64 << 20
TAKEN_OUT: Final = "taken out"
# Seconds for comparing the two models of a reproducer: large models on all inputs there are would take an hour.
BUDGET: Final = 60.0
# protobuf writes no larger message.
LARGEST: Final = (1 << 31) - 1

Rebuild = Callable[[onnx.ModelProto], EvalModel | None]
"""Makes `after` anew from a `before` with other weights; None where it cannot be done."""


@dataclass(frozen=True)
class Difference:
    """Two models that should do the same and do not.

    Attributes:
        before: The original.
        after: What should do the same.
        what: What differs, and where it comes from, as a sentence.
        feeds: Inputs that show it, by name; empty where none are known or needed.
        facts: What else belongs into `report.json`: the pipeline, the rewrite, the evidence.
        rebuild: Makes `after` from a `before` with other weights, where weights were folded.
        exact: Whether every difference counts, however small: nothing may round.
    """

    before: EvalModel
    after: EvalModel
    what: str
    feeds: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    rebuild: Rebuild | None = None
    exact: bool = False


def write_difference(
    folder: Path,
    a: EvalModel | onnx.ModelProto,
    b: EvalModel | onnx.ModelProto,
    verdict: Verdict,
    feeds: Mapping[str, Any] | None = None,
    *,
    with_weights: bool = False,
) -> Path:
    """Writes `<folder>/onnxfuse-reproducer-<hash>/` for two models that a verdict told different.

    Args:
        folder: Where to; it is made if it is not there.
        a: The original.
        b: What should do the same.
        verdict: What was found.
        feeds: Inputs that show it; those of the verdict if they are not given.
        with_weights: Whether the models keep their weights.

    Returns:
        The folder that was written.

    Raises:
        UsageError: It cannot be written.
    """
    before, after = (model if isinstance(model, EvalModel) else EvalModel(model) for model in (a, b))
    what = first_difference(verdict)
    shown = feeds if feeds is not None else verdict.inputs
    return write_reproducer(folder, Difference(before, after, what, shown or {}), with_weights=with_weights)


def first_difference(verdict: Verdict) -> str:
    """Returns what differs first, or why nothing could be said, as a sentence."""
    found = [str(output) for output in verdict.outputs if output.status is Status.DIFFERENT]
    undecided = [str(output) for output in verdict.outputs if output.status is Status.NOT_RUN]
    return next(iter([*verdict.interface, *found, *verdict.not_run, *undecided]), str(verdict.status))


def write_reproducer(
    folder: Path,
    difference: Difference,
    *,
    with_weights: bool = False,
    distributions: Iterable[str] = (),
) -> Path:
    """Writes `<folder>/onnxfuse-reproducer-<hash>/` for a difference.

    Without weights, random ones of the same scale take their places if the difference is there with them; else they
    are taken out, and the README says so.

    Args:
        folder: Where to; it is made if it is not there.
        difference: The two models.
        with_weights: Whether the models keep their weights.
        distributions: Packages whose versions matter, beside our own.

    Returns:
        The folder that was written.

    Raises:
        UsageError: It cannot be written.
    """
    verdict, weights = None, "as they are" if with_weights else "none"
    if not with_weights and (has_weights(difference.before) or has_weights(difference.after)):
        difference, verdict, weights = _shareable(difference)
    if verdict is None and weights != TAKEN_OUT:
        verdict = _replayed(difference)
    if verdict is not None and verdict.status is Status.DIFFERENT and not difference.feeds:
        difference = replace(difference, feeds=verdict.inputs or {})
    inputs, note = _npz(difference.feeds)
    command = "onnxfuse verify before.onnx after.onnx" + (" --input-data inputs.npz" if inputs else "")
    if difference.exact and verdict is not None and verdict.status is Status.EQUIVALENT:
        closer = compared(difference.before, difference.after, difference.feeds, exact=True)
        if closer.status is Status.DIFFERENT:
            verdict, command = closer, f"{command} --rtol 0 --atol 0"
    report = {
        "kind": "difference",
        "difference": difference.what,
        "command": command,
        "verdict": _timeless(verdict) if verdict is not None else None,
        "weights": weights,
        "inputs": note,
        "seed": 0,
        **difference.facts,
        "versions": versions(distributions),
    }
    files = {
        "before.onnx": _bytes(difference.before),
        "after.onnx": _bytes(difference.after),
        **({"inputs.npz": inputs} if inputs else {}),
        "README.txt": _readme(difference, command, verdict, weights, note),
        "report.json": _json(report),
    }
    return write_folder(folder, files)


def write_error(
    folder: Path, models: Mapping[str, EvalModel], command: str, error: str, *, distributions: Iterable[str] = ()
) -> Path:
    """Writes `<folder>/onnxfuse-reproducer-<hash>/` for an error of a command.

    Args:
        folder: Where to.
        models: The models that the command reads, by their file names in it; their weights are taken out.
        command: The command line, to be run in the folder.
        error: The traceback.
        distributions: Packages whose versions matter, beside our own.

    Returns:
        The folder that was written.

    Raises:
        UsageError: It cannot be written.
    """
    last = error.rstrip().splitlines()[-1]
    readme = f"{last}\n\nThis command, run in this folder, shows it:\n\n    {command}\n\nThe models have no weights.\n"
    report = {"kind": "error", "error": last, "command": command, "versions": versions(distributions)}
    files = {
        **{name: _bytes(without_weights(model)) for name, model in models.items()},
        "README.txt": readme.encode(),
        "report.json": _json(report),
    }
    # A traceback may name addresses in memory: the same error goes to the same folder.
    return write_folder(folder, files, more={"error.txt": error.rstrip().encode() + b"\n"})


def versions(distributions: Iterable[str] = ()) -> dict[str, str]:
    """Returns the versions of what takes part in an answer, and of `distributions`."""
    from onnxfuse import __version__

    found = {"onnxfuse": __version__}
    for name in ("onnx", "onnx-ir", "onnxruntime", "numpy", *distributions):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


# ---- weights


def _shareable(difference: Difference) -> tuple[Difference, Verdict | None, str]:
    """Returns the difference without its weights, what was found on it, and what became of them."""
    before = with_stand_ins(difference.before)
    after: EvalModel | None = with_stand_ins(difference.after)
    if not same_weights(difference.before, difference.after):
        # Random values in the place of folded ones would differ for a reason of their own.
        after = difference.rebuild(embedded(before)) if difference.rebuild is not None else None
    if after is not None and _size(before) + _size(after) <= MOST_STAND_INS:
        tried = replace(difference, before=before, after=after)
        # The inputs at hand first: they may say more than drawn ones.
        for feeds in (difference.feeds, {}) if difference.feeds else ({},):
            verdict = _replayed(replace(tried, feeds=feeds))
            if verdict.status is Status.DIFFERENT:
                return replace(tried, feeds=feeds), verdict, "random ones of the same scale, seed 0"
    stripped = (without_weights(difference.before), without_weights(difference.after))
    return replace(difference, before=stripped[0], after=stripped[1]), None, TAKEN_OUT


def _replayed(difference: Difference) -> Verdict:
    """Compares the two as `onnxfuse verify` does."""
    return compared(difference.before, difference.after, difference.feeds)


def compared(before: EvalModel, after: EvalModel, feeds: Mapping[str, Any], *, exact: bool = False) -> Verdict:
    """Compares two models on `feeds`, or where there are none on drawn inputs, within a minute.

    Args:
        before: The original.
        after: What should do the same.
        feeds: Inputs by name.
        exact: Whether rounding counts as a difference.
    """
    data = [feeds] if feeds else None
    tolerances: dict[str | None, Tolerance] | None = {None: Tolerance()} if exact else None
    return check_models(before, after, families="full", data=data, budget_s=BUDGET, tolerances=tolerances)


def _size(model: EvalModel) -> int:
    return model.proto.ByteSize() + sum(array.nbytes for array in model.weights.values())


# ---- files


def _bytes(model: EvalModel) -> bytes:
    if _size(model) > LARGEST:
        raise UsageError(f"a reproducer with weights of {_size(model)} bytes: protobuf writes no more than {LARGEST}")
    return embedded(model).SerializeToString(deterministic=True)


def _json(report: Mapping[str, Any]) -> bytes:
    return json.dumps({"schema": SCHEMA, **report}, indent=2, ensure_ascii=False).encode() + b"\n"


def _timeless(verdict: Verdict) -> dict[str, Any]:
    found = verdict.to_dict()
    del found["seconds"]
    return found


def _npz(feeds: Mapping[str, Any]) -> tuple[bytes, str]:
    """Returns the inputs as an archive, whose bytes depend on nothing else, and what is to be said of them."""
    if not feeds:
        return b"", "drawn by onnxfuse verify"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in feeds.items():
            array = value.astype(str) if isinstance(value, np.ndarray) and value.dtype == object else value
            if not isinstance(array, np.ndarray) or array.dtype.kind == "V":
                return b"", f"not stored: {name} is a sequence, or of a type that numpy has no file format for"
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asarray(array, order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue(), zipfile.ZIP_DEFLATED)
    return file.getvalue(), "in inputs.npz"


def _readme(difference: Difference, command: str, verdict: Verdict | None, weights: str, inputs: str) -> bytes:
    lines = [difference.what, "", "This command, run in this folder, shows it:", "", f"    {command}", ""]
    if verdict is None:
        lines += [
            "The weights were taken out, and with random ones the difference does not show: the command answers not-run.",
            "A reproducer written --with-weights shows it.",
        ]
    elif verdict.status is Status.DIFFERENT:
        lines += ["It ends with exit code 1:", "", *_indented(_found(verdict))]
    else:
        lines[2] = "This command, run in this folder, compares the two models:"
        lines += [f"It does not call the difference one: it answers {verdict.status}:", "", *_indented(_found(verdict))]
    lines += ["", f"Weights: {weights}. Inputs: {inputs}. report.json has the versions."]
    return ("\n".join(lines) + "\n").encode()


def _found(verdict: Verdict) -> Sequence[str]:
    return [*verdict.interface, *map(str, verdict.outputs), *verdict.not_run]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def check_folder(folder: Path) -> None:
    """Finds now what would stop a reproducer from being written after minutes of work.

    Raises:
        UsageError: Nothing can be written there.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise UsageError(f"{folder}: {existing} is no folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{folder}: the folder {existing} cannot be written to")


def write_folder(parent: Path, files: Mapping[str, bytes], *, more: Mapping[str, bytes] | None = None) -> Path:
    """Writes a folder whose name has the hash of its contents: whole or not at all, and over no other.

    Args:
        parent: Where to; it is made if it is not there.
        files: The contents, by name.
        more: Files that have no part in the hash.

    Returns:
        The folder; if it was there with the same contents, it is left alone.

    Raises:
        UsageError: It cannot be written.
    """
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    check_folder(parent)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for length in (8, 16, 64):
            folder = parent / f"{STEM}-{digest.hexdigest()[:length]}"
            if _holds(folder, files) or _put(folder, {**files, **(more or {})}):
                return folder
    except OSError as error:
        raise UsageError(f"{parent}: no reproducer can be written there: {error.strerror or error}") from error
    raise UsageError(f"{folder}: is in the way, and has other contents: remove it")


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    return folder.is_dir() and all(
        (folder / name).is_file() and (folder / name).read_bytes() == data for name, data in files.items()
    )


def _put(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Writes a folder beside its place and moves it there; says whether nothing was in the way."""
    if os.path.lexists(folder):
        return False
    temporary = folder.with_name(f".{STEM}-{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir()
        for name, data in files.items():
            with (temporary / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        try:
            temporary.rename(folder)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                return _holds(folder, files)  # another run was faster
            raise
        return True
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
