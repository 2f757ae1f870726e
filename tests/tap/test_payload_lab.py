"""Payload kept once, by a real kernel: the same traffic captured whole beside it is the truth."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cut_payload import EPB, blocks, cut_file, declare
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from talk import open_socket

from analyzer.analysis.analyse import report_files
from analyzer.app.export import export_packets
from analyzer.capture.options import CaptureOptions
from analyzer.capture.payload import CUT_BYTES, Payload
from analyzer.engines.lab import Lab
from analyzer.model.report import Report
from analyzer.net.netns import run_inside
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

pytestmark = pytest.mark.root

ONE, TWO, OUTSIDE = "172.17.0.2", "172.17.0.3", "198.51.100.2"
NAME = ".".join(["a-long-name-of-a-host-that-is-asked-for"] * 4)
CORRUPT = 200


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(containers=3) as lab:
        yield lab


def capture(
    lab: Lab, act: Callable[[], object], files: dict[Path, CaptureOptions], targets: Sequence[str]
) -> None:
    """Several captures of the same traffic."""
    topology = discover(lab)
    vantages = select_vantages(topology, targets=targets, uplink=True)
    with ExitStack() as stack:
        for path, options in files.items():
            tap = stack.enter_context(Tap(topology, vantages, str(path), TapOptions(options)))
            running = threading.Thread(target=tap.run)
            running.start()
            stack.callback(running.join)
            stack.callback(tap.stop)
        act()


def stream(lab: Lab, client: str, server: str, to: str, size: int) -> None:
    """Text, and much of it, over TCP."""
    with (
        open_socket(lab, server, socket.SOCK_STREAM, ("0.0.0.0", 8080)) as listening,
        open_socket(lab, client, socket.SOCK_STREAM) as asking,
    ):
        listening.listen(1)
        asking.connect((to, 8080))
        peer, _ = listening.accept()
        with peer:
            asking.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 300)
            peer.recv(1000)
            sender = threading.Thread(target=peer.sendall, args=(random.randbytes(size),))
            sender.start()
            while size:
                size -= len(asking.recv(1 << 20))
            sender.join()


def ask_dns(lab: Lab) -> None:
    """A long name, and an answer of some 600 bytes."""
    with (
        open_socket(lab, "tomcat02", socket.SOCK_DGRAM, ("0.0.0.0", 53)) as server,
        open_socket(lab, "tomcat01", socket.SOCK_DGRAM) as client,
    ):
        question = DNSQR(qname=NAME)
        client.sendto(bytes(DNS(id=7, qd=[question])), (TWO, 53))
        _, peer = server.recvfrom(2000)
        records = [DNSRR(rrname=NAME, rdata=f"10.0.0.{n}") for n in range(2)]
        server.sendto(bytes(DNS(id=7, qr=1, qd=[question], an=records)), peer)
        client.recv(2000)


def datagrams(lab: Lab) -> None:
    """Fragmented ones, one that is refused, and some with a wrong checksum."""
    with (
        open_socket(lab, "tomcat02", socket.SOCK_DGRAM, ("0.0.0.0", 5001)) as server,
        open_socket(lab, "tomcat01", socket.SOCK_DGRAM) as client,
    ):
        for _ in range(3):
            client.sendto(random.randbytes(4000), (TWO, 5001))
            server.recv(5000)
        client.sendto(random.randbytes(1200), (TWO, 5009))

    def plug() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.bind(("eth0", 0))
        return made

    mac = lab.run("tomcat02", ["cat", "/sys/class/net/eth0/address"]).stdout.strip()
    own = lab.run("tomcat01", ["cat", "/sys/class/net/eth0/address"]).stdout.strip()
    with run_inside(lab.netns_path("tomcat01"), plug) as sender:
        for number in range(CORRUPT):
            head = Ether(src=own, dst=mac) / IP(src=ONE, dst=TWO, id=number + 1)
            datagram = UDP(sport=40000, dport=5001, chksum=0x1234) / random.randbytes(600)
            sender.send(bytes(head / datagram))


def everything(lab: Lab) -> None:
    """What a host of containers has, most of it longer than the cut."""
    lab.run("tomcat01", ["ping", "-c3", "-i.01", "-s1400", TWO])
    lab.run("host", ["ping", "-c2", "-i.01", "-s1400", ONE])
    ask_dns(lab)
    datagrams(lab)
    stream(lab, "tomcat01", "tomcat02", TWO, 3_000_000)
    stream(lab, "tomcat01", "tomcat03", "172.17.0.4", 300_000)
    stream(lab, "tomcat01", "outside", OUTSIDE, 300_000)


def frames(path: Path) -> dict[tuple[Any, ...], bytes]:
    """(vantage, direction, length, beginning) → bytes that were kept; of unicast IPv4, for
    the kernel has things to say before and behind."""
    kept = {}
    for kind, block in blocks(path.read_bytes()):
        if kind == EPB:
            at, _, _, caplen, wirelen = struct.unpack_from("<5I", block, 8)
            data, flags = block[28 : 28 + caplen], block[28 + caplen + -caplen % 4 + 4]
            if data[12:14] == b"\x08\x00" and not data[0] & 1:
                kept[(at, flags & 3, wirelen, data[:CUT_BYTES])] = data
    return kept


def said(path: Path, as_path: Path) -> tuple[Report, dict[str, Any]]:
    """The report; the file is called ``as_path``, so that names do not differ."""
    as_path.write_bytes(path.read_bytes())
    report, errors = report_files([str(as_path)])
    assert errors == []
    return report, report.to_json()


@pytest.mark.parametrize("targets", [["all"], ["tomcat01", "tomcat02"]])
def test_what_is_cut_is_whole_elsewhere_and_the_report_is_the_same(
    lab: Lab, tmp_path: Path, targets: list[str]
) -> None:
    whole, once, rule = tmp_path / "whole", tmp_path / "once", tmp_path / "rule"
    files = {
        whole: CaptureOptions(payload=Payload.ALL),
        once: CaptureOptions(payload=Payload.ONCE),
    }
    capture(lab, lambda: everything(lab), files, targets)
    seen, kept = frames(whole), frames(once)
    assert len(seen) == len(kept) > 400
    assert seen.keys() == kept.keys()
    assert all(data == seen[key][: len(data)] for key, data in kept.items())
    cut = {key for key, data in kept.items() if len(data) < len(seen[key])}
    assert all(len(kept[key]) == CUT_BYTES for key in cut)
    payloads = {data[CUT_BYTES - 14 :] for key, data in kept.items() if key not in cut}
    of_streams = [seen[key] for key in cut if seen[key][23] == socket.IPPROTO_TCP]
    assert len(of_streams) > 100
    assert all(data[CUT_BYTES - 14 :] in payloads for data in of_streams)
    put_back = restored(once, tmp_path)
    assert put_back.keys() == kept.keys()
    assert all(put_back[key] in (kept[key], seen[key]) for key in cut)
    assert all(put_back[key] == kept[key] for key in kept.keys() - cut)
    again = sum(put_back[key] == seen[key] for key in cut)
    assert again > 0.9 * len(cut)
    if targets == ["all"]:
        declare(whole, cut=True)
        assert cut_file(whole, rule) == len(cut)
        assert frames(rule) == kept
        assert once.stat().st_size < 0.4 * whole.stat().st_size
        report, told = said(rule, tmp_path / "x")
        same_keys = said(whole, tmp_path / "x")[1]
        declare(whole, cut=False)
        other_keys = said(whole, tmp_path / "x")[1]
        assert _without_share(told) == _without_share(same_keys)
        for one in (told, other_keys):
            del one["findings"]  # which checksums are looked at goes by the key
        assert told == other_keys
        codes = {finding.code for finding in report.findings}
        assert {"bad-checksum", "checksum-offload"} <= codes
        assert [row.name for row in report.flows["dns"]] == [NAME]


def restored(path: Path, folder: Path) -> dict[tuple[Any, ...], bytes]:
    """The frames of the annotated export with the payload put back; pcap has the same."""
    target, pcaps = folder / "restored.pcapng", folder / "pcap"
    done = export_packets(str(path), str(pcaps), str(target), restore_payload=True)
    assert [one.error for one in done] == [None, None]
    read = frames(target)
    size = sum(file.stat().st_size - 24 for file in pcaps.iterdir())
    in_pcapng = [
        struct.unpack_from("<I", block, 20)[0]
        for kind, block in blocks(target.read_bytes())
        if kind == EPB
    ]
    assert size == sum(in_pcapng) + 16 * len(in_pcapng)
    return read


def _without_share(told: dict[str, Any]) -> dict[str, Any]:
    """How many checksums could be checked depends on how many frames are whole."""
    texts = [one["text"].split("; wrong in")[0] for one in told["findings"]]
    return told | {"findings": texts}
