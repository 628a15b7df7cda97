"""The errors that onnxfuse raises.

Each carries one line that says what is wrong, where, and what to do. The command line prints that line and exits with
`exit_code`; only an error that is not in this module shows a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from onnxfuse.report.records import Report

__all__ = [
    "MissingExtraError",
    "ModelError",
    "OnnxfuseError",
    "PassError",
    "ToolError",
    "UsageError",
    "VerificationError",
]

# Characters of a message: what a terminal shows without hiding where the line began.
LONGEST: Final = 800


class OnnxfuseError(Exception):
    """Base of all errors that onnxfuse raises on purpose."""

    exit_code: ClassVar[int] = 2


class UsageError(OnnxfuseError):
    """The call itself is wrong: an unknown pass or option, a path that may not be written."""


class ModelError(OnnxfuseError):
    """A model cannot be read: corrupt, truncated, newer than the installed onnx, or its external data is not there.

    The message quotes names from the model. Whatever these hold, it stays one line of some length: a control character
    in it is an escape, and of a very long one the middle is left out.
    """

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST:
            message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
        super().__init__("".join([sign if sign.isprintable() else repr(sign)[1:-1] for sign in message]))


class MissingExtraError(OnnxfuseError):
    """An optional dependency is not installed.

    Args:
        package: The distribution that is missing.
        extra: The extra of onnxfuse that brings it.
        purpose: What it was needed for, as the end of a sentence.
    """

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(f"{package} is needed {purpose}: pip install 'onnxfuse[{extra}]'")


class PassError(OnnxfuseError):
    """A pass broke its contract: it raised, built an invalid replacement, or does not reach its fixpoint."""

    exit_code: ClassVar[int] = 3


class ToolError(OnnxfuseError):
    """A program, or a function of somebody else's, that was asked to do something failed."""

    exit_code: ClassVar[int] = 4


class VerificationError(OnnxfuseError):
    """The whole-model check found a difference between the model before and after.

    Attributes:
        report: The report of the run, with the verdict.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report
