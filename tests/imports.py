"""What code imports on its way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["loaded_after"]

ROOT: Final = Path(__file__).parent.parent
HEAVY: Final = {"ml_dtypes", "numpy", "onnx", "onnx_ir", "onnxruntime", "tqdm", "torch"}


def loaded_after(code: str) -> set[str]:
    """Runs code in a process of its own; returns which heavy packages it imported."""
    probe = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.split())
