"""Addresses that were translated on the way: which became which, and between which vantages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.endpoints import address_text
from analyzer.flows.packets import path_matrix
from analyzer.model.journeys import Hop, Journeys, Status
from analyzer.model.report import Finding
from analyzer.model.vantage import Vantage

Columns = Mapping[str, npt.NDArray[Any]]
_SIDES = ("src", "dst")
_WITH_PORTS = ("tcp", "udp")


def find_translations(
    frames: Columns, packets: pl.DataFrame, journeys: Journeys, vantages: Sequence[Vantage]
) -> list[Finding]:
    """A finding a translation, told in the direction that was seen first.

    It is told from the packets themselves: a journey across a route whose ends differ.
    """
    rows = _changed(frames, packets.filter(pl.col("status") != Status.UNMATCHED), journeys)
    group = [name for name in rows.columns if name not in ("before", "after")]
    groups = rows.group_by(group, maintain_order=True).agg(
        pl.len().alias("packets"), pl.col("before").first(), pl.col("after").first()
    )
    found, told = [], set()
    for row in groups.iter_rows(named=True):
        told.add((row["protocol"], row["source"], row["destination"]))
        if (row["protocol"], row["destination"], row["source"]) in told:
            continue
        before, after = (vantages[frames["vantage"][row[n]]].name for n in ("before", "after"))
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
    columns = {"before": before, "after": after}
    for when, at in (("before", before), ("after", after)):
        # a client's own port is another for every connection
        columns |= {f"{name}_{when}": frames[name][at] for name in (*names, "dst_port")}
    ends = packets.select("protocol", "source", "destination")[which.tolist()]
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
