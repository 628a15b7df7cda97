"""Other people's passes as members of a pipeline: what they make of a model is compared with it before it is taken.

from onnxfuse.adapters import ExecPass, GsPass, IrPass, Onnxsim

onnxfuse.apply("model.onnx", [GsPass(my_function), "merge-sliced", Onnxsim()])

As text: `gs:mymodule.fix`, `ir:package.Pass`, `exec:'tool {in} {out}'`, `onnxsim`.
"""

from __future__ import annotations

from onnxfuse.adapters.exec_pass import ExecPass
from onnxfuse.adapters.gs_pass import GsPass
from onnxfuse.adapters.ir_pass import IrPass
from onnxfuse.adapters.onnxsim import Onnxsim

__all__ = ["ExecPass", "GsPass", "IrPass", "Onnxsim"]
