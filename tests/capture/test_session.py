"""Whole captures of a bridge and two containers, read back by hand and by other programs."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from analyzer import netns
from analyzer.capture.options import CaptureOptions
from analyzer.capture.ring import KIB, RingSettings
from analyzer.capture.session import CaptureSession
from analyzer.capture.stats import CaptureStats
from analyzer.errors import CaptureError, UsageProblem

pytestmark = pytest.mark.root

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


def wait_for(condition: Callable[[], Any], patience_s: float = 10) -> None:
    give_up = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.002)


def capture(lab: Any, path: Path, frames: list[bytes], **options: Any) -> CaptureStats:
    """Send frames from a to b while all vantages are captured."""
    session = CaptureSession(
        lab.vantages(), lab.paths, path, CaptureOptions(**{"filter": OURS, **options})
    )
    with running(session):
        lab.send(frames)
    return session.close()


def numbers(frames: list[Any], at: int = 14) -> list[int]:
    return [struct.unpack_from("!I", frame.data, at)[0] for frame in frames]


def test_every_vantage_sees_every_frame_in_its_direction(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    sent = lab.numbered(50)
    stats = capture(lab, tmp_path / "a", sent)
    found = reading(tmp_path / "a")
    assert found.interfaces == list(ALL)
    for name in ALL:
        assert [frame.data for frame in found.at(name)] == sent
    directions = {name: {f.flags & 3 for f in found.at(name)} for name in ALL}
    assert directions == {
        "a:eth0": {EGRESS}, "veA": {INGRESS}, "br0": {INGRESS}, "veB": {EGRESS},
        "b:eth0": {INGRESS},
    }  # fmt: skip
    reception = {name: {f.flags >> 2 & 7 for f in found.at(name)} for name in ALL}
    assert reception == {"a:eth0": {0}, "veA": {4}, "br0": {4}, "veB": {0}, "b:eth0": {1}}
    assert [(one.frames, one.received, one.dropped) for one in stats.vantages] == [(50, 50, 0)] * 5
    assert [one.bytes for one in stats.vantages] == [3000] * 5
    assert (stats.frames, stats.received, stats.dropped, stats.stopped) == (250, 250, 0, "stop")
    assert stats.file_bytes == (tmp_path / "a").stat().st_size


def test_the_bridges_copy_bears_the_ingress_ports_stamp(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    """From the first frame on, and though no program on the machine asks for stamps."""
    for attempt in range(3):
        capture(lab, tmp_path / f"{attempt}", lab.numbered(20))
        found = reading(tmp_path / f"{attempt}")
        ports = [frame.ts_ns for frame in found.at("veA")]
        assert [frame.ts_ns for frame in found.at("br0")] == ports
        assert all(e.ts_ns > i for e, i in zip(found.at("veB"), ports, strict=True))


def test_without_promiscuous_mode_the_bridge_sees_no_bridged_frame(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    session = CaptureSession(
        lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS, promiscuous=False)
    )
    with running(session):
        assert not any(vantage.promiscuous for vantage in session.vantages)
        lab.send(lab.numbered(10))
    found = reading(tmp_path / "a")
    assert [len(found.at(name)) for name in ALL] == [0, 10, 10, 10, 10]
    assert "promiscuous" not in json.loads(found.comments[0])
    capture(lab, tmp_path / "b", lab.numbered(10))
    assert json.loads(reading(tmp_path / "b").comments[0])["promiscuous"] is True
    flags = json.loads(lab.run("host", "ip -d -j link show br0"))[0]
    assert flags["promiscuity"] == 0


def test_the_file_is_in_order_of_time_and_of_the_kernel(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    sent = lab.numbered(400)
    session = CaptureSession(lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS))
    with running(session), lab.socket("a") as sender:
        for frame in sent:
            sender.send(frame)
            time.sleep(0.0005)
    found = reading(tmp_path / "a")
    order = [found.frames.index(found.at(name)[200]) for name in ("a:eth0", "veA", "veB", "b:eth0")]
    assert order == sorted(order)
    latest, out_of_order = 0, []
    for frame in found.frames:
        if frame.ts_ns < latest:
            out_of_order.append(frame.vantage)
        latest = max(latest, frame.ts_ns)
    # The kernel passes its copy up after it has forwarded, with the older stamp.
    assert set(out_of_order) == {"br0"}
    host = [f for f in found.frames if f.vantage in ("br0", "veA", "veB")]
    assert [f.vantage for f in host] == ["veA", "veB", "br0"] * 400


def test_other_programs_open_it(lab: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    capture(lab, path, lab.numbered(7), names={"172.30.0.2": "a", "172.30.0.3": "b"}, comment="{}")
    from scapy.utils import rdpcap

    assert len(rdpcap(str(path))) == 35
    shown = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", "-e", "frame.interface_name"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert sorted(shown.stdout.split()) == sorted(ALL * 7)
    dumped = subprocess.run(
        ["tcpdump", "-q", "-nr", path], check=True, capture_output=True, text=True
    )
    assert dumped.stdout.count("Ethertype (0x88b5)") == 35
    told = subprocess.run(["capinfos", path], check=True, capture_output=True, text=True).stdout
    assert "Number of packets:   35" in told
    assert told.count("Number of stat entries = 1") == 5
    assert "Number of resolved IPv4 addresses in file: 2" in told
    for program in (shown, dumped):
        assert "appears to" not in program.stderr
        assert "malformed" not in program.stderr


def test_statistics_close_the_file(lab: Any, tmp_path: Path, reading: Any) -> None:
    session = CaptureSession(lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS))
    session.open()
    lab.send(lab.numbered(3))
    session.close({"br0": [("02:42:ac:1e:00:02", 4)]}, {"a:eth0": "a note"})
    found = reading(tmp_path / "a")
    assert found.statistics["veB"] == {
        "ifrecv": 3, "ifdrop": 0, "osdrop": 0, "usrdeliv": 3, "vethscope": 1,
        "ring": 0, "ring_received": 9, "ring_dropped": 0,
    }  # fmt: skip
    assert found.statistics["br0"]["fdb"] == [["02:42:ac:1e:00:02", 4]]
    assert found.statistics["a:eth0"]["note"] == "a note"
    rings = [json.loads(comment).get("ring", 0) for comment in found.comments]
    assert rings == [0, 0, 0, 1, 2]


def test_vlan_tags_are_whole_and_filtered_as_tcpdump_does(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    tagged = lab.frame(1, tag=b"\x81\x00\x60\x0a")
    other = lab.frame(2, tag=b"\x81\x00\x00\x0b")
    frames = [tagged, other, lab.frame(3)]
    capture(lab, tmp_path / "all", frames)
    for name in ALL:
        assert [frame.data for frame in reading(tmp_path / "all").at(name)] == frames
        assert {frame.wirelen for frame in reading(tmp_path / "all").at(name)} == {60}
    capture(lab, tmp_path / "ten", frames, filter="vlan 10")
    assert {frame.data for frame in reading(tmp_path / "ten").frames} == {tagged}
    assert len(reading(tmp_path / "ten").frames) == 5


def test_snaplen_cuts_the_copy_and_not_the_length(lab: Any, tmp_path: Path, reading: Any) -> None:
    frames = [lab.frame(1, 1000), lab.frame(2, 40), lab.frame(3, 500, tag=b"\x81\x00\x00\x0a")]
    capture(lab, tmp_path / "a", frames, snaplen=64)
    for name in ALL:
        found = reading(tmp_path / "a").at(name)
        assert [frame.data for frame in found] == [frame[:64] for frame in frames]
        assert [frame.wirelen for frame in found] == [1000, 40, 500]


def test_frames_above_the_mtu_are_whole(lab: Any, tmp_path: Path, reading: Any) -> None:
    """GSO: a bulk TCP transfer crosses the veths in frames of up to 64 KiB."""
    session = CaptureSession(
        lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter="tcp")
    )
    content = os.urandom(1 << 20)
    with running(session):
        server = netns.run_inside(lab.fds["b"], socket.create_server, ("172.30.0.3", 5001))
        client = netns.run_inside(lab.fds["a"], socket.create_connection, ("172.30.0.3", 5001))
        with server, client, server.accept()[0] as peer:
            sending = threading.Thread(target=client.sendall, args=(content,))
            sending.start()
            received = 0
            while received < len(content):
                received += len(peer.recv(1 << 20))
            sending.join()
    found = reading(tmp_path / "a")
    assert max(frame.wirelen for frame in found.frames) > 10_000
    assert all(len(frame.data) == frame.wirelen for frame in found.frames)
    for name in ("a:eth0", "b:eth0"):
        assert _stream(found.at(name), "172.30.0.2") == content
    assert any(frame.flags & 1 << 9 for frame in found.at("a:eth0"))


def _stream(frames: list[Any], source: str) -> bytes:
    """The bytes of the TCP stream from an address, by sequence number."""
    parts, start = {}, None
    for frame in frames:
        if frame.data[26:30] != socket.inet_aton(source):
            continue
        sequence = struct.unpack_from("!I", frame.data, 38)[0]
        if frame.data[47] & 2:
            start = sequence + 1
            continue
        body = frame.data[34 + (frame.data[46] >> 4) * 4 :]
        if body and start is not None:
            parts[(sequence - start) & 0xFFFFFFFF] = body
    found = bytearray()
    for offset, body in sorted(parts.items()):
        assert offset <= len(found)
        found[offset : offset + len(body)] = body
    return bytes(found)


def test_the_filter_picks(lab: Any, tmp_path: Path, reading: Any) -> None:
    capture(lab, tmp_path / "a", lab.numbered(5), filter="greater 100")
    assert reading(tmp_path / "a").frames == []
    capture(lab, tmp_path / "b", lab.numbered(5), filter="ether[17] == 3")
    assert numbers(reading(tmp_path / "b").frames) == [3] * 5


def test_only_the_chosen_vantages_are_in_the_file(lab: Any, tmp_path: Path, reading: Any) -> None:
    session = CaptureSession(
        lab.vantages("veB"), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS)
    )
    with running(session):
        lab.send(lab.numbered(9))
    assert reading(tmp_path / "a").interfaces == ["veB"]
    assert numbers(reading(tmp_path / "a").frames) == list(range(9))
    assert session.close().received == 9


def test_frames_are_in_the_file_soon(lab: Any, tmp_path: Path, reading: Any) -> None:
    """Within 200 ms of the wire; the quickest of a few counts, for the machine may be busy."""
    session = CaptureSession(lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS))
    took = []
    with running(session):
        for number in range(1, 6):
            frame = lab.frame(number)
            started = time.monotonic()
            lab.send([frame])
            wait_for(lambda n=number: len(reading(tmp_path / "a").frames) == 5 * n)  # type: ignore[misc]
            took.append(time.monotonic() - started)
    assert min(took) < 0.2


@pytest.mark.parametrize("count", [1, 7, 250])
def test_max_packets_are_the_first_in_time(
    lab: Any, tmp_path: Path, reading: Any, count: int
) -> None:
    session = CaptureSession(
        lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS, max_packets=count)
    )
    with running(session) as future:
        lab.send(lab.numbered(60))
        assert future.result(timeout=60).stopped == "packets"
    found = reading(tmp_path / "a").frames
    assert len(found) == count
    assert [frame.vantage for frame in found[:3]] == ["a:eth0", "veA", "veB"][:count]
    stats = session.close()
    assert stats.frames == count
    assert sum(s["usrdeliv"] for s in reading(tmp_path / "a").statistics.values()) == count


def test_max_kilobytes_hold(lab: Any, tmp_path: Path, reading: Any) -> None:
    session = CaptureSession(
        lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS, max_kilobytes=20)
    )
    with running(session) as future:
        lab.send(lab.numbered(100))
        assert future.result(timeout=60).stopped == "filesize"
    found = reading(tmp_path / "a")
    stats = session.close()
    assert stats.frames == len(found.frames)
    closing = sum(1 for _ in found.statistics) * 400
    assert 20_000 - 104 <= (tmp_path / "a").stat().st_size <= 20_000 + closing


def test_max_seconds_and_until_end_it(lab: Any, tmp_path: Path) -> None:
    started = time.monotonic()
    with CaptureSession(
        lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(max_seconds=0.3)
    ) as session:
        assert session.run().stopped == "duration"
    assert 0.3 <= time.monotonic() - started < 3
    with CaptureSession(lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions()) as session:
        asked = iter([False, False, True])
        assert session.run(lambda: next(asked)).stopped == "until"


def test_a_signal_handler_may_stop_it(lab: Any, tmp_path: Path, reading: Any) -> None:
    session = CaptureSession(lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS))
    before = signal.signal(signal.SIGALRM, lambda *_: session.stop())
    try:
        with session:
            lab.send(lab.numbered(4))
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert session.run().stopped == "stop"
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(reading(tmp_path / "a").frames) == 20
    session.stop()


def test_batches_are_handed_on_as_written(lab: Any, tmp_path: Path, reading: Any) -> None:
    seen: list[bytes] = []
    session = CaptureSession(
        lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS),
        on_batch=lambda batch: seen.append(batch.tobytes()),
    )  # fmt: skip
    with running(session):
        lab.send(lab.numbered(10))
    assert b"".join(seen) in (tmp_path / "a").read_bytes()
    assert sum(map(len, seen)) == 50 * 104


def test_a_veth_that_vanishes_ends_its_vantages_and_nothing_else(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    session = CaptureSession(lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS))
    before = len(_open_sockets())
    with running(session):
        opened = len(_open_sockets())
        assert opened - before == 4  # three rings and the host's netlink
        lab.send(lab.numbered(300))
        last = _swapped(lab.frame(1000))
        deleted_ns = time.time_ns()
        lab.run("host", "ip link delete veA")
        wait_for(lambda: len(_open_sockets()) == opened - 1)
        with lab.socket("b") as sender:
            sender.send(last)
        assert session.stats().stopped == ""
    found = reading(tmp_path / "a")
    for name in ("a:eth0", "veA"):
        assert numbers(found.at(name)) == list(range(300))
        assert deleted_ns < found.statistics[name]["ended_ns"] < time.time_ns()
    assert numbers(found.at("b:eth0")) == [*range(300), 1000]
    assert "ended_ns" not in found.statistics["veB"]
    stats = session.close()
    assert [one.ended_ns is None for one in stats.vantages] == [True, False, True, False, True]
    assert len(_open_sockets()) == before


def _swapped(frame: bytes) -> bytes:
    """The other way: from b to an address that the bridge floods."""
    return b"\x02\x00\x00\x00\x00\x01" + frame[:6] + frame[12:]


def test_when_all_are_gone_it_ends_by_itself(lab: Any, tmp_path: Path, reading: Any) -> None:
    session = CaptureSession(
        lab.vantages("veA", "a:eth0"), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS)
    )
    with running(session) as future:
        lab.send(lab.numbered(30))
        lab.run("host", "ip link delete veA")
        stats = future.result(timeout=60)
    assert stats.stopped == "gone"
    assert stats.warnings == ("all captured interfaces are gone: the capture ended by itself",)
    assert len(reading(tmp_path / "a").frames) == 60


def test_vantages_may_join_later(lab: Any, tmp_path: Path, reading: Any) -> None:
    session = CaptureSession(
        lab.vantages("veA"), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS)
    )
    with running(session):
        lab.send(lab.numbered(5))
        session.add(lab.vantages("br0", "veB", "b:eth0"), lab.paths)
        wait_for(lambda: len(session.vantages) == 4)
        wait_for(lambda: len(reading(tmp_path / "a").interfaces) == 4)
        lab.send([lab.frame(9)])
        wait_for(lambda: len(reading(tmp_path / "a").at("b:eth0")) == 1)
        session.add(lab.vantages("veA"), lab.paths)
    found = reading(tmp_path / "a")
    assert found.interfaces == ["veA", "br0", "veB", "b:eth0"]
    assert numbers(found.at("veA")) == [0, 1, 2, 3, 4, 9]
    for name in ("br0", "veB", "b:eth0"):
        assert numbers(found.at(name)) == [9]
    assert session.close().warnings == ()


def test_drops_are_counted_to_the_frame(lab: Any, tmp_path: Path, reading: Any) -> None:
    """A ring of two blocks that nobody empties: written + dropped = what the interface sent."""
    count = 20_000
    session = CaptureSession(
        lab.vantages("veA", "veB", "a:eth0"), lab.paths, tmp_path / "a",
        CaptureOptions(filter=OURS, ring=RingSettings(128 * KIB, 2, inside_bytes=0)),
    )  # fmt: skip
    before = _sent(lab)
    session.open()
    lab.send(lab.numbered(count))
    stats = session.close()
    by_name = {one.vantage.name: one for one in stats.vantages}
    inside = by_name["a:eth0"]
    assert _sent(lab) - before == count
    assert inside.dropped is not None
    assert inside.dropped > 0
    assert inside.received == inside.frames + inside.dropped == count
    assert by_name["veA"].dropped is by_name["veB"].received is None
    host = stats.rings[0]
    assert host.received == 2 * count
    assert host.dropped == 2 * count - by_name["veA"].frames - by_name["veB"].frames
    found = reading(tmp_path / "a")
    assert found.statistics["a:eth0"]["osdrop"] == inside.dropped
    assert "osdrop" not in found.statistics["veA"]
    assert found.statistics["veA"]["ring_dropped"] == host.dropped
    assert numbers(found.at("a:eth0")) == list(range(inside.frames))


def test_drops_stand_where_they_happened(lab: Any, tmp_path: Path) -> None:
    """The numbers of the frames tell where some are missing; tshark reads the count there."""
    session = CaptureSession(
        lab.vantages("a:eth0"), lab.paths, tmp_path / "a",
        CaptureOptions(filter=OURS, ring=RingSettings(128 * KIB, 4, inside_bytes=0)),
    )  # fmt: skip
    with session:
        lab.send(lab.numbered(10_000))
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(session.run)
            wait_for(lambda: session.stats().frames + session.stats().dropped == 10_000)
            lab.send([lab.frame(n) for n in range(20_000, 20_010)])
            session.stop()
            future.result(timeout=60)
    stats = session.close()
    fields = ("data.data", "frame.drop_count")
    told = subprocess.run(
        ["tshark", "-nr", str(tmp_path / "a"), "-T", "fields", *(f"-e{name}" for name in fields)],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    rows = [(int(data[:8], 16), int(count or 0)) for data, count in (r.split("\t") for r in told)]
    gaps = [(n, n - before - 1) for (before, _), (n, _) in pairwise(rows)]
    assert [(n, count) for n, count in rows if count] == [
        (n, gap - 10_000) for n, gap in gaps if gap
    ]
    assert sum(count for _, count in rows) == stats.dropped > 0


def _sent(lab: Any) -> int:
    shown = json.loads(lab.run("a", "ip -s -j link show eth0"))
    return int(shown[0]["stats64"]["tx"]["packets"])


def test_a_full_disk_is_one_line_with_what_the_file_holds(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], check=True)
    try:
        session = CaptureSession(
            lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS)
        )
        session.open()
        lab.send(lab.numbered(2000))
        with pytest.raises(CaptureError, match="No space left on device") as raised:
            session.run()
        stats = session.close()
        found = reading(tmp_path / "a")
        size = (tmp_path / "a").stat().st_size
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert f"it holds {len(found.frames)} whole frames ({size} bytes)" in str(raised.value)
    assert stats.frames == len(found.frames) > 1000
    assert (stats.stopped, stats.file_bytes) == ("error", size)
    for one in stats.vantages:
        assert one.frames == len(found.at(one.vantage.name))


def test_a_reader_that_goes_away_ends_it_quietly(lab: Any) -> None:
    reading_end, writing_end = os.pipe()
    with os.fdopen(writing_end, "wb") as stream:
        session = CaptureSession(lab.vantages(), lab.paths, stream, CaptureOptions(filter=OURS))
        with running(session) as future:
            os.close(reading_end)
            lab.send(lab.numbered(3))
            assert future.result(timeout=60).stopped == "pipe"
    assert session.close().frames == 0


def test_any_prefix_of_a_killed_capture_is_readable(lab: Any, tmp_path: Path, reading: Any) -> None:
    path = tmp_path / "a"
    lines = (
        "import sys",
        "from analyzer.model.vantage import Vantage",
        "from analyzer.capture.options import CaptureOptions",
        "from analyzer.capture.session import CaptureSession",
        "ifindex, inode, fd = map(int, sys.argv[2:])",
        "vantage = Vantage('veA', 'veA', netns=inode, ifindex=ifindex)",
        "paths = {inode: f'/proc/self/fd/{fd}'}",
        "with CaptureSession([vantage], paths, sys.argv[1], CaptureOptions()) as session:",
        "    print('ready', flush=True)",
        "    session.run()",
    )
    host = lab.fds["host"]
    numbers_ = [str(n) for n in (lab.index("host", "veA"), lab.inodes["host"], host)]
    command = [sys.executable, "-c", "\n".join(lines), str(path), *numbers_]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[host]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        lab.send(lab.numbered(500))
        wait_for(lambda: len(reading(path).frames) == 500)
        child.kill()
    found = reading(path)
    assert numbers(found.frames) == list(range(500))
    assert found.statistics == {}
    shown = subprocess.run(["tshark", "-r", path], capture_output=True, text=True, check=True)
    assert len(shown.stdout.splitlines()) == 500
    half = reading(path.read_bytes()[: path.stat().st_size // 2 + 7])
    assert numbers(half.frames) == list(range(len(half.frames)))
    assert len(half.frames) > 200


def test_what_does_not_exist_is_told_and_the_file_is_untouched(lab: Any, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"precious")
    wanted = lab.vantages()
    before = len(_open_sockets())
    lab.run("host", "ip link delete veA")
    with pytest.raises(UsageProblem, match=r"veA: no interface veA \(ifindex \d+\)"):
        CaptureSession(wanted, lab.paths, path, CaptureOptions()).open()
    with pytest.raises(UsageProblem, match=r"filter 'nonsense here'"):
        CaptureSession(
            lab.vantages("veB"), lab.paths, path, CaptureOptions(filter="nonsense here")
        ).open()
    with pytest.raises(UsageProblem, match=r"cannot be entered: no path"):
        CaptureSession(lab.vantages("b:eth0"), {}, path, CaptureOptions()).open()
    with pytest.raises(UsageProblem, match=r"snaplen 5"):
        CaptureSession(wanted, lab.paths, path, CaptureOptions(snaplen=5)).open()
    with pytest.raises(UsageProblem, match=r"packets limit 0"):
        CaptureSession(wanted, lab.paths, path, CaptureOptions(max_packets=0)).open()
    assert path.read_bytes() == b"precious"
    with pytest.raises(UsageProblem, match=r"cannot write .*nowhere"):
        CaptureSession(
            lab.vantages("veB"), lab.paths, tmp_path / "nowhere" / "a", CaptureOptions()
        ).open()
    assert len(_open_sockets()) == before


def test_a_stream_gets_a_whole_file(lab: Any, reading: Any) -> None:
    memory = io.BytesIO()
    session = CaptureSession(lab.vantages(), lab.paths, memory, CaptureOptions(filter=OURS))
    with running(session):
        lab.send(lab.numbered(6))
    found = reading(memory.getvalue())
    assert len(found.frames) == 30
    assert len(found.statistics) == 5


def _open_sockets() -> set[str]:
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
