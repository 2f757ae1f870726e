"""``export``: read a capture file in chunks and hand it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analyzer.errors import SavefileError
from analyzer.export.pcap import PcapFiles
from analyzer.savefile.read import open_savefile


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    paths: list[str]
    counts: list[int]
    error: SavefileError | None
    """where the file is damaged: its readable prefix was exported"""


def export_pcap(path: str, directory: str) -> Exported:
    """One nanosecond pcap per vantage into ``directory``. Raises UsageProblem, SavefileError."""
    savefile = open_savefile(path)
    with PcapFiles(directory) as files:
        for chunk in savefile.chunks():
            _expect(files, savefile.interfaces)
            files.write(chunk)
        _expect(files, savefile.interfaces)
    return Exported(files.paths, files.counts, savefile.error)


def _expect(files: PcapFiles, interfaces: Any) -> None:
    names = [i.name or f"interface{i.index}" for i in interfaces]
    files.expect(names, [i.linktype for i in interfaces], [i.snaplen for i in interfaces])
