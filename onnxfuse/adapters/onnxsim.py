"""onnxsim as a pass."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from onnxfuse.adapters.exec_pass import check_timeout
from onnxfuse.adapters.process import IN, OUT, run_on
from onnxfuse.errors import MissingExtraError
from onnxfuse.pipeline.base import ModelPass, Numerics

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse.rewriting.match import Facts

__all__ = ["Onnxsim"]

# It imports torch where there is one, which takes seconds and has no part in this.
PROGRAM: Final = "import sys; sys.modules['torch'] = None; import onnxsim; onnxsim.main()"

# Its own proof, which it runs where z3 is installed, takes long and rolls nothing back.
ENVIRONMENT: Final = {"ONNXSIM_CERTIFY": "0"}


@dataclass(frozen=True)
class Onnxsim(ModelPass):
    """Simplify the model with onnxsim, and take what is right of it.

    What it does:
        Runs onnxsim, in a process of its own: constants are folded, shapes inferred, and onnx's optimizer run until
        nothing changes. What comes of it is compared with the model as it was.

    Why:
        Many conversion recipes begin with onnxsim, and most of what it does is right.

    When it declines:
        Never. Where onnxsim fails, or what it made is wrong, it is rejected and the model stays as it was.

    Options:
        skip-fuse-bn: Leave each BatchNormalization beside its Conv.
        skip-constant-folding: Fold no constants.
        skip-shape-inference: Infer no shapes.
        include-subgraph: Also simplify the branches of If, and the bodies of Loop and Scan.
        timeout: Seconds after which it is ended; else it may take as long as it takes.

    References:
        https://github.com/onnxsim/onnxsim
    """

    name: ClassVar[str] = "onnxsim"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    skip_fuse_bn: bool = False
    skip_constant_folding: bool = False
    skip_shape_inference: bool = False
    include_subgraph: bool = False
    timeout: float | None = None

    def __post_init__(self) -> None:
        if importlib.util.find_spec("onnxsim") is None:
            raise MissingExtraError("onnxsim", extra="simplify", purpose="for the pass onnxsim")
        check_timeout(self.timeout, self.name)

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        """Runs onnxsim.

        Raises:
            ToolError: It does not end well, or writes no model.
        """
        del facts
        switches = ("skip_fuse_bn", "skip_constant_folding", "skip_shape_inference", "include_subgraph")
        flags = [f"--{name.replace('_', '-')}" for name in switches if getattr(self, name)]
        # -P: a file onnxsim.py in the current folder is not meant.
        words = [sys.executable, "-P", "-c", PROGRAM, IN, OUT, *flags]
        return run_on(model, words, name="onnxsim", timeout=self.timeout, environment=ENVIRONMENT)
