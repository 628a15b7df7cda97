"""Commands for `exec:`: small scripts of good and bad manner."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

__all__ = ["TOOLS", "tool"]

TOOLS: Final = {
    "copy": "shutil.copyfile(given, made)",
    "without_identity": """
model = onnx.load(given)
for node in list(model.graph.node):
    if node.op_type == "Identity":
        for reader in model.graph.node:
            reader.input[:] = [node.input[0] if name == node.output[0] else name for name in reader.input]
        model.graph.node.remove(node)
print("removed the identities")
onnx.save(model, made)
""",
    "with_external_data": """
onnx.save_model(onnx.load(given), made, save_as_external_data=True, location="weights", size_threshold=0)
""",
    "wrong": """
model = onnx.load(given)
for node in model.graph.node:
    if node.op_type == "Relu":
        node.op_type = "Abs"
onnx.save(model, made)
""",
    "exits": "print('out'); sys.stderr.write('first\\nthe weights are too heavy\\n\\n'); sys.exit(3)",
    "exits_quietly": "sys.exit(3)",
    "segfaults": "os.kill(os.getpid(), signal.SIGSEGV)",
    "aborts": "os.abort()",
    "hangs": "print('still here', flush=True); time.sleep(600)",
    "hangs_with_a_child": """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("pids", "w").write(f"{os.getpid()} {child.pid} {os.path.dirname(os.path.dirname(given))}")
time.sleep(600)
""",
    "leaves_a_child": """
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)"])
shutil.copyfile(given, made)
""",
    "writes_nothing": "",
    "writes_elsewhere": "shutil.copyfile(given, 'elsewhere.onnx')",
    "writes_garbage": "open(made, 'wb').write(b'\\x00\\x01garbage' * 40)",
    "writes_an_empty_file": "open(made, 'wb')",
    "writes_half": "open(made, 'wb').write(open(given, 'rb').read()[:-20])",
    "writes_a_folder": "os.mkdir(made)",
    "prints_much": "sys.stdout.write('x' * 10_000_000); sys.stderr.write('y' * 10_000_000); shutil.copyfile(given, made)",
    "asks": "assert sys.stdin.read() == ''; shutil.copyfile(given, made)",
}

HEAD: Final = "import os, shutil, signal, subprocess, sys, time\ngiven, made = sys.argv[1:]\n"


def tool(folder: Path, name: str) -> str:
    """Writes the tool of this name to a folder; returns the command that runs it."""
    path = folder / f"{name}.py"
    code = TOOLS[name]
    path.write_text((HEAD + "import onnx\n" if "onnx." in code else HEAD) + code, encoding="utf-8")
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(path))} {{in}} {{out}}"
