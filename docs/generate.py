"""Writes docs/passes/<name>.md from the docstrings of the passes."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from onnxfuse.pipeline import registry

HEADING = re.compile(r"^([A-Z][A-Za-z ]+):$")


def page(name: str) -> str:
    """Returns the Markdown page of a pass."""
    kind = registry.pass_class(name)
    summary, _, body = (inspect.getdoc(kind) or "").partition("\n")
    presets = [preset for preset, members in registry.presets().items() if name in members.split(",")]
    lines = [f"# {name}", "", summary, "", f"Numerics: {kind.numerics}. Presets: {', '.join(presets) or 'none'}."]
    for line in body.splitlines():
        heading = HEADING.match(line)
        # A section's text is indented by four; what is indented further is code, which Markdown wants indented by four.
        lines.append(f"## {heading[1]}\n" if heading else line.removeprefix("    "))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def pages() -> dict[str, str]:
    """Returns every page by its file's name."""
    own = [name for name, origin in registry.origins().items() if origin == "onnxfuse"]
    return {f"{name}.md": page(name) for name in own}


if __name__ == "__main__":
    folder = Path(__file__).parent / "passes"
    folder.mkdir(exist_ok=True)
    for file_name, text in pages().items():
        (folder / file_name).write_text(text)
