"""The frames of a capture file as bytes, by vantage."""

from __future__ import annotations

import json
from pathlib import Path

from analyzer.model.vantage import Vantage
from analyzer.savefile.read import open_savefile


def vantages_and_frames(path: Path) -> tuple[list[Vantage], list[list[bytes]]]:
    """The vantages of a file in its order, and each one's frames."""
    savefile = open_savefile(str(path))
    frames: list[list[bytes]] = []
    for chunk in savefile.chunks():
        frames += [[] for _ in range(len(savefile.interfaces) - len(frames))]
        for row in range(len(chunk)):
            start = int(chunk.offset[row])
            data = chunk.buffer[start : start + int(chunk.caplen[row])].tobytes()
            frames[int(chunk.interface[row])].append(data)
    told = [Vantage.from_json(json.loads(one.comment)) for one in savefile.interfaces]
    frames += [[] for _ in range(len(told) - len(frames))]
    return told, frames
