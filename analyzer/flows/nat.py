"""Addresses that were translated on the way: which became which, and between which vantages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.endpoints import address_text
from analyzer.flows.packets import path_matrix
from analyzer.model.batch import Batch
from analyzer.model.journeys import Hop, Journeys, Status
from analyzer.model.report import Finding
from analyzer.model.vantage import Vantage

Columns = Mapping[str, npt.NDArray[Any]]
_SIDES = ("src", "dst")
_WITH_PORTS = ("tcp", "udp")
_EXAMPLE = ("number", "before", "after", "packets")
"""of the first packet: its number, the vantages on both sides; and how many there are"""


class Translations:
    """The translated packets of all batches: a row a translation and direction."""

    def __init__(self) -> None:
        self._rows: pl.DataFrame | None = None

    def add(self, batch: Batch) -> None:
        """Look at the packets of one batch that crossed a route."""
        journeys = batch.journeys
        crossed = journeys.packet[(journeys.hop == Hop.ROUTE) & (journeys.packet >= 0)]
        if not len(crossed):
            return
        routed = batch.packets[np.unique(crossed)].filter(
            ~pl.col("stray"), pl.col("status") != Status.UNMATCHED
        )
        found = _changed(batch.frames, routed, journeys).with_columns(packets=pl.lit(1))
        both = found if self._rows is None else pl.concat([self._rows, found])
        group = [name for name in both.columns if name not in _EXAMPLE]
        self._rows = both.sort("number").group_by(group, maintain_order=True).agg(
            pl.col("packets").sum(), pl.col("number", "before", "after").first()
        ).select(both.columns)  # fmt: skip

    def findings(self, vantages: Sequence[Vantage]) -> list[Finding]:
        """A finding a translation, told in the direction that was seen first.

        It is told from the packets themselves: a journey across a route whose ends differ.
        """
        if self._rows is None:
            return []
        found, told = [], set()
        for row in self._rows.sort("number").iter_rows(named=True):
            told.add((row["protocol"], row["source"], row["destination"]))
            if (row["protocol"], row["destination"], row["source"]) in told:
                continue
            before, after = (vantages[row[name]].name for name in ("before", "after"))
            changes = " and ".join(text for side in _SIDES if (text := _change(row, side)))
            found.append(
                Finding(
                    "info", "nat",
                    f"{row['protocol']} {row['source']} → {row['destination']}: {changes} between "
                    f"{before} and {after} ({row['packets']} packets)",
                )
            )  # fmt: skip
        return found


def _changed(frames: Columns, packets: pl.DataFrame, journeys: Journeys) -> pl.DataFrame:
    """Routed packets whose addresses differ between the hop's ends: one row each."""
    last = packets["last_frame"].to_numpy()
    path = path_matrix(last, journeys.parent) if len(last) else np.empty((0, 1), np.int32)
    routed = (path >= 0) & (journeys.hop[np.maximum(path, 0)] == Hop.ROUTE)
    which = np.flatnonzero(routed.any(axis=1))
    after = path[which, routed[which].argmax(axis=1)]
    before = journeys.parent[after]
    names = [f"{side}_{part}" for side in _SIDES for part in ("hi", "lo")]
    differs = np.zeros(len(which), np.bool_)
    for name in (*names, "dst_port"):
        differs |= frames[name][before] != frames[name][after]
    vantage = frames["vantage"]
    columns = {"before": vantage[before], "after": vantage[after]}
    for when, at in (("before", before), ("after", after)):
        # a client's own port is another for every connection
        columns |= {f"{name}_{when}": frames[name][at] for name in (*names, "dst_port")}
    ends = packets[which].select(
        "number", pl.col("protocol", "source", "destination").cast(pl.String)
    )
    return ends.with_columns(**{n: pl.Series(c) for n, c in columns.items()}).filter(
        pl.Series(differs)
    )


def _change(row: Mapping[str, Any], side: str) -> str:
    """``source 172.17.0.2 becomes 198.51.100.1``; '' where that side stays."""
    texts = []
    for when in ("before", "after"):
        text = address_text(row[f"{side}_hi_{when}"], row[f"{side}_lo_{when}"])
        if side == "dst" and row["protocol"] in _WITH_PORTS:
            text = f"[{text}]" if ":" in text else text
            text += f":{row[f'dst_port_{when}']}"
        texts.append(text)
    if texts[0] == texts[1]:
        return ""
    return f"{'source' if side == 'src' else 'destination'} {texts[0]} becomes {texts[1]}"
