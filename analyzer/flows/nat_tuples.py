"""Where a packet's addresses and ports were translated, and how that is told in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.batch import Columns
from analyzer.model.journeys import Hop, Journeys
from analyzer.net.ip import ICMP_PROTOCOLS, address_text

PARTS = ("src_hi", "src_lo", "dst_hi", "dst_lo", "src_port", "dst_port")


def translations(frames: Columns, journeys: Journeys) -> npt.NDArray[np.intp]:
    """Frames that differ from what they came from in addresses, ports or an ICMP query's id.

    In order of time. On a route, or between a bridge's port and another one or the bridge. What a
    tunnel wraps has other addresses outside than inside, and is not translated.
    """
    hop = journeys.hop
    after = np.flatnonzero((hop != Hop.COPY) & (hop != Hop.TUNNEL) & (journeys.parent >= 0))
    after = after[(journeys.packet[after] >= 0)]
    after = after[frames["l2key"][after] != frames["l2key"][journeys.parent[after]]]
    before = journeys.parent[after]
    differs = np.zeros(len(after), np.bool_)
    for name in (*PARTS, "icmp_id"):
        differs |= frames[name][before] != frames[name][after]
    translated = after[differs & (frames["ip_version"][after] > 0)]
    order = np.argsort(frames["ts_ns"][translated], kind="stable")
    in_order: npt.NDArray[np.intp] = translated[order]
    return in_order


def tuple_texts(frames: Columns, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> pl.Series:
    """[n] ``172.17.0.2:5000 → 198.51.100.2:80 becomes 198.51.100.1:5000 → …``; each made once."""
    names = [f"{name}_{when}" for when in ("before", "after") for name in PARTS]
    columns = [*tuple_columns(frames, before, "before"), *tuple_columns(frames, after, "after")]
    table = pl.DataFrame([*columns, pl.Series("protocol", frames["protocol"][after])])
    kinds = table.unique(maintain_order=True)
    texts = [_texts(row) for row in kinds.iter_rows(named=True)]
    both = table.join(
        kinds.with_columns(pl.Series("text", texts, pl.String)),
        on=[*names, "protocol"],
        how="left",
        maintain_order="left",
    )
    return both["text"]


def _texts(row: Mapping[str, Any]) -> str:
    return " becomes ".join(_way(row, when) for when in ("before", "after"))


def _way(row: Mapping[str, Any], when: str) -> str:
    icmp = row["protocol"] in ICMP_PROTOCOLS
    ends = []
    for side in ("src", "dst"):
        address = address_text(row[f"{side}_hi_{when}"], row[f"{side}_lo_{when}"])
        port = row[f"{side}_port_{when}"]
        ends.append(end_text(address, None if icmp or not port else port))
    identifier = f" id {row[f'src_port_{when}']}" if icmp else ""
    return " → ".join(ends) + identifier


def tuple_columns(frames: Columns, rows: npt.NDArray[Any], when: str) -> list[pl.Series]:
    """PARTS of these frames as columns ``src_hi_before`` …; when: before or after."""
    return [
        pl.Series(f"{name}_{when}", column)
        for name, column in zip(PARTS, tuple_at(frames, rows), strict=True)
    ]


def tuple_at(frames: Columns, rows: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Addresses and ports; of ICMP the identifier stands for the source's port."""
    icmp = np.isin(frames["protocol"][rows], ICMP_PROTOCOLS)
    columns = [frames[name][rows] for name in PARTS]
    columns[4] = np.where(icmp, frames["icmp_id"][rows], columns[4])
    return columns


def end_text(address: str, port: int | None) -> str:
    """``172.17.0.2:80``, ``[fd00::2]:80``; without a port the address alone."""
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
