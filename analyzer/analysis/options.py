"""What an analysis is asked for, from the command line to the engine: one frozen bundle."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from analyzer.analysis.packet_choice import Choice
from analyzer.analysis.window import Window

Progress = Callable[[int, int], None]
"""is told (bytes read, size of all files or 0)"""


class AnalysisOptions(Struct, frozen=True):
    """The defaults are those of ``report FILE``."""

    bridge: str = "docker0"
    """the bridge of the verdict's claim"""
    packets: bool = False
    """list every packet and every echo"""
    echoes: bool = False
    """list every echo"""
    choice: Choice = field(default_factory=Choice)
    """list these packets only"""
    window: Window | None = None
    """analyse only the frames in this time window"""
    top: int | None = None
    """so many rows of each kind of flow at the most; None: all"""
    jobs: int = 2
    """threads: 1 does one thing after the other"""
    progress: Progress | None = None

    @property
    def lists_packets(self) -> bool:
        """Whether packets are listed, all of them or some."""
        return self.packets or bool(self.choice)

    @property
    def lists_echoes(self) -> bool:
        """Whether every echo is listed."""
        return self.packets or self.echoes


DEFAULTS = AnalysisOptions()
