"""A stand-in for `python3 -m ais_bench`, version 0.0.2: its options, its files, its words, and its ways to fail.

`FAKE_STYLE=early` prints the summary as earlier versions did; `times` prints the times alone, without a batch.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.fakes.device import MANNER, Om, end, half_way, open_device, record, save, stop


def read(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ais_bench", allow_abbrev=False)
    parser.add_argument("--model", "-m", required=True, type=Path)
    for name in ("input", "output", "output_dirname", "dymHW", "dymDims", "dymShape", "dymShape_range", "outputSize",
                 "acl_json_path"):  # fmt: skip
        parser.add_argument(f"--{name}", *{"input": ["-i"], "output": ["-o"]}.get(name, []))
    parser.add_argument("--outfmt", default="BIN", choices=["NPY", "BIN", "TXT"])
    parser.add_argument("--loop", "-l", type=positive, default=1)
    parser.add_argument("--device", "-d", type=devices, default=[0])
    parser.add_argument("--dymBatch", type=int, default=0)
    parser.add_argument("--batchsize", type=positive)
    parser.add_argument("--pure_data_type", default="zero", choices=["zero", "random"])
    parser.add_argument("--run_mode", default="array", choices=["array", "files", "tensor", "full"])
    parser.add_argument("--output_batchsize_axis", type=int, default=0)
    parser.add_argument("--warmup_count", type=natural, default=1)
    for name in ("debug", "auto_set_dymshape_mode", "auto_set_dymdims_mode", "profiler", "dump", "display_all_summary"):
        parser.add_argument(f"--{name}", type=boolean, default=False)
    arguments = parser.parse_args(argv)
    if arguments.output_dirname is not None and arguments.output is None:
        raise RuntimeError("use output_dirname need first pass output!")
    if (arguments.profiler or arguments.dump) and arguments.output is None:
        raise RuntimeError("when profiler or dump, miss output path, please check them!")
    if arguments.profiler and arguments.dump:
        raise RuntimeError(
            "parameter --profiler cannot be true at the same time as parameter --dump, please check them!"
        )
    return arguments


def positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is an invalid positive int value")
    return int(text)


def natural(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is an invalid nonnegative int value")
    return int(text)


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no", "t", "f", "y", "n"):
        raise argparse.ArgumentTypeError("Boolean value expected.")
    return text.lower() in ("true", "1", "yes", "t", "y")


def devices(text: str) -> list[int]:
    found = [int(part) for part in text.split(",")]
    if not all(0 <= number <= 255 for number in found):
        raise argparse.ArgumentTypeError(f"device value {text} is out of range, [0, 255]")
    return found


def naturally(path: Path) -> list[Any]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def inputs_of(text: str, om: Om) -> list[list[Path]]:
    """The files of each input."""
    found = [Path(part) for part in text.split(",")]
    if len(found) != len(om.inputs):
        stop(f"the number of input files:{len(found)} is not equal to the number of model inputs:{len(om.inputs)}")
    groups = [sorted(path.iterdir(), key=naturally) if path.is_dir() else [path] for path in found]
    for files, tensor in zip(groups, om.inputs, strict=True):
        for file in files:
            if not file.is_file():
                stop(f"{file} not exist")
            size = file.stat().st_size if file.suffix == ".bin" else np.load(file).nbytes
            if not size or tensor.size % size:
                stop(f"arg0 tensorsize: {tensor.size} filesize: {size} not match")
    if len({len(files) for files in groups}) != 1:
        stop("the number of files of the inputs differ")
    return groups


def statistics_of(times: list[float]) -> dict[str, float]:
    return {
        "min": min(times),
        "max": max(times),
        "mean": statistics.fmean(times),
        "median": statistics.median(times),
        "percentile(99%)": float(np.percentile(times, 99)),
    }


def infer(arguments: argparse.Namespace, om: Om, folder: Path | None) -> dict[str, Any]:
    """Runs over the inputs; returns what goes into `filesinfo`."""
    assert arguments.input is not None
    groups = inputs_of(arguments.input, om)
    one = groups[0][0].stat().st_size if groups[0][0].suffix == ".bin" else np.load(groups[0][0]).nbytes
    together = om.inputs[0].size // one
    info: dict[str, Any] = {}
    for start in range(0, len(groups[0]), together):
        if start >= len(groups[0]) // 2:
            half_way()
        names = [files[start : start + together] for files in groups]
        data = []
        for files in names:
            parts = [f.read_bytes() if f.suffix == ".bin" else np.load(f).tobytes() for f in files]
            data.append(b"".join([*parts, *([parts[-1]] * (together - len(parts)))]))
        outputs = om.run(data)
        for place, file in enumerate(names[0]):
            written = []
            for k, array in enumerate(outputs):
                rows = len(array) // together
                part = array[rows * place : rows * (place + 1)]
                if folder is not None:
                    target = folder / f"{file.name.split('.')[0]}_{k}.{arguments.outfmt.lower()}"
                    if arguments.outfmt == "NPY":
                        np.save(target, part)
                    else:
                        save(target, part, arguments.outfmt.lower())
                    written.append(str(target))
            info[str(len(info))] = {"infiles": [str(files[place]) for files in names], "outfiles": written}
    return info


def main() -> None:
    record()
    arguments = read(sys.argv[1:])
    for device in arguments.device:
        open_device(device)
    om = Om.load(arguments.model)
    if arguments.dymBatch or arguments.dymHW or arguments.dymDims or arguments.dymShape:
        stop("the model has no gears, dym parameters cannot be used")
    print(
        "[INFO] acl init success",
        "[INFO] open device 0 success",
        f"[INFO] load model {arguments.model} success",
        sep="\n",
    )
    folder = None
    if arguments.output is not None:
        name = arguments.output_dirname or time.strftime("%Y_%m_%d-%H_%M_%S")
        folder = Path(arguments.output, name)
        folder.mkdir(parents=True, exist_ok=True)
    times = [om.round_ms(done) for done in range(arguments.loop)]
    info: dict[str, Any] = {}
    if arguments.input is not None:
        info = infer(arguments, om, folder)
        times = [om.round_ms(done) for done in range(arguments.loop * -(-len(info) // om.batch))]
    else:
        half_way()
        if folder is not None:
            for k, array in enumerate(om.run([bytes(tensor.size) for tensor in om.inputs])):
                save(folder / f"pure_infer_data_{k}.{arguments.outfmt.lower()}", array, arguments.outfmt.lower())
    if MANNER == "silent":
        return
    batch = arguments.batchsize or om.batch
    npu = statistics_of(times)
    rate = 1000 * batch / npu["mean"]
    label = f"1000*batchsize({batch})" if os.environ.get("FAKE_STYLE") == "early" else f"1000*batchsize.mean({batch})"
    told = ", ".join(f"{name} = {value}" for name, value in npu.items())
    copies = statistics_of([0.1 * each for each in times])
    moved = ", ".join(f"{name} = {value}" for name, value in copies.items())
    both = arguments.display_all_summary
    print("[INFO] -----------------Performance Summary------------------")
    if both:
        print(f"[INFO] H2D_latency (ms): {moved}")
    print(f"[INFO] NPU_compute_time (ms): {told}")
    if both:
        print(f"[INFO] D2H_latency (ms): {moved}")
    if os.environ.get("FAKE_STYLE") != "times":
        print(f"[INFO] throughput {label}/NPU_compute_time.mean({npu['mean']}): {rate}")
    print("[INFO] ------------------------------------------------------")
    if folder is not None and MANNER != "unsaved":
        count = {"count": len(times)}
        summary = {
            "filesinfo": info,
            "args": sys.argv[1:],
            "NPU_compute_time": {**npu, **count},
            "H2D_latency": {**copies, **count},
            "D2H_latency": {**copies, **count},
            "throughput": rate,
            "npu_compute_time_list": [[0.0, each] for each in times],
            "pid": os.getpid(),
        }
        folder.with_name(f"{folder.name}_summary.json").write_text(json.dumps(summary))

    end()


main()
