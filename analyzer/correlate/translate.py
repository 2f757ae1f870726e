"""Tuples as connection tracking translated them: what a packet has to look like behind a NAT.

A frame's tuple is looked up among all translations of its namespace. Mostly there is one for all
of the capture, and what it says is certain. Where a tuple was used again and became another one,
time decides; around the moment of the change both are possible, and neither is certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.model.nat_entries import ENDED, THERE, NatEntries
from analyzer.native.compiled import compiled
from analyzer.native.keys import mixed
from analyzer.net.icmp import REPLY_OF
from analyzer.net.ip import ICMP_PROTOCOLS

SLACK_NS = 500_000_000
"""what is heard of a connection is written down so much later at most"""
_ENDS = ("src_hi", "src_lo", "dst_hi", "dst_lo")
_LONG_AGO = np.iinfo(np.int64).min // 2

Columns = Mapping[str, npt.NDArray[Any]]
Keys = npt.NDArray[np.uint64]


class Expected(NamedTuple):
    """What n frames will look like behind the NAT."""

    first: Keys
    """[n] tuple key; 0 where nothing is known"""
    second: Keys
    """[n] another possibility; 0: none"""
    half: Keys
    """[n] tuple key with only the destination translated: in the middle of a bridge"""
    sure: npt.NDArray[np.bool_]
    """[n] of ``first``"""


class _Changes(NamedTuple):
    """c translations: those of one tuple stand together, in order of their time."""

    before: Keys
    """[c] tuple key, ascending"""
    after: Keys
    """[c] tuple key; 0 where the connection ended"""
    half: Keys
    """[c] as in `Expected`"""
    start_ns: npt.NDArray[np.int64]
    """[c]"""


def frame_tuples(frames: Columns, rows: npt.NDArray[Any], netns: npt.NDArray[np.int64]) -> Keys:
    """[rows] one key of a frame's namespace, protocol, addresses and ports, or ICMP query's id.

    netns: inode of each vantage's namespace.
    """
    protocol = frames["protocol"][rows]
    icmp = np.isin(protocol, ICMP_PROTOCOLS)
    source = np.where(icmp, frames["icmp_id"][rows], frames["src_port"][rows])
    target = np.where(icmp, frames["icmp_type"][rows], frames["dst_port"][rows])
    ends = (frames[name][rows] for name in _ENDS)
    return mixed(netns[frames["vantage"][rows]], protocol, *ends, source, target)


class Translator:
    """The translations of a capture, both directions of each, by the tuple before it."""

    def __init__(self, entries: NatEntries) -> None:
        self.recorded = entries.recorded
        before, after, half = _both_directions(entries)
        what, ts_ns = np.tile(entries.rows["what"], 2), np.tile(entries.rows["ts_ns"], 2)
        start = np.where(what == THERE, _LONG_AGO, ts_ns)
        self._results = np.unique(after)
        after = np.where(what == ENDED, 0, after)
        halfway = (half != before) & (half != after)  # what began on a bridge ends behind a route
        before = np.concatenate([before, half[halfway]])
        after, half, start = (np.concatenate([c, c[halfway]]) for c in (after, half, start))
        order = np.lexsort((start, before))
        before, after = before[order], after[order]
        differs = np.ones(len(before), np.bool_)
        differs[1:] = (before[1:] != before[:-1]) | (after[1:] != after[:-1])
        half, start = half[order][differs], start[order][differs]
        self._changes = _Changes(before[differs], after[differs], half, start)

    def __len__(self) -> int:
        return len(self._changes.before)

    def expected(self, tuples: Keys, ts_ns: npt.NDArray[np.int64]) -> Expected:
        """What becomes of frames with these tuples at these times."""
        first, second, half = np.zeros((3, len(tuples)), np.uint64)
        expected = Expected(first, second, half, np.zeros(len(tuples), np.bool_))
        low = np.searchsorted(self._changes.before, tuples, "left")
        high = np.searchsorted(self._changes.before, tuples, "right")
        _choose(low, high, ts_ns, self._changes, expected)
        return expected

    def is_result(self, tuples: Keys) -> npt.NDArray[np.bool_]:
        """[n] whether a tuple is what some translation makes."""
        made: npt.NDArray[np.bool_] = np.isin(tuples, self._results)
        return made


def _both_directions(entries: NatEntries) -> tuple[Keys, Keys, Keys]:
    """(tuple before, after, with the destination alone translated) of the entries' first packets,
    then of their answers."""
    rows, netns = entries.rows, entries.netns
    protocol = rows["protocol"]
    there = [rows[name] for name in (*_ENDS, "src_port", "dst_port")]
    back = [rows[f"back_{name}"] for name in (*_ENDS, "src_port", "dst_port")]
    icmp = np.isin(protocol, ICMP_PROTOCOLS)
    ends = (there, back), (_turned(back, icmp), _turned(there, icmp))
    halves = [[*a[:2], *b[2:4], a[4], b[5]] for a, b in zip(*ends, strict=True)]
    before, after, half = (
        np.concatenate([mixed(netns, protocol, *columns) for columns in both])
        for both in (*ends, halves)
    )
    return before, after, half


def _turned(ends: list[npt.NDArray[Any]], icmp: npt.NDArray[np.bool_]) -> list[npt.NDArray[Any]]:
    """The tuple of packets in the other direction."""
    src_hi, src_lo, dst_hi, dst_lo, source, target = ends
    return [
        dst_hi,
        dst_lo,
        src_hi,
        src_lo,
        np.where(icmp, source, target),
        np.where(icmp, _answering(target), source),
    ]


def _answering(kind: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The ICMP type in the other direction."""
    answering = kind.copy()
    for query, reply in REPLY_OF.items():
        answering[kind == query], answering[kind == reply] = reply, query
    return answering


@compiled
def _choose(low: Any, high: Any, ts: Any, changes: _Changes, expected: Expected) -> None:
    """For each frame the translation that had begun by its time, and the one before a change.

    low, high: those of its tuple are changes low … high-1. Fills ``expected``, which is zeros.
    """
    first, second, start = expected.first, expected.second, changes.start_ns
    for k in range(len(low)):
        if low[k] == high[k]:
            continue
        j = high[k] - 1
        while j > low[k] and start[j] - SLACK_NS > ts[k]:
            j -= 1
        begun = start[j] - SLACK_NS <= ts[k]
        changed = j > low[k] and start[j] + SLACK_NS > ts[k]
        first[k] = changes.after[j]
        expected.half[k] = changes.half[high[k] - 1]
        expected.sure[k] = begun and not changed
        if changed:
            second[k] = changes.after[j - 1]
            if first[k] == 0:
                first[k], second[k] = second[k], np.uint64(0)
