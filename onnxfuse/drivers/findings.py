"""What a check found, before a model is handed to a compiler."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

__all__ = ["Finding", "Severity"]

SHOWN: Final = 3


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """The compiler refuses it, or compiles something else than what was asked for."""
    WARNING = "warning"
    """It may fail, be wrong or be slow, by what is known."""
    NOTE = "note"
    """It could be better."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: How bad it is.
        check: The check that found it: `opset`, `out-nodes`...
        message: A sentence.
        cure: The pass or option that would cure it, or what else to do; empty where nothing is to be done.
        at: The nodes, values or options that it is about.
        code: The number of the vendor's error that it would be, where there is one.
    """

    severity: Severity
    check: str
    message: str
    cure: str
    at: tuple[str, ...] = ()
    code: str | None = None

    def __str__(self) -> str:
        shown = ", ".join(self.at[:SHOWN]) + (f" and {len(self.at) - SHOWN} more" if len(self.at) > SHOWN else "")
        where = f" (at {shown})" if shown else ""
        code = f" [{self.code}]" if self.code else ""
        cure = f"; {self.cure}" if self.cure else ""
        return f"{self.severity}: {self.check}: {self.message}{where}{cure}{code}"

    def to_dict(self) -> dict[str, Any]:
        """Returns it as a JSON-able dict."""
        return {
            "severity": str(self.severity),
            "check": self.check,
            "message": self.message,
            "cure": self.cure,
            "at": list(self.at),
            "code": self.code,
        }
