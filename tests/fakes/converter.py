"""What the stand-ins for atc and aoe have in common: how they fail, and what they write.

Environment variables say how one is to behave:

FAKE_MANNER  empty: as documented. Or one of these:
             no-marker       converts, exits with 0, and prints no success marker
             no-om           prints the marker, exits with 0, and writes nothing
             empty-om        prints the marker, exits with 0, and writes an empty file
             exit-1          prints the marker, writes the model, and exits with 1
             warnings        prints warnings after the marker
             host            writes <output>_linux_x86_64.om
             silent          exits with 255 and says nothing
             fail:CODE       prints the block of an error with that number
             fail-batch:N    fails so where an input has that batch
             killed          starts a child, writes half a model, and is killed
             hang            starts a child, writes half a model, and goes on for ever
             any-text        takes paths and chips of any characters
             no-repository   (aoe) tunes, and writes no repository
FAKE_RECORD  a file to which a line of JSON goes: the arguments as they came, and some of the environment
FAKE_PIDS    a file to which the numbers of the process and of its child go
FAKE_ERA     5: knows only the options of CANN 5
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from tests.fakes.flags import CodeError

__all__ = ["begin_half", "block", "check_path", "manner", "record", "write_om"]

PATH = re.compile(r"[A-Za-z0-9_./\u4e00-\u9fff-]+")
LONGEST_PATH = 4096
ENVIRONMENT = ("ASCEND_OPP_PATH", "TUNE_BANK_PATH", "PATH", "FAKE_MANNER")
DETAIL = "[FUNC:Build][FILE:graph_builder.cc][LINE:1234]"


def manner() -> str:
    """How it is to behave."""
    return os.environ.get("FAKE_MANNER", "")


def record() -> None:
    """Tells how it was called."""
    if path := os.environ.get("FAKE_RECORD"):
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        with Path(path).open("a") as file:
            print(json.dumps({"argv": sys.argv, "folder": str(Path.cwd()), "environment": environment}), file=file)


def check_path(option: str, path: str) -> None:
    """Refuses characters that the programs refuse, and paths that are too long.

    Raises:
        CodeError: It is such.
    """
    if len(path) >= LONGEST_PATH:
        raise CodeError("E10021", f"Path of {len(path)} characters for parameter [--{option}] is too long.")
    if manner() != "any-text" and not PATH.fullmatch(path):
        raise CodeError("E10001", f"Value [{path}] for parameter [--{option}] is invalid. Reason: illegal characters.")


def block(code: str) -> list[str]:
    """The lines that tell of an error with this number."""
    if code in ("E19999", "E89999", "EZ9999"):
        return [f"{code}: Inner Error!", f"{code}  build graph failed, graph id:0, ret:-1 {DETAIL}"]
    if code == "E40021":
        return [
            "E40021: Failed to compile Op [AvgPool_12]. (oppath: [Compile avg_pool.py failed with errormsg/stack: kernel])",
            f"        TraceBack (most recent call last): {DETAIL}",
        ]
    if code == "E16002":
        return ["E16002: No parser is registered for Op [Foo_1, optype [ai.onnx::17::Foo]]."]
    return [f"{code}: Something of this kind is wrong."]


def begin_half(output: str) -> None:
    """Leaves a child and half a model, and is killed or goes on for ever, where that is what it is to do."""
    if manner() not in ("killed", "hang"):
        return
    # The child holds what it has got open, as a compiler's workers do.
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(f"{output}.om").write_bytes(b"IMOD half of a mod")
    if path := os.environ.get("FAKE_PIDS"):
        Path(f"{path}.new").write_text(f"{os.getpid()} {child.pid}")
        Path(f"{path}.new").rename(path)
    if manner() == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    _hang()


def _hang() -> NoReturn:
    while True:
        time.sleep(600)


def write_om(output: str, facts: dict[str, object]) -> None:
    """Writes the model: a mark, and what it was made of as JSON."""
    if manner() == "no-om":
        return
    ending = "_linux_x86_64.om" if manner() == "host" else ".om"
    data = b"IMOD" + json.dumps(facts).encode()
    Path(f"{output}{ending}").write_bytes(b"" if manner() == "empty-om" else data)
