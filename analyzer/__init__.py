"""vethscope: see every frame between containers at every interface that it crosses.

As a library: ``read_frames(path)`` gives the frames of any capture file as a table, and
``read(path)`` the tables of the whole analysis. Names are loaded when they are first used, so
that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyzer.analysis.frames_table import read_frames
    from analyzer.analysis.library import Analysis, read
    from analyzer.errors import (
        CaptureError,
        EnvironmentProblem,
        SavefileError,
        UsageProblem,
        VethscopeError,
    )
    from analyzer.version import __version__

__all__ = [
    "Analysis",
    "CaptureError",
    "EnvironmentProblem",
    "SavefileError",
    "UsageProblem",
    "VethscopeError",
    "__version__",
    "read",
    "read_frames",
]

_HOMES = {
    "Analysis": "analyzer.analysis.library",
    "CaptureError": "analyzer.errors",
    "EnvironmentProblem": "analyzer.errors",
    "SavefileError": "analyzer.errors",
    "UsageProblem": "analyzer.errors",
    "VethscopeError": "analyzer.errors",
    "__version__": "analyzer.version",
    "read": "analyzer.analysis.library",
    "read_frames": "analyzer.analysis.frames_table",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'analyzer' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
