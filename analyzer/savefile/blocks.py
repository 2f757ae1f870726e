"""The blocks of a pcapng file as bytes (draft-ietf-opsawg-pcapng), nothing but bytes.

All numbers are in the byte order of this machine, which the section header tells; all
times are nanoseconds since the epoch (``if_tsresol`` 9). Every function returns one whole
block, so that what is concatenated is a file of which any prefix of blocks is readable.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, ip_address, ip_interface

from analyzer.net.link_types import ETHERNET

SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION = 1
NAME_RESOLUTION = 4
INTERFACE_STATISTICS = 5
ENHANCED_PACKET = 6
OWN = 0x80000000 | 0x766574
"""vethscope's own block (``vet``), of the types that the format leaves to local use: those with
the highest bit set. Wireshark, tshark, capinfos, tcpdump and scapy step over it without a word; a
Custom Block would show as a packet in Wireshark and shift the frames' numbers. Others may use the
number too: what is in it says by its first bytes what it is."""

BYTE_ORDER_MAGIC = 0x1A2B3C4D
NANOSECONDS = 9
"""if_tsresol: 10⁻⁹ s"""

OPT_ENDOFOPT = 0
OPT_COMMENT = 1
SHB_HARDWARE, SHB_OS, SHB_USERAPPL = 2, 3, 4
IF_NAME, IF_DESCRIPTION, IF_IPV4ADDR, IF_IPV6ADDR, IF_MACADDR = 2, 3, 4, 5, 6
IF_TSRESOL, IF_FILTER = 9, 11
EPB_FLAGS, EPB_DROPCOUNT, EPB_PACKETID = 2, 4, 5
ISB_STARTTIME, ISB_ENDTIME, ISB_IFRECV, ISB_IFDROP = 2, 3, 4, 5
ISB_FILTERACCEPT, ISB_OSDROP, ISB_USRDELIV = 6, 7, 8

MAX_OPTION = 0xFFFF
"""bytes that one option can hold"""

_UNKNOWN_LENGTH = 0xFFFFFFFFFFFFFFFF
_RECORD_END, _RECORD_IPV4, _RECORD_IPV6 = 0, 1, 2


def text(value: str) -> bytes:
    """UTF-8; what is none (an interface name may hold any bytes) becomes ``?``."""
    return value.encode("utf-8", "replace")


def option(code: int, value: bytes) -> bytes:
    """One option, padded to 32 bits. Raises ValueError where it is longer than 65,535 bytes."""
    if len(value) > MAX_OPTION:
        raise ValueError(f"pcapng option {code} holds {len(value)} bytes, more than {MAX_OPTION}")
    return struct.pack("=HH", code, len(value)) + _padded(value)


def block(kind: int, body: bytes, options: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """A whole block of type ``kind``; options with an empty value are left out."""
    written = b"".join(option(code, value) for code, value in options if value)
    if written:
        written += struct.pack("=HH", OPT_ENDOFOPT, 0)
    inner = _padded(body) + written
    length = len(inner) + 12
    return struct.pack("=II", kind, length) + inner + struct.pack("=I", length)


def section_header(
    *, comment: str = "", hardware: str = "", system: str = "", application: str = ""
) -> bytes:
    """SHB of a section whose length is not told (it grows)."""
    body = struct.pack("=IHHQ", BYTE_ORDER_MAGIC, 1, 0, _UNKNOWN_LENGTH)
    options = (
        (OPT_COMMENT, text(comment)),
        (SHB_HARDWARE, text(hardware)),
        (SHB_OS, text(system)),
        (SHB_USERAPPL, text(application)),
    )
    return block(SECTION_HEADER, body, options)


def interface_description(
    name: str,
    *,
    snaplen: int,
    linktype: int = ETHERNET,
    description: str = "",
    mac: str = "",
    addresses: Iterable[str] = (),
    filter_text: str = "",
    comment: str = "",
) -> bytes:
    """IDB with nanosecond stamps.

    ``mac`` with colons; ``addresses`` with or without prefix length; ``filter_text`` in
    pcap-filter(7) syntax (if_filter's first byte 0 says so).
    """
    body = struct.pack("=HHI", linktype, 0, snaplen)
    options = [
        (OPT_COMMENT, text(comment)),
        (IF_NAME, text(name)),
        (IF_DESCRIPTION, text(description)),
        *(_interface_address(address) for address in addresses),
        (IF_MACADDR, bytes.fromhex(mac.replace(":", ""))),
        (IF_TSRESOL, bytes([NANOSECONDS])),
        (IF_FILTER, b"\0" + text(filter_text) if filter_text else b""),
    ]
    return block(INTERFACE_DESCRIPTION, body, options)


def name_resolution(names: Mapping[str, str]) -> bytes:
    """NRB: address (without prefix length, IPv4 or IPv6) → name."""
    records = b"".join(_name_record(address, name) for address, name in names.items())
    return block(NAME_RESOLUTION, records + struct.pack("=HH", _RECORD_END, 0))


def enhanced_packet(
    interface: int,
    ts_ns: int,
    data: bytes,
    wirelen: int,
    *,
    flags: int = 0,
    packet_id: int | None = None,
    comment: str = "",
) -> bytes:
    """EPB of one frame; ``epb_flags`` as `analyzer.model.frames` names its bits."""
    high, low = ts_ns >> 32, ts_ns & 0xFFFFFFFF
    body = struct.pack("=IIIII", interface, high, low, len(data), wirelen) + data
    options = (
        (OPT_COMMENT, text(comment)),
        (EPB_FLAGS, struct.pack("=I", flags) if flags else b""),
        (EPB_PACKETID, b"" if packet_id is None else struct.pack("=Q", packet_id)),
    )
    return block(ENHANCED_PACKET, body, options)


def interface_statistics(
    interface: int,
    ts_ns: int,
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
    received: int | None = None,
    dropped: int | None = None,
    delivered: int | None = None,
    comment: str = "",
) -> bytes:
    """ISB; what is None is left out.

    ``received``: accepted by the filter, dropped ones included (isb_ifrecv and
    isb_filteraccept: what the filter refused is not counted by the kernel). ``dropped``: no
    room in the ring (isb_osdrop, and isb_ifdrop as dumpcap writes it, because Wireshark shows
    that one alone: never add the two). ``delivered``: frames in the file (isb_usrdeliv).
    """
    stamp = struct.pack("=II", ts_ns >> 32, ts_ns & 0xFFFFFFFF)
    options = (
        (OPT_COMMENT, text(comment)),
        (ISB_STARTTIME, _time(start_ns)),
        (ISB_ENDTIME, _time(end_ns)),
        (ISB_IFRECV, _count(received)),
        (ISB_IFDROP, _count(dropped)),
        (ISB_FILTERACCEPT, _count(received)),
        (ISB_OSDROP, _count(dropped)),
        (ISB_USRDELIV, _count(delivered)),
    )
    return block(INTERFACE_STATISTICS, struct.pack("=I", interface) + stamp, options)


def own(data: bytes) -> bytes:
    """A block of `OWN`; ``data`` is padded with zeros to 32 bits."""
    return block(OWN, data)


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)


def _time(ts_ns: int | None) -> bytes:
    return b"" if ts_ns is None else struct.pack("=II", ts_ns >> 32, ts_ns & 0xFFFFFFFF)


def _count(value: int | None) -> bytes:
    return b"" if value is None else struct.pack("=Q", value)


def _interface_address(address: str) -> tuple[int, bytes]:
    interface = ip_interface(address)
    if isinstance(interface, IPv4Interface):
        return IF_IPV4ADDR, interface.ip.packed + interface.netmask.packed
    return IF_IPV6ADDR, interface.ip.packed + bytes([interface.network.prefixlen])


def _name_record(address: str, name: str) -> bytes:
    ip = ip_address(address)
    kind = _RECORD_IPV4 if isinstance(ip, IPv4Address) else _RECORD_IPV6
    return option(kind, ip.packed + text(name).replace(b"\0", b"") + b"\0")
