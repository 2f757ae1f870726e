"""A time window cut out of loaded frames, and its edges kept from looking like losses.

A packet that was on its way at the edge has some of its frames inside and some outside. Those
outside are not analysed, but they are looked up: what is seen again after the window is not
lost, an echo that is answered after it is not unanswered, and a packet with a missing start is
no evidence for or against a bridge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.arp import REPLY
from analyzer.flows.endpoints import address_text
from analyzer.flows.icmp import REPLIES, REQUESTS, echo_numbers
from analyzer.model.journeys import Journeys, Status
from analyzer.model.report import ArpRow
from analyzer.pipeline.load import Cut, Loaded
from analyzer.pipeline.stream import UNCLEAN_TAIL_NS
from analyzer.pipeline.window import Window

QUEUE_NS = 5_000_000_000
"""a queue may hold a packet this long; a copy later than that is another packet's"""
NEAR_NS = 100_000_000
"""a packet this near to an edge may be cut by it"""
ARP = 0x0806
_V4_MAPPED = 0xFFFF_0000_0000

Columns = Mapping[str, npt.NDArray[Any]]


def watched(loaded: Loaded) -> list[tuple[int, int]]:
    """When each vantage was looked at: (from, to) in ns; by its statistics, else by the frames."""
    ts = loaded.frames["ts_ns"]
    first, last = (int(ts.min()), int(ts.max())) if len(ts) else (0, 0)
    tails = (last if n.ended else last - UNCLEAN_TAIL_NS for n in loaded.notes)
    return [
        (n.start_ns or first, n.end_ns or tail) for n, tail in zip(loaded.notes, tails, strict=True)
    ]


def cut_window(loaded: Loaded, window: Window) -> Loaded:
    """Only the frames in the window; its edges are when every vantage was looked at.

    Raises UsageProblem where the window is empty by its own bounds.
    """
    ts = loaded.frames["ts_ns"]
    since, until = window.bounds(int(ts.min()) if len(ts) else 0)
    notes = [
        replace(n, start_ns=max(start, since), end_ns=min(end, until))
        for n, (start, end) in zip(loaded.notes, watched(loaded), strict=True)
    ]
    return replace(
        loaded,
        frames=_rows(loaded.frames, (ts >= since) & (ts < until)),
        notes=notes,
        cut=Cut(
            since if window.since else None,
            until if window.until else None,
            before=_rows(loaded.frames, ts < since),
            after=_rows(loaded.frames, ts >= until),
        ),
    )


def _rows(frames: Columns, which: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[Any]]:
    return {name: column[which] for name, column in frames.items()}


def settle_losses(journeys: Journeys, loaded: Loaded) -> None:
    """Take back every loss whose packet was seen where it was expected, after the window."""
    if loaded.cut is None:
        return
    frames, late = loaded.frames, loaded.cut.after
    lost = np.flatnonzero(journeys.status == Status.LOST)
    last = journeys.last[lost]
    missing = pl.DataFrame(
        {
            "packet": lost,
            "l2key": frames["l2key"][last],
            "vantage": journeys.expected[lost],
            "seen": frames["ts_ns"][last],
        }
    )
    again = pl.DataFrame({name: late[name] for name in ("l2key", "vantage", "ts_ns")})
    found = missing.join(again, on=["l2key", "vantage"]).filter(
        pl.col("ts_ns") - pl.col("seen") < QUEUE_NS
    )
    packets = found["packet"].unique().to_numpy()
    journeys.status[packets] = Status.UNMATCHED
    journeys.expected[packets] = -1


def echoes_before(loaded: Loaded) -> npt.NDArray[np.int64]:
    """Echoes (`analyzer.flows.icmp.echo_numbers`) whose request came before the window.

    An echo belongs to the window that its request began in.
    """
    return _echo_numbers(loaded.cut.before if loaded.cut else None, REQUESTS)


def echoes_that_went_on(loaded: Loaded) -> npt.NDArray[np.int64]:
    """Echoes of which something was seen after the window."""
    return _echo_numbers(loaded.cut.after if loaded.cut else None, (*REQUESTS, *REPLIES))


def _echo_numbers(frames: Columns | None, types: Sequence[int]) -> npt.NDArray[np.int64]:
    """The different echoes of which these frames hold messages of these types."""
    if frames is None:
        return np.empty(0, np.int64)
    there = np.isin(frames["protocol"], (1, 58)) & (frames["l4_offset"] > 0)
    rows = there & np.isin(frames["icmp_type"], types)
    return np.unique(echo_numbers(frames["icmp_id"][rows], frames["icmp_seq"][rows]))


def settle_arp(rows: Sequence[ArpRow], loaded: Loaded) -> None:
    """Nobody is called silent whose answer came after the window."""
    if loaded.cut is None:
        return
    late = loaded.cut.after
    replies = (late["ethertype"] == ARP) & (late["arp_op"] == REPLY)
    pairs = set(zip(late["arp_spa"][replies], late["arp_tpa"][replies], strict=True))
    answers = {tuple(address_text(0, _V4_MAPPED | int(a)) for a in pair) for pair in pairs}
    for row in rows:
        if row.state == "unanswered" and (row.target_ip, row.asker_ip) in answers:
            row.state = "resolved"


def mark_torn(packets: pl.DataFrame, loaded: Loaded) -> pl.DataFrame:
    """The packets, those that have frames outside of the window marked ``torn``."""
    if loaded.cut is None:
        return packets
    keys = loaded.frames["l2key"][packets["first_frame"].to_numpy()]
    inside = packets.select("packet", "ts_ns", pl.Series("l2key", keys))
    others = pl.concat(
        pl.DataFrame({"l2key": side["l2key"], "other_ns": side["ts_ns"]})
        for side in (loaded.cut.before, loaded.cut.after)
    )
    near = (pl.col("other_ns") - pl.col("ts_ns")).abs() < NEAR_NS
    torn = inside.join(others, on="l2key").filter(near)["packet"].unique()
    return packets.with_columns(pl.col("packet").is_in(torn.implode()).alias("torn"))
