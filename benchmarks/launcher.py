"""Starts one process, waits for it, and prints its time and its peak of memory as JSON.

Linux counts what a process used between fork and exec as its own, so that one started from a large program is reported
with that program's peak. This file is run by an interpreter of its own with nothing imported: a peak of about 10 MiB.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Runs the command line that was given; what it writes goes to stderr."""
    start = time.perf_counter()
    actions = [(os.POSIX_SPAWN_DUP2, 2, 1)]
    child = os.posix_spawn(sys.argv[1], sys.argv[1:], dict(os.environ), file_actions=actions)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - start
    result = {
        "code": os.waitstatus_to_exitcode(status),
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,  # Linux counts in KiB
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
