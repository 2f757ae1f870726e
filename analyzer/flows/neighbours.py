"""Neighbour Discovery, told as ARP is: who asked for whom, who answered, how fast (RFC 4861).

A solicitation is tied to the first advertisement of its target that its asker gets. One from the
unspecified address asks whether the address is free (RFC 4862): an answer is a conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.neighbour import neighbour_messages
from analyzer.decode.rows import has_transport
from analyzer.flows.arp import UNANSWERED, UNKNOWN
from analyzer.flows.arp_rows import answer_piece
from analyzer.flows.delays import Delays
from analyzer.flows.endpoints import Endpoints, Sighting
from analyzer.flows.frame_notes import FrameNotes, FrameReader
from analyzer.flows.growing import padded, widened
from analyzer.flows.kind import AggregatorInputs, FlowContext, FlowKind, SheetForm, forgotten
from analyzer.flows.live_numbers import ROWS, LiveNumbers, new_numbers
from analyzer.flows.packets import seen_at
from analyzer.flows.sightings import Sightings
from analyzer.formatting.numbers import format_ns
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.batch import Batch, InOrder
from analyzer.model.bundles import bundle
from analyzer.model.flow_rows import ArpRow
from analyzer.model.vantage import Vantage
from analyzer.native.compiled import compiled
from analyzer.native.keys import mixed
from analyzer.net.ethernet import GROUP_BIT, mac_text
from analyzer.net.icmp import NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION
from analyzer.net.ip import ICMPV6, address_text

_PATIENCE_NS = 10_000_000_000
_ASKED_NS, _FROM, _WAITS, _REQUESTS, _REPLIES, _MAC, _FIRST, _POLLS = range(8)
_PAIR = ("segment", "asker_hi", "asker_lo", "target_hi", "target_lo", "borne_since")


class Neighbours:
    """The pairs of asker and target of a capture."""

    def __init__(self, noted: FrameNotes) -> None:
        """noted: of `analyzer.decode.neighbour.neighbour_messages`."""
        self._noted = noted
        self._order = InOrder()
        self._pairs = LiveNumbers(ROWS)
        self._state = np.zeros((8, 0), np.int64)
        self._rows: list[pl.DataFrame] = []
        self._latency = Delays()
        self._claims: pl.DataFrame | None = None
        self.forgotten = 0
        """pairs of which nothing is told: there were too many"""
        self._seen = pl.DataFrame(schema={"pair": pl.Int32, "seen": pl.Int32})
        """vantages that saw the solicitations of each pair"""

    def add(self, batch: Batch) -> None:
        """Take in the messages of one batch."""
        noted = self._noted.take(batch)
        rows = self._order.held if noted is None else _messages(batch, noted)
        if rows is None:
            return
        rows = self._order.release(rows.clear() if noted is None else rows, batch.settled_ns)
        if len(rows):
            self._take(rows.sort("ts_ns", "number"))

    def _take(self, rows: pl.DataFrame) -> None:
        claims = rows.filter("answer").select("segment", "target_hi", "target_lo", "mac")
        both = claims if self._claims is None else pl.concat([self._claims, claims])
        self._claims = both.unique(maintain_order=True)
        pairs, fresh = self._pairs.take(mixed(*(rows[name].to_numpy() for name in _PAIR)))
        self._rows.append(rows[fresh])
        self._state = widened(self._state, self._pairs.count)
        asked = rows.with_columns(pl.Series("pair", pairs, pl.Int32)).filter(~pl.col("answer"))
        seen = asked.select("pair", "seen").explode("seen").cast(self._seen.schema)
        self._seen = pl.concat([self._seen, seen]).unique(maintain_order=True)
        latency = np.full(len(rows), -1, np.int64)
        messages = bundle(_Messages, rows.with_columns(pl.Series("pair", pairs)))
        _tie(messages, bundle(Sightings, rows), self._state, latency)
        measured = latency >= 0
        self._latency.add(pairs[measured], latency[measured])
        self._shed()

    def _shed(self) -> None:
        """Forget the pairs that were seen least recently, where there are too many."""
        count, kept = self._pairs.count, self._pairs.shed()
        if kept is None:
            return
        self.forgotten, self._rows = self._pairs.forgotten, [pl.concat(self._rows)[kept]]
        self._state = self._state[:, kept]
        self._latency.keep(kept)
        pairs = new_numbers(kept, count)[self._seen["pair"].to_numpy()]
        self._seen = self._seen.with_columns(pair=pl.Series(pairs, dtype=pl.Int32))
        self._seen = self._seen.filter(pl.col("pair") >= 0)
        if self._claims is not None:
            self._claims = self._claims.join(self._rows[0], on=self._claims.columns[:3], how="semi")

    def rows(
        self,
        endpoints: Endpoints,
        vantages: Sequence[Vantage],
        receives: Callable[[int, int], bool],
    ) -> list[ArpRow]:
        """The report's rows, in order of appearance: those who asked."""
        if not self._rows or self._claims is None:
            return []
        table, latency = pl.concat(self._rows), self._latency.table((0.5,))
        p50, longest = (
            padded(latency[name], len(table)).to_list() for name in ("p50_ns", "max_ns")
        )
        claims: dict[tuple[int, int, int], list[int]] = {}
        for segment, high, low, mac in self._claims.iter_rows():
            claims.setdefault((segment, high, low), []).append(mac)
        places: dict[int, list[str]] = {}
        for pair, vantage in self._seen.iter_rows():
            places.setdefault(pair, []).append(vantages[vantage].name)
        rows = []
        for at, row in enumerate(table.iter_rows(named=True)):
            macs = claims.get((row["segment"], row["target_hi"], row["target_lo"]), [])
            wait = [p50[at], longest[at]]
            rows.append(_row(row, self._state[:, at], wait, macs, endpoints))
            if rows[-1].state == UNANSWERED and not receives(row["segment"], row["mac"]):
                rows[-1].state = UNKNOWN
            rows[-1].seen = places.get(at, []) if rows[-1].state == UNANSWERED else []
        order = np.argsort(self._state[_FIRST], kind="stable")
        return [rows[at] for at in order if self._state[_REQUESTS, at]]


def _messages(batch: Batch, noted: pl.DataFrame) -> pl.DataFrame:
    """One row a solicitation or advertisement, after who asks for whom."""
    frames = batch.frames
    first = noted["first_frame"].to_numpy().astype(np.intp)
    answer = pl.col("nd_type") == NEIGHBOUR_ADVERTISEMENT
    columns = {
        name: pl.Series(frames[name][first])
        for name in ("src_hi", "src_lo", "dst_hi", "dst_lo", "eth_src", "eth_dst")
    }
    segment = batch.journeys.segment[frames["vantage"][first]]
    seen = seen_at(batch, batch.journeys.packet[first])
    return (
        noted.with_columns(**columns, segment=pl.Series(segment), seen=seen)
        .with_columns(_borne_since(batch, noted.with_columns(**columns), segment))
        .filter(pl.col("nd_type").is_in([NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT]))
        .select(
            "number",
            "ts_ns",
            "last_ts_ns",
            "first_vantage",
            "last_vantage",
            "segment",
            "borne_since",
            pl.when(answer).then("dst_hi").otherwise("src_hi").alias("asker_hi"),
            pl.when(answer).then("dst_lo").otherwise("src_lo").alias("asker_lo"),
            "target_hi",
            "target_lo",
            answer.alias("answer"),
            pl.when(answer & (pl.col("mac") != 0)).then("mac").otherwise("eth_src").alias("mac"),
            ((pl.col("eth_dst") & GROUP_BIT) == 0).alias("poll"),
            "seen",
        )
    )


def _borne_since(batch: Batch, rows: pl.DataFrame, segment: npt.NDArray[np.int32]) -> pl.Series:
    """[rows] since when the asker has had the MAC from which it asks, or gets its answer."""
    answer = (rows["nd_type"] == NEIGHBOUR_ADVERTISEMENT).to_numpy()
    mac = np.where(answer, rows["eth_dst"].to_numpy(), rows["eth_src"].to_numpy())
    return pl.Series("borne_since", batch.borne_since(segment, mac, rows["ts_ns"].to_numpy()))


class _Messages(NamedTuple):
    """Solicitations and advertisements in order of time; [messages] of each."""

    pair: npt.NDArray[np.int32]
    """number of asker and target"""
    answer: npt.NDArray[np.bool_]
    """an advertisement"""
    mac: npt.NDArray[np.uint64]
    """of who sent it, as it says"""
    number: npt.NDArray[np.int64]
    """of the packet's first frame in the capture"""
    poll: npt.NDArray[np.bool_]
    """sent to one MAC"""


@compiled
def _tie(messages: _Messages, seen: Sightings, state: Any, latency: Any) -> None:
    """Count, and measure answers.

    state: [_ASKED_NS …, pairs]; latency: [messages], filled where an answer came back to where its
    question was first seen.
    """
    for row in range(len(messages.pair)):
        pair = messages.pair[row]
        if state[_REQUESTS, pair] == 0:
            state[_FIRST, pair] = messages.number[row]
        if not messages.answer[row]:
            state[_REQUESTS, pair] += 1
            state[_POLLS, pair] += messages.poll[row]
            state[_ASKED_NS, pair] = seen.ts_ns[row]
            state[_FROM, pair], state[_WAITS, pair] = seen.first_vantage[row], 1
            continue
        state[_REPLIES, pair] += 1
        if state[_WAITS, pair] and seen.ts_ns[row] - state[_ASKED_NS, pair] < _PATIENCE_NS:
            state[_WAITS, pair] = 0
            state[_MAC, pair] = np.int64(messages.mac[row])
            if seen.last_vantage[row] == state[_FROM, pair]:
                latency[row] = seen.last_ts_ns[row] - state[_ASKED_NS, pair]


def _row(
    row: dict[str, Any],
    state: npt.NDArray[np.int64],
    wait: list[int | None],
    macs: list[int],
    endpoints: Endpoints,
) -> ArpRow:
    segment, asker, target = row["segment"], _pair(row, "asker"), _pair(row, "target")
    answer, ns = int(state[_MAC]), row["ts_ns"]
    others = [mac for mac in macs if mac != row["mac"]] if asker == (0, 0) else []
    return ArpRow(
        asker=endpoints.name(Sighting(segment, row["mac"], 6, *asker, ns)),
        asker_ip=address_text(*asker),
        asker_mac=mac_text(row["mac"]),
        target_ip=address_text(*target),
        answered_by=endpoints.name(Sighting(segment, answer, 6, *target, ns)) if answer else "",
        answer_mac=mac_text(answer) if answer else "",
        requests=int(state[_REQUESTS]),
        replies=int(state[_REPLIES]),
        latency_p50_ns=wait[0],
        latency_max_ns=wait[1],
        state=_state(asker, answer, macs, others),
        macs=[mac_text(mac) for mac in macs] if len(macs) > 1 or others else [],
        polls=int(state[_POLLS]),
        first_ns=ns,
    )


def _pair(row: dict[str, Any], side: str) -> tuple[int, int]:
    return row[f"{side}_hi"], row[f"{side}_lo"]


def _state(asker: tuple[int, int], answer: int, macs: list[int], others: list[int]) -> str:
    """others: MACs that claim what somebody else asks to be free; its own announcement, when
    nobody had it, is none."""
    if len(macs) > 1 or others:
        return "conflict"
    if asker == (0, 0):
        return "probe"
    return "resolved" if answer else UNANSWERED


_READER = FrameReader("nd", neighbour_messages, lambda frames: has_transport(frames, ICMPV6))


def _aggregator(inputs: AggregatorInputs) -> Neighbours:
    return Neighbours(inputs.readers.notes(_READER))


def _cells(row: ArpRow) -> Iterable[Piece]:
    yield Piece(row.asker)
    yield Piece(row.target_ip)
    yield answer_piece(row)
    yield count_piece(row.requests)
    yield count_piece(row.replies)
    yield Piece(format_ns(row.latency_p50_ns))
    yield Piece(format_ns(row.latency_max_ns))


def _rows(neighbours: Neighbours, context: FlowContext) -> list[ArpRow]:
    """A filter of one direction may have left answers out."""
    if context.one_way:
        return neighbours.rows(context.endpoints, context.vantages, lambda segment, mac: False)
    return neighbours.rows(context.endpoints, context.vantages, context.receives)


KINDS = (
    FlowKind(
        name="nd",
        row=ArpRow,
        about="who asked for an IPv6 address by Neighbour Discovery, and who answered (RFC 4861)",
        aggregator=_aggregator,
        rows=_rows,
        sheet=SheetForm(
            place=6,
            title="Neighbour Discovery",
            note="",
            words=("who asks", "for whom", "answer"),
            numbers=("req", "repl", "p50", "max"),
            cells=_cells,
            noun="pair",
        ),
        left_out=forgotten,
    ),
)
