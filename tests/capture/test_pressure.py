"""A ring that fills up is cut, and kept whole again when it is as good as empty."""

from __future__ import annotations

import io
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cut_payload import EPB, blocks
from sessions import running, wait_for

from analyzer.analysis.analyse import report_files
from analyzer.capture.options import CaptureOptions
from analyzer.capture.payload import CUT_BYTES, Payload
from analyzer.capture.pressure import Pressure
from analyzer.capture.ring_settings import KIB, RingSettings
from analyzer.capture.session import CaptureSession
from analyzer.model.payload_cuts import MAGIC, PayloadCut, decode_cuts, encode_cut

MS = 1_000_000


@dataclass
class FakeRing:
    """So many of its blocks wait."""

    waiting: int = 0
    netns: int = 7
    settings: RingSettings = field(default_factory=lambda: RingSettings(block_count=128))

    def waits(self, blocks: int) -> bool:
        return self.waiting >= blocks


@dataclass
class FakeSource:
    """Remembers what it was told."""

    ring: FakeRing = field(default_factory=FakeRing)
    number: int = 0
    hears: bool = True
    works: bool = True
    cut_times: int = 0
    cut_ns: int = 0
    pressed: list[bool] = field(default_factory=list)

    def press(self, *, on: bool) -> bool:
        self.pressed.append(on)
        return self.works


class Watch:
    """A pressure that is looked at by hand, in ms."""

    def __init__(self) -> None:
        self.source, self.kept = FakeSource(), list[bytes]()
        self.pressure = Pressure(CUT_BYTES, self.kept.append)
        one: Any = self.source
        self.pressure.attend([one])

    def look(self, ms: int, waiting: int) -> bool:
        """Whether frames are cut then."""
        self.source.ring.waiting = waiting
        self.pressure.look((1_000_000 + ms) * MS)
        return bool(self.source.pressed) and self.source.pressed[-1]


def test_it_is_cut_at_an_eighth_and_whole_when_a_sixteenth_waits_for_long_enough() -> None:
    watch = Watch()
    assert not watch.look(0, 15)
    assert watch.look(10, 16)
    assert watch.look(500, 9)
    assert watch.look(600, 8)
    assert watch.look(699, 0)
    assert not watch.look(700, 0)
    assert watch.source.cut_times == 1
    begun, ended = (decode_cuts([one[8:-4]]) for one in watch.kept)
    assert begun[0].since_ns == ended[0].since_ns
    assert begun[0].until_ns is None
    assert ended[0].until_ns == begun[0].since_ns + watch.source.cut_ns
    assert decode_cuts(one[8:-4] for one in watch.kept) == ended


def test_soon_after_it_is_cut_for_longer_each_time_and_after_a_rest_as_at_first() -> None:
    watch, at, calm = Watch(), 0, []
    for _ in range(8):
        assert watch.look(at, 128)
        begun = at
        while watch.look(at, 0):
            at += 10
        calm.append(at - begun)
        at += 10
    assert calm == [100, 200, 400, 800, 1600, 3200, 3200, 3200]
    assert watch.look(at + 6000, 128)
    assert watch.look(at + 6000, 0)
    assert watch.look(at + 6090, 0)
    assert not watch.look(at + 6100, 0)


def test_a_ring_that_closes_and_one_that_cannot_be_cut() -> None:
    watch = Watch()
    assert watch.look(0, 128)
    watch.source.hears = False
    assert watch.look(1, 128)
    assert not watch.look(2, 0)
    other = Watch()
    other.source.works = False
    other.look(0, 128)
    assert (other.kept, other.source.cut_times) == ([], 0)


def test_what_is_not_over_at_the_end_ends_there() -> None:
    watch = Watch()
    watch.look(0, 128)
    (cut,) = decode_cuts([watch.pressure.stop()[8:-4]])
    assert cut.until_ns is not None
    assert watch.pressure.stop() == b""


@pytest.mark.parametrize(("count", "high"), [(4, 2), (16, 8), (32, 8), (256, 32)])
def test_short_rings_have_marks_of_their_own(count: int, high: int) -> None:
    watch = Watch()
    watch.source.ring.settings = RingSettings(block_count=count)
    assert not watch.look(0, high - 1)
    assert watch.look(1, high)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"netns":1,"cut_bytes":1,"since_ns":5,"until_ns":4}', '{"netns":-1}']
)
def test_nonsense_is_passed_over(text: str) -> None:
    cut = PayloadCut(7, CUT_BYTES, 5, 6)
    assert decode_cuts([MAGIC + text.encode(), encode_cut(cut), b"vethscope/other/1\n"]) == [cut]


class Gate(io.BytesIO):
    """A file that can be made to stand still."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()

    def write(self, data: Any) -> int:
        assert self.open.wait(60)
        return super().write(data)


@pytest.mark.root
@pytest.mark.parametrize("payload", [Payload.AUTO, Payload.ONCE])
def test_while_a_disk_stands_still_frames_are_cut_and_none_is_lost(
    lab: Any, tmp_path: Path, payload: Payload
) -> None:
    """8 MB come into a ring of 4 MiB."""
    ring = RingSettings(128 * KIB, 32)
    options = CaptureOptions(filter="ether proto 0x88b5", payload=payload, ring=ring)
    frame = bytes.fromhex("ffffffffffff02000000000a88b5") + bytes(1000)
    file = Gate()
    session = CaptureSession(lab.vantages("veA"), lab.paths, file, options)
    with running(session):
        file.open.clear()
        lab.send([frame] * 2000)
        if payload is Payload.AUTO:
            wait_for(lambda: session.stats().rings[0].cut_times)
        lab.send([frame] * 6000)
        file.open.set()
    (told,) = session.close().rings
    cut = payload is Payload.AUTO
    assert (told.dropped == 0, told.cut_times > 0, told.cut_ns > 0) == (cut, cut, cut)
    if not cut:
        return
    path = tmp_path / "x.pcapng"
    path.write_bytes(file.getvalue())
    read = [block for kind, block in blocks(file.getvalue()) if kind == EPB]
    sizes = {struct.unpack_from("<I", block, 20)[0] for block in read}
    assert (len(read), sizes) == (8000, {CUT_BYTES, len(frame)})
    report, errors = report_files([str(path)])
    assert errors == []
    (finding,) = [one for one in report.findings if one.code == "payload-cut"]
    assert "frames were cut at veA: they came faster than they could be written" in finding.text
