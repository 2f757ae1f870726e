"""Whole captures of a bridge and two containers, read back by hand and by other programs."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sessions import ALL, EGRESS, INGRESS, OURS, capture, numbers, running

from analyzer.capture.options import CaptureOptions
from analyzer.capture.session import CaptureSession
from analyzer.net import netns

pytestmark = pytest.mark.root


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
        "a:eth0": {EGRESS},
        "veA": {INGRESS},
        "br0": {INGRESS},
        "veB": {EGRESS},
        "b:eth0": {INGRESS},
    }
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
        check=True,
        capture_output=True,
        text=True,
    )
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
    offset = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert abs(found.statistics["veB"].pop("clock_offset_ns") - offset) < 1_000_000_000
    assert found.statistics["veB"] == {
        "ifrecv": 3,
        "ifdrop": 0,
        "osdrop": 0,
        "usrdeliv": 3,
        "vethscope": 1,
        "ring": 0,
        "ring_received": 9,
        "ring_dropped": 0,
    }
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
