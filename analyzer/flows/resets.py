"""TCP resets: who made each, told by where it was first seen, and what it answered (RFC 9293).

An RST for a SYN has the sequence number 0 and acknowledges the SYN: nothing listens there. Who
sends it is not who its address says: a REJECT rule of the host answers in the container's name,
and such an RST is first seen on its way out of a port, never coming in. Where addresses differ
between its first and its last vantage, a published port was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from analyzer.flows.endpoints import HOST, address_text
from analyzer.model.batch import Batch, Outlook
from analyzer.model.frames import FLAG_DIRECTION
from analyzer.model.report import Finding
from analyzer.model.vantage import Role, Vantage

_RST, _ACK = 0x04, 0x10
_EGRESS = 2
MOST = 10_000
"""kinds of resets that are told apart; a port scan ends there"""
_SIDES = ("src", "dst")
_GROUP = [
    "refusal",
    "source",
    "destination",
    "vantage",
    "egress",
    "port",
    "as_hi",
    "as_lo",
    "as_port",
    "hi",
    "lo",
]

Published = Mapping[tuple[str, int], str]
"""(container, its TCP port) → where the engine publishes it"""


@dataclass(slots=True)
class Resets:
    """The resets of a capture: a row a kind, with how many there were."""

    _table: pl.DataFrame | None = None

    def add(self, batch: Batch) -> None:
        """Count the resets of one batch."""
        first = batch.packets["first_frame"].to_numpy()
        flags = batch.frames["tcp_flags"][first]
        rows = np.flatnonzero(flags & _RST)
        if len(rows):
            new = _resets(batch, batch.packets[rows]).filter(~pl.col("stray"))
            both = [new.drop("stray")] if self._table is None else [self._table, new.drop("stray")]
            groups = pl.concat(both).group_by(_GROUP, maintain_order=True)
            self._table = groups.agg(pl.col("count").sum()).head(MOST)

    def findings(self, outlook: Outlook, published: Published) -> list[Finding]:
        """Refused connections, and resets of others, in order of appearance."""
        if self._table is None:
            return []
        rows = list(self._table.iter_rows(named=True))
        refused = [_refused(row, outlook, published) for row in rows if row["refusal"]]
        return [*refused, *_cut(rows, outlook)]


def _resets(batch: Batch, packets: pl.DataFrame) -> pl.DataFrame:
    frames = batch.frames
    first, last = (packets[f"{end}_frame"].to_numpy() for end in ("first", "last"))
    flags = frames["tcp_flags"][first]
    refusal = (flags & _ACK != 0) & (frames["tcp_seq"][first] == 0)
    ports = {side: frames[f"{side}_port"][first].astype(np.int32) for side in _SIDES}
    # of a connection the lower one is the service's, as good as always
    service = np.where(refusal, ports["src"], np.minimum(ports["src"], ports["dst"]))
    is_source = ports["src"] == service
    return packets.select(
        pl.Series("refusal", refusal),
        pl.col("source", "destination").cast(pl.String),
        pl.col("first_vantage").alias("vantage"),
        pl.Series("egress", (frames["flags"][first] & FLAG_DIRECTION) == _EGRESS),
        pl.Series("port", service),
        pl.Series("as_hi", frames["src_hi"][last]),
        pl.Series("as_lo", frames["src_lo"][last]),
        pl.Series("as_port", np.where(is_source, frames["src_port"][last], 0).astype(np.int32)),
        pl.Series("hi", frames["src_hi"][first]),
        pl.Series("lo", frames["src_lo"][first]),
        pl.lit(1, pl.Int64).alias("count"),
        "stray",
    )


def _maker(row: Mapping[str, Any], outlook: Outlook) -> str:
    """Who made it, by where it was first seen; '' where that does not tell."""
    vantage = outlook.vantages[row["vantage"]]
    if not vantage.ifindex or not outlook.complete:
        return ""
    out: bool = row["egress"]
    if out == (vantage.role is Role.CONTAINER):
        return vantage.container if vantage.role in (Role.CONTAINER, Role.HOST_VETH) else ""
    is_hosts = vantage.role in (Role.HOST_VETH, Role.BRIDGE, Role.UPLINK, Role.HOST)
    return HOST if out and is_hosts else ""


def _refused(row: Mapping[str, Any], outlook: Outlook, published: Published) -> Finding:
    server, maker, port = row["source"], _maker(row, outlook), row["port"]
    times = f", {row['count']}×" if row["count"] > 1 else ""
    what = f"{row['destination']} → {server} TCP port {port}: refused{times}"
    seen = _name(row["vantage"], outlook.vantages)
    if maker == HOST and server != HOST:
        return Finding(
            "warning",
            "tcp-refused",
            f"{what} by the host in {server}'s name (its RST is first seen going out of {seen}): "
            "a rule with REJECT --reject-with tcp-reset: iptables -nvL FORWARD; "
            "iptables -nvL DOCKER-USER",
        )
    asked = _asked_at(row, published)
    if maker and maker == server:
        where = "on the host" if maker == HOST else f"inside {server}"
        text = (
            f"{what} by {server} itself{asked}: nothing listens there, see ss -ltnp {where}, "
            "or a rule with REJECT, iptables -nvL INPUT there"
        )
        return Finding("warning", "published-unserved" if asked else "tcp-refused", text)
    return Finding(
        "warning",
        "tcp-refused",
        f"{what} (RST first seen at {seen}){asked}: nothing listens there (ss -ltnp), or a rule "
        "with REJECT",
    )


def _asked_at(row: Mapping[str, Any], published: Published) -> str:
    """The published port that was asked, or is known of the engine; '' where there is none."""
    if (row["as_hi"], row["as_lo"], row["as_port"]) != (row["hi"], row["lo"], row["port"]):
        address = address_text(row["as_hi"], row["as_lo"])
        address = f"[{address}]" if ":" in address else address
        return f", asked at the published port {address}:{row['as_port']}"
    told = published.get((row["source"], row["port"]), "")
    return f", published as {told}" if told else ""


def _cut(rows: Sequence[Mapping[str, Any]], outlook: Outlook) -> Iterator[Finding]:
    """Connections that were reset: one finding a pair, service and maker."""
    counts: dict[tuple[str, str, int, str, str], int] = {}
    for row in rows:
        if not row["refusal"]:
            maker, seen = _maker(row, outlook), _name(row["vantage"], outlook.vantages)
            key = (row["source"], row["destination"], row["port"], maker, seen)
            counts[key] = counts.get(key, 0) + row["count"]
    for (source, destination, port, maker, seen), count in counts.items():
        forged = maker == HOST and source != HOST
        who = f"the host in {source}'s name" if forged else source
        why = (
            "a rule with REJECT --reject-with tcp-reset: iptables -nvL FORWARD"
            if forged
            else f"its process closed with data unread, or knows of no connection: ss -tin at {who}"
        )
        yield Finding(
            "warning" if forged else "info",
            "tcp-reset",
            f"{who} reset TCP towards {destination}, port {port}, {count}× (first seen at {seen}): "
            f"{why}",
        )


def _name(at: int, vantages: Sequence[Vantage]) -> str:
    return vantages[at].name
