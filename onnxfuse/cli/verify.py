"""`onnxfuse verify`: are two models equivalent?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfuse.cli import options
from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from onnxfuse.drivers.outputs.verdict import OutputsVerdict
    from onnxfuse.verification.judgement import Tolerance

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "verify",
        help="say whether two models are equivalent",
        description="Compares two models, whatever made them: interfaces, what both compute identically, then results on drawn "
        "inputs. What differs in bits is told to be rounding or not by running the original in float64 with rounding noise. "
        "Exit code 0: equivalent; 1: different; 5: nothing differs, but something could not be decided. With --outputs, A and "
        "B are folders of results that a device wrote, compared sample by sample; or B is the model, run on --input-data.",
        allow_abbrev=False,
    )
    parser.add_argument("a", metavar="A", type=Path, help="the original")
    parser.add_argument("b", metavar="B", type=Path, help="the model that should do the same")
    parser.add_argument(
        "--outputs",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="compare results: A is a folder of files <sample>_<number>.bin, .txt or .npy, as benchmark, ais_bench and msame "
        "write them, B another one, or the model (with the .info list of the samples as --input-data)",
    )
    parser.add_argument(
        "--dtype",
        metavar="[OUTPUT=]TYPE[,TYPE]",
        action="append",
        default=[],
        help="with --outputs: the type of raw files, of A and of B where they differ, for one output (by its number from 0, or "
        "by its name in the model) or for all (default: float32; against a model, what it declares and the size of a file "
        "say; repeats)",
    )
    parser.add_argument("--seed", type=int, help="seed of the drawn inputs (default: 0)")
    options.add_families(parser)
    options.add_tolerances(parser)
    options.add_budget(parser, "stop after this time; what is left is listed as not-run (default: no limit)")
    options.add_input_options(parser)
    options.add_progress(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    if arguments.seed is not None and arguments.seed < 0:
        raise UsageError(f"--seed is a whole number from 0 on, not {arguments.seed}")
    if arguments.outputs:
        return _run_outputs(arguments)
    if arguments.dtype:
        raise UsageError("--dtype is for --outputs: models declare their types")
    budget, dims, data = options.budget_of(arguments), options.dims_of(arguments), options.input_data_of(arguments)
    if data is not None and arguments.families is not None:
        options.say("note: --families has no effect: --input-data gives the inputs")
    options.quiet_libraries()
    from onnxfuse.pipeline.manager import verify
    from onnxfuse.verification.verdict import Status

    with options.progress_bar(arguments) as progress:
        verdict = verify(
            arguments.a,
            arguments.b,
            dims=dims,
            input_data=data,
            seed=arguments.seed or 0,
            families=arguments.families,
            rtol=options.tolerances_of(arguments.rtol, "--rtol"),
            atol=options.tolerances_of(arguments.atol, "--atol"),
            custom_op_library=options.custom_op_library_of(arguments),
            budget=budget,
            progress=progress,
        )
    options.answer(verdict.explain())
    if arguments.json:
        options.print_json({"a": str(arguments.a), "b": str(arguments.b), **verdict.to_dict()})
    return {Status.EQUIVALENT: 0, Status.DIFFERENT: 1, Status.NOT_RUN: 5}[verdict.status]


def _run_outputs(arguments: argparse.Namespace) -> int:
    """Compares what devices wrote."""
    for option, given in (("--families", arguments.families), ("--verify-budget", arguments.verify_budget)):
        if given is not None:
            options.say(f"note: {option} has no effect with --outputs: nothing is drawn")
    for name in ("dim", "seed", "custom_op_library") if arguments.b.is_dir() else ():
        if getattr(arguments, name) not in (None, []):
            options.say(f"note: --{name.replace('_', '-')} has no effect with two folders of outputs: no model is run")
    options.quiet_libraries()
    from onnxfuse.verification.judgement import Tolerance
    from onnxfuse.verification.verdict import Status

    rtol, atol = (options.tolerances_of(getattr(arguments, name), f"--{name}") for name in ("rtol", "atol"))
    tolerances = {name: Tolerance(rtol.get(name, 0.0), atol.get(name, 0.0)) for name in rtol.keys() | atol.keys()}
    verdict = _compare_outputs(arguments, tolerances)
    options.answer(verdict.explain())
    if arguments.json:
        options.print_json({"a": str(arguments.a), "b": str(arguments.b), **verdict.to_dict()})
    return {Status.EQUIVALENT: 0, Status.DIFFERENT: 1, Status.NOT_RUN: 5}[verdict.status]


def _compare_outputs(arguments: argparse.Namespace, tolerances: dict[str | None, Tolerance]) -> OutputsVerdict:
    from onnxfuse.drivers.outputs.folders import compare

    data = options.input_data_of(arguments) or []
    dtypes = _dtypes(arguments.dtype)
    for path in (arguments.a, arguments.b):
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
    if not arguments.a.is_dir():
        raise UsageError(f"{arguments.a}: is no folder: A is the folder of outputs, B another one or the model")
    with options.progress_bar(arguments) as progress:
        if arguments.b.is_dir():
            if data:
                raise UsageError("--input-data is for a model as B: two folders of outputs need none")
            return compare(arguments.a, arguments.b, dtypes=dtypes, tolerances=tolerances, progress=progress)
        if any(mine != theirs for mine, theirs in dtypes.values()):
            raise UsageError("--dtype takes one type where B is a model: that of the files in A")
        if len(data) != 1 or data[0].suffix != ".info":
            raise UsageError("outputs are compared with a model on one .info list: give it as --input-data")
        from onnxfuse.drivers.outputs.reference import compare_with_model
        from onnxfuse.model_io import open_model
        from onnxfuse.pipeline.evaluable import evaluable_before

        return compare_with_model(
            arguments.a,
            evaluable_before(open_model(arguments.b)),
            data[0],
            dtypes={output: mine for output, (mine, _) in dtypes.items()},
            tolerances=tolerances,
            dims=options.dims_of(arguments),
            custom_op_library=options.custom_op_library_of(arguments),
            seed=arguments.seed or 0,
            progress=progress,
        )


def _dtypes(given: Sequence[str]) -> dict[str | None, tuple[np.dtype[Any], np.dtype[Any]]]:
    from onnxfuse.drivers.outputs.files import dtype_named

    found = {}
    for text in given:
        output, _, types = text.rpartition("=")
        names = [name.strip() for name in types.split(",")]
        if len(names) > 2:
            raise UsageError(f"--dtype {text}: TYPE or TYPE,TYPE is expected, with OUTPUT= before it for one output")
        found[output or None] = dtype_named(names[0]), dtype_named(names[-1])
    return found
