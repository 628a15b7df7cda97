"""`onnxfuse bench`: how fast models are, beside each other."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.cli import options
from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    from onnxfuse.drivers.backend import Backend, Runnable
    from onnxfuse.drivers.interleaving import Measured

__all__ = ["add_parser"]

BACKENDS: Final = ("onnxruntime", "benchmark", "ais_bench")
# What only onnxruntime has a use for, and what only the tools of a device have; the default of each is None, or empty.
ONNXRUNTIME_ONLY: Final = ("input_data", "seed", "threads", "provider", "optimize", "custom_op_library")
DEVICE_ONLY: Final = ("device", "card", "soc", "tool", "set_env")
# What says how to measure, which a run over a dataset has no use for.
MEASURING_ONLY: Final = ("rounds", "turns", "seconds", "summaries", "input_data")
# So many inputs of a model are told with their sizes.
SHOWN: Final = 4

MOST_THREADS: Final = 1024
YEAR: Final = 31_536_000
"""Seconds: clocks and sockets take no number of any size."""


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "bench",
        help="measure models beside each other",
        description="Measures how long models take. Several are measured in turns (A B, B A, ...) after a warm-up, and each is "
        "compared with the first: the median of the ratios of the turns, with an interval around it.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "models", metavar="MODEL", type=Path, nargs="+", help="the first is what the others are compared with"
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default=BACKENDS[0],
        help="what runs them: onnxruntime, or on a device CANN 5's benchmark or ais_bench (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=int,
        help="samples in one run (default: the model's, or 1; for an .om, benchmark has to be told it, and with ais_bench what "
        "it prints counts)",
    )
    options.add_dim(parser)
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=int,
        help="runs of a model in one turn (default: 20, with onnxruntime what takes 50 ms)",
    )
    parser.add_argument("--turns", metavar="N", type=int, help="turns of each model (default: 4, with onnxruntime 20)")
    parser.add_argument("--seconds", metavar="S", type=float, help="measure for so long, instead of a number of turns")
    parser.add_argument("--timeout", metavar="S", type=float, help="what one turn may take (default: no limit)")
    parser.add_argument("--summaries", metavar="DIR", type=Path, help="keep what the last turns report, in DIR/result/")
    parser.add_argument(
        "--dataset",
        metavar="LIST.info",
        type=Path,
        help="run one model over these samples instead of measuring it on inputs that are drawn",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="with --dataset: what takes result/ with the outputs, and has none yet (default: .)",
    )
    _add_onnxruntime(parser.add_argument_group("with onnxruntime"))
    _add_device(parser.add_argument_group("with benchmark and ais_bench"))
    options.add_progress(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def _add_onnxruntime(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--input-data",
        metavar="PATH",
        type=Path,
        help="the first input set of these instead of drawn inputs: an .npz, a folder of .npy files, or an .info list",
    )
    group.add_argument("--seed", metavar="N", type=int, help="seed of the drawn inputs (default: 0)")
    group.add_argument("--threads", metavar="N", type=int, help="threads of a model (default: one for each core)")
    group.add_argument("--provider", metavar="NAME", help="execution provider (default: CPU)")
    group.add_argument(
        "--optimize",
        action=argparse.BooleanOptionalAction,
        help="let onnxruntime optimize the graph itself, as it does in use (default: yes)",
    )
    options.add_custom_op_library(group)


def _add_device(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--device", metavar="N", type=int, help="number of the device (default: 0)")
    group.add_argument(
        "--card", metavar="NAME", help="what carries it, for figures of the card: 'Atlas 300I', Ascend310P3"
    )
    group.add_argument("--soc", metavar="NAME", help="the chip that .onnx files are compiled for first, with atc")
    group.add_argument(
        "--tool", metavar="PATH", type=Path, help="the program (default: benchmark.<arch> or python3 on the PATH)"
    )
    group.add_argument(
        "--set-env", metavar="FILE", type=Path, help="the toolkit's set_env.sh, whose environment the tool gets"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    _check(arguments)
    backend = _onnxruntime(arguments) if arguments.backend == "onnxruntime" else _on_device(arguments)
    options.quiet_libraries()
    if arguments.dataset is not None:
        return _infer(arguments, backend)
    from onnxfuse.drivers.interleaving import measure

    with ExitStack() as stack, options.progress_bar(arguments) as progress:
        models: list[Runnable] = []
        for index, path in enumerate(arguments.models):
            if progress is not None:
                progress(f"loading {path.name}", index, len(arguments.models))
            models.append(backend.compile(path))
            stack.callback(models[-1].close)
        rounds = backend.rounds if arguments.rounds is None else arguments.rounds
        turns = backend.turns if arguments.turns is None else arguments.turns
        measured = measure(models, rounds=rounds, turns=turns, seconds=arguments.seconds, progress=progress)
    options.answer("\n".join(_lines(measured, backend)))
    if arguments.json:
        options.print_json(
            {
                "backend": backend.name,
                "turns": len(measured[0].performances),
                "models": [each.to_dict() for each in measured],
                "notes": list(_notes(measured)),
            }
        )
    return 0


def _infer(arguments: argparse.Namespace, backend: Backend) -> int:
    """Runs one model over a dataset."""
    from contextlib import closing

    from onnxfuse.drivers.result_folder import check_new

    output = arguments.output or Path()
    check_new(output)  # before minutes of compiling, not after
    with closing(backend.compile(arguments.models[0])) as model, options.progress_bar(arguments) as progress:
        found = model.infer(arguments.dataset, output, progress=progress)
    performance = found.performance
    options.answer(f"{len(found.samples)} samples, outputs in {found.folder}; {backend}")
    if performance.sample_latency is None or performance.throughput is None:
        options.answer(performance.without_batch)
    else:
        card, per_card = performance.card, performance.card_throughput
        carried = f", {per_card:.4g} of the card ({card.name})" if card.devices > 1 else ""
        options.answer(
            f"{performance.sample_latency:.4g} ms per sample, {performance.throughput:.4g} samples/s{carried}"
        )
    for note in (*found.notes, *performance.problems):
        options.answer(f"note: {note}")
    if arguments.json:
        options.print_json({"backend": backend.name, "model": str(model.model), **found.to_dict()})
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raises `UsageError` for a number that is out of its range."""
    on_device = arguments.backend != "onnxruntime"
    for option in ONNXRUNTIME_ONLY if on_device else DEVICE_ONLY:
        if getattr(arguments, option) not in (None, []):
            raise UsageError(f"--{option.replace('_', '-')} has no effect with --backend {arguments.backend}")
    for option in ("output",) if arguments.dataset is None else MEASURING_ONLY:
        if getattr(arguments, option) is not None:
            raise UsageError(
                f"--{option.replace('_', '-')} has no effect with{'out' * (arguments.dataset is None)} --dataset"
            )
    if arguments.dataset is not None and len(arguments.models) > 1:
        raise UsageError("--dataset takes one model: the outputs of another would take their place")
    stems = [model.stem for model in arguments.models]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if arguments.summaries is not None and twice is not None:
        raise UsageError(f"--summaries: two models are named {twice}, and so would be their summaries")
    for option, least in (("batch_size", 1), ("rounds", 1), ("turns", 1), ("threads", 0), ("seed", 0)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise UsageError(f"--{option.replace('_', '-')} is a whole number from {least} on, not {value}")
    if arguments.threads is not None and arguments.threads > MOST_THREADS:
        raise UsageError(f"--threads is a whole number up to {MOST_THREADS}, not {arguments.threads}")
    for option in ("seconds", "timeout"):
        value = getattr(arguments, option)
        if value is not None and not 0 < value <= YEAR:
            raise UsageError(f"--{option} is a number of seconds above 0, and not above {YEAR} (a year), not {value:g}")
    if arguments.seconds is not None and arguments.turns is not None:
        raise UsageError("--turns and --seconds exclude each other: which of them ends it?")


def _onnxruntime(arguments: argparse.Namespace) -> Backend:
    from onnxfuse.drivers.onnxruntime import OnnxRuntime, provider_of

    data: Path | None = arguments.input_data
    if data is not None and not data.exists():
        raise UsageError(f"--input-data {data}: no such file")
    return OnnxRuntime(
        batch_size=arguments.batch_size,
        dims=options.dims_of(arguments),
        seed=arguments.seed or 0,
        data=data,
        optimize=arguments.optimize is not False,
        threads=arguments.threads or 0,
        provider=provider_of(arguments.provider or "CPU"),
        custom_op_library=options.custom_op_library_of(arguments),
        timeout=arguments.timeout,
        summaries=arguments.summaries,
    )


def _on_device(arguments: argparse.Namespace) -> Backend:
    from onnxfuse.drivers.ais_bench import COMMAND, AisBench
    from onnxfuse.drivers.benchmark import Benchmark
    from onnxfuse.drivers.device import Device, program_of
    from onnxfuse.drivers.performance import ONE_DEVICE, Card

    device = Device(
        number=arguments.device or 0,
        card=ONE_DEVICE if arguments.card is None else Card.of(arguments.card),
        batch_size=arguments.batch_size,
        dims=options.dims_of(arguments),
        soc=arguments.soc,
        set_env=arguments.set_env,
        timeout=arguments.timeout,
        summaries=arguments.summaries,
    )
    tool: Path | None = arguments.tool
    if arguments.backend == "benchmark":
        return Benchmark(device=device, tool=tool)
    return AisBench(device=device, command=COMMAND if tool is None else (program_of(tool), *COMMAND[1:]))


def _lines(measured: Sequence[Measured], backend: Backend) -> Iterator[str]:
    from onnxfuse.report.text import one_line, table

    several, cards = len(measured) > 1, measured[0].performances[0].card.devices > 1
    header = ["model", "batch", "ms per sample", "half of the turns", "samples/s"]
    header += ["per card"] * cards + ["ratio", "interval"] * several
    rows = [_row(each, several=several, cards=cards) for each in measured]
    yield from map(one_line, table(header, rows, right=range(1, len(header))))
    turns, spread = len(measured[0].performances), measured[0].performances[0].spread
    rounds = None if spread is None else spread.count
    runs = "" if rounds is None else f" of {rounds} run{'s' * (rounds != 1)}"
    yield f"{backend}; {turns} turn{'s' * (turns != 1)}{runs}, after a warm-up"
    if several:
        sure = next(each.ratio.confidence for each in measured if each.ratio is not None)
        yield f"ratio: the time by that of the first, median of the turns; interval: {100 * sure:.0f} % for that median"
    first = measured[0].runnable
    if first.inputs and all(each.runnable.inputs == first.inputs for each in measured):
        yield one_line(f"inputs: {_inputs(first)}")
    for each in measured:
        if each.ratio is not None:
            yield one_line(_answer(each, measured[0]))
    yield from (f"note: {one_line(note)}" for note in _notes(measured))


def _row(each: Measured, *, several: bool, cards: bool) -> list[str]:
    low, high = each.quartiles
    batch = "" if each.batch is None else str(each.batch)
    row = [str(each.runnable.model), batch, f"{each.latency:.4g}", f"{low:.4g} to {high:.4g}"]
    row.append(f"{each.throughput:.4g}")
    if cards:
        row.append(f"{each.throughput * each.performances[0].card.devices:.4g}")
    if several:
        ratio = each.ratio
        row += ["1", ""] if ratio is None else [f"{ratio.value:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}"]
    return row


def _inputs(model: Runnable) -> str:
    texts = [f"{name} {text}" for name, text in model.inputs.items()]
    return ", ".join(texts[:SHOWN]) + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


def _answer(each: Measured, first: Measured) -> str:
    assert each.ratio is not None  # noqa: S101 - the caller asked
    name, other = each.runnable.model, first.runnable.model
    if not each.ratio.decided:
        more = "" if len(each.ratio.ratios) > 5 else " (5 turns or fewer cannot show one)"
        return f"{name}: no difference from {other} is shown{more}"
    change = abs(1 - each.ratio.value)
    return f"{name}: takes {100 * change:.1f} % {'less' if each.ratio.value < 1 else 'more'} time than {other}"


def _notes(measured: Sequence[Measured]) -> Iterator[str]:
    """What makes a comparison doubtful."""
    first = measured[0].runnable
    for each in measured[1:]:
        mine, its = each.runnable.inputs, first.inputs
        if mine != its:
            yield f"{first.model} ran on {_inputs(first)}, and {each.runnable.model} on {_inputs(each.runnable)}"
        elif each.batch != measured[0].batch and each.batch and measured[0].batch:
            yield f"{first.model} ran batches of {measured[0].batch}, and {each.runnable.model} of {each.batch}"
    for each in measured:
        problems = dict.fromkeys(text for performance in each.performances for text in performance.problems)
        yield from (f"{each.runnable.model}: {text}" for text in problems)
