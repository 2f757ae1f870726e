"""ARP requests and neighbour solicitations that the kernel dropped, or whose answers it did.

A request goes to all, so that it ends at each of its branches: that one of them dropped it is no
loss of the packet. Where it stays unanswered, that is the likely cause.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct, field

from analyzer.diagnosis.reasons import is_harmless
from analyzer.model.batch import Columns
from analyzer.native.keys import mixed
from analyzer.net.arp import REQUEST
from analyzer.net.ethernet import ARP, IPV6
from analyzer.net.icmp import NEIGHBOUR_SOLICITATION
from analyzer.net.ip import ICMPV6, address_value
from analyzer.recorders.drops.untied import UntiedDrop

_OF_GROUP = 0xFFFFFF
MOST = 1 << 16
"""dropped requests that are kept: the latest"""
_KEPT = {
    "packet_asked": pl.UInt64,
    "packet_number": pl.Int64,
    "packet_ts_ns": pl.Int64,
    "reason": pl.String,
    "location": pl.String,
    "device": pl.String,
}


def asked_by(frames: Columns, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
    """[rows] who asks for whom, of ARP requests and neighbour solicitations; 0: something else.

    A solicitation goes to the group that the last 24 bits of the target name, or to the target
    (RFC 4291, 2.7.1; RFC 4861, 7.2.2).
    """
    both = frames["arp_spa"][rows].astype(np.uint64) << np.uint64(32) | frames["arp_tpa"][rows]
    is_request = (frames["ethertype"][rows] == ARP) & (frames["arp_op"][rows] == REQUEST)
    solicits = frames["icmp_type"][rows] == NEIGHBOUR_SOLICITATION
    solicits &= frames["protocol"][rows] == ICMPV6
    keys = _solicitation(*(frames[name][rows] for name in ("src_hi", "src_lo", "dst_lo")))
    return np.where(is_request, both, np.where(solicits, keys, np.uint64(0)))


def _solicitation(
    src_hi: npt.NDArray[np.uint64], src_lo: npt.NDArray[np.uint64], dst_lo: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    return mixed(src_hi, src_lo, dst_lo & np.uint64(_OF_GROUP))


def _key(asker: str, target: str) -> int:
    """As `asked_by` has it."""
    if ":" not in asker + target:
        return int(IPv4Address(asker)) << 32 | int(IPv4Address(target))
    ends = (*address_value(asker), address_value(target)[1])
    return int(_solicitation(*(np.array([one], np.uint64) for one in ends))[0])


class DroppedRequests(Struct):
    """An aggregator of drops that are tied to requests."""

    _table: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_KEPT))

    def add(self, ties: pl.DataFrame) -> None:
        """ties: a row a drop; of its packet `asked_by`, number and time; its reason and place, and
        the device."""
        asked = ties.filter(pl.col("packet_asked") != 0).select(
            pl.col(n).cast(_KEPT[n]) for n in _KEPT
        )
        if len(asked):
            self._table = pl.concat([self._table, asked]).unique(maintain_order=True).tail(MOST)

    def of(self, asker: str, target: str, others: Collection[str]) -> Iterator[UntiedDrop]:
        """The drops of what one asked for another: how many requests, by reason and place.

        others: interfaces of the host, to those whom a request reaches only because it goes to
        all: what becomes of it there matters to nobody.
        """
        if self._table.is_empty():
            return
        key, ethertype = _key(asker, target), IPV6 if ":" in target else ARP
        kinds = (
            self._table.filter(
                pl.col("packet_asked") == key,
                ~pl.col("device").is_in(list(others)),
            )
            .group_by("reason", "location", maintain_order=True)
            .agg(
                pl.col("packet_number").n_unique(),
                pl.col("packet_ts_ns").min().alias("first_ns"),
                pl.col("packet_ts_ns").max().alias("last_ns"),
            )
        )
        for reason, location, *rest in kinds.iter_rows():
            if not is_harmless(reason, location, "arp", opens=True):
                yield UntiedDrop(reason, location, ethertype, *rest)
