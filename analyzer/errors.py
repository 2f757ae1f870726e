"""The exceptions of vethscope, drawn as a tree.

::

    VethscopeError                 exit code
    ├── UsageProblem               2   what was asked for does not exist or cannot be parsed
    ├── EnvironmentProblem         2   rights, a missing engine, a missing tool
    ├── CaptureError               1   the capture started and could not go on
    └── SavefileError              1   a capture file is damaged; its readable prefix is kept

Every message is one line that names the thing, the reason and what to do.
The command line translates them once, at its group.
"""

from __future__ import annotations

from typing import Any


class VethscopeError(Exception):
    """Base of all errors that vethscope raises on purpose."""

    exit_code = 1


class UsageProblem(VethscopeError):
    """What was asked for does not exist, is ambiguous or cannot be parsed."""

    exit_code = 2


class EnvironmentProblem(VethscopeError):
    """This machine does not allow it: rights, engine, tool or kernel feature."""

    exit_code = 2


class CaptureError(VethscopeError):
    """A capture that had started could not go on (disk full, ring lost)."""


class SavefileError(VethscopeError):
    """A capture file is damaged from ``offset`` on.

    ``frames`` holds what could be read before the damage: whatever the raising
    function would have returned (``read_frames``: a Polars frame).
    """

    def __init__(self, message: str, *, offset: int = 0, frames: Any = None) -> None:
        super().__init__(message)
        self.offset = offset
        self.frames = frames
