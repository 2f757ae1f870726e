"""Unfinished checksums are explained, corrupt ones are told. Both on the real kernel."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from faulty import Bench
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from analyzer.analysis.analyse import report_files
from analyzer.decode.checksums import RIGHT, UNFINISHED, UNKNOWN, WRONG, checksum_states
from analyzer.decode.frames import decode_frames
from analyzer.model.report import Report
from analyzer.net.netns import run_inside
from analyzer.savefile.read import open_savefile


def texts(report: Report, code: str) -> list[str]:
    return [finding.text for finding in report.findings if finding.code == code]


def send_raw(bench: Bench, container: str, frame: bytes) -> None:
    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("eth0", 0))
            sock.send(frame)

    run_inside(bench.lab.netns_path(container), send)


def datagram(bench: Bench, **fields: int) -> bytes:
    ether = Ether(src=bench.mac("tomcat01"), dst=bench.mac("tomcat02"))
    udp = UDP(sport=5, dport=4711, **fields)
    return bytes(ether / IP(src="172.17.0.2", dst="172.17.0.3") / udp / b"hello!")


@pytest.mark.root
def test_a_corrupt_checksum_is_an_error_and_the_kernel_counts_it(bench: Bench) -> None:
    """A frame without an offload mark and with a wrong checksum, sent by hand."""

    def act() -> None:
        send_raw(bench, "tomcat01", datagram(bench, chksum=0x1234))
        send_raw(bench, "tomcat01", datagram(bench))

    before = csum_errors(bench)
    listener = run_inside(
        bench.lab.netns_path("tomcat02"), lambda: socket.socket(type=socket.SOCK_DGRAM)
    )
    with listener:
        listener.bind(("172.17.0.3", 4711))
        report = bench.capture(["tomcat01", "tomcat02"], act)
        assert listener.recv(99) == b"hello!"
    assert csum_errors(bench) == before + 1
    (text,) = texts(report, "bad-checksum")
    assert text.startswith(
        "1 UDP packets tomcat01 → tomcat02 port 4711 have a wrong checksum, not an unfinished one "
        "(first seen at tomcat01:eth0; wrong in "
    )
    assert "nstat -az '*Csum*' inside tomcat02" in text
    assert texts(report, "checksum-offload") == []


def csum_errors(bench: Bench) -> int:
    """Datagrams that the kernel of tomcat02 dropped for their checksums."""
    snmp = bench.inside("tomcat02", "cat /proc/net/snmp")
    heads, values = (line.split() for line in snmp.splitlines() if line.startswith("Udp:"))
    return int(values[heads.index("InCsumErrors")])


@pytest.mark.root
def test_unfinished_ones_are_explained_and_no_error(bench: Bench) -> None:
    """TCP between two containers, from our own file and from one without marks (pcap)."""

    def talk() -> None:
        with (
            run_inside(
                bench.lab.netns_path("tomcat02"), lambda: socket.create_server(("172.17.0.3", 80))
            ) as listener,
            run_inside(
                bench.lab.netns_path("tomcat01"),
                lambda: socket.create_connection(("172.17.0.3", 80), timeout=10),
            ) as client,
        ):
            server, _ = listener.accept()
            with server:
                client.sendall(bytes(100_000))
                left = 100_000
                while left:
                    left -= len(server.recv(left))

    report = bench.capture(["tomcat01", "tomcat02"], talk)
    assert texts(report, "bad-checksum") == []
    (text,) = texts(report, "checksum-offload")
    assert "unfinished (" in text
    assert "tcpdump -K" in text

    bare = Path(bench.file).with_suffix(".pcap")
    header = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 1)
    records = []
    for chunk in open_savefile(bench.file).chunks():
        for row in range(len(chunk)):
            if chunk.interface[row] == 0:
                at, size = int(chunk.offset[row]), int(chunk.caplen[row])
                stamp = divmod(int(chunk.ts_ns[row]), 1_000_000_000)
                data = chunk.buffer[at : at + size].tobytes()
                records.append(struct.pack("<IIII", *stamp, size, size) + data)
    bare.write_bytes(header + b"".join(records))
    foreign, _ = report_files([str(bare)])
    assert texts(foreign, "bad-checksum") == []
    assert len(texts(foreign, "checksum-offload")) == 1


@pytest.mark.parametrize("layer", [TCP, UDP])
@pytest.mark.parametrize("size", [0, 1, 3, 11, 200, 1400])
@pytest.mark.parametrize("version", [4, 6])
def test_against_scapy(tmp_path: Path, layer: type, size: int, version: int) -> None:
    """Right, wrong and unfinished, as another implementation computes them."""
    v4, v6 = IP(src="172.17.0.2", dst="10.9.8.7"), IPv6(src="fd00::2", dst="fd00:1::9")
    network = v4 if version == 4 else v6
    packet = Ether() / network / layer(sport=9, dport=7) / bytes(i & 0xFF for i in range(size))
    whole = Ether(bytes(packet))
    good = whole[layer].chksum
    length = len(bytes(whole[layer]))
    frames = [bytes(whole)]
    for value in (good ^ 0x0100, pseudo_sum(network, 6 if layer is TCP else 17, length), 0):
        whole[layer].chksum = value
        frames.append(bytes(whole))
    path = tmp_path / "sums.pcap"
    header = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 1)
    records = (struct.pack("<IIII", 1, n, len(f), len(f)) + f for n, f in enumerate(frames))
    path.write_bytes(header + b"".join(records))
    (chunk,) = open_savefile(str(path)).chunks()
    columns = decode_frames(chunk, [1])
    columns["l3key"][:] = 16  # those that are looked at, long or short
    states = checksum_states(chunk, columns).tolist()
    assert states == [RIGHT, WRONG, UNFINISHED, UNKNOWN]
    columns["l3key"][:] = 1
    if size > 300:
        assert checksum_states(chunk, columns).tolist() == [UNKNOWN] * 4


def pseudo_sum(network: IP | IPv6, protocol: int, length: int) -> int:
    """What the stack leaves in the field (net/ipv4/tcp_ipv4.c: ~tcp_v4_check)."""
    family = socket.AF_INET if isinstance(network, IP) else socket.AF_INET6
    words = socket.inet_pton(family, network.src) + socket.inet_pton(family, network.dst)
    total = sum(struct.unpack(f"!{len(words) // 2}H", words)) + protocol + length
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
