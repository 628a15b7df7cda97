"""A process of its own that gives hostile models to the command line, with little memory and under watch.

Reads a list of jobs as JSON from stdin; writes one line of JSON for each on stdout when it begins and when it is done.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any, Final

LIMIT: Final = 3 << 30
"""Bytes of memory of its own (mapped files are not): less than any of the bombs asks for."""

RUNNING: Final = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.startfile",
    "socket.connect",
    "pickle.find_class",
)

SENT: Final = (("onnxfuse.verification.channel", "_array"), ("numpy", "dtype"))
"""What the worker that runs models sends back; its channel knows nothing else."""

OWN: Final = f"{tempfile.gettempdir()}/onnxfuse-"
"""Temporary files of the library itself."""

seen: list[str] = []
allowed: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Notes what a model must not bring about."""
    if event in RUNNING and arguments[:2] not in SENT:
        seen.append(f"{event} {arguments[:2]}")
    elif event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - nothing may be looked up in here
        if not any(path == root or path.startswith(f"{root}/") for root in allowed) and not path.startswith(OWN):
            seen.append(f"open {path}")


def run(argv: list[str], err: int) -> tuple[int, str]:
    """Runs one command; returns its exit code and what it printed on stderr."""
    from onnxfuse.cli.main import main

    os.ftruncate(err, 0)
    os.lseek(err, 0, os.SEEK_SET)
    code = main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os.lseek(err, 0, os.SEEK_SET)
    return code, os.read(err, 1 << 22).decode(errors="replace")


def work() -> None:
    """Does the jobs."""
    jobs: list[dict[str, Any]] = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    out, err = (os.open(tempfile.mktemp(), os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2))
    os.dup2(out, 1)
    os.dup2(err, 2)
    import onnxruntime  # noqa: F401 - what it opens while it is imported is not a model's doing

    roots = {
        sys.prefix,
        sys.base_prefix,
        *sysconfig.get_paths().values(),
        *filter(None, sys.path),
        "/proc/self",
        "/dev/null",
    }
    fixed = [os.path.abspath(root) for root in roots]  # noqa: PTH100 - as it is spelled above
    sys.addaudithook(watch)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    for job in jobs:
        allowed[:] = [*fixed, job["folder"], job["model"]]
        os.chdir(job["work"])
        for argv in job["commands"]:
            print(json.dumps({"case": job["case"], "argv": argv}), file=answers, flush=True)
            seen.clear()
            gc.collect()  # a command has a process to itself, and nothing of those before it
            os.ftruncate(out, 0)
            os.lseek(out, 0, os.SEEK_SET)
            started = time.monotonic()
            code, text = run(argv, err)
            seconds = round(time.monotonic() - started, 2)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            made = sorted(map(str, Path().iterdir()))
            done = {"code": code, "err": text, "peak": peak, "seconds": seconds, "seen": list(seen), "made": made}
            print(json.dumps({"case": job["case"], "argv": argv, **done}), file=answers, flush=True)


if __name__ == "__main__":
    work()
