"""Interfaces that come while a capture runs: heard before anybody has told what they are."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sessions import wait_for, wait_for_requests

from analyzer.capture import pending_interfaces as pending
from analyzer.capture.options import CaptureOptions
from analyzer.capture.session import CaptureSession
from analyzer.net import netns

pytestmark = pytest.mark.root

OURS = "ether proto 0x88b5"


def number_of(frame: Any) -> int:
    return int(struct.unpack_from("!I", frame.data, 14)[0])


@contextmanager
def curious(lab: Any, path: Path, *names: str, **options: Any) -> Iterator[CaptureSession]:
    """A running capture that hears every later interface of the host's namespace."""
    host = lab.inodes["host"]
    newest = max(index for index, _ in netns.run_inside(lab.fds["host"], socket.if_nameindex))
    session = CaptureSession(
        lab.vantages(*names),
        lab.paths,
        path,
        CaptureOptions(**{"filter": OURS, "newcomers": (host, newest), **options}),
    )
    with ThreadPoolExecutor(1) as pool, session:
        future = pool.submit(session.run)
        try:
            yield session
        finally:
            session.stop()
            future.result(timeout=60)


def come(lab: Any, name: str, address: str) -> None:
    """A new container."""
    lab.fds[name] = netns.new_netns()
    lab.inodes[name] = netns.netns_inode(lab.fds[name])
    lab.paths[lab.inodes[name]] = f"/proc/{os.getpid()}/fd/{lab.fds[name]}"
    lab.add_container(name, address)


def send_from(lab: Any, name: str, numbers: range) -> None:
    frame = lab.frame(0)
    with lab.socket(name) as sender:
        for number in numbers:
            sender.send(frame[:14] + struct.pack("!I", number) + frame[18:])


def test_frames_from_before_the_introduction_are_in_the_file_in_order(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    """At 100 ms everybody waits for the newcomer: kernel order stays, docker0's copy included."""
    with curious(lab, tmp_path / "a", "br0", "veB", "b:eth0") as session:
        come(lab, "c", "172.30.0.4/24")
        send_from(lab, "c", range(5))
        session.add(lab.vantages("veC", "c:eth0"), lab.paths)
        wait_for_requests(session)
        assert len(session.vantages) == 5
        send_from(lab, "c", range(5, 9))
    found = reading(tmp_path / "a")
    assert [number_of(frame) for frame in found.at("veC")] == list(range(9))
    assert [number_of(frame) for frame in found.at("veB")] == list(range(9))
    assert [number_of(frame) for frame in found.at("c:eth0")] == list(range(5, 9))
    host = [(f.vantage, number_of(f)) for f in found.frames if f.vantage in ("veC", "veB", "br0")]
    ways = [vantage for vantage, _ in host]
    assert ways[:3] in (["veC", "veB", "br0"], ["veC", "br0", "veB"])
    assert [number for _, number in host] == [n for n in range(9) for _ in range(3)]
    assert [f.ts_ns for f in found.at("br0")] == [f.ts_ns for f in found.at("veC")]
    stats = session.close()
    assert stats.received == stats.frames == 9 + 9 + 9 + 9 + 4
    assert (stats.dropped, stats.warnings) == (0, ())


def test_who_is_introduced_late_has_all_its_frames_and_holds_up_nobody(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    with curious(lab, tmp_path / "a", "br0", "veB", "b:eth0") as session:
        come(lab, "c", "172.30.0.4/24")
        begun = time.monotonic()
        send_from(lab, "c", range(5))
        wait_for(lambda: len(reading(tmp_path / "a").at("veB")) == 5)
        waited = time.monotonic() - begun
        assert reading(tmp_path / "a").interfaces == ["br0", "veB", "b:eth0"]
        session.add(lab.vantages("veC"), lab.paths)
        wait_for(lambda: len(reading(tmp_path / "a").at("veC")) == 5)
    assert waited > pending.HOLD_NS / 1e9 * 0.8
    assert [number_of(frame) for frame in reading(tmp_path / "a").at("veC")] == list(range(5))
    assert session.close().rings[0].unclaimed == 0


def test_who_has_gone_before_the_introduction_is_in_the_file_too(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    with curious(lab, tmp_path / "a", "br0", "veB", "b:eth0") as session:
        come(lab, "c", "172.30.0.4/24")
        ring = session.hear(lab.paths[lab.inodes["c"]], lab.inodes["c"])
        vantages = lab.vantages("veC", "c:eth0")
        send_from(lab, "c", range(5))
        lab.run("host", "ip link del veC")
        session.add(vantages, lab.paths, None, {ring.netns: ring})
        wait_for_requests(session)
        assert len(session.vantages) == 5
    found = reading(tmp_path / "a")
    for name in ("veC", "c:eth0", "veB"):
        assert [number_of(frame) for frame in found.at(name)] == list(range(5))
    assert "ended_ns" in found.statistics["veC"]
    assert "ended_ns" in found.statistics["c:eth0"]
    assert session.close().warnings == ()


def test_who_is_not_wanted_leaves_nothing(lab: Any, tmp_path: Path, reading: Any) -> None:
    with curious(lab, tmp_path / "a", "br0", "veB", "b:eth0") as session:
        come(lab, "c", "172.30.0.4/24")
        come(lab, "d", "172.30.0.5/24")
        send_from(lab, "c", range(3))
        send_from(lab, "d", range(3, 6))
        session.ignore(lab.inodes["host"], [lab.index("host", "veC")])
        wait_for(lambda: len(reading(tmp_path / "a").at("veB")) == 6)
        session.add(lab.vantages("veD"), lab.paths)
        wait_for(lambda: len(reading(tmp_path / "a").at("veD")) == 3)
        send_from(lab, "c", range(6, 9))
        send_from(lab, "d", range(9, 12))
    found = reading(tmp_path / "a")
    assert found.interfaces == ["br0", "veB", "b:eth0", "veD"]
    assert [number_of(frame) for frame in found.at("veD")] == [3, 4, 5, 9, 10, 11]
    stats = session.close()
    assert stats.rings[0].unclaimed == 3
    assert stats.rings[0].received == stats.rings[0].unclaimed + 6 + 12 + 12


def test_nobody_tells_who_it_is_and_it_is_forgotten(
    lab: Any, tmp_path: Path, reading: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the filter nor the table grow by interfaces that are gone."""
    monkeypatch.setattr("analyzer.capture.recorder.EXPIRES_NS", 200_000_000)
    with curious(lab, tmp_path / "a", "br0", "veB", "b:eth0") as session:
        (source,) = [s for s in session._roster.sources if s.curious]
        come(lab, "c", "172.30.0.4/24")
        send_from(lab, "c", range(3))
        wait_for(lambda: source.ignored)
        send_from(lab, "c", range(3, 6))
        lab.run("host", "ip link del veC")
        wait_for(lambda: not source.ignored)
        come(lab, "d", "172.30.0.5/24")
        send_from(lab, "d", range(6, 9))
        wait_for(lambda: source.pending)
        lab.run("host", "ip link del veD")
        wait_for(lambda: not source.pending)
        assert not source.ignored
        come(lab, "e", "172.30.0.6/24")
        send_from(lab, "e", range(9, 12))
    found = reading(tmp_path / "a")
    assert found.interfaces == ["br0", "veB", "b:eth0"]
    assert [number_of(frame) for frame in found.at("veB")] == list(range(12))
    assert session.close().rings[0].unclaimed == 9


def test_an_ignored_one_may_be_added_after_all(lab: Any, tmp_path: Path, reading: Any) -> None:
    with curious(lab, tmp_path / "a", "br0", "veB", "b:eth0") as session:
        come(lab, "c", "172.30.0.4/24")
        session.ignore(lab.inodes["host"], [lab.index("host", "veC")])
        session.add(lab.vantages("veC"), lab.paths)
        wait_for_requests(session)
        assert len(session.vantages) == 4
        send_from(lab, "c", range(3))
    assert [number_of(frame) for frame in reading(tmp_path / "a").at("veC")] == [0, 1, 2]


def test_a_ring_that_listens_already_loses_nothing_inside(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    """Frames of before eth0 was introduced are in the ring that its namespace had got."""
    with curious(lab, tmp_path / "a", "br0", "veB", "b:eth0") as session:
        come(lab, "c", "172.30.0.4/24")
        ring = session.hear(lab.paths[lab.inodes["c"]], lab.inodes["c"])
        send_from(lab, "c", range(4))
        session.add(
            lab.vantages("c:eth0", "veC"), lab.paths, {"172.30.0.4": "c"}, {ring.netns: ring}
        )
        wait_for(lambda: len(reading(tmp_path / "a").at("c:eth0")) == 4)
        send_from(lab, "c", range(4, 8))
    found = reading(tmp_path / "a")
    assert [number_of(frame) for frame in found.at("c:eth0")] == list(range(8))
    assert [number_of(frame) for frame in found.at("veC")] == list(range(8))


def test_nobody_else_loses_a_frame_while_a_hundred_come_and_go(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    """Ground truth: numbered frames from a to b all the time."""
    ends, sent = threading.Event(), [0]

    def talk() -> None:
        frame = lab.frame(0)
        with lab.socket("a") as sender:
            while not ends.is_set():
                sender.send(frame[:14] + struct.pack("!I", sent[0]) + frame[18:])
                sent[0] += 1
                time.sleep(0.0005)

    talker = threading.Thread(target=talk)
    with curious(lab, tmp_path / "a") as session:
        talker.start()
        awaited = 5

        def has(vantages: int) -> bool:
            return len(session.vantages) == vantages

        try:
            for number in range(100):
                come(lab, "c", "172.30.0.4/24")
                send_from(lab, "c", range(1 << 31, (1 << 31) + 1))
                if number % 2:
                    session.add(lab.vantages("veC", "c:eth0"), lab.paths)
                    awaited += 2
                    wait_for(partial(has, awaited))
                lab.run("host", "ip link del veC")
                os.close(lab.fds.pop("c"))
        finally:
            ends.set()
            talker.join()
    found = reading(tmp_path / "a")
    for vantage in ("br0", "veA", "veB", "a:eth0", "b:eth0"):
        mine = [n for f in found.at(vantage) if (n := number_of(f)) < 1 << 31]
        assert mine == list(range(sent[0])), vantage
    stats = session.close()
    assert stats.dropped == 0
    assert found.interfaces.count("veC") == 50
    assert len(found.at("veC")) == 50
    assert sum(one.ended_ns is not None for one in stats.vantages) == 100


def test_a_namespace_that_only_the_capture_keeps_is_let_go(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    """The container died, nobody deleted its veth: with our ring gone the kernel does."""
    come(lab, "c", "172.30.0.4/24")
    inode = lab.inodes["c"]
    name = f"vst-{os.getpid()}"
    lab.run("host", f"mkdir -p /run/netns; touch /run/netns/{name}")
    lab.run("host", f"mount --bind {lab.paths[inode]} /run/netns/{name}")
    try:
        lab.paths[inode] = f"/run/netns/{name}"
        with curious(lab, tmp_path / "a", "br0", "veC", "c:eth0") as session:
            send_from(lab, "c", range(3))
            os.close(lab.fds.pop("c"))
            lab.run("host", f"umount /run/netns/{name}")
            wait_for(lambda: "veC" not in lab.run("host", "ip link show"))
    finally:
        os.unlink(f"/run/netns/{name}")
    found = reading(tmp_path / "a")
    assert [number_of(frame) for frame in found.at("c:eth0")] == [0, 1, 2]
    assert "ended_ns" in found.statistics["c:eth0"]
    assert "ended_ns" in found.statistics["veC"]
    assert session.close().stopped == "stop"
