"""Capture files by hand, in either byte order: what our own writer never writes."""

from __future__ import annotations

import struct

SHB, IDB, PB, SPB, NRB, ISB, EPB, DSB, CUSTOM = 0x0A0D0D0A, 1, 2, 3, 4, 5, 6, 10, 0xBAD
UNKNOWN = 0x7777


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


class Pcapng:
    """Blocks of one byte order (``<`` or ``>``)."""

    def __init__(self, order: str = "<") -> None:
        self.order = order

    def pack(self, form: str, *values: int) -> bytes:
        return struct.pack(self.order + form, *values)

    def block(self, kind: int, body: bytes, *options: tuple[int, bytes]) -> bytes:
        inner = padded(body) + b"".join(
            self.pack("HH", code, len(value)) + padded(value) for code, value in options
        )
        if options:
            inner += bytes(4)
        length = self.pack("I", len(inner) + 12)
        return self.pack("I", kind) + length + inner + length

    def section(self, *options: tuple[int, bytes]) -> bytes:
        return self.block(SHB, self.pack("IHHq", 0x1A2B3C4D, 1, 0, -1), *options)

    def interface(self, *options: tuple[int, bytes], linktype: int = 1, snaplen: int = 0) -> bytes:
        return self.block(IDB, self.pack("HHI", linktype, 0, snaplen), *options)

    def packet(
        self,
        data: bytes,
        stamp: int = 0,
        *options: tuple[int, bytes],
        interface: int = 0,
        wirelen: int | None = None,
    ) -> bytes:
        sizes = (len(data), len(data) if wirelen is None else wirelen)
        head = self.pack("IIIII", interface, stamp >> 32, stamp & 0xFFFFFFFF, *sizes)
        return self.block(EPB, head + padded(data), *options)

    def obsolete(
        self, data: bytes, stamp: int = 0, *options: tuple[int, bytes], interface: int = 0
    ) -> bytes:
        head = self.pack(
            "HHIIII", interface, 9, stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data)
        )
        return self.block(PB, head + padded(data), *options)

    def simple(self, data: bytes, wirelen: int | None = None) -> bytes:
        told = len(data) if wirelen is None else wirelen
        return self.block(SPB, self.pack("I", told) + padded(data))


def pcap(
    frames: list[bytes],
    order: str = "<",
    magic: int = 0xA1B2C3D4,
    *,
    linktype: int = 1,
    snaplen: int = 262144,
    stamps: list[tuple[int, int]] | None = None,
) -> bytes:
    """A classic file; frame i is stamped (i s, i units) unless ``stamps`` says otherwise."""
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, linktype)
    extra = struct.pack(order + "IHBB", 3, 0x0800, 4, 0) if magic == 0xA1B2CD34 else b""
    for i, frame in enumerate(frames):
        seconds, fraction = stamps[i] if stamps else (i, i)
        out += struct.pack(order + "IIII", seconds, fraction, len(frame), len(frame))
        out += extra + frame
    return out
