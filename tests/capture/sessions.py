"""Captures of the bridge and the two containers of the fixture ``lab``."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analyzer.capture.options import CaptureOptions
from analyzer.capture.session import CaptureSession
from analyzer.capture.stats import CaptureStats

OURS = "ether proto 0x88b5 or (vlan and ether proto 0x88b5)"
ALL = ("br0", "veA", "veB", "a:eth0", "b:eth0")
INGRESS, EGRESS = 1, 2


@contextmanager
def running(session: CaptureSession) -> Iterator[Future[CaptureStats]]:
    """Open, run in a thread, and at the end stop and close."""
    with ThreadPoolExecutor(1) as pool, session:
        future = pool.submit(session.run)
        try:
            yield future
        finally:
            session.stop()
            future.exception(timeout=60)


def wait_for(condition: Callable[[], Any], patience_s: float = 60) -> None:
    give_up = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.002)


def wait_for_requests(session: CaptureSession) -> None:
    """Until what the session was asked for so far is done: rings of new vantages hear by then."""
    done = threading.Event()

    def take() -> bytes:
        done.set()
        return b""

    session.keep(take)
    assert done.wait(60)


def capture(lab: Any, path: Path, frames: list[bytes], **options: Any) -> CaptureStats:
    """Send frames from a to b while all vantages are captured."""
    session = CaptureSession(
        lab.vantages(), lab.paths, path, CaptureOptions(**{"filter": OURS, **options})
    )
    with running(session):
        lab.send(frames)
    return session.close()


IPV4_MULTICAST = bytes.fromhex("01005e")


def numbers(frames: list[Any], at: int = 14) -> list[int]:
    """Of the frames that a lab sent; the kernel's own IGMP reports come in between."""
    ours = [frame for frame in frames if not frame.data.startswith(IPV4_MULTICAST)]
    return [struct.unpack_from("!I", frame.data, at)[0] for frame in ours]


def open_sockets() -> set[str]:
    """This process's sockets by inode: a mapped ring has a second descriptor (mmap.mmap's)."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the listing's own
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found
