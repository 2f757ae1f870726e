"""Capture files of any length in no time: three vantages of one bridge, as vethscope writes them.

A packet is a template with a few counters in it; a numba loop writes its three frames (ingress
port, egress port, docker0's copy with the ingress stamp) as pcapng blocks. ``uniform`` is one UDP
flow of small frames, ``mixed`` is what a machine sees: TCP bulk and its ACKs, DNS, ARP, ICMP
echoes, a VLAN, IPv6.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from analyzer.model.vantage import Role, Vantage
from analyzer.recorders.drops.page_layout import COPY
from analyzer.recorders.drops.record import ROW, Drops, encode_drops
from analyzer.savefile import blocks

START_NS = 1_700_000_000_000_000_000
_PACKETS_PER_WRITE = 50_000
_MACS = (bytes.fromhex("0242ac110002"), bytes.fromhex("0242ac110003"))
_IPS = (bytes([172, 17, 0, 2]), bytes([172, 17, 0, 3]))
_OVERHEAD = 32 + 12
"""of a block beside its data: header, length again, epb_flags"""


@dataclass(frozen=True)
class Template:
    """One kind of packet."""

    data: bytes
    back: bool = False
    """from the second container to the first"""
    counter: int = -1
    """offset of a 32-bit counter of this template's packets"""
    step: int = 1
    ident: int = -1
    """offset of a 16-bit counter (IP identification, ICMP sequence number)"""
    share: int = 1
    """how many of the mix's packets are of this kind"""
    flood: bool = False


def _ethernet(kind: int, back: bool, to: bytes | None = None, tag: int | None = None) -> bytes:
    macs = _MACS[::-1] if back else _MACS
    tagged = struct.pack("!HH", 0x8100, tag) if tag is not None else b""
    return (to or macs[1]) + macs[0] + tagged + struct.pack("!H", kind)


def _ipv4(protocol: int, body: bytes, back: bool = False) -> bytes:
    ips = _IPS[::-1] if back else _IPS
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol, 0)
    return head + b"".join(ips) + body


def _ipv6(body: bytes, back: bool = False) -> bytes:
    ends = [bytes.fromhex("fd00") + bytes(13) + bytes([n]) for n in (2, 3)]
    head = struct.pack("!IHBB", 6 << 28, len(body), 17, 64)
    return head + b"".join(ends[::-1] if back else ends) + body


def _udp(source: int, target: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", source, target, 8 + len(payload), 0) + payload


def _tcp(source: int, target: int, flags: int, payload: bytes) -> bytes:
    return struct.pack("!HHIIBBHHH", source, target, 0, 0, 0x50, flags, 512, 0, 0) + payload


def _dns(answer: bool) -> bytes:
    name = b"\x03web\x05local\x00" + struct.pack("!HH", 1, 1)
    head = struct.pack("!HHHHHH", 0, 0x8180 if answer else 0x0100, 1, int(answer), 0, 0)
    found = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + _IPS[1] if answer else b""
    return head + name + found


def _arp(back: bool) -> bytes:
    macs, ips = (_MACS[::-1], _IPS[::-1]) if back else (_MACS, _IPS)
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2 if back else 1)
    return head + macs[0] + ips[0] + (macs[1] if back else bytes(6)) + ips[1] + bytes(18)


UNIFORM = (
    Template(
        _ethernet(0x0800, False) + _ipv4(17, _udp(4000, 5000, bytes(18))), counter=42, ident=18
    ),
)


def mixed(payload: int = 1448) -> tuple[Template, ...]:
    """The mix; payload: bytes of a full TCP segment."""
    bulk = _ethernet(0x0800, False) + _ipv4(6, _tcp(40000, 80, 0x18, bytes(payload)))
    ack = _ethernet(0x0800, True) + _ipv4(6, _tcp(80, 40000, 0x10, b""), True)
    found = [
        Template(bulk, counter=38, step=payload, ident=18, share=40),
        Template(ack, True, counter=42, step=payload, ident=18, share=20),
    ]
    for back in (False, True):
        ports = (53, 40001) if back else (40001, 53)
        frame = _ethernet(0x0800, back) + _ipv4(17, _udp(*ports, _dns(back)), back)
        found.append(Template(frame, back, ident=18, share=6))
        echo = struct.pack("!BBHHH", 0 if back else 8, 0, 0, 77, 0) + bytes(56)
        frame = _ethernet(0x0800, back) + _ipv4(1, echo, back)
        found.append(Template(frame, back, counter=42, ident=40, share=5))
        tagged = _ethernet(0x0800, back, tag=7) + _ipv4(17, _udp(*ports[::-1], bytes(100)), back)
        found.append(Template(tagged, back, counter=46, ident=22, share=4))
        six = _ethernet(0x86DD, back) + _ipv6(_udp(6000, 6001, bytes(64)), back)
        found.append(Template(six, back, counter=62, share=4))
    found.append(Template(_ethernet(0x0806, False, b"\xff" * 6) + _arp(False), flood=True, share=1))
    found.append(Template(_ethernet(0x0806, True) + _arp(True), True, share=1))
    return tuple(found)


def vantages() -> list[Vantage]:
    """Host end of the first container's pair, docker0, host end of the second's."""
    ends = [
        Vantage(
            f"veth{n}",
            f"veth{n}",
            Role.HOST_VETH,
            1,
            10 + n,
            "veth",
            f"66:00:00:00:00:0{n}",
            container=f"tomcat0{n + 1}",
            peer=f"tomcat0{n + 1}:eth0",
            peer_netns=100 + n,
            peer_ifindex=9,
            peer_mac=_MACS[n].hex(":"),
            peer_addresses=(f"172.17.0.{n + 2}/16",),
            bridge="docker0",
            master_ifindex=3,
            qdisc="noqueue",
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
        "02:42:00:00:00:ff",
        ("172.17.0.1/16",),
        promiscuous=True,
        bridge="docker0",
        fdb=tuple((mac.hex(":"), 10 + n) for n, mac in enumerate(_MACS)),
    )
    return [ends[0], bridge, ends[1]]


def write_capture(
    path: Path,
    frames: int,
    templates: tuple[Template, ...] = UNIFORM,
    *,
    snaplen: int = 0,
    topology: bool = True,
    every_ns: int = 2_500,
    lost_every: int = 0,
) -> int:
    """Write at least ``frames`` frames (three a packet); how many it were.

    lost_every: each so many-th packet is lost in the bridge, and the kernel's drop recorded. Then
    there are fewer frames.
    """
    packets, lost_frames = -(-frames // 3), 0
    room = max(len(t.data) for t in templates)
    data = np.zeros((len(templates), room), np.uint8)
    for row, template in enumerate(templates):
        data[row, : len(template.data)] = np.frombuffer(template.data, np.uint8)
    facts = np.array(
        [(len(t.data), t.back, t.counter, t.step, t.ident, t.flood) for t in templates], np.int64
    )
    shares = np.repeat(np.arange(len(templates)), [t.share for t in templates])
    order = _answers_after(np.random.default_rng(7).permutation(shares), templates)
    counts = np.zeros(len(templates), np.int64)
    out = np.zeros(_PACKETS_PER_WRITE * 3 * (room + 3 + _OVERHEAD), np.uint8)
    with path.open("wb") as file:
        file.write(_head(snaplen, topology))
        if lost_every:
            file.write(blocks.own(encode_drops(Drops(clock={"trace": "tai", "offset_ns": 0}))))
        for first in range(0, packets, _PACKETS_PER_WRITE):
            count = min(_PACKETS_PER_WRITE, packets - first)
            size = _fill(
                out,
                data,
                facts,
                order,
                counts,
                first,
                count,
                snaplen or 1 << 30,
                START_NS,
                every_ns,
                lost_every,
            )
            file.write(out[:size].data)
            if lost_every:
                numbers = np.arange(first, first + count)
                lost = numbers[
                    (numbers % lost_every == 0)
                    & ~facts[order, 5].astype(bool)[numbers % len(order)]
                ]
                kinds = order[lost % len(order)]
                file.write(_drops(lost, data[kinds], facts[kinds], every_ns))
                lost_frames += len(lost)
        if topology:
            file.write(_tail(START_NS + packets * every_ns + 1_000_000_000, packets))
    return packets * 3 - lost_frames


def _drops(lost: np.ndarray, data: np.ndarray, facts: np.ndarray, every_ns: int) -> bytes:
    """The kernel's drops of these packets, as a block."""
    rows = np.zeros(len(lost), ROW)
    rows["seen_ns"] = START_NS + lost * every_ns + (lost * 7919) % 613 + 300
    rows["ts_ns"] = rows["seen_ns"] + 700
    rows["len_bytes"], rows["device"] = facts[:, 0] - 14, facts[:, 1]
    rows["protocol"] = data[:, 12].astype(int) << 8 | data[:, 13]
    rows["tie"] = COPY
    told = Drops(rows, ["veth0", "veth1"], ["nft_do_chain+0x3e8"], ["NETFILTER_DROP"])
    told.clock = {"trace": "tai", "offset_ns": 0}
    return blocks.own(encode_drops(told))


def _answers_after(order: np.ndarray, templates: tuple[Template, ...]) -> np.ndarray:
    """The order with each question (an even one of a pair of templates) before its answer."""
    for answer in (row for row, t in enumerate(templates) if t.back and t.share < 20):
        places = np.flatnonzero((order == answer) | (order == _question(answer, templates)))
        order[places[::2]], order[places[1::2]] = _question(answer, templates), answer
    return order


def _question(answer: int, templates: tuple[Template, ...]) -> int:
    """The row of the template that this one answers: as many rows on as there are directions."""
    return answer - 1 if templates[answer - 1].flood else answer - 4


def _head(snaplen: int, topology: bool) -> bytes:
    described = [
        blocks.interface_description(
            v.name, snaplen=snaplen, comment=json.dumps(v.to_json()) if topology else ""
        )
        for v in vantages()
    ]
    return b"".join((blocks.section_header(), *described))


def _tail(end_ns: int, packets: int) -> bytes:
    return b"".join(
        blocks.interface_statistics(
            n, end_ns, start_ns=START_NS, end_ns=end_ns, received=packets, dropped=0
        )
        for n in range(3)
    )


@njit(nogil=True, cache=True)
def _put32(out, at, value):
    for k in range(4):
        out[at + k] = (value >> (8 * k)) & 0xFF


@njit(nogil=True, cache=True)
def _fill(out, data, facts, order, counts, first, count, snaplen, start_ns, every_ns, lost_every):
    """``count`` packets from number ``first`` on; the bytes written."""
    at = 0
    for packet in range(first, first + count):
        kind = order[packet % len(order)]
        length, back, counter, step, ident, _ = facts[kind]
        number = counts[kind]
        counts[kind] += 1
        if counter >= 0:
            for k in range(4):
                data[kind, counter + k] = (number * step >> (24 - 8 * k)) & 0xFF
        if ident >= 0:
            data[kind, ident] = (number >> 8) & 0xFF
            data[kind, ident + 1] = number & 0xFF
        enter = start_ns + packet * every_ns + (packet * 7919) % 613
        leave = enter + 900 + (packet * 104729) % 1201
        cut = min(length, snaplen)
        padded = (cut + 3) & ~3
        size = 28 + padded + 12
        lost = lost_every > 0 and packet % lost_every == 0 and facts[kind, 5] == 0
        for sight in range(3):
            if sight == 1 and lost:
                continue
            ts = leave if sight == 1 else enter
            interface = 1 if sight == 2 else (2 if (sight == 1) != (back == 1) else 0)
            _put32(out, at, 6)
            _put32(out, at + 4, size)
            _put32(out, at + 8, interface)
            _put32(out, at + 12, ts >> 32)
            _put32(out, at + 16, ts & 0xFFFFFFFF)
            _put32(out, at + 20, cut)
            _put32(out, at + 24, length)
            out[at + 28 : at + 28 + cut] = data[kind, :cut]
            flags = at + 28 + padded
            _put32(out, flags, 2 | 4 << 16)
            _put32(out, flags + 4, 2 if sight == 1 else 1)
            _put32(out, flags + 8, size)
            at += size
    return at
