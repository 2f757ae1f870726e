"""The files of a capture one after the other, named and given up as dumpcap does it (-b).

``-w two.pcapng`` becomes ``two_00001_20261124142205.pcapng``, ``two_00002_…``: a number, and
the local time at which the file was begun. Where only so many are to be kept, the oldest goes
when a new one is begun.
"""

from __future__ import annotations

import contextlib
import os
import re
import time

from msgspec import Struct

from analyzer.capture.output import Output, Target
from analyzer.errors import UsageProblem
from analyzer.net.privsep import monitor_of
from analyzer.savefile.creating import MakeFiles, remove_file


class Rotation(Struct, frozen=True):
    """When a new file is begun, and how many are kept; None: no such limit."""

    max_kilobytes: int | None = None
    """1,000 bytes each; the closing statistics come on top"""
    max_seconds: float | None = None
    max_packets: int | None = None
    """frames"""
    keep: int | None = None
    """files; the oldest is removed"""

    def check(self) -> None:
        """Raises UsageProblem with the value that cannot be."""
        limits = (
            ("filesize", self.max_kilobytes),
            ("duration", self.max_seconds),
            ("packets", self.max_packets),
            ("files", self.keep),
        )
        for name, value in limits:
            if value is not None and value <= 0:
                raise UsageProblem(f"-b {name}:{value}: must be more than 0")
        if not (self.max_kilobytes or self.max_seconds or self.max_packets):
            raise UsageProblem(
                "-b files: does not say when a new file begins; "
                "add -b filesize:KB, -b duration:S or -b packets:N"
            )


class Series:
    """One file, or with a rotation one after the other."""

    def __init__(self, target: Target, rotation: Rotation | None) -> None:
        """Begins the first file. Raises UsageProblem where it cannot be written."""
        self._target = target
        self._rotation = rotation
        self._closed_bytes = 0
        self.number = 1
        self.names: list[str] = []
        """of the files that there are, the oldest first"""
        self.current = self._begin()

    @property
    def size(self) -> int:
        """Bytes written to all files, removed ones too."""
        return self._closed_bytes + self.current.size

    def advance(self) -> None:
        """Close the present file and begin the next. Raises UsageProblem where that fails."""
        self.number += 1
        following = self._begin()
        self.current.close()
        self._closed_bytes += self.current.size
        self.current = following

    def _begin(self) -> Output:
        if self._rotation is None:
            output = Output(self._target)
            self.names = [output.name]
            return output
        if not isinstance(self._target, str | os.PathLike):
            raise UsageProblem("-b begins new files: it needs a file name (-w FILE), not a pipe")
        output = Output(file_name(os.fspath(self._target), self.number, time.localtime()))
        self.names.append(output.name)
        self._remove_oldest()
        return output

    def _remove_oldest(self) -> None:
        keep = self._rotation.keep if self._rotation else None
        while keep is not None and len(self.names) > keep:
            with contextlib.suppress(OSError):  # somebody moved it away: it is theirs now
                _remove(self.names.pop(0))


def _remove(name: str) -> None:
    if monitor := monitor_of(MakeFiles):
        monitor.ask(MakeFiles, name, "remove")
    else:
        remove_file(name)


def names_of(path: str) -> re.Pattern[str]:
    """All that `file_name` gives."""
    folder, stem, ending = _split(path)
    number_and_time = r"_\d{5,}_\d{14}"
    return re.compile(re.escape(os.path.join(folder, stem)) + number_and_time + re.escape(ending))


def file_name(path: str, number: int, begun: time.struct_time) -> str:
    """``dir/two.pcapng``, 3 → ``dir/two_00003_20261124142205.pcapng``."""
    folder, stem, ending = _split(path)
    stamp = time.strftime("%Y%m%d%H%M%S", begun)
    return os.path.join(folder, f"{stem}_{number:05d}_{stamp}{ending}")


def _split(path: str) -> tuple[str, str, str]:
    """(folder, name without its ending, ending with the dot)."""
    folder, name = os.path.split(path)
    stem, dot, suffix = name.rpartition(".")
    return (folder, stem, dot + suffix) if stem else (folder, name, "")
