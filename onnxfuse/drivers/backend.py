"""What measures a model and runs it over a dataset: one interface, whatever tool does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from onnxfuse.drivers.performance import Performance

__all__ = ["Backend", "Inferred", "Progress", "Runnable"]

Progress = Callable[[str, int, int], None]
"""Told which model runs, how much is done, and how much there is."""


@dataclass(frozen=True)
class Inferred:
    """A dataset that a model was run over.

    Attributes:
        folder: Where the outputs lie, as `benchmark` lays them: `<stem>_<k>.bin`, with k from `first` on.
        samples: The outputs of each sample, by its stem, in the order of the dataset.
        first: The number of the first output in the names of files: 1, and 0 with ais_bench.
        performance: How fast that was.
        notes: What else is to be said: what could not be checked, for one.
    """

    folder: Path
    samples: Mapping[str, tuple[Path, ...]]
    first: int
    performance: Performance
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Returns it for JSON."""
        return {
            "folder": str(self.folder),
            "outputs": {stem: [file.name for file in files] for stem, files in self.samples.items()},
            "performance": self.performance.to_dict(),
            "notes": list(self.notes),
        }


class Runnable(Protocol):
    """A model, ready to run."""

    @property
    def model(self) -> Path:
        """The file that the user named."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """What it runs on when it is measured: dtype and shape by name, as text; empty where only the tool knows."""

    def measure(self, rounds: int) -> Performance:
        """Runs it on one batch of drawn inputs again and again.

        Args:
            rounds: How often, once or more.

        Raises:
            ToolError: The tool fails, or what it reports is not there.
        """

    def infer(self, dataset: Path, output: Path, *, progress: Progress | None = None) -> Inferred:
        """Runs it over a dataset, and checks the outputs.

        Args:
            dataset: An `.info` list of raw files, which lie in its folder.
            output: The folder that takes `result/`, whole or not at all; made where it is not there.
            progress: Told of every batch, where the tool tells of it.

        Raises:
            UsageError: The dataset does not fit the model, or `output` has a `result/` already with something in it.
            ToolError: The tool fails, or outputs are missing or of another size than they should be.
        """

    def close(self) -> None:
        """Lets go of what it holds; nothing is left running."""


class Backend(Protocol):
    """A tool that runs models; as text, what it is and how it is set."""

    @property
    def name(self) -> str:
        """What `--backend` takes."""

    @property
    def rounds(self) -> int | None:
        """Runs of a model in one turn, unless it is said; None for as many as take a twentieth of a second."""

    @property
    def turns(self) -> int:
        """How often each model has its turn, unless it is said."""

    def compile(self, model: Path) -> Runnable:
        """Makes a model ready to run.

        Args:
            model: An `.onnx` file; an `.om` for the tools that take one.

        Raises:
            ModelError: It cannot be read.
            UsageError: What is asked for does not fit it.
            ToolError: The tool refuses it.
        """
