"""An interface as a capture file describes it (IDB and ISB, or the pcap header)."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

MICROSECONDS, NANOSECONDS = 6, 9
"""if_tsresol of pcap's two kinds; pcapng's default is microseconds"""


class SavefileInterface(Struct):
    """One interface of a capture file; what the file does not tell is empty."""

    index: int
    """counted over all sections of the file: FrameChunk.interface"""
    linktype: int
    """LINKTYPE_ value (https://www.tcpdump.org/linktypes.html)"""
    snaplen: int
    """0: no limit"""
    name: str = ""
    description: str = ""
    comment: str = ""
    """the first opt_comment: where vethscope keeps the vantage as JSON"""
    mac: str = ""
    addresses: tuple[str, ...] = ()
    """with prefix length, in the file's order"""
    filter: str = ""
    """in pcap-filter(7) syntax"""
    tsresol: int = MICROSECONDS
    """if_tsresol's byte: 10⁻ⁿ s, or 2⁻ⁿ s where bit 7 is set"""
    tsoffset_s: int = 0
    statistics: dict[str, int | str] | None = None
    """of the last ISB: ifrecv, ifdrop, filteraccept, osdrop, usrdeliv, starttime_ns,
    endtime_ns, comment — those that are told"""
    so_far: dict[str, int | str] | None = None
    """of the last ISB that says that the capture went on"""


def take_names(known: dict[str, str], told: Mapping[str, str]) -> None:
    """Add what a Name Resolution Block tells of addresses; one with two names has none, ''."""
    for address, name in told.items():
        if known.setdefault(address, name) != name:
            known[address] = ""
