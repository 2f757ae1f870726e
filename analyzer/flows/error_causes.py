"""Which packet caused an ICMP error: the latest one before it whose headers are those it quotes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.batch import Batch
from analyzer.model.bundles import bundle
from analyzer.native.compiled import compiled, piece
from analyzer.native.keys import mix
from analyzer.net.ip import ICMP, ICMPV6, TCP, UDP

_BEFORE_NS = 5_000_000_000
"""how long before an error its cause may lie: three times asking for an address takes 3 s"""
_MOST = 1 << 21
"""packets that are kept to be looked through"""
_TRANSLATED = ("src_hi", "src_lo", "dst_hi", "dst_lo", "src_port", "dst_port")


class RecentPackets:
    """The packets of the last seconds, by what an error would quote of them."""

    def __init__(self) -> None:
        self._recent: list[tuple[npt.NDArray[Any], ...]] = []

    def remember(self, batch: Batch) -> None:
        """Keep the keys of a batch's packets; of those that NAT changed, both."""
        first, last = (
            batch.packets[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last")
        )
        translated = np.zeros(len(first), np.bool_)
        for name in _TRANSLATED:
            translated |= batch.frames[name][first] != batch.frames[name][last]
        packets = np.concatenate([np.arange(len(first)), np.flatnonzero(translated)])
        rows = np.concatenate([first, last[translated]])
        if len(rows):
            keys = np.empty(len(rows), np.uint64)
            site = batch.journeys.site[batch.frames["vantage"][rows]]
            _identify(bundle(_Headers, batch.frames), rows, site, keys)
            numbers, stamps = (batch.packets[n].to_numpy()[packets] for n in ("number", "ts_ns"))
            self._recent.append((keys, numbers, stamps))

    def forget(self, before_ns: int) -> None:
        """Errors from before that time are not asked for any more."""
        while self._recent and int(self._recent[0][2].max()) < before_ns - _BEFORE_NS:
            self._recent.pop(0)
        while sum(len(part[0]) for part in self._recent[1:]) > _MOST:
            self._recent.pop(0)

    def find(self, errors: pl.DataFrame) -> npt.NDArray[np.int64]:
        """[n] number of the packet that caused each error, from 1; 0: not found."""
        wanted = errors["key"].to_numpy()
        parts = []
        for keys, numbers, ts in self._recent:
            fits = np.isin(keys, wanted)
            columns = (keys[fits], numbers[fits], ts[fits])
            parts.append(pl.DataFrame(dict(zip(("key", "cause", "ts_ns"), columns, strict=True))))
        if not parts:
            return np.zeros(len(errors), np.int64)
        candidates = pl.concat(parts).sort("ts_ns", "cause")
        tied = errors.select("key", "ts_ns").join_asof(
            candidates,
            on="ts_ns",
            by="key",
            strategy="backward",
            tolerance=_BEFORE_NS,
            check_sortedness=False,
        )
        numbers_from_1: npt.NDArray[np.int64] = (tied["cause"] + 1).fill_null(0).to_numpy()
        return numbers_from_1


def quoted_keys(errors: pl.DataFrame, site: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """[errors] the key of the packet that each quotes, in columns ``quoted_…``.

    site: [errors] where the packet's addresses are unique.
    """
    keys = np.empty(len(errors), np.uint64)
    quoted = _Headers(*(errors[f"quoted_{name}"].to_numpy() for name in _Headers._fields))
    _identify(quoted, np.arange(len(errors), dtype=np.intp), site, keys)
    return keys


class _Headers(NamedTuple):
    """Of a packet, what an error quotes at least: the IP header and eight bytes behind it.

    [frames] of each, see `analyzer.model.frames.DECODED`.
    """

    src_hi: npt.NDArray[np.uint64]
    src_lo: npt.NDArray[np.uint64]
    dst_hi: npt.NDArray[np.uint64]
    dst_lo: npt.NDArray[np.uint64]
    protocol: npt.NDArray[np.uint8]
    ip_id: npt.NDArray[np.uint32]
    src_port: npt.NDArray[np.uint16]
    dst_port: npt.NDArray[np.uint16]
    tcp_seq: npt.NDArray[np.uint32]
    icmp_id: npt.NDArray[np.uint16]
    icmp_seq: npt.NDArray[np.uint16]
    l4_offset: npt.NDArray[np.uint16]


@compiled
def _identify(headers: _Headers, rows: Any, site: Any, keys: Any) -> None:
    """[packets] the key of each packet: its row in ``headers``, and where addresses are unique."""
    for at in range(len(rows)):
        row = rows[at]
        source = mix(headers.src_hi[row], headers.src_lo[row])
        key = mix(source, mix(headers.dst_hi[row], headers.dst_lo[row]))
        key = mix(key, np.uint64(site[at]) << np.uint64(40) | np.uint64(headers.ip_id[row]))
        protocol = headers.protocol[row]
        rest = np.uint64(0)
        if headers.l4_offset[row]:
            if protocol == TCP:
                rest = np.uint64(headers.tcp_seq[row])
            elif protocol in (ICMP, ICMPV6):
                rest = _both(headers.icmp_id[row], headers.icmp_seq[row])
            if protocol in (TCP, UDP):
                key = mix(key, _both(headers.src_port[row], headers.dst_port[row]))
        keys[at] = mix(key, rest << np.uint64(8) | np.uint64(protocol))


@piece
def _both(high: Any, low: Any) -> Any:
    """Two numbers of 16 bits in one."""
    return np.uint64(high) << np.uint64(16) | np.uint64(low)
