"""ICMP and ICMPv6 echo: which reply answers which request, RTT, turnaround, loss (RFC 792, 4443).

The RTT is taken at the asker's own interface: the reply's last frame minus the request's
first one at the same vantage. Turnaround is from the request's last frame to the reply's
first one at the vantage that is nearest to the answering end; with only one vantage there is
none. Hops in between telescope, so request hops + turnaround + reply hops are the RTT to the
nanosecond.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.delays import Delays
from analyzer.flows.packets import path_matrix
from analyzer.flows.silent_echoes import LAST, SilentEchoes
from analyzer.flows.slow_echoes import SLOWEST, SlowEcho, SlowEchoes, slowest_hops
from analyzer.model.batch import Batch, InOrder
from analyzer.model.journeys import Status
from analyzer.native.compiled import compiled
from analyzer.native.keys import KeyNumbers, mixed
from analyzer.net.icmp import ECHO_REPLIES, ECHO_REQUESTS
from analyzer.net.ip import ICMP, ICMPV6

GRACE_NS = 100_000_000
"""a request sent this shortly before the capture's end may still have been answered after it"""

_AT_ONCE = 1 << 16
"""messages that are looked at together"""
REPEAT_NS = 1_000_000_000
"""a request with the same id and seq as one so shortly before, unanswered, is that one again"""

KEY = ["site", "asker_hi", "asker_lo", "target_hi", "target_lo", "id", "seq"]
CONVERSATION = ["protocol", "source", "destination", *KEY[:-1]]
_NAMES = CONVERSATION[:3]


_TEXTS = pl.col(_NAMES).cast(pl.String)
_OF_PACKET = (
    "ts_ns",
    "last_ts_ns",
    "first_vantage",
    "last_vantage",
    "pair",
    "status",
    "first_frame",
    "last_frame",
    *_NAMES,
)
_FIRST = pl.col(*CONVERSATION, "payload_len"), pl.col("first_vantage").alias("vantage")
_TIMES = ("ts_ns", "last_ts_ns", "first_vantage", "last_vantage", "status")
_SENT, _HOME, _MORE = range(3)
"""rows of the counts: requests, answered at the asker's interface, further replies"""
_ECHO, _GROUP, _ANSWERED, _REPLIED, _WAITS, _EVENT, _NUMBER = range(7)
_TS, _LAST_TS, _FROM, _TO, _PAIR, _SLOW = range(7, 13)
_SILENT = _SLOW + len(SLOWEST)
_STATES = _SILENT + 1
"""rows of what is known of the latest request with a KEY: its number, conversation, whether it
was answered at home, has a reply, waits for the first; the last event; id << 16 | seq; its times
and vantages, pair and slowest hop, number among the silent"""
_BROUGHT = ("pair", *(f"request_{name}" for name in SLOWEST))
"""what a reply is told of its request"""
HOPS = ("hop_from", "hop_to", "hop_kind", "hop_ns")
_ELSEWHERE = 2
"""of _ANSWERED: a reply was seen, and nobody knows whether it came home"""
_LOST = int(Status.LOST)


class EchoesOutside(Protocol):
    """Of a time window: the echoes (`echo_numbers`) that were seen outside of it."""

    @property
    def asked(self) -> npt.NDArray[np.int64]:
        """Those that began before it, which are not its own."""

    @property
    def went_on(self) -> npt.NDArray[np.int64]:
        """Those seen after it, too, which are not called lost."""


@dataclass(frozen=True, slots=True)
class NoEchoesOutside:
    """Of a whole capture."""

    asked: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    went_on: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


class Echoes:
    """Echo conversations, batch by batch."""

    def __init__(self, keep: bool = False, outside: EchoesOutside | None = None) -> None:
        """keep: every echo as a row, too. outside: where only a time window is analysed."""
        self._outside = outside or NoEchoesOutside()
        self._order = InOrder(_AT_ONCE)
        self._keys, self._groups = KeyNumbers(), KeyNumbers()
        self._open = np.zeros((_STATES, 0), np.int64)
        self._rows: list[pl.DataFrame] = []
        self._counts = np.zeros((3, 0), np.int64)
        self._rtt, self._turnaround = Delays(), Delays()
        self._slow, self._silent = SlowEchoes(), SilentEchoes()
        self._echoes = 0
        self._kept: list[pl.DataFrame] | None = [] if keep else None

    @property
    def keeps(self) -> bool:
        """Whether `echoes` has them all."""
        return self._kept is not None

    def add(self, batch: Batch) -> None:
        """Take in the echo messages of one batch."""
        events = self._without_early(_events(batch))
        if self._kept is not None:
            events = _with_hops(events, batch)
        events = self._order.release(events, batch.settled_ns)
        if not events.is_empty():
            self._take(events)

    def _without_early(self, events: pl.DataFrame) -> pl.DataFrame:
        before = self._outside.asked
        if not len(before):
            return events
        number = echo_numbers(events["id"].to_numpy(), events["seq"].to_numpy())
        return events.filter(~pl.Series(np.isin(number, before)))

    def _take(self, events: pl.DataFrame) -> None:
        """Events in order of time: tie replies to requests, count, measure."""
        keys, _ = self._keys.take(mixed(*(events[name].to_numpy() for name in KEY)))
        group = [events[name].to_numpy() for name in ("pair", *KEY[:-1])]
        asked = events["asked"].to_numpy()
        groups, fresh = self._groups_of(group, asked)
        if len(fresh):
            self._rows.append(events[fresh].select(*_FIRST).with_columns(_TEXTS))
        self._counts = _wider(self._counts, self._groups.count, 0)
        self._open = _wider(self._open, self._keys.count, -1)
        self._open[_NUMBER, keys] = echo_numbers(events["id"].to_numpy(), events["seq"].to_numpy())
        columns = tuple(events[name].to_numpy() for name in _TIMES)
        known = np.stack([events[name].to_numpy().astype(np.int64) for name in ("pair", *SLOWEST)])
        silent = self._silent.groups_of(events)
        ties, rtt, turnaround = (np.full(len(events), -1, np.int64) for _ in range(3))
        brought = np.full(known.shape, -1, np.int64)
        self._echoes = _pair(
            asked,
            keys,
            groups,
            columns,
            known,
            silent,
            self._open,
            self._counts,
            self._silent.counts,
            self._echoes,
            ties,
            rtt,
            turnaround,
            brought,
        )
        self._find_slow(events, rtt, turnaround, brought)
        for delays, times in ((self._rtt, rtt), (self._turnaround, turnaround)):
            there = times >= 0
            delays.add(self._open[_GROUP, keys[there]].astype(np.int32), times[there])
        if self._kept is not None:
            found = {"tie": ties, "rtt_ns": rtt, "turnaround_ns": turnaround}
            measured = [pl.Series(name, column) for name, column in found.items()]
            self._kept.append(events.with_columns(*measured))

    def _find_slow(
        self,
        events: pl.DataFrame,
        rtt: npt.NDArray[np.int64],
        turnaround: npt.NDArray[np.int64],
        brought: npt.NDArray[np.int64],
    ) -> None:
        """Hand on the round trips of which every part is known."""
        rows = np.flatnonzero(turnaround >= 0)
        ends = {"source": "destination", "destination": "source"}
        self._slow.add(
            events[rows]
            .select("seq", *SLOWEST, **{n: pl.col(o) for n, o in ends.items()})
            .with_columns(
                pl.Series("rtt_ns", rtt[rows]),
                pl.Series("turnaround_ns", turnaround[rows]),
                *(pl.Series(n, brought[k, rows]) for k, n in enumerate(_BROUGHT)),
            )
        )

    def slow(self) -> list[SlowEcho]:
        """Echoes that took far longer than the others of their pair."""
        return self._slow.rows()

    def silent(self, end_ns: int) -> Iterator[dict[str, Any]]:
        """Requests that came to their end and brought no reply: see `SilentEchoes.rows`."""
        state = self._open
        waiting = (state[_REPLIED] == 0) & (state[_SILENT] >= 0) & self._late(end_ns)
        return self._silent.rows(state[_SILENT, waiting])

    def _late(self, end_ns: int) -> npt.NDArray[np.bool_]:
        """[keys] whether the latest request may be answered after the end."""
        went_on = np.isin(self._open[_NUMBER], self._outside.went_on)
        late: npt.NDArray[np.bool_] = (self._open[_TS] > end_ns - GRACE_NS) | went_on
        return late

    def _groups_of(
        self, columns: list[npt.NDArray[Any]], asked: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """(number of each request's conversation, rows of new ones); replies have none: -1."""
        rows = np.flatnonzero(asked)
        found, fresh = self._groups.take(mixed(*(column[rows] for column in columns)))
        groups = np.full(len(asked), -1, np.int32)
        groups[rows] = found
        return groups, rows[fresh]

    def table(self, end_ns: int) -> pl.DataFrame:
        """One row a conversation (asker, target, id), in order of appearance.

        end_ns: when the capture ended; a request shortly before it is unmatched, not lost.
        """
        rows = pl.concat(self._rows) if self._rows else _EMPTY
        answered = self._open[_ANSWERED]
        waiting = ((answered == 0) & self._late(end_ns)) | (answered == _ELSEWHERE)
        unmatched = np.bincount(self._open[_GROUP, waiting], minlength=len(rows))
        rtt = self._rtt.table((0.5, 0.99))
        turnaround = self._turnaround.table((0.5,))
        turned_at = np.full(len(rows), -1, np.int64)
        home = answered == 1
        turned_at[self._open[_GROUP, home]] = self._open[_TO, home]
        return rows.with_columns(
            pl.Series("sent", self._counts[_SENT]),
            pl.Series("answered", self._counts[_HOME]),
            pl.Series("unmatched", unmatched, pl.Int64),
            pl.Series("duplicates", self._counts[_MORE]),
            *(
                _padded(rtt[f"{name}_ns"], len(rows)).alias(f"rtt_{name}_ns")
                for name in ("min", "p50", "p99", "max")
            ),
            _padded(turnaround["p50_ns"], len(rows)).alias("turnaround_p50_ns"),
            pl.Series("turned_at", turned_at),
        )

    def echoes(self, end_ns: int) -> pl.DataFrame:
        """One row an echo request, in order of time; only where they are kept.

        Columns: those of KEY, ts_ns, source, destination, vantage (where it was first seen),
        rtt_ns, turnaround_ns, answered, open (too close to the capture's end to say),
        request_last, reply_last (vantages), request_status, reply_status, ttl; HOPS of both as
        request_… and reply_….
        """
        events = pl.concat(self._kept).with_columns(_TEXTS) if self._kept else None
        if events is None:
            return pl.DataFrame(schema=dict.fromkeys(KEY, pl.Int64))
        requests = events.filter("asked", pl.col("tie") >= 0)
        replies = events.filter(~pl.col("asked"), pl.col("tie") >= 0)
        times = ("rtt_ns", "turnaround_ns")
        replies = replies.sort(pl.col("rtt_ns") < 0, maintain_order=True)
        replies = replies.unique("tie", keep="first", maintain_order=True).select(
            "tie",
            "ttl",
            *(pl.when(pl.col(name) >= 0).then(name).alias(name) for name in times),
            pl.col("last_vantage").alias("reply_last"),
            pl.col("status").alias("reply_status"),
            *(pl.col(name).alias(f"reply_{name}") for name in HOPS),
        )
        found = requests.drop("ttl", *times).join(
            replies, on="tie", how="left", maintain_order="left"
        )
        answered = pl.col("rtt_ns").is_not_null()
        number = echo_numbers(found["id"].to_numpy(), found["seq"].to_numpy())
        late = (pl.col("ts_ns") > end_ns - GRACE_NS) | pl.Series(
            np.isin(number, self._outside.went_on)
        )
        return found.with_columns(
            answered.alias("answered"),
            (~answered & (late | (pl.col("reply_status") != _LOST).fill_null(False))).alias("open"),
            pl.col("first_vantage").alias("vantage"),
            pl.col("last_vantage").alias("request_last"),
            *(pl.col(name).alias(f"request_{name}") for name in HOPS),
            pl.col("status").alias("request_status"),
        )


def echo_numbers(ident: npt.NDArray[Any], seq: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """What echoes are told by, in one number: id << 16 | seq."""
    return ident.astype(np.int64) << 16 | seq.astype(np.int64)


def _wider(table: npt.NDArray[np.int64], count: int, fill: int) -> npt.NDArray[np.int64]:
    """The table with ``count`` columns at least."""
    if table.shape[1] >= count:
        return table
    spare = count if not fill else max(count, 2 * table.shape[1])
    more = np.full((len(table), spare - table.shape[1]), fill, np.int64)
    return np.concatenate([table, more], axis=1)


def _padded(column: pl.Series, count: int) -> pl.Series:
    """With nulls for groups that have no value."""
    return column.extend_constant(None, max(count - len(column), 0)).head(count)


def _with_hops(events: pl.DataFrame, batch: Batch) -> pl.DataFrame:
    """The events with the hops of their journeys: lists hop_from, hop_to (vantages), hop_kind
    (codes), hop_ns."""
    journeys, vantage, ts = batch.journeys, batch.frames["vantage"], batch.frames["ts_ns"]
    matrix = path_matrix(events["last_frame"].to_numpy(), journeys.parent)
    row, step = np.nonzero(matrix[:, 1:] >= 0)
    before, after = matrix[row, step], matrix[row, step + 1]
    hops = (
        pl.DataFrame(
            {
                "row": row.astype(np.uint32),
                "hop_from": vantage[before],
                "hop_to": vantage[after],
                "hop_kind": journeys.hop[after],
                "hop_ns": ts[after] - ts[before],
            }
        )
        .group_by("row", maintain_order=True)
        .agg(pl.all())
    )
    numbered = events.with_row_index("row")
    return numbered.join(hops, on="row", how="left", maintain_order="left").drop("row")


def _events(batch: Batch) -> pl.DataFrame:
    """One row an echo message, request or reply."""
    packets, frames = batch.packets, batch.frames
    first = packets["first_frame"].to_numpy().astype(np.intp)
    protocol = frames["protocol"][first]
    rows = np.flatnonzero((protocol == ICMP) | (protocol == ICMPV6))
    kind, version4 = frames["icmp_type"][first[rows]], protocol[rows] == ICMP
    echo, echo_v6 = zip(ECHO_REQUESTS, ECHO_REPLIES, strict=True)
    ours = np.where(version4, np.isin(kind, echo), np.isin(kind, echo_v6))
    ours &= (frames["l4_offset"][first[rows]] > 0) & ~packets["stray"].to_numpy()[rows]
    chosen: pl.DataFrame = packets.select(*_OF_PACKET)[rows[ours]]
    first, last = (chosen[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last"))
    kind = frames["icmp_type"][first]
    asked: npt.NDArray[np.bool_] = np.isin(kind, ECHO_REQUESTS)
    end = np.where(asked, first, last)

    def side(request: str, reply: str) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = np.where(asked, frames[request][end], frames[reply][end])
        return found

    return chosen.with_columns(
        pl.Series("asked", asked),
        pl.Series("site", batch.journeys.site[frames["vantage"][end]]),
        *(pl.Series(f"asker_{h}", side(f"src_{h}", f"dst_{h}")) for h in ("hi", "lo")),
        *(pl.Series(f"target_{h}", side(f"dst_{h}", f"src_{h}")) for h in ("hi", "lo")),
        pl.Series("id", frames["icmp_id"][end]),
        pl.Series("seq", frames["icmp_seq"][end]),
        pl.Series("payload_len", frames["payload_len"][first]),
        pl.Series("ttl", frames["ttl"][last]),
        *(pl.Series(name, frames[name.removeprefix("last_")][last]) for name in LAST),
        *map(pl.Series, SLOWEST, slowest_hops(frames, batch.journeys, last)),
    )


_EMPTY = pl.DataFrame(
    schema={
        **dict.fromkeys(_NAMES, pl.String),
        "site": pl.Int32,
        **dict.fromkeys(KEY[1:5], pl.UInt64),
        "id": pl.UInt16,
        "payload_len": pl.UInt32,
        "vantage": pl.Int32,
    }
)


@compiled
def _pair(
    asked: Any,
    keys: Any,
    groups: Any,
    columns: Any,
    known: Any,
    silent_of: Any,
    state: Any,
    counts: Any,
    silent: Any,
    echo: int,
    ties: Any,
    rtt: Any,
    turnaround: Any,
    brought: Any,
) -> Any:
    """Go through the events in order; the number of the next echo.

    Fills ties (number of the echo that a request is and a reply answers), and for the first
    reply of each rtt and turnaround where they could be taken, and what is known of its request
    (brought). Only the first of requests with
    one KEY that follow each other without an answer between is one: no pinger uses a sequence
    number again so soon, so the others were duplicated on the way, or are copies in a file
    that does not tell its vantages apart (``tcpdump -i any``, merged files). A reply that was
    seen, and neither lost nor at the vantage where its request was first seen, decides nothing: a
    bridge's copy whose port was not captured is one.
    """
    ts, last_ts, first_at, last_at, status = columns
    for e in range(len(keys)):
        k = keys[e]
        if asked[e]:
            again = state[_WAITS, k] == 1 and ts[e] - state[_EVENT, k] <= REPEAT_NS
            state[_EVENT, k] = ts[e]
            if again:
                continue
            state[_ECHO, k], state[_GROUP, k], state[_WAITS, k] = echo, groups[e], 1
            state[_ANSWERED, k], state[_REPLIED, k] = 0, 0
            state[_TS, k], state[_LAST_TS, k] = ts[e], last_ts[e]
            state[_FROM, k], state[_TO, k] = first_at[e], last_at[e]
            for row in range(len(known)):
                state[_PAIR + row, k] = known[row, e]
            state[_SILENT, k] = silent_of[e]
            if silent_of[e] >= 0:
                silent[silent_of[e]] += 1
            counts[_SENT, groups[e]] += 1
            ties[e] = echo
            echo += 1
        else:
            state[_WAITS, k], state[_EVENT, k] = 0, ts[e]
            if state[_ECHO, k] < 0:
                continue
            ties[e] = state[_ECHO, k]
            if state[_REPLIED, k] == 0 and state[_SILENT, k] >= 0:
                silent[state[_SILENT, k]] -= 1
            state[_REPLIED, k] = 1
            home = last_at[e] == state[_FROM, k]
            if state[_ANSWERED, k] == 1:
                counts[_MORE, state[_GROUP, k]] += 1 if home else 0
            elif not home and first_at[e] == state[_FROM, k] and status[e] != _LOST:
                state[_ANSWERED, k] = 1
                counts[_HOME, state[_GROUP, k]] += 1
                rtt[e] = ts[e] - state[_TS, k]
            elif not home and status[e] != _LOST:
                state[_ANSWERED, k] = _ELSEWHERE
            elif home:
                state[_ANSWERED, k] = 1
                counts[_HOME, state[_GROUP, k]] += 1
                rtt[e] = last_ts[e] - state[_TS, k]
                if first_at[e] == state[_TO, k] and state[_TO, k] != state[_FROM, k]:
                    turnaround[e] = ts[e] - state[_LAST_TS, k]
                    for row in range(len(known)):
                        brought[row, e] = state[_PAIR + row, k]
    return echo
