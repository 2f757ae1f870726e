"""Capture files of every kind that the formats allow, drawn by hypothesis; and damage to them."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from savefile_builder import CUSTOM, DSB, ISB, NRB, UNKNOWN, Pcapng, pcap

LINKTYPES = [0, 1, 12, 14, 101, 108, 113, 228, 229, 276]
RESOLUTIONS = [0, 3, 6, 9, 12, 0x80 | 10, 0x80 | 20, 0x80 | 30]
PEN = 32473  # IANA's for documentation

payloads = st.sampled_from([0, 1, 13, 14, 39, 60, 100]).map(lambda size: b"\xee" * size)
"""no zeros: in a pcap file that is full of them, wiretap guesses another kind of header"""
orders = st.sampled_from("<>")


@st.composite
def classic(draw: st.DrawFn) -> bytes:
    frames = draw(st.lists(payloads, max_size=6))
    seconds = st.integers(10**9, 2**31 - 1)
    stamps = [(draw(seconds), draw(st.integers(0, 999_999))) for _ in frames]
    return pcap(
        frames,
        draw(orders),
        draw(st.sampled_from([0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34])),
        linktype=draw(st.sampled_from(LINKTYPES)),
        snaplen=draw(st.sampled_from([0, 40, 96, 65535, 262144])),
        stamps=stamps,
    )


def _interface(draw: st.DrawFn, file: Pcapng) -> bytes:
    resolution = draw(st.none() | st.sampled_from(RESOLUTIONS))
    offset = draw(st.none() | st.sampled_from([0, 5, 1_000_000_000]))
    options = [] if resolution is None else [(9, bytes([resolution]))]
    options += [] if offset is None else [(14, file.pack("q", offset))]
    options += draw(st.sampled_from([[], [(2, b"eth0")], [(1, b"c"), (0x7777, b"unknown")]]))
    snaplen = draw(st.sampled_from([0, 40, 262144]))
    return file.interface(*options, linktype=draw(st.sampled_from(LINKTYPES)), snaplen=snaplen)


def _packet(draw: st.DrawFn, file: Pcapng, interfaces: int) -> bytes:
    data = draw(payloads)
    flags = (2, file.pack("I", 0x20A))
    extra = [(1, b"comment"), flags, (5, file.pack("Q", 7)), (3, b"\x02abcd"), (0x7777, b"x")]
    return file.packet(
        data,
        draw(st.integers(0, 2**33)),
        *draw(st.lists(st.sampled_from(extra), max_size=3)),
        interface=draw(st.integers(0, interfaces - 1)),
        wirelen=len(data) + draw(st.sampled_from([0, 1, 9000])),
    )


def _beside(draw: st.DrawFn, file: Pcapng, interfaces: int) -> bytes:
    """A block that holds no packet."""
    blocks: list[Callable[[], bytes]] = [
        lambda: file.block(UNKNOWN, draw(st.binary(max_size=9))),
        lambda: file.block(NRB, b"", (1, bytes([10, 0, 0, 1]) + b"host\0")),
        lambda: file.block(ISB, file.pack("III", interfaces - 1, 0, 0), (4, file.pack("Q", 9))),
        lambda: file.block(DSB, file.pack("II", 0x544C534B, 4) + b"# no"),
        lambda: file.block(CUSTOM, file.pack("I", PEN) + b"custom"),
        lambda: file.block(CUSTOM | 0x40000000, file.pack("I", PEN) + b"custom"),
    ]
    return draw(st.sampled_from(blocks))()


def _section(draw: st.DrawFn, file: Pcapng) -> bytes:
    out = file.section(*draw(st.sampled_from([[], [(1, b"comment"), (4, b"writer")]])))
    interfaces = 0
    for kind in draw(st.lists(st.sampled_from("ippppsob"), max_size=10)):
        if kind == "i" or not interfaces:
            out += _interface(draw, file)
            interfaces += 1
        if kind == "p":
            out += _packet(draw, file, interfaces)
        elif kind == "s":
            out += file.simple(draw(payloads)[:40])  # not beyond any snaplen
        elif kind == "o":
            stamp = draw(st.integers(0, 2**33))
            out += file.obsolete(draw(payloads), stamp, interface=interfaces - 1)
        elif kind == "b":
            out += _beside(draw, file, interfaces)
    return out


@st.composite
def modern(draw: st.DrawFn) -> bytes:
    sections = draw(st.lists(orders, min_size=1, max_size=3))
    return b"".join(_section(draw, Pcapng(order)) for order in sections)


files = classic() | modern()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file with some bytes changed, put in, taken out or cut off."""
    data = bytearray(draw(files))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["change", "change", "insert", "delete", "cut"]))
        if kind == "change":
            data[at : at + 1] = bytes([draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))])
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 8))]
        else:
            del data[at:]
    return bytes(data)
