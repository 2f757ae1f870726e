"""ICMP and ICMPv6 echo: which reply answers which request, RTT, turnaround, loss (RFC 792, 4443).

The RTT is taken at the asker's own interface: the reply's last frame minus the request's
first one at the same vantage. Turnaround is from the request's last frame to the reply's
first one at the vantage that is nearest to the answering end; with only one vantage there is
none. Hops in between telescope, so request hops + turnaround + reply hops are the RTT to the
nanosecond.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.delays import Delays
from analyzer.flows.echo_messages import (
    HOPS,
    KEY,
    NAMES,
    echo_messages,
    echo_numbers,
    first_replies,
    with_hops,
)
from analyzer.flows.echo_pairing import (
    ANSWERED,
    AT_HOME,
    ELSEWHERE,
    GROUP,
    HOME,
    MORE,
    NUMBER,
    REPLIED,
    SENT,
    SENT_NS,
    SILENT,
    STATES,
    TO,
    EchoColumns,
    EchoState,
    Pairing,
    new_pairing,
    pair_echoes,
)
from analyzer.flows.echoes_outside import EchoesOutside, NoEchoesOutside
from analyzer.flows.group_echoes import GroupEchoes
from analyzer.flows.growing import padded, widened
from analyzer.flows.live_numbers import ROWS, LiveNumbers, new_numbers
from analyzer.flows.sightings import Sightings, machine_of
from analyzer.flows.silent_echoes import SilentEchoes
from analyzer.flows.slow_echoes import SLOWEST, SlowEcho, SlowEchoes
from analyzer.model.batch import Batch, InOrder
from analyzer.model.bundles import bundle
from analyzer.model.journeys import Status
from analyzer.native.keys import mixed

GRACE_NS = 100_000_000
"""a request sent this shortly before the capture's end may still have been answered after it"""

_AT_ONCE = 1 << 16
"""messages that are looked at together"""
_CONVERSATION = [*NAMES, *KEY[:-1], "to_group"]
_FIRST = pl.col(*_CONVERSATION, "payload_len"), pl.col("first_vantage").alias("vantage")
_JOURNEY = ("pair", *SLOWEST)
_BROUGHT = ("pair", *(f"request_{name}" for name in SLOWEST))
"""what a reply is told of its request"""
_LOST = int(Status.LOST)


class Echoes:
    """Echo conversations, batch by batch."""

    def __init__(self, keep: bool = False, outside: EchoesOutside | None = None) -> None:
        """keep: every echo as a row, too. outside: where only a time window is analysed."""
        self._outside = outside or NoEchoesOutside()
        self._order = InOrder(_AT_ONCE)
        self._keys, self._groups = LiveNumbers(), LiveNumbers(ROWS)
        self._open = np.zeros((STATES, 0), np.int64)
        self._rows: list[pl.DataFrame] = []
        self._counts = np.zeros((3, 0), np.int64)
        self._unknown = np.zeros(0, np.int64)
        """[conversations] requests that were forgotten before they were answered"""
        self._rtt, self._turnaround = Delays(), Delays()
        self._slow, self._silent = SlowEchoes(), SilentEchoes()
        self._to_groups = GroupEchoes()
        self._echoes = 0
        self._machine = np.empty(0, np.int64)
        self._kept: list[pl.DataFrame] | None = [] if keep else None

    @property
    def keeps(self) -> bool:
        """Whether `echoes` has them all."""
        return self._kept is not None

    def add(self, batch: Batch) -> None:
        """Take in the echo messages of one batch."""
        events = self._without_early(echo_messages(batch))
        if self._kept is not None:
            events = with_hops(events, batch)
        self._machine = np.array([machine_of(v) for v in batch.vantages], np.int64)
        events = self._order.release(events, batch.settled_ns)
        if not events.is_empty():
            self._take(self._to_groups.take(events))

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
            self._rows.append(events[fresh].select(*_FIRST))
        self._counts = widened(self._counts, self._groups.count)
        self._open = widened(self._open, self._keys.count, -1, spare=True)
        self._open[NUMBER, keys] = echo_numbers(events["id"].to_numpy(), events["seq"].to_numpy())
        journey = np.stack([events[name].to_numpy().astype(np.int64) for name in _JOURNEY])
        silent, status = self._silent.groups_of(events), events["status"].to_numpy()
        told = (events["first_told"].to_numpy(), events["last_told"].to_numpy())
        messages = EchoColumns(asked, keys, groups, silent, status, journey, *told, self._machine)
        state = EchoState(self._open, self._counts, self._silent.counts)
        pairing = new_pairing(len(events))
        self._echoes = pair_echoes(
            messages, bundle(Sightings, events), state, self._echoes, pairing
        )
        self._measure(events, keys, pairing)
        self._shed()

    @property
    def forgotten(self) -> int:
        """Conversations of which nothing is told: there were too many."""
        return self._groups.forgotten

    def _shed(self) -> None:
        """Forget conversations and requests that were seen least recently, where there are too
        many: whether such a request was answered is not known."""
        count = self._groups.count
        self._unknown = np.concatenate([self._unknown, np.zeros(count - len(self._unknown), int)])
        silent = self._silent.shed()
        if silent is not None:
            seen = self._open[SILENT]
            self._open[SILENT] = np.where(seen >= 0, silent[seen], -1)
        groups = self._groups.shed()
        if groups is not None:
            self._rows = [pl.concat(self._rows)[groups]]
            self._counts, self._unknown = self._counts[:, groups], self._unknown[groups]
            for delays in (self._rtt, self._turnaround):
                delays.keep(groups)
            new, of_key = new_numbers(groups, count), self._open[GROUP]
            self._open[GROUP] = of_key = np.where(of_key >= 0, new[of_key], -1)
            self._keep_requests(np.flatnonzero(of_key[: self._keys.count] >= 0))
        if (latest := self._keys.latest()) is not None:
            self._keep_requests(latest)

    def _keep_requests(self, keys: npt.NDArray[np.int64]) -> None:
        gone = np.ones(self._keys.count, np.bool_)
        gone[keys] = False
        state = self._open[:, : len(gone)][:, gone]
        np.add.at(self._unknown, state[GROUP, (state[ANSWERED] == 0) & (state[GROUP] >= 0)], 1)
        waiting = state[SILENT, (state[REPLIED] == 0) & (state[SILENT] >= 0)]
        np.subtract.at(self._silent.counts, waiting, 1)
        self._open = self._open[:, keys]
        self._keys.keep(keys)

    def _measure(self, events: pl.DataFrame, keys: npt.NDArray[np.int32], pairing: Pairing) -> None:
        """Hand on what was measured of these events."""
        self._find_slow(events, pairing)
        for delays, times in (
            (self._rtt, pairing.rtt_ns),
            (self._turnaround, pairing.turnaround_ns),
        ):
            measured = times >= 0
            delays.add(self._open[GROUP, keys[measured]].astype(np.int32), times[measured])
        if self._kept is not None:
            told = ("tie", "rtt_ns", "turnaround_ns", "answered")
            columns = (pl.Series(name, getattr(pairing, name)) for name in told)
            self._kept.append(events.with_columns(*columns))

    def _find_slow(self, events: pl.DataFrame, pairing: Pairing) -> None:
        """Hand on the round trips of which every part is known."""
        rows = np.flatnonzero(pairing.turnaround_ns >= 0)
        ends = {"source": "destination", "destination": "source"}
        self._slow.add(
            events[rows]
            .select("seq", *SLOWEST, **{n: pl.col(o) for n, o in ends.items()})
            .with_columns(
                pl.Series("rtt_ns", pairing.rtt_ns[rows]),
                pl.Series("turnaround_ns", pairing.turnaround_ns[rows]),
                *(pl.Series(n, pairing.brought[k, rows]) for k, n in enumerate(_BROUGHT)),
            )
        )

    def slow(self) -> list[SlowEcho]:
        """Echoes that took far longer than the others of their pair."""
        return self._slow.rows()

    def silent(self, end_ns: int) -> Iterator[dict[str, Any]]:
        """Requests that came to their end and brought no reply: see `SilentEchoes.rows`."""
        state, late = self._open, self._late(end_ns)
        silent = (state[REPLIED] == 0) & (state[SILENT] >= 0)
        never = silent & ~late
        return self._silent.rows(
            state[SILENT, silent & late], (state[SILENT, never], state[SENT_NS, never])
        )

    def _late(self, end_ns: int) -> npt.NDArray[np.bool_]:
        """[keys] whether the latest request may be answered after the end."""
        went_on = np.isin(self._open[NUMBER], self._outside.went_on)
        late: npt.NDArray[np.bool_] = (self._open[SENT_NS] > end_ns - GRACE_NS) | went_on
        return late

    def _groups_of(
        self, columns: list[npt.NDArray[Any]], asked: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """(number of each request's conversation, rows of new ones); replies have none: -1."""
        rows = np.flatnonzero(asked)
        numbers, fresh = self._groups.take(mixed(*(column[rows] for column in columns)))
        groups = np.full(len(asked), -1, np.int32)
        groups[rows] = numbers
        return groups, rows[fresh]

    def table(self, end_ns: int) -> pl.DataFrame:
        """One row a conversation (asker, target, id), in order of appearance.

        end_ns: when the capture ended; a request shortly before it is unmatched, not lost.
        """
        rows = pl.concat(self._rows) if self._rows else _EMPTY
        answered = self._open[ANSWERED]
        waiting = ((answered == 0) & self._late(end_ns)) | (answered == ELSEWHERE)
        unmatched = np.bincount(self._open[GROUP, waiting], minlength=len(rows))
        rtt = self._rtt.table((0.5, 0.99))
        turnaround = self._turnaround.table((0.5,))
        turned_at = np.full(len(rows), -1, np.int64)
        home = answered == AT_HOME
        turned_at[self._open[GROUP, home]] = self._open[TO, home]
        return rows.with_columns(
            pl.Series("sent", self._counts[SENT]),
            pl.Series("answered", self._counts[HOME]),
            pl.Series("unmatched", unmatched + self._unknown, pl.Int64),
            pl.Series("duplicates", self._counts[MORE]),
            *(
                padded(rtt[f"{name}_ns"], len(rows)).alias(f"rtt_{name}_ns")
                for name in ("min", "p50", "p99", "max")
            ),
            padded(turnaround["p50_ns"], len(rows)).alias("turnaround_p50_ns"),
            pl.Series("turned_at", turned_at),
        )

    def echoes(self, end_ns: int) -> pl.DataFrame:
        """One row an echo request, in order of time; only where they are kept.

        Columns: those of KEY, ts_ns, source, destination, vantage (where it was first seen),
        rtt_ns, turnaround_ns, answered, open (too close to the capture's end to say),
        request_last, reply_last (vantages), request_status, reply_status, ttl; HOPS of both as
        request_… and reply_….
        """
        events = pl.concat(self._kept) if self._kept else None
        if events is None:
            return pl.DataFrame(schema=dict.fromkeys(KEY, pl.Int64))
        requests = events.filter("asked", pl.col("tie") >= 0).drop(
            "ttl", "rtt_ns", "turnaround_ns", "answered"
        )
        echoes = requests.join(first_replies(events), on="tie", how="left", maintain_order="left")
        answered = pl.col("answered").fill_null(False)
        number = echo_numbers(echoes["id"].to_numpy(), echoes["seq"].to_numpy())
        late = (pl.col("ts_ns") > end_ns - GRACE_NS) | pl.Series(
            np.isin(number, self._outside.went_on)
        )
        return echoes.with_columns(
            answered.alias("answered"),
            (~answered & (late | (pl.col("reply_status") != _LOST).fill_null(False))).alias("open"),
            pl.col("first_vantage").alias("vantage"),
            pl.col("last_vantage").alias("request_last"),
            *(pl.col(name).alias(f"request_{name}") for name in HOPS),
            pl.col("status").alias("request_status"),
        )


_EMPTY = pl.DataFrame(
    schema={
        **dict.fromkeys(NAMES, pl.String),
        "site": pl.Int32,
        **dict.fromkeys(KEY[1:5], pl.UInt64),
        "id": pl.UInt16,
        "to_group": pl.Boolean,
        "payload_len": pl.UInt32,
        "vantage": pl.Int32,
    }
)
