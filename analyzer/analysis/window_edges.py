"""A time window cut out of a capture while it is read, and its edges kept from looking like losses.

A packet that was on its way at the edge has some of its frames inside and some outside. Those
outside are not analysed, but a little of them is noted: what is seen again after the window is
not lost, an echo that is answered after it is not unanswered, and a packet with a missing start is
no evidence for or against a bridge. Packets that the notes may change wait for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct, field

from analyzer.analysis.window import MAX_NS, MIN_NS, Window
from analyzer.correlate.packet_completion import FLUSH_NS, MOST_HELD
from analyzer.flows.echo_messages import echoes_in
from analyzer.model.flow_rows import ArpRow
from analyzer.model.journeys import Journeys, Status
from analyzer.net.arp import REPLY as ARP_REPLY
from analyzer.net.ethernet import ARP
from analyzer.net.icmp import ECHO_REPLIES, ECHO_REQUESTS
from analyzer.net.ip import MAPPED, address_text

QUEUE_NS = 5_000_000_000
"""a queue may hold a packet this long; a copy later than that is another packet's"""
NEAR_NS = 100_000_000
"""a packet this near to an edge may be cut by it"""
_MOST_AGAIN = 1 << 21
"""frames after the window that are noted to take losses back"""
_ECHOES = (*ECHO_REQUESTS, *ECHO_REPLIES)

Columns = Mapping[str, npt.NDArray[Any]]
_NOBODY = np.empty(0, np.int64)


class WindowEdges(Struct):
    """The window's bounds, and what was noted outside of them."""

    window: Window
    since_ns: int = MIN_NS
    until_ns: int = MAX_NS
    first_ns: int = MAX_NS
    last_ns: int = MIN_NS
    """of all frames, outside ones too"""
    asked: npt.NDArray[np.int64] = field(default_factory=lambda: _NOBODY)
    """echoes (`echo_numbers`) whose request came before the window: an echo belongs to the window
    that its request began in"""
    went_on: npt.NDArray[np.int64] = field(default_factory=lambda: _NOBODY)
    """echoes of which something was seen after the window"""
    _near: list[pl.DataFrame] = field(default_factory=list)
    """l2key, other_ns: frames outside, near to an edge"""
    _again: list[pl.DataFrame] = field(default_factory=list)
    """l2key, vantage, ts_ns: frames after the window"""
    _noted: int = 0
    _answers: set[tuple[int, int]] = field(default_factory=set)
    """(who answers, who asked) by ARP after the window"""

    @property
    def saw_nothing(self) -> bool:
        """There was no frame yet, inside or outside."""
        return self.first_ns == MAX_NS

    @property
    def wanted_ns(self) -> tuple[int | None, int | None]:
        """The bounds that were asked for."""
        since = self.since_ns if self.window.since else None
        return since, self.until_ns if self.window.until else None

    @property
    def unseen_ns(self) -> list[tuple[int, int]]:
        """The time after the window: nobody looks whether a question is answered then."""
        return [(self.until_ns, MAX_NS)] if self.window.until else []

    def inside(self, frames: Columns) -> npt.NDArray[np.bool_]:
        """[n] which frames of the next chunk lie in the window; the others are noted.

        Raises UsageProblem where the window is empty by its own bounds.
        """
        ts = frames["ts_ns"]
        if self.saw_nothing:
            first = int(ts.min()) if len(ts) else 0
            self.since_ns, self.until_ns = self.window.bounds(first)
        if len(ts):
            self.first_ns = min(self.first_ns, int(ts.min()))
            self.last_ns = max(self.last_ns, int(ts.max()))
        before, after = ts < self.since_ns, ts >= self.until_ns
        if before.any():
            self.asked = np.union1d(self.asked, echoes_in(frames, before, ECHO_REQUESTS))
            self._note_near(frames, before & (ts >= self.since_ns - NEAR_NS))
        if after.any():
            self._note_after(frames, after)
        return ~(before | after)

    def _note_after(self, frames: Columns, after: npt.NDArray[np.bool_]) -> None:
        ts = frames["ts_ns"]
        self.went_on = np.union1d(self.went_on, echoes_in(frames, after, _ECHOES))
        self._note_near(frames, after & (ts < self.until_ns + NEAR_NS))
        replies = after & (frames["ethertype"] == ARP) & (frames["arp_op"] == ARP_REPLY)
        pairs = (frames[name][replies].tolist() for name in ("arp_spa", "arp_tpa"))
        self._answers.update(zip(*pairs, strict=True))
        again = np.flatnonzero(after & (ts < self.until_ns + QUEUE_NS))
        again = again[: max(_MOST_AGAIN - self._noted, 0)]
        self._noted += len(again)
        names = ("l2key", "vantage", "ts_ns")
        self._again.append(pl.DataFrame({name: frames[name][again] for name in names}))

    def _note_near(self, frames: Columns, near: npt.NDArray[np.bool_]) -> None:
        columns = {"l2key": frames["l2key"][near], "other_ns": frames["ts_ns"][near]}
        self._near.append(pl.DataFrame(columns))

    def hold(self, frames: Columns, journeys: Journeys, now_ns: int) -> npt.NDArray[np.bool_]:
        """[p] which packets wait for what is still to be noted; lost ones that cannot wait for
        want of room are unmatched."""
        begun, seen = (frames["ts_ns"][at] for at in (journeys.first, journeys.last))
        over_ns = now_ns - FLUSH_NS - self.until_ns
        if over_ns > QUEUE_NS:
            self._again.clear()
            return np.zeros(len(begun), np.bool_)
        held: npt.NDArray[np.bool_] = begun >= self.until_ns - NEAR_NS
        held &= over_ns <= NEAR_NS
        if now_ns < self.since_ns + NEAR_NS + FLUSH_NS:
            held |= begun < self.since_ns + NEAR_NS
        lost = (journeys.status == Status.LOST) & (seen >= self.until_ns - QUEUE_NS)
        count = np.cumsum(np.where(lost, journeys.frames, 0)[::-1])[::-1]
        no_room = lost & ~held & (count > MOST_HELD)
        journeys.status[no_room], journeys.expected[no_room] = Status.UNMATCHED, -1
        held |= lost & ~no_room
        return held

    def settle_losses(self, frames: Columns, journeys: Journeys) -> None:
        """Take back every loss whose packet was seen where it was expected, after the window."""
        lost = np.flatnonzero(journeys.status == Status.LOST)
        if not self._again or not len(lost):
            return
        last = journeys.last[lost]
        missing = pl.DataFrame(
            {
                "packet": lost,
                "l2key": frames["l2key"][last],
                "vantage": journeys.expected[lost],
                "seen": frames["ts_ns"][last],
            }
        )
        of_lost = pl.col("l2key").is_in(missing["l2key"].unique().implode())
        again = pl.concat(piece.filter(of_lost) for piece in self._again)
        seen_again = missing.join(again, on=["l2key", "vantage"]).filter(
            pl.col("ts_ns") - pl.col("seen") < QUEUE_NS
        )
        packets = seen_again["packet"].unique().to_numpy()
        journeys.status[packets] = Status.UNMATCHED
        journeys.expected[packets] = -1

    def mark_torn(self, packets: pl.DataFrame, frames: Columns) -> pl.DataFrame:
        """The packets, those that have frames outside of the window marked ``torn``."""
        if not self._near:
            return packets
        keys = frames["l2key"][packets["first_frame"].to_numpy()]
        near_edge = packets.select("packet", "ts_ns", pl.Series("l2key", keys)).filter(
            (pl.col("ts_ns") < self.since_ns + NEAR_NS)
            | (pl.col("ts_ns") >= self.until_ns - NEAR_NS)
        )
        outside = pl.concat(self._near)
        together = (pl.col("other_ns") - pl.col("ts_ns")).abs() < NEAR_NS
        torn = near_edge.join(outside, on="l2key").filter(together)["packet"].unique()
        return packets.with_columns(pl.col("packet").is_in(torn.implode()).alias("torn"))

    def settle_arp(self, rows: Sequence[ArpRow]) -> None:
        """Nobody is called silent whose answer came after the window."""
        answers = {tuple(address_text(0, MAPPED | one) for one in pair) for pair in self._answers}
        for row in rows:
            if row.state == "unanswered" and (row.target_ip, row.asker_ip) in answers:
                row.state = "resolved"
