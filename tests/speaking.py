"""Numbered frames that a test sends from inside a namespace, and their numbers in a file."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from frames_of import vantages_and_frames

from analyzer.net.netns import run_inside

OURS = "ether proto 0x88b5"
"""The filter that passes these frames alone; the type is for experiments (IEEE 802)."""
HEAD = b"\xff" * 6 + bytes.fromhex("0242ac110002") + b"\x88\xb5"


@contextmanager
def speaking(netns_path: str, size: int = 100) -> Iterator[Callable[..., None]]:
    """``say(number, pause_s)``: one numbered broadcast out of this namespace's eth0."""

    def plug() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.bind(("eth0", 0))
        return made

    with run_inside(netns_path, plug) as sender:

        def say(number: int, pause_s: float = 0) -> None:
            sender.send((HEAD + struct.pack("!I", number)).ljust(size, b"\0"))
            time.sleep(pause_s)

        yield say


def numbers(path: Path, vantage: str = "tomcat01:eth0") -> list[int]:
    """The numbers that a vantage saw, in the order of the file."""
    vantages, frames = vantages_and_frames(path)
    (at,) = [n for n, v in enumerate(vantages) if v.name == vantage]
    return [
        struct.unpack_from("!I", frame, 14)[0] for frame in frames[at] if frame[12:14] == HEAD[12:]
    ]
