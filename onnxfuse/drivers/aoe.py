"""`aoe`, which tunes a model on the chip that is attached, and compiles it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import IntEnum

from onnxfuse.drivers._compiling import Compiled, compile_om
from onnxfuse.drivers.atc.options import AtcOptions

__all__ = ["JobType", "aoe_argv", "run"]


class JobType(IntEnum):
    """What is tuned. Subgraphs first, then operators."""

    SUBGRAPH = 1
    OPERATOR = 2


def aoe_argv(options: AtcOptions, job: JobType) -> list[str]:
    """Returns the command as words: the options are atc's, but that the chip is the one that is attached."""
    words = replace(options, soc_version=None).argv()[1:]
    return ["aoe", f"--job_type={job.value}", *words]


def run(
    options: AtcOptions,
    job: JobType,
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Compiled:
    """Runs aoe, whose log is `<output>.aoe.log`. No marker of its success is documented: its exit code and the `.om` have to agree.

    Args:
        options: Those that it shares with atc, and its own as `other`.
        job: What is tuned.
        environment: All its variables; None for those of this process. `TUNE_BANK_PATH` says where its repository goes.
        timeout: Seconds after which it is ended, with its process group.
        on_line: Is called with each line that it prints.

    Raises:
        UsageError: The output is not given, or nothing can be written there.
        CompileError: It fails, or writes no `.om`; with the meaning of its codes.
    """
    return compile_om(
        "aoe",
        lambda output: aoe_argv(replace(options, output=output), job),
        output=options.output,
        marker=None,
        environment=environment,
        timeout=timeout,
        on_line=on_line,
    )
