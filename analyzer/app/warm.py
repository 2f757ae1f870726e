"""Everything once, on a tiny capture: what calls each loop as commands do."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from analyzer.analysis.analyse import report_files
from analyzer.analysis.capture_analysis import partials_for
from analyzer.analysis.frame_room import FrameRoom
from analyzer.analysis.frames_table import read_frames
from analyzer.analysis.options import DEFAULTS, AnalysisOptions
from analyzer.analysis.packet_assembly import PacketAssembly
from analyzer.analysis.reading import Reading
from analyzer.app.export import export_annotated, export_pcap
from analyzer.capture.merge import warm as warm_capture
from analyzer.capture.ring_loops import warm as warm_rings
from analyzer.export.block_runs import block_runs
from analyzer.export.payload import WholeFrames, restore
from analyzer.model.nat_entries import ROW as NAT_ROW
from analyzer.model.vantage import Role, Vantage
from analyzer.native.keys import KeyNumbers
from analyzer.net import ethernet
from analyzer.net.arp import REQUEST as ARP_REQUEST
from analyzer.net.icmp import ECHO_REQUEST, NEIGHBOUR_SOLICITATION, UNREACHABLE
from analyzer.net.ip import ICMP, ICMPV6, IGMP, TCP, UDP
from analyzer.net.link_types import ETHERNET, LINUX_SLL2
from analyzer.net.ports import DNS_PORT
from analyzer.recorders.conntrack.record import Heard, encode_entries
from analyzer.recorders.conntrack.watch import warm as warm_conntrack
from analyzer.recorders.drops.pages import warm as warm_drops
from analyzer.recorders.drops.record import ROW, UNKNOWN, Drops, encode_drops
from analyzer.savefile import blocks

_PCAP_HEADER = bytes.fromhex("4d3cb2a1020004000000000000000000ffff0000")
"""up to the link type"""
_MACS = bytes.fromhex("0242ac110002"), bytes.fromhex("0242ac110003")
_BRIDGE = bytes.fromhex("0242000000ff")
_ENDS = bytes([172, 17, 0, 2]), bytes([172, 17, 0, 3])
_IN, _COPY, _OUT, _UPLINK = range(4)
"""vantages: the sender's port, docker0, the receiver's port, the host's uplink"""


def run_all() -> None:
    """Call each loop with arguments of every kind."""
    warm_capture()
    warm_rings()
    warm_drops()
    warm_conntrack()
    keys, numbers = np.arange(2000, dtype=np.uint64), KeyNumbers()
    numbers.take(keys)  # so many that its table grows
    numbers.find(keys)
    with tempfile.TemporaryDirectory(prefix="vethscope-") as directory:
        file = Path(directory, "tiny.pcapng")
        file.write_bytes(_tiny())
        report_files([str(file)], AnalysisOptions(packets=True))
        _in_chunks(str(file))
        export_pcap(str(file), directory)
        export_annotated(str(file), str(Path(directory, "annotated.pcapng")))
        _restore(str(file))
        read_frames(file, depth=True)
        old = Path(directory, "tiny.pcap")
        old.write_bytes(_pcap(ETHERNET, _ipv4(IGMP, b"\x16" + bytes(3) + _ENDS[0], 1)))
        report_files([str(old)])
        export_annotated(str(old), str(Path(directory, "annotated.pcapng")))
        old.write_bytes(_pcap(LINUX_SLL2, bytes(20)))
        read_frames(old)


def _pcap(linktype: int, frame: bytes) -> bytes:
    """A file with the frame twice."""
    header = np.array([1, 1, len(frame), len(frame)], "<u4").tobytes()
    return _PCAP_HEADER + struct.pack("<I", linktype) + 2 * (header + frame)


def _restore(path: str) -> None:
    """Put no payload back."""
    for run in block_runs(path):
        none = np.zeros(run.packets, np.int64)
        restore(run, WholeFrames(np.frombuffer(bytes(1), np.uint8), none, none))


def _in_chunks(path: str) -> None:
    """So that frames are carried over from one chunk to the next."""
    reading = Reading.open([path])
    reading.foresee()
    reading.chunk_frames = 4
    assembly, partials = PacketAssembly(reading), partials_for(DEFAULTS, reading, None)
    for chunk in reading.chunks(lambda rows: FrameRoom(rows, 4)):
        partials.add(assembly.close(chunk))


def _tiny() -> bytes:
    """Some packets of every kind that has a loop of its own."""
    described = (
        blocks.interface_description(v.name, snaplen=0, comment=json.dumps(v.to_json()))
        for v in _vantages()
    )
    frames = (
        blocks.enhanced_packet(at, 1000 + n, data, len(data), flags=2 if at >= _OUT else 1)
        for n, (at, data) in enumerate(_sightings())
    )
    drop = blocks.own(encode_drops(Drops(np.zeros(1, ROW), ["v0"], [""], [UNKNOWN])))
    counted = blocks.interface_statistics(0, 2000, start_ns=0, end_ns=2000, received=9, dropped=0)
    nat = blocks.own(encode_entries(Heard(1, np.zeros(1, NAT_ROW)))[0])
    return b"".join((blocks.section_header(), *described, *frames, drop, nat, counted))


def _vantages() -> list[Vantage]:
    ports = [
        Vantage(
            f"v{n}",
            f"v{n}",
            Role.HOST_VETH,
            1,
            10 + n,
            "veth",
            peer_netns=9 + n,
            peer_ifindex=2,
            bridge="docker0",
            master_ifindex=3,
            ring=n,
        )
        for n in (0, 1)
    ]
    bridge = Vantage(
        "docker0",
        "docker0",
        Role.BRIDGE,
        1,
        3,
        "bridge",
        _BRIDGE.hex(":"),
        promiscuous=True,
        bridge="docker0",
    )
    uplink = Vantage("up", "up", Role.UPLINK, 1, 4, "veth", "02:00:00:00:00:01")
    return [ports[0], bridge, ports[1], uplink]


def _sightings() -> Iterator[tuple[int, bytes]]:
    """(vantage, frame): echoes, twins, TCP cut into segments, fragments, ARP, a routed packet."""
    datagram = struct.pack("!HHHH", 5, 6, 8, 0)
    echo = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 1, 1)
    for n in range(2):
        twin = _ipv4(UDP, datagram, 0)
        yield from ((_IN, twin), (_IN, twin), (_OUT, twin), (_COPY, twin), (_OUT, twin))
        packet = _ipv4(ICMP, echo, 2 + n)
        yield from ((_IN, packet), (_OUT, packet), (_COPY, packet))
        packet = _ipv4(ICMP, bytes(2) + echo[2:], 4 + n, back=True)
        yield from ((_OUT, packet), (_IN, packet), (_COPY, packet))
        yield from ((_IN, _tcp(0, 20)), (_OUT, _tcp(0, 10)), (_OUT, _tcp(10, 10)))
        piece = _ipv4(UDP, datagram, 7 + n, fragment=0x2000)
        yield from ((_IN, piece), (_COPY, _ipv4(UDP, 2 * datagram, 7 + n)))
        yield from ((_IN, _arp()), (_OUT, _arp()), (_COPY, _arp()))
        routed = _ipv4(UDP, datagram, 20 + n, to=_BRIDGE)
        yield from ((_IN, routed), (_COPY, routed))
        yield _UPLINK, _ipv4(UDP, datagram, 20 + n, ttl=63)
        yield from ((_IN, frame) for frame in _deep())


def _deep() -> Iterator[bytes]:
    """What second passes read: a DNS question, an ICMP error, a neighbour solicitation."""
    question = struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\x01a\x00" + struct.pack("!HH", 1, 1)
    yield _ipv4(UDP, struct.pack("!HHHH", 5000, DNS_PORT, 8 + len(question), 0) + question, 30)
    quoted = _ipv4(UDP, struct.pack("!HHHH", 5, 6, 8, 0), 31)[ethernet.HEADER_BYTES :]
    yield _ipv4(ICMP, struct.pack("!BBHI", UNREACHABLE, 3, 0, 0) + quoted, 32, back=True)
    solicitation = struct.pack("!BBHI", NEIGHBOUR_SOLICITATION, 0, 0, 0) + bytes(15) + b"\x01"
    ipv6 = struct.pack("!HIHBB", ethernet.IPV6, 6 << 28, len(solicitation), ICMPV6, 255)
    yield _MACS[1] + _MACS[0] + ipv6 + bytes(15) + b"\x02" + bytes(15) + b"\x01" + solicitation


def _ipv4(
    protocol: int,
    body: bytes,
    ident: int,
    *,
    back: bool = False,
    fragment: int = 0,
    ttl: int = 64,
    to: bytes = b"",
) -> bytes:
    macs, ends = (_MACS[::-1], _ENDS[::-1]) if back else (_MACS, _ENDS)
    head = struct.pack(
        "!HBBHHHBBH", ethernet.IPV4, 0x45, 0, 20 + len(body), ident, fragment, ttl, protocol, 0
    )
    return (to or macs[1]) + macs[0] + head + b"".join(ends) + body


def _tcp(seq: int, size: int) -> bytes:
    return _ipv4(TCP, struct.pack("!HHIIHHHH", 1, 2, seq, 0, 0x5018, 9, 0, 0) + bytes(size), seq)


def _arp() -> bytes:
    head = struct.pack(
        "!HHHBBH", ethernet.ARP, 1, ethernet.IPV4, ethernet.MAC_BYTES, 4, ARP_REQUEST
    )
    return b"\xff" * 6 + _MACS[0] + head + _MACS[0] + _ENDS[0] + bytes(6) + _ENDS[1]
