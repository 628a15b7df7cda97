"""Draws the results, where matplotlib is installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Group
from benchmarks.scaling import SIZES

__all__ = ["draw", "problem"]


def problem() -> str:
    """Says what to do where nothing can be drawn; empty where it can."""
    if importlib.util.find_spec("matplotlib") is None:
        return "--plot needs matplotlib, which is not installed: pip install matplotlib"
    return ""


def draw(groups: Sequence[Group], path: Path) -> None:
    """Draws one picture of a panel for each group.

    Args:
        groups: What was measured.
        path: The file to write; its suffix says the format.
    """
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "onnxfuse"  # the same figures give the same file
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, panels = pyplot.subplots(
        len(groups), 1, figsize=(8, 3.2 * len(groups)), squeeze=False, layout="constrained"
    )
    for group, panel in zip(groups, panels[:, 0], strict=True):
        if group.name == "scaling":
            _lines(panel, group)
        else:
            _bars(panel, group)
        panel.set_title(group.name)
    figure.savefig(path)
    pyplot.close(figure)


def _bars(panel: Any, group: Group) -> None:
    rows = [row for row in group.rows if row.get("time") is not None]
    names = [str(row["case"]) for row in rows]
    times = [row["time"] for row in rows]
    colours = ["C0" if name.startswith("onnxfuse") or group.name == "external-data" else "0.7" for name in names]
    panel.bar_label(panel.barh(names, times, color=colours), fmt="%.2f", padding=3)
    panel.invert_yaxis()
    panel.margins(x=0.1)
    panel.set_xlabel("seconds (median)")


def _lines(panel: Any, group: Group) -> None:
    for row in group.rows:
        if row.get("exponent") is not None:
            label = f"{row['graph']}, {row['constants']} constants, {row['kind']}: n^{row['exponent']:.2f}"
            panel.plot(SIZES, [row[f"cpu_{size}"] for size in SIZES], marker="o", label=label)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("nodes")
    panel.set_ylabel("CPU seconds (median)")
    panel.legend(fontsize="x-small")
