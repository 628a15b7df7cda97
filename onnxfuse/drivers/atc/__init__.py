"""`atc`, which compiles a model for an Ascend chip.

options = AtcOptions.from_model("model.onnx", soc_version="Ascend310P3", batch_size=1)
assert not options.problems()
made = run(options, environment=sourced(Path("/usr/local/Ascend/ascend-toolkit/set_env.sh")))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from onnxfuse.drivers._compiling import Compiled, CompileError, compile_om
from onnxfuse.drivers._process import sourced
from onnxfuse.drivers.atc.options import AtcOptions

__all__ = ["AtcOptions", "CompileError", "Compiled", "run", "sourced"]

SUCCESS: Final = "ATC run success"


def run(
    options: AtcOptions,
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
    folder: Path | None = None,
) -> Compiled:
    """Runs atc. Of a run that failed its log is left, `<output>.atc.log`, and what atc puts into the folder where it runs.

    Args:
        options: Its options; `output` is one of them.
        environment: All its variables, as `sourced` returns them; None for those of this process.
        timeout: Seconds after which it is ended, with its process group.
        on_line: Is called with each line that it prints.
        folder: Where it runs, and puts `kernel_meta/` and `fusion_result.json`; paths in `options` have to be absolute then. None
            for the current folder.

    Raises:
        UsageError: The output is not given, or nothing can be written there.
        CompileError: It fails, or its exit code, its success marker and the `.om` do not agree; with the meaning of its codes.
    """
    return compile_om(
        "atc",
        lambda output: replace(options, output=output).argv(),
        output=options.output,
        marker=SUCCESS,
        environment=environment,
        timeout=timeout,
        on_line=on_line,
        folder=folder,
    )
