"""TCP and UDP conversations: who opened them, how many packets and bytes, how many were lost.

Counted per packet, never per copy, both directions together. The source is read where a packet
was first seen and the destination where it was last seen: so the two directions of a
conversation meet under one pair of addresses and ports, whatever NAT did in between.
The client is who sent the first SYN; where none was seen, who got the first SYN-ACK, else who
sent the first packet. Fragments without a header count for the datagram that they belong to.
What is particular to TCP is `analyzer.flows.tcp`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.conversation_statistics import (
    OPTIONS,
    LostBetween,
    OneWayDelays,
    TcpOptionsOffered,
)
from analyzer.flows.frame_notes import FrameNotes
from analyzer.flows.tcp import Segments
from analyzer.model.batch import Batch
from analyzer.model.frames import MARK_FRAGMENT, MARK_MORE_FRAGMENTS
from analyzer.model.journeys import Evidence, Status
from analyzer.model.vantage import Vantage
from analyzer.native.compiled import compiled
from analyzer.native.keys import KeyNumbers, mix
from analyzer.net.ip import TCP, UDP
from analyzer.net.tcp_flags import ACK, SYN

_REASSEMBLY_NS = 30_000_000_000
"""how long fragments wait for each other (net.ipv4.ipfrag_time)"""
_SIDE = ("hi", "lo", "port")
_DATAGRAM = ["protocol", "site", "src_hi", "src_lo", "dst_hi", "dst_lo", "ip_id"]
_MOST_WAITING = 100_000
"""fragments that wait for their first one, and first ones that others may belong to"""
_NEVER = (1 << 63) - 1
_SIDED, _LOW = 7, 5
"""rows of the counts for each direction: packets, bytes, lost; one-way times: their number, sum,
least and greatest"""
_START, _OPENING = 2 * _SIDED, 2 * _SIDED + 1
"""first number, and rank of the packet that opened"""
_ROWS = 2 * _SIDED + 2
SEGMENT = (
    "ts_ns",
    "last_ts_ns",
    "number",
    "seq",
    "ack",
    pl.col("payload_len").alias("length"),
    "flags",
    "window",
    "first_vantage",
    "last_vantage",
    "frames",
    "sent_here",
)


class Conversations:
    """All TCP and UDP conversations, batch by batch."""

    def __init__(self, offers: FrameNotes | None = None) -> None:
        """offers: noted of `analyzer.decode.tcp_options.tcp_options` of SYNs."""
        self._numbers = KeyNumbers()
        self._counts = _nothing(0)
        self._tcp = Segments()
        self._times, self._agreed, self._lost = OneWayDelays(), TcpOptionsOffered(), LostBetween()
        self._offers = offers
        self._rows: list[dict[str, Any]] = []
        self._heads: pl.DataFrame | None = None
        self._pieces: pl.DataFrame | None = None

    def add(self, batch: Batch) -> None:
        """Count the TCP and UDP packets of one batch."""
        rows = _segments(batch)
        pieces = rows.filter(~pl.col("headed"))
        headed = rows
        ported = pl.col("headed") & ((pl.col("src_port") > 0) | (pl.col("dst_port") > 0))
        if not rows.select(ported.all()).item():
            headed = rows.filter(ported)
        heads = headed.filter("more")
        if not pieces.is_empty() or self._pieces is not None or not heads.is_empty():
            headed = self._with_fragments(headed, heads, pieces)
        keys, forward = _keyed(headed)
        numbers, _ = self._numbers.take(keys)
        if not headed.is_empty():
            self._count(headed, numbers, forward)
        self._follow(batch, headed, numbers.astype(np.int64) * 2 + forward)

    def _follow(self, batch: Batch, rows: pl.DataFrame, flow: npt.NDArray[np.int64]) -> None:
        """Hand the TCP segments on; a batch without any, too.

        flow: [n] 2 · conversation, + 1 from the lower end to the higher.
        """
        ours = rows["headed"].to_numpy() & (rows["kind"].to_numpy() == TCP)
        keyed = rows.with_columns(pl.Series("flow", flow)).filter(pl.Series(ours))
        segments, flow = keyed.select("flow", *SEGMENT), flow[ours]
        self._tcp.add(segments, self._numbers.count, batch.settled_ns)
        self._agreed.make_room(2 * self._numbers.count)
        self._agreed.see(keyed, flow)
        offers = self._offers.take(batch) if self._offers else None
        if offers is not None:
            both = keyed.select("number", "flow").join(
                offers.select("number", "ts_ns", *OPTIONS), on="number"
            )
            self._agreed.hear(both, both["flow"].to_numpy())

    def _with_fragments(
        self, headed: pl.DataFrame, heads: pl.DataFrame, pieces: pl.DataFrame
    ) -> pl.DataFrame:
        """The rows and all fragments of which the first one is known by now, with its ports.

        Fragments of which it was not seen yet wait.
        """
        ports = ["src_port", "dst_port"]
        self._heads = _joined(self._heads, heads.select("ts_ns", *_DATAGRAM, *ports))
        self._pieces = _joined(self._pieces, pieces.drop(ports)).sort("ts_ns")
        found = self._pieces.join_asof(
            self._heads.sort("ts_ns"),
            on="ts_ns",
            by=_DATAGRAM,
            strategy="nearest",
            tolerance=_REASSEMBLY_NS,
            check_sortedness=False,
        )
        self._pieces = found.filter(pl.col("src_port").is_null()).drop(ports).tail(_MOST_WAITING)
        self._heads = self._heads.tail(_MOST_WAITING)
        return pl.concat([headed, found.drop_nulls(ports).select(headed.columns)])

    def _count(
        self, rows: pl.DataFrame, numbers: npt.NDArray[np.int32], forward: npt.NDArray[np.int64]
    ) -> None:
        new = self._numbers.count - self._counts.shape[1]
        self._counts = np.concatenate([self._counts, _nothing(new)], axis=1)
        opening = np.full(self._numbers.count, -1, np.int64)
        lost, one_way = (rows["status"] == Status.LOST).to_numpy(), _one_way(rows)
        self._times.add(numbers.astype(np.int64) * 2 + forward, one_way)
        if lost.any():
            ends = {"conversation": numbers[lost], "direction": forward[lost]}
            where = rows.filter(lost).select("last_vantage", "expected")
            self._lost.add(where.with_columns(**{n: pl.Series(c) for n, c in ends.items()}))
        sized = (rows[name].to_numpy() for name in ("payload_len", "rank", "number"))
        _tally(_Packets(numbers, forward, lost, one_way, *sized), self._counts, opening)
        found = np.flatnonzero(opening >= 0)
        self._rows += [{}] * new
        texts = pl.col("protocol", "source", "destination").cast(pl.String)
        sides = pl.Series("forward", forward[opening[found]])
        first = rows[opening[found]].with_columns(texts, sides)
        for conversation, row in zip(found.tolist(), first.iter_rows(named=True), strict=True):
            self._rows[conversation] = row

    def table(self) -> pl.DataFrame:
        """One row a conversation, in order of appearance.

        protocol, client, server (names), client_hi, client_lo, client_port, server_hi, server_lo,
        server_port; of both directions together: packets, bytes (of payload), lost (packets of
        status lost); of each, after who sends: client_packets, client_bytes, client_lost,
        client_min_ns, client_mean_ns, client_max_ns, client_p50_ns, client_p99_ns (one way, first
        vantage to last), server_…; conversation (its number, for `lost_between`); of TCP also
        `TcpOptionsOffered.table` and what `Segments.table` tells, by sides, too.
        """
        if not self._rows:
            return pl.DataFrame(schema={"protocol": pl.String})
        found = (
            pl.DataFrame(self._rows, infer_schema_length=None)
            .hstack(self._totals())
            .hstack(self._tcp.table())
            .hstack(self._agreed.table())
            .with_row_index("conversation")
            .sort("start")
        )
        from_low = pl.col("forward") == (pl.col("rank") == 1)
        sided = [name.removesuffix("_0") for name in found.columns if name.endswith("_0")]
        sides = (
            pl.when(from_low)
            .then(f"{name}_{low}")
            .otherwise(f"{name}_{high}")
            .alias(f"{role}_{name}")
            for role, low, high in (("client", 0, 1), ("server", 1, 0))
            for name in sided
        )
        totals = ("connections", "answered", "initial_rtt_ns", "handshake_rtt_ns")
        both = (
            pl.sum_horizontal(f"{n}_0", f"{n}_1").alias(n) for n in ("packets", "bytes", "lost")
        )
        return found.select(
            "conversation", "protocol", *_side("client"), *_side("server"), *both, *sides, *totals
        )

    def lost_between(self, vantages: Sequence[Vantage]) -> dict[int, list[str]]:
        """By conversation, the most first: ``client: veth0 → veth1: 3``."""
        found = {}
        for conversation, places in self._lost.counts.items():
            opened = self._rows[conversation]
            client = int(opened["forward"] != (opened["rank"] == 1))
            found[conversation] = [
                f"{'client' if side == client else 'server'}: "
                f"{vantages[last].name} → {vantages[expected].name}: {count}"
                for (side, last, expected), count in sorted(
                    places.items(), key=lambda one: (-one[1], one[0])
                )
            ]
        return found

    def _totals(self) -> pl.DataFrame:
        """[conversations] start, and by direction packets, bytes, lost and the one-way times."""
        counts = self._counts
        columns: dict[str, Any] = {"start": counts[_START]}
        for side, half in enumerate((counts[:_SIDED], counts[_SIDED : 2 * _SIDED])):
            packets, size, lost, timed, total, low, high = half
            none = pl.Series(timed == 0)
            columns |= {f"packets_{side}": packets, f"bytes_{side}": size, f"lost_{side}": lost}
            times = {"min_ns": low, "mean_ns": total // np.maximum(timed, 1), "max_ns": high}
            columns |= {f"{n}_{side}": pl.Series(v).set(none, None) for n, v in times.items()}
        for share in (50, 99):
            found = self._times.quantiles(2 * counts.shape[1], share / 100)
            columns |= {f"p{share}_ns_{side}": found.gather_every(2, side) for side in (0, 1)}
        middles = (
            pl.col(name).clip(f"min_ns_{name[-1]}", f"max_ns_{name[-1]}")
            for name in columns
            if name.startswith(("p50", "p99"))
        )
        return pl.DataFrame(columns).with_columns(middles)


def _nothing(conversations: int) -> npt.NDArray[np.int64]:
    """The counts of conversations of which nothing was seen yet."""
    counts = np.zeros((_ROWS, conversations), np.int64)
    counts[[_LOW, _SIDED + _LOW, _START, _OPENING]] = _NEVER
    return counts


def _keyed(rows: pl.DataFrame) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """(key of each packet's conversation, 1 from its lower end to its higher, else 0)."""
    ends = tuple(rows[f"{end}_{part}"].to_numpy() for end in ("src", "dst") for part in _SIDE)
    keys, forward = np.empty(len(rows), np.uint64), np.empty(len(rows), np.int64)
    _keys(keys, forward, rows["kind"].to_numpy(), rows["site"].to_numpy(), ends)
    return keys, forward


def _one_way(rows: pl.DataFrame) -> npt.NDArray[np.int64]:
    """[n] first vantage to last of delivered packets; negative: not known."""
    there = (rows["status"] == Status.DELIVERED) & (rows["frames"] > 1)
    times = (rows["last_ts_ns"] - rows["ts_ns"]).to_numpy()
    return np.where(
        there.to_numpy() & (rows["first_vantage"] != rows["last_vantage"]).to_numpy(), times, -1
    )


def _joined(before: pl.DataFrame | None, rows: pl.DataFrame) -> pl.DataFrame:
    return rows if before is None else pl.concat([before, rows])


def _segments(batch: Batch) -> pl.DataFrame:
    """One row a TCP or UDP packet, with both ends and what tells who opened."""
    frames = batch.frames
    kind = frames["protocol"][batch.packets["first_frame"].to_numpy().astype(np.intp)]
    ours = ((kind == TCP) | (kind == UDP)) & ~batch.packets["stray"].to_numpy()
    names = [
        "number",
        "ts_ns",
        "last_ts_ns",
        "protocol",
        "source",
        "destination",
        "status",
        "expected",
        "frames",
        "first_vantage",
        "last_vantage",
    ]
    chosen = batch.packets.select(*names, "first_frame", "last_frame", "evidence")
    chosen = chosen.filter(pl.Series(ours))
    first, last = (chosen[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last"))
    flags, marks = frames["tcp_flags"][first], frames["marks"][first]
    rank = np.where(flags & SYN == 0, 2, np.where(flags & ACK == 0, 0, 1))
    sent_here = (chosen["evidence"] & Evidence.STATION_OUT) != 0
    return chosen.select(names).with_columns(
        pl.Series("kind", kind[ours]),
        pl.Series("site", batch.journeys.site[frames["vantage"][first]]),
        *(pl.Series(f"src_{part}", frames[f"src_{part}"][first]) for part in _SIDE),
        *(pl.Series(f"dst_{part}", frames[f"dst_{part}"][last]) for part in _SIDE),
        pl.Series("ip_id", frames["ip_id"][first]),
        pl.Series("payload_len", frames["payload_len"][first]),
        pl.Series("headed", (marks & MARK_FRAGMENT) == 0),
        pl.Series("more", (marks & MARK_MORE_FRAGMENTS) != 0),
        pl.Series("rank", rank),
        pl.Series("seq", frames["tcp_seq"][first]),
        pl.Series("ack", frames["tcp_ack"][first]),
        pl.Series("flags", flags),
        pl.Series("window", frames["tcp_window"][first]),
        sent_here.alias("sent_here"),
    )


@compiled
def _keys(keys: Any, forward: Any, kind: Any, site: Any, ends: Any) -> None:
    """One key a conversation: of its two ends, whatever the direction."""
    src_hi, src_lo, src_port, dst_hi, dst_lo, dst_port = ends
    for row in range(len(keys)):
        one = mix(mix(src_hi[row], src_lo[row]), np.uint64(src_port[row]))
        other = mix(mix(dst_hi[row], dst_lo[row]), np.uint64(dst_port[row]))
        what = np.uint64(site[row]) << np.uint64(8) | np.uint64(kind[row])
        keys[row] = mix(mix(min(one, other), max(one, other)), what)
        forward[row] = one < other


class _Packets(NamedTuple):
    """Packets with ports; [packets] of each."""

    conversation: npt.NDArray[np.int32]
    forward: npt.NDArray[np.int64]
    """1: from the conversation's lower end to its higher; else 0"""
    lost: npt.NDArray[np.bool_]
    one_way_ns: npt.NDArray[np.int64]
    """first vantage to last; negative: not known"""
    payload_len: npt.NDArray[np.uint32]
    """bytes"""
    rank: npt.NDArray[np.int64]
    """0: a SYN, 1: a SYN-ACK, 2: neither; the lower, the better it tells who opened"""
    number: npt.NDArray[np.int64]
    """of the first frame in the capture"""


@compiled
def _tally(packets: _Packets, counts: Any, opening: Any) -> None:
    """Into the counts, of the packet's direction.

    opening: [conversations] row of the packet that tells best who opened, where it tells better
    than before.
    """
    for row in range(len(packets.conversation)):
        n, side = packets.conversation[row], _SIDED * packets.forward[row]
        counts[side, n] += 1
        counts[side + 1, n] += packets.payload_len[row]
        counts[side + 2, n] += packets.lost[row]
        time = packets.one_way_ns[row]
        if time >= 0:
            counts[side + 3, n] += 1
            counts[side + 4, n] += time
            counts[side + _LOW, n] = min(counts[side + _LOW, n], time)
            counts[side + 6, n] = max(counts[side + 6, n], time)
        counts[_START, n] = min(counts[_START, n], packets.number[row])
        better = np.int64(packets.rank[row]) << 60 | packets.number[row]
        if better < counts[_OPENING, n]:
            counts[_OPENING, n] = better
            opening[n] = row


def _side(role: str) -> list[pl.Expr]:
    """The client's or the server's columns: source and destination, turned for a SYN-ACK."""
    own, other = (("source", "src"), ("destination", "dst"))
    if role == "server":
        own, other = other, own
    turned = pl.when(pl.col("rank") == 1)
    return [
        turned.then(other[0]).otherwise(own[0]).alias(role),
        *(
            turned.then(f"{other[1]}_{part}").otherwise(f"{own[1]}_{part}").alias(f"{role}_{part}")
            for part in _SIDE
        ),
    ]
