"""Capture files that strangers' frames can make: each makes one kind of state grow with each frame.

A file is a template whose changing bytes are written as columns, so that a million frames take a
second. All frames are seen at one interface, as in a capture of another program, unless said.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from world import World, mac_of

from analyzer.savefile import blocks

START_NS = 1_700_000_000_000_000_000
_EVERY_NS = 10_000
_MACS = bytes.fromhex("0242ac1100020242ac110003")
_IPS = bytes([172, 17, 0, 2, 172, 17, 0, 3])
_HEAD, _TAIL = 28, 4
"""bytes of an Enhanced Packet Block before the frame and behind it"""
Frames = npt.NDArray[np.uint8]
"""[frames, bytes]"""
Maker = Callable[[int], Frames]


def _ethernet(kind: int, to: bytes = _MACS[6:]) -> bytes:
    return to + _MACS[:6] + struct.pack("!H", kind)


def _ipv4(protocol: int, body: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol, 0)
    return _ethernet(0x0800) + head + _IPS + body


def _udp(ports: tuple[int, int], payload: bytes) -> bytes:
    return _ipv4(17, struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload)


def _tcp(flags: int) -> bytes:
    return _ipv4(6, struct.pack("!HHIIBBHHH", 40000, 80, 0, 0, 0x50, flags, 512, 0, 0))


def _repeated(frame: bytes, count: int) -> Frames:
    """The frame so often; IPv4's identification counts."""
    frames = np.tile(np.frombuffer(frame, np.uint8), (count, 1))
    if frame[12:14] == b"\x08\x00":
        put_number(frames, 18, 2)
    return frames


def put_number(
    frames: Frames, at: int, size: int, numbers: npt.NDArray[np.int64] | None = None
) -> None:
    """A number into each frame, ``size`` bytes at ``at``; which: 0, 1, 2 …, unless given."""
    values = np.arange(len(frames)) if numbers is None else numbers
    for byte in range(size):
        frames[:, at + byte] = values >> (8 * (size - 1 - byte)) & 0xFF


def _ends(frames: Frames) -> Frames:
    """Another source address and port in each."""
    put_number(frames, 26, 4, np.arange(len(frames)) // 20_000 + (10 << 24))
    put_number(frames, 34, 2, np.arange(len(frames)) % 20_000 + 40_000)
    return frames


def one_flow(count: int) -> Frames:
    """As many datagrams of one conversation: what the floods are compared with."""
    return _repeated(_udp((40000, 9999), b"x" * 18), count)


def udp_flows(count: int) -> Frames:
    """A conversation a datagram."""
    return _ends(one_flow(count))


def udp_sources(count: int) -> Frames:
    """A datagram each of another source address, as floods with forged ones are."""
    frames = one_flow(count)
    put_number(frames, 26, 4, np.arange(count) + (10 << 24))
    return frames


def one_connection(count: int) -> Frames:
    """As many segments of one connection."""
    return _repeated(_tcp(0x10), count)


def syn_flows(count: int) -> Frames:
    """A connection asked for with each segment."""
    return _ends(_repeated(_tcp(0x02), count))


def resets(count: int) -> Frames:
    """A reset a connection."""
    return _ends(_repeated(_tcp(0x14), count))


def _arp(operation: int) -> bytes:
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return _ethernet(0x0806) + head + _MACS[:6] + _IPS[:4] + _MACS[6:] + _IPS[4:]


def arp_claims(count: int) -> Frames:
    """Replies that claim one address, each for another MAC."""
    frames = _repeated(_arp(2), count)
    for at in (6, 22):
        put_number(frames, at + 2, 4)
    return frames


def arp_scan(count: int) -> Frames:
    """Requests, each for another address."""
    frames = _repeated(_arp(1), count)
    frames[:, :6] = 255
    put_number(frames, 38, 4, np.arange(count) + (10 << 24))
    return frames


def dns_names(count: int) -> Frames:
    """Queries, each for another name."""
    name = b"\x0caaaaaaaaaaaa\x07example\x00"
    query = struct.pack("!HHHHHH", 0, 0x100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1)
    frames = _repeated(_udp((40000, 53), query), count)
    put_number(frames, 42, 2)
    for digit in range(8):
        frames[:, 55 + digit] = 97 + (np.arange(count) >> (4 * digit) & 15)
    return frames


def echoes(count: int) -> Frames:
    """Echo requests, each of another sender with an identifier of its own."""
    frames = _repeated(_ipv4(1, struct.pack("!BBHHH", 8, 0, 0, 77, 1) + bytes(56)), count)
    put_number(frames, 26, 4, np.arange(count) + (10 << 24))
    put_number(frames, 38, 2)
    return frames


def icmp_errors(count: int) -> Frames:
    """Errors, each about another datagram."""
    quoted = _udp((40000, 9999), b"x" * 18)[14:]
    frames = _repeated(_ipv4(1, struct.pack("!BBHI", 3, 3, 0, 0) + quoted), count)
    put_number(frames, 42 + 16, 4, np.arange(count) + (10 << 24))
    return frames


def multicast(count: int) -> Frames:
    """Datagrams, each to another group."""
    frames = one_flow(count)
    put_number(frames, 30, 4, np.arange(count) + (239 << 24))
    frames[:, :3] = [1, 0, 0x5E]
    put_number(frames, 3, 3, np.arange(count) & 0x7FFFFF)
    return frames


def macs(count: int) -> Frames:
    """Frames of no protocol that is known, each from another MAC."""
    frames = _repeated(_ethernet(0x88B5) + bytes(46), count)
    put_number(frames, 8, 4)
    return frames


def fragments(count: int) -> Frames:
    """First fragments, none of which is ever completed."""
    frames = udp_flows(count)
    frames[:, 20] = 0x20
    return frames


def dhcp_clients(count: int) -> Frames:
    """DISCOVERs, each of another client."""
    body = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0, 0, 0) + bytes(16) + _MACS[:6] + bytes(202)
    frames = _repeated(_udp((68, 67), body + b"\x63\x82\x53\x63\x35\x01\x01\xff"), count)
    frames[:, :6] = 255
    for at in (8, 42 + 4, 42 + 28 + 2):
        put_number(frames, at, 4)
    return frames


def mdns_names(count: int) -> Frames:
    """Questions of multicast DNS, each for another name."""
    frames = dns_names(count)
    put_number(frames, 34, 2, np.full(count, 5353))
    put_number(frames, 36, 2, np.full(count, 5353))
    frames[:, 30:34] = [224, 0, 0, 251]
    frames[:, :6] = [1, 0, 0x5E, 0, 0, 0xFB]
    return frames


FRAMES: tuple[Maker, ...] = (
    one_flow,
    udp_flows,
    udp_sources,
    one_connection,
    syn_flows,
    resets,
    arp_claims,
    arp_scan,
    dns_names,
    mdns_names,
    echoes,
    icmp_errors,
    multicast,
    macs,
    fragments,
    dhcp_clients,
)


def write_frames(path: Path, frames: Frames) -> None:
    """A capture of one interface that holds the frames, 10 µs apart."""
    described = blocks.interface_description("eth0", snaplen=262144)
    stamps = START_NS + np.arange(len(frames)) * _EVERY_NS
    _write(path, described, frames, stamps, np.zeros(len(frames), np.int64))


def write_crowd(path: Path, count: int) -> None:
    """So many frames at a bridge with 500 ports: multicast, which it floods, and nothing else."""
    vantages = World(500, inside=False).vantages
    described = b"".join(
        blocks.interface_description(v.name, snaplen=262144, comment=json.dumps(v.to_json()))
        for v in vantages
    )
    copies = len(vantages)
    sent = np.arange(count) // copies
    sender, group = sent % (copies - 1), sent // (copies - 1) % 20
    frames = one_flow(count)
    put_number(frames, 0, 6, 0x01005E010100 + group)
    put_number(frames, 6, 6, mac_of(0) + sender)
    put_number(frames, 18, 2, sent)
    put_number(frames, 26, 4, (172 << 24 | 17 << 16) + 2 + sender)
    put_number(frames, 30, 4, (239 << 24 | 1 << 16 | 1 << 8) + group)
    place = np.arange(count) % copies
    # in at the sender's port, up to the bridge, and out of all the others
    at = np.where(place < 2, np.where(place == 0, sender + 1, 0), place - 1)
    at = np.where((place >= 2) & (place - 1 >= sender + 1), place, at)
    stamps = START_NS + sent * copies * 1_000 + np.maximum(place - 1, 0) * 100
    _write(path, described, frames, stamps, at, np.where(place < 2, 1, 2))


def _write(
    path: Path,
    described: bytes,
    frames: Frames,
    stamps: npt.NDArray[np.int64],
    interface: npt.NDArray[np.int64],
    direction: npt.NDArray[np.int64] | None = None,
) -> None:
    """The frames as Enhanced Packet Blocks of these interfaces. direction: of epb_flags."""
    count, size = frames.shape
    flags = b"" if direction is None else struct.pack("=HHI", 2, 4, 0) + bytes(4)
    padded = (size + 3) & ~3
    total = _HEAD + padded + len(flags) + _TAIL
    rows = np.zeros((count, total), np.uint8)
    columns = (6, total, interface, stamps >> 32, stamps & 0xFFFFFFFF, size, size)
    words = rows[:, :_HEAD].reshape(count, _HEAD).copy().view(np.uint32)
    for place, column in enumerate(columns):
        words[:, place] = column
    rows[:, :_HEAD] = words.view(np.uint8)
    rows[:, _HEAD : _HEAD + size] = frames
    rows[:, -_TAIL:] = np.frombuffer(struct.pack("=I", total), np.uint8)
    if direction is not None:
        rows[:, _HEAD + padded :][:, : len(flags)] = np.frombuffer(flags, np.uint8)
        rows[:, _HEAD + padded + 4] = direction
    with path.open("wb") as file:
        file.write(blocks.section_header() + described)
        file.write(rows.data)


def write_interfaces(path: Path, count: int) -> None:
    """So many interfaces, of which one saw a frame."""
    one = [blocks.interface_description(f"v{n}", snaplen=96) for n in range(500)]
    head = blocks.section_header() + b"".join(one) * (count // 500)
    path.write_bytes(head + blocks.enhanced_packet(0, START_NS, bytes(60), 60))


def write_statistics(path: Path, count: int) -> None:
    """So many blocks of statistics, all of one interface."""
    one = blocks.interface_statistics(
        0, START_NS, start_ns=START_NS, end_ns=START_NS, received=1, dropped=0
    )
    head = blocks.section_header() + blocks.interface_description("eth0", snaplen=96)
    path.write_bytes(head + blocks.enhanced_packet(0, START_NS, bytes(60), 60) + one * count)


def write_sections(path: Path, count: int) -> None:
    """So many sections, each with an interface and a frame."""
    one = blocks.section_header() + blocks.interface_description("eth0", snaplen=96)
    path.write_bytes((one + blocks.enhanced_packet(0, START_NS, bytes(60), 60)) * count)


def write_names(path: Path, count: int) -> None:
    """So many blocks that resolve a name each."""
    one = b"".join(
        blocks.name_resolution({f"10.0.{n >> 8}.{n & 255}": f"h{n}"}) for n in range(500)
    )
    head = blocks.section_header() + blocks.interface_description("eth0", snaplen=96)
    path.write_bytes(
        head + one * (count // 500) + blocks.enhanced_packet(0, START_NS, bytes(60), 60)
    )


def write_own(path: Path, count: int) -> None:
    """So many blocks of vethscope's own kind that are nonsense."""
    head = blocks.section_header() + blocks.interface_description("eth0", snaplen=96)
    one = blocks.own(b"vethscope/evidence/1\n[]")
    path.write_bytes(head + blocks.enhanced_packet(0, START_NS, bytes(60), 60) + one * count)


BLOCKS: tuple[Callable[[Path, int], None], ...] = (
    write_interfaces,
    write_statistics,
    write_sections,
    write_names,
    write_own,
    write_crowd,
)


def writers() -> dict[str, Callable[[Path, int], None]]:
    """All of them by name: each writes a file of so many."""

    def framed(make: Maker) -> Callable[[Path, int], None]:
        return lambda path, count: write_frames(path, make(count))

    frames = {make.__name__: framed(make) for make in FRAMES}
    return frames | {write.__name__: write for write in BLOCKS}


if __name__ == "__main__":
    writers()[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
