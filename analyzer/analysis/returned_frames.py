"""Frames that came back by the port by which a bridge had sent them: where bridges form a loop.

What a port sends out and gets again, byte for byte, its sender did not send anew; nor what enters
by a second port while the sender's was another. Packets that begin with such a frame are marked as
strays, so that nobody is charged with them; how often which frame came back by which port is kept
for `analyzer.findings.loops`. Frames to groups are followed, which a loop multiplies first, and
others as long as some come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct, field

from analyzer.model.batch import Columns
from analyzer.model.frames import EGRESS, FLAG_DIRECTION, INGRESS
from analyzer.model.journeys import Evidence, Journeys, Status
from analyzer.model.vantage import Vantage
from analyzer.native.compiled import compiled, piece
from analyzer.native.keys import mix
from analyzer.net.ethernet import GROUP_BIT_U64, mac_value

WITHIN_NS = 1_000_000_000
"""a frame that comes in so long after it went out may have been sent anew …"""
_LONG_NS = 30_000_000_000
"""… but not by who is known to be behind another port: queues in a loop hold it that long"""
_BEFORE_NS = 20_000_000
"""a received frame's stamp may be so much older than that of what the kernel shows before it: it
is stamped when it is enqueued, and the softirq takes it up later"""
MOST = 10_000
"""rows that are kept: those that came back most often"""
_LOOPING_NS = 5_000_000_000
"""unicast is followed for so long after a frame came back"""
_NEVER_NS = -(1 << 62)
_SLOTS = 1 << 14
"""of each table; a frame that takes another one's slot makes it forgotten"""
_GROUP = ["vantage", "l2key", "vlan"]
_NOTHING, _PORT, _BRIDGE = 0, 1, 2


class _Places(NamedTuple):
    """What each of v vantages is to a bridge."""

    kind: npt.NDArray[np.int32]
    """[v] _NOTHING, _PORT or _BRIDGE"""
    bridge: npt.NDArray[np.int64]
    """[v] number of the bridge"""
    behind: npt.NDArray[np.uint64]
    """[v] MAC at the other end: what comes from it was sent there, whoever has the same MAC"""
    peer: npt.NDArray[np.int32]
    """[v] the other end of the pair, where that is a bridge's port, too; -1"""


class _Frames(NamedTuple):
    """Columns of decoded frames."""

    eth_dst: npt.NDArray[np.uint64]
    eth_src: npt.NDArray[np.uint64]
    l2key: npt.NDArray[np.uint64]
    vlan: npt.NDArray[np.uint16]
    vantage: npt.NDArray[np.int32]
    flags: npt.NDArray[np.uint32]
    ts_ns: npt.NDArray[np.int64]


class _Memory(NamedTuple):
    """Direct-mapped tables: what stands in a slot is the last that fell there."""

    left: npt.NDArray[np.uint64]
    """[slots, 2] key of (frame, port), time at which the port sent it"""
    sent: npt.NDArray[np.uint64]
    """[slots, 4] key of (frame, bridge), times that it came from a sender, the vantage that the
    sender is behind, when it came last"""
    latest_ns: npt.NDArray[np.int64]
    """[1] when a frame came back last"""


class ReturnedFrames(Struct):
    """Follows a capture's frames in file order, which of one bridge is the kernel's."""

    _places: _Places | None = None
    _memory: _Memory = field(
        default_factory=lambda: _Memory(
            np.zeros((_SLOTS, 2), np.uint64),
            np.zeros((_SLOTS, 4), np.uint64),
            np.full(1, _NEVER_NS, np.int64),
        )
    )
    _numbers: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """of the frames that were not sent anew, as long as a packet may be made of them"""
    _table: pl.DataFrame | None = None

    def add(self, frames: Columns, vantages: Sequence[Vantage]) -> None:
        """Look through a chunk."""
        if self._places is None or len(self._places.kind) != len(vantages):
            self._places = _places(vantages)
        if not self._places.kind.any():
            return
        rows = np.empty(len(frames["ts_ns"]), np.int64)
        sends = np.empty_like(rows)
        columns = _Frames(*(frames[name] for name in _Frames._fields))
        count = _follow(columns, self._places, self._memory, rows, sends)
        if count:
            self._numbers = np.concatenate([self._numbers, frames["number"][rows[:count]]])
            back = sends[:count] > 0
            self._count(frames, rows[:count][back], sends[:count][back])

    def _count(
        self, frames: Columns, rows: npt.NDArray[np.int64], sends: npt.NDArray[np.int64]
    ) -> None:
        names = (*_GROUP, "eth_src", "ethertype", "protocol", "wirelen", "number")
        new = pl.DataFrame({name: frames[name][rows] for name in names}).with_columns(
            pl.Series("sends", sends),
            pl.Series("first_ns", frames["ts_ns"][rows]),
            pl.Series("last_ns", frames["ts_ns"][rows]),
            returns=pl.lit(1, pl.Int64),
        )
        both = new if self._table is None else pl.concat([self._table, new])
        table = both.group_by(_GROUP, maintain_order=True).agg(
            pl.col("eth_src", "ethertype", "protocol", "wirelen", "number").first(),
            pl.col("sends").max(),
            pl.col("first_ns").min(),
            pl.col("last_ns").max(),
            pl.col("returns").sum(),
        )
        if len(table) > MOST:
            table = table.sort("returns", descending=True, maintain_order=True).head(MOST)
        self._table = table

    def mark(self, frames: Columns, journeys: Journeys, oldest_ns: int) -> None:
        """Make strays of the packets that begin with such a frame, or at the other end of its pair.

        oldest_ns: no later packet has older frames.
        """
        if not len(self._numbers):
            return
        back = np.isin(frames["number"], self._numbers)
        start = journeys.first
        rows = np.flatnonzero(back & (journeys.packet >= 0))
        packets = journeys.packet[rows]
        begun = (start[packets] == rows) | (start[packets] == journeys.parent[rows])
        packets = packets[begun]
        journeys.status[packets] = Status.UNMATCHED
        journeys.evidence[packets] |= np.uint16(Evidence.STRAY)
        open_ = frames["number"][frames["ts_ns"] >= oldest_ns]
        newest = frames["number"].max(initial=-1)
        waits = np.isin(self._numbers, open_) | (self._numbers > newest)
        self._numbers = self._numbers[waits]

    @property
    def waiting(self) -> set[int]:
        """Numbers of the frames of which no packet was made yet, and that none is to begin with."""
        return set(self._numbers.tolist())

    def rows(self) -> list[dict[str, Any]]:
        """vantage, l2key, vlan, eth_src, ethertype, protocol, wirelen, number, sends, first_ns,
        last_ns, returns: one a frame and port, in order of appearance."""
        return [] if self._table is None else self._table.sort("number").to_dicts()


def _places(vantages: Sequence[Vantage]) -> _Places:
    bridges: dict[tuple[int, int], int] = {}
    kind, number = [], []
    for one in vantages:
        at = one.ifindex if one.is_bridge else one.master_ifindex
        kind.append(_NOTHING if not at else _BRIDGE if one.is_bridge else _PORT)
        number.append(bridges.setdefault((one.space, at), len(bridges)))
    behind = [mac_value(one.peer_mac) for one in vantages]
    ports = {one.key: at for at, one in enumerate(vantages) if kind[at] == _PORT}
    peer = [ports.get(one.peer_key or (0, 0), -1) if one.key in ports else -1 for one in vantages]
    return _Places(
        np.array(kind, np.int32),
        np.array(number, np.int64),
        np.array(behind, np.uint64),
        np.array(peer, np.int32),
    )


@compiled
def _follow(frames: Any, places: Any, memory: Any, rows: Any, sends: Any) -> int:
    """Fill ``rows`` with the frames that were not sent anew where they were seen to enter.

    sends: how often such a frame was sent before; 0 where it did not leave by that port before, but
    entered by another one: a copy, be it that a queue still held back what was to leave.
    """
    count = 0
    for i in range(len(frames.ts_ns)):
        v = frames.vantage[i]
        kind, direction = places.kind[v], frames.flags[i] & FLAG_DIRECTION
        at = frames.ts_ns[i]
        if kind == _NOTHING or frames.l2key[i] == 0:
            continue
        if frames.eth_dst[i] & GROUP_BIT_U64 == 0 and at - memory.latest_ns[0] > _LOOPING_NS:
            continue
        frame = mix(frames.l2key[i], frames.vlan[i])
        key = mix(frame, v)
        if kind == _PORT and direction == EGRESS:
            slot = key & np.uint64(_SLOTS - 1)
            memory.left[slot, 0], memory.left[slot, 1] = key, np.uint64(at)
        elif direction == (INGRESS if kind == _PORT else EGRESS):
            own = frames.eth_src[i] == places.behind[v]
            k = _sent_slot(memory.sent, mix(frame, places.bridge[v]))
            limit = WITHIN_NS
            if not own and _is_behind_another(places, frames.eth_src[i], v):
                limit = _LONG_NS
            if not own and _left_before(memory.left, key, at, limit):
                rows[count], sends[count] = i, np.int64(memory.sent[k, 1])
                count += 1
                memory.latest_ns[0] = at
                memory.sent[k, 3] = np.uint64(at)
            elif not own and (
                _came_elsewhere(memory.sent, k, v, at, limit)
                or _crossed(memory.left, frame, places.peer[v], at)
            ):
                rows[count], sends[count] = i, 0
                count += 1
                memory.sent[k, 3] = np.uint64(at)
            else:
                memory.sent[k, 1] += np.uint64(1)
                memory.sent[k, 2], memory.sent[k, 3] = np.uint64(v), np.uint64(at)
    return count


@piece
def _left_before(left: Any, key: Any, at: Any, limit_ns: Any) -> Any:
    slot = key & np.uint64(_SLOTS - 1)
    waited = at - np.int64(left[slot, 1])
    return left[slot, 0] == key and -_BEFORE_NS <= waited <= limit_ns


@piece
def _is_behind_another(places: _Places, mac: Any, vantage: Any) -> Any:
    """Whether the container at another port of the bridge is known to have the MAC."""
    is_there = False
    for v in range(len(places.kind)):
        same = places.bridge[v] == places.bridge[vantage] and places.behind[v] == mac
        is_there = is_there or (same and v != vantage and places.kind[v] == _PORT)
    return is_there


@piece
def _crossed(left: Any, frame: Any, peer: Any, at: Any) -> Any:
    """Whether another bridge sent it there by the other end of the pair."""
    return peer >= 0 and _left_before(left, mix(frame, peer), at, WITHIN_NS)


@piece
def _came_elsewhere(sent: Any, slot: Any, vantage: Any, at: Any, limit_ns: Any) -> Any:
    """Whether the sender is behind another port."""
    waited = at - np.int64(sent[slot, 3])
    elsewhere = sent[slot, 1] > 0 and np.int64(sent[slot, 2]) != vantage
    return elsewhere and -_BEFORE_NS <= waited <= limit_ns


@piece
def _sent_slot(sent: Any, key: Any) -> Any:
    """The slot of a frame, empty where another one had it."""
    slot = np.int64(key & np.uint64(_SLOTS - 1))
    if sent[slot, 0] != key:
        sent[slot, 0] = key
        sent[slot, 1] = sent[slot, 2] = sent[slot, 3] = 0
    return slot
