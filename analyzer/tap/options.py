"""What is captured, and what is recorded beside the frames."""

from __future__ import annotations

from msgspec import Struct, field

from analyzer.capture.options import CaptureOptions


class TapOptions(Struct, frozen=True):
    """Defaults capture every frame at the vantages, and what connection tracking tells."""

    capture: CaptureOptions = field(default_factory=CaptureOptions)
    """of the frames; what the topology tells (comment, names, newcomers) is filled in"""
    newcomers: bool = False
    """hear interfaces that the host gets later, too, for a `Follower`"""
    drops: bool = False
    """record why the kernel dropped what it dropped, and all of ``settings``"""
    settings: bool = False
    """record what ports, stacks and packet filters were set to, which explains many losses and
    costs no frame anything"""
    evidence: bool = True
    """record counters and state of the namespaces, at the start and at the end"""
    protocols: tuple[int, ...] = ()
    """whose translations are kept; none: of all"""
