"""What a pcapng file says about itself: its section, interface, name and statistics blocks.

These are few, so they are read in Python. Each function takes one block whose two lengths
were checked; what is too short for its fixed fields raises SavefileError, and an option that
does not fit into its block ends the options, as the frames do not depend on it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_interface

from msgspec import Struct, field

from analyzer.errors import SavefileError
from analyzer.savefile import blocks
from analyzer.savefile.interfaces import SavefileInterface
from analyzer.savefile.order import order_of

_IF_TSOFFSET = 14
_RECORD_END, _RECORD_IPV4, _RECORD_IPV6 = 0, 1, 2

_COUNTERS = {
    blocks.ISB_IFRECV: "ifrecv",
    blocks.ISB_IFDROP: "ifdrop",
    blocks.ISB_FILTERACCEPT: "filteraccept",
    blocks.ISB_OSDROP: "osdrop",
    blocks.ISB_USRDELIV: "usrdeliv",
}
_MOST_COUNTED = (1 << 63) - 1
"""a counter beyond this was never counted: it is unknown"""
_TIMES = {blocks.ISB_STARTTIME: "starttime_ns", blocks.ISB_ENDTIME: "endtime_ns"}


class Section(Struct, frozen=True):
    """What a Section Header Block tells."""

    swapped: bool
    comment: str = ""
    application: str = ""
    system: str = ""
    hardware: str = ""


class Statistics(Struct, frozen=True):
    """What an Interface Statistics Block tells; stamps not yet in nanoseconds."""

    interface: int
    """within its section"""
    counters: dict[str, int] = field(default_factory=dict)
    stamps: dict[str, tuple[int, int]] = field(default_factory=dict)
    """name → (high, low) in the interface's resolution"""
    comment: str = ""


def is_swapped(start: bytes) -> bool | None:
    """Byte order of the section whose header block's first 12 bytes these are; None: none."""
    for swapped in (False, True):
        kind, _, magic = struct.unpack_from(f"{order_of(swapped)}III", start)
        if (kind, magic) == (blocks.SECTION_HEADER, blocks.BYTE_ORDER_MAGIC):
            return swapped
    return None


def read_section(block: bytes, swapped: bool) -> Section:
    """A Section Header Block."""
    _need(block, 28, "section header")
    major = struct.unpack_from(f"{order_of(swapped)}H", block, 12)[0]
    if major != 1:
        raise SavefileError(f"section of pcapng version {major}, of which only 1 is known")
    options = dict(reversed(list(_options(block, 24, swapped))))
    return Section(
        swapped,
        comment=_text(options.get(blocks.OPT_COMMENT)),
        application=_text(options.get(blocks.SHB_USERAPPL)),
        system=_text(options.get(blocks.SHB_OS)),
        hardware=_text(options.get(blocks.SHB_HARDWARE)),
    )


def read_interface(block: bytes, swapped: bool, index: int) -> SavefileInterface:
    """An Interface Description Block; ``index`` is its place in the whole file."""
    _need(block, 20, "interface description")
    linktype, _, snaplen = struct.unpack_from(f"{order_of(swapped)}HHI", block, 8)
    options = list(_options(block, 16, swapped))
    first_of = dict(reversed(options))
    mac = first_of.get(blocks.IF_MACADDR, b"")
    resolution = first_of.get(blocks.IF_TSRESOL, b"")
    offset = first_of.get(_IF_TSOFFSET, b"")
    whole = struct.unpack(f"{order_of(swapped)}q", offset)[0] if len(offset) == 8 else 0
    filter_ = first_of.get(blocks.IF_FILTER, b"")
    interface = SavefileInterface(
        index,
        linktype,
        snaplen,
        name=_text(first_of.get(blocks.IF_NAME)),
        description=_text(first_of.get(blocks.IF_DESCRIPTION)),
        comment=_text(first_of.get(blocks.OPT_COMMENT)),
        mac=mac.hex(":") if len(mac) == 6 else "",
        addresses=tuple(_addresses(options)),
        filter=_text(filter_[1:]) if filter_[:1] == b"\0" else "",
        tsoffset_s=whole,
    )
    if resolution:
        interface.tsresol = resolution[0]
    return interface


def read_names(block: bytes, swapped: bool) -> dict[str, str]:
    """A Name Resolution Block: address → its first name."""
    names: dict[str, str] = {}
    for kind, value in _options(block, 8, swapped):
        size = {_RECORD_IPV4: 4, _RECORD_IPV6: 16}.get(kind)
        if size and len(value) > size:
            packed, name = value[:size], value[size:].split(b"\0")[0]
            address = IPv4Address(packed) if size == 4 else IPv6Address(packed)
            names.setdefault(str(address), _text(name))
    return names


def read_statistics(block: bytes, swapped: bool) -> Statistics:
    """An Interface Statistics Block."""
    _need(block, 24, "interface statistics")
    order = order_of(swapped)
    statistics = Statistics(struct.unpack_from(f"{order}I", block, 8)[0])
    comment = ""
    for code, value in _options(block, 20, swapped):
        if code == blocks.OPT_COMMENT and not comment:
            comment = _text(value)
        elif len(value) == 8 and code in _COUNTERS:
            count = struct.unpack(f"{order}Q", value)[0]
            if count <= _MOST_COUNTED:
                statistics.counters[_COUNTERS[code]] = count
        elif len(value) == 8 and code in _TIMES:
            high, low = struct.unpack(f"{order}II", value)
            statistics.stamps[_TIMES[code]] = (high, low)
    return Statistics(statistics.interface, statistics.counters, statistics.stamps, comment)


def _need(block: bytes, length: int, what: str) -> None:
    if len(block) < length:
        raise SavefileError(f"{what} block of {len(block)} bytes, {length} are the least")


def _options(block: bytes, position: int, swapped: bool) -> Iterator[tuple[int, bytes]]:
    """(code, value) of the options, or of a name block's records, which look the same."""
    end = len(block) - 4
    while end - position >= 4:
        code, length = struct.unpack_from(f"{order_of(swapped)}HH", block, position)
        position += 4
        if code == blocks.OPT_ENDOFOPT or length > end - position:
            return
        yield code, block[position : position + length]
        position += length + (-length % 4)


def _addresses(options: list[tuple[int, bytes]]) -> Iterator[str]:
    for code, value in options:
        if code == blocks.IF_IPV4ADDR and len(value) == 8:
            yield _with_prefix(value[:4], str(IPv4Address(value[4:])))
        elif code == blocks.IF_IPV6ADDR and len(value) == 17:
            yield _with_prefix(value[:16], str(value[16]))


def _with_prefix(packed: bytes, mask: str) -> str:
    """``172.17.0.2/16``; without prefix where the mask is none."""
    address = IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
    try:
        return str(ip_interface(f"{address}/{mask}"))
    except ValueError:
        return str(address)


def _text(value: bytes | None) -> str:
    """UTF-8 as the format says; writers that end strings with NUL are common."""
    return (value or b"").rstrip(b"\0").decode("utf-8", "replace")
