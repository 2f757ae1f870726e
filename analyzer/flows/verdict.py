"""The verdict "bridged through docker0", with the evidence it rests on, line by line.

For every pair of endpoints that exchanged unicast IP: proved only where every line holds
for every delivered packet; refuted where a delivered packet took another way; undecided,
with the reason, where the capture cannot tell. docker0's copy proves arrival at the bridge,
not forwarding: that is why the egress port has to have seen the packet as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from analyzer.flows.arrivals import arrived
from analyzer.flows.live_numbers import OTHERS
from analyzer.flows.ways import BRIDGED, Scene, another_way
from analyzer.formatting.numbers import format_plural
from analyzer.model.journeys import Evidence, Status
from analyzer.model.ranks import largest
from analyzer.model.report import Fact, Verdict
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ethernet import mac_text

PROVED, REFUTED, UNDECIDED = "proved", "refuted", "undecided"
NO_TOPOLOGY = "the file holds no topology: it does not say which interface is what"
MOST = 2_000
"""verdicts of one report"""
ANYBODY = "anybody"
"""source and destination of the one verdict on a file without topology"""


def judge_pairs(outcomes: pl.DataFrame, scene: Scene) -> list[Verdict]:
    """One verdict a (source, destination), in order of appearance; one for all of them where the
    file holds no topology."""
    if not scene.has_topology:
        return _without_topology(outcomes, scene)
    judged = outcomes.filter(
        "judged", ~pl.col("stray"), ~pl.col("torn"), pl.col("source") != OTHERS
    )
    pairs = _count_evidence(_with_arrivals(judged, scene))
    return [_judge(row, scene) for row in pairs.iter_rows(named=True)]


def largest_verdicts(verdicts: list[Verdict], top: int | None) -> tuple[list[Verdict], int]:
    """(no more than `MOST` or ``top``: those that are refuted, then those of most packets; how
    many others there are)."""
    most = MOST if top is None else min(top, MOST)

    def size(verdict: Verdict) -> tuple[bool, int]:
        return verdict.result == REFUTED, verdict.packets

    return largest(verdicts, most, size), max(len(verdicts) - most, 0)


def _with_arrivals(outcomes: pl.DataFrame, scene: Scene) -> pl.DataFrame:
    """With ``arrived``; a datagram of which only some fragments came is a row of its own."""
    whole = outcomes.with_columns(arrived=arrived(outcomes, scene.vantages))
    if not scene.complete:
        return whole.with_columns(short=pl.lit(0, pl.Int64))
    parts = whole.filter(pl.col("short") > 0).with_columns(
        count="short", arrived=pl.lit(value=False)
    )
    whole = whole.with_columns(pl.col("count") - pl.col("short"), short=pl.lit(0, pl.Int64))
    return pl.concat([whole, parts]).filter(pl.col("count") > 0)


def _without_topology(outcomes: pl.DataFrame, scene: Scene) -> list[Verdict]:
    """One line for the whole file, however many pairs it holds."""
    packets = int(outcomes.filter("judged", ~pl.col("stray"), ~pl.col("torn"))["count"].sum())
    claim = f"bridged through {scene.bridge}"
    every = Verdict(ANYBODY, ANYBODY, UNDECIDED, packets, [], claim, NO_TOPOLOGY)
    return [every] if packets else []


def _count_evidence(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Per pair: packets, lost, delivered, and for how many of ``basis`` each bit is set.

    The basis are the delivered packets; where none was, all, to show how far they came.
    ``out_port`` of a lost packet is the port that it had to leave by, where that is known.
    """
    delivered, count = pl.col("arrived"), pl.col("count")
    basis = pl.col("basis")
    bits = [
        count.filter(basis & ((pl.col("evidence") & bit.value) > 0)).sum().alias(bit.name.lower())
        for bit in Evidence
    ]
    pair = ["source", "destination"]
    out = pl.when(pl.col("out_port") >= 0).then("out_port").otherwise("expected")
    based = outcomes.with_columns(
        (delivered | ~delivered.any().over(pair)).alias("basis"), out.alias("out_port")
    )
    return based.group_by(pair, maintain_order=True).agg(
        count.sum().alias("packets"),
        count.filter(pl.col("status") == Status.LOST).sum().alias("lost"),
        count.filter(delivered).sum().alias("delivered"),
        count.filter(~delivered & (pl.col("status") == Status.DELIVERED)).sum().alias("astray"),
        pl.col("short").sum(),
        count.filter(basis).sum().alias("total"),
        *bits,
        pl.col("in_port").filter(basis).unique(maintain_order=True),
        pl.struct("out_port", "dst_mac").filter(basis).unique(maintain_order=True).alias("out"),
        pl.col("first_vantage", "last_vantage").filter(basis).unique(maintain_order=True),
    )


def _judge(row: dict[str, Any], scene: Scene) -> Verdict:
    evidence = _facts(row, scene)
    result, way, reason = _result(row, evidence, scene)
    return Verdict(
        claim=f"bridged through {scene.bridge}",
        source=row["source"],
        destination=row["destination"],
        result=result,
        packets=row["packets"],
        evidence=evidence,
        reason=reason,
        delivered=row["delivered"],
        lost=row["lost"],
        way=way,
    )


def _facts(row: dict[str, Any], scene: Scene) -> list[Fact]:
    """The lines of evidence."""
    total, bridge, device = row["total"], scene.bridge, scene.device
    ins = [scene.vantages[v] for v in row["in_port"] if v >= 0]
    outs = [scene.vantages[o["out_port"]] for o in row["out"] if o["out_port"] >= 0]
    masters = sorted({v.bridge for v in (*ins, *outs)})

    def counted(text: str, count: int, judged: bool = True) -> Fact:
        return Fact(text, count == total if judged else None, count)

    copies = row["bridge_copy"]
    sees = device is not None and device.promiscuous
    facts = [
        counted(f"ingress port {_names(ins)} saw the packets", row["port_in"], bool(ins)),
        counted(_copies_text(bridge, copies, row["same_stamp"]), copies, sees),
        counted(f"egress port {_names(outs)} saw {_which(row)}", row["port_out"], bool(outs)),
        Fact(
            f"master of these ports: {', '.join(masters) or 'none seen'}",
            masters == [bridge] if ins and outs else None,
        ),
        _fdb_fact(row, scene),
    ]
    if row["routed"]:
        return facts  # a router's port is no foreign one
    return [
        *facts,
        *_foreign_ports(row["source"], "frames of {} entered at", ins, scene),
        *_foreign_ports(row["destination"], "frames for {} left by", outs, scene),
    ]


def _foreign_ports(name: str, text: str, ports: Sequence[Vantage], scene: Scene) -> list[Fact]:
    """What speaks against an end's name: its frames passed somebody else's port."""
    foreign = [v for v in ports if v.container and v.container != name]
    owned = foreign and any(
        v.role is Role.HOST_VETH and v.container == name for v in scene.vantages
    )
    return [
        Fact(f"{text.format(name)} {v.name}, the port of {v.container}", False)
        for v in (foreign if owned else ())
    ]


def _copies_text(bridge: str, copies: int, same_stamp: int) -> str:
    """What the bridge's copies are tied by; a TCP frame has no receive stamp that could stay."""
    if same_stamp == copies:
        return f"{bridge}'s own copy bears the ingress port's stamp, bit for bit"
    if not same_stamp:
        return (
            f"{bridge}'s own copy follows the ingress port's in kernel order "
            "(own stamps: TCP, fragments)"
        )
    return (
        f"{bridge}'s own copy: {same_stamp} with the ingress port's stamp, bit for bit, "
        f"{copies - same_stamp} next in kernel order (own stamps: TCP, fragments)"
    )


def _names(vantages: Sequence[Vantage]) -> str:
    return ", ".join(dict.fromkeys(v.name for v in vantages)) or "(none captured)"


def _which(row: dict[str, Any]) -> str:
    """What an egress port saw, where some of the packets did not get so far."""
    if not row["delivered"] or row["delivered"] == row["packets"]:
        return "the packets"
    return f"{row['delivered']} of {row['packets']} packets"


def _fdb_fact(row: dict[str, Any], scene: Scene) -> Fact:
    """Whether the bridge's own table sends the destination MAC out of the port that was seen.

    A container that was restarted has had two ports: the table of one moment knows one of them.
    """
    device = scene.device
    table: dict[str, set[int]] = {}
    for address, index in scene.fdb.get(device.name, ()) if device else ():
        table.setdefault(address, set()).add(index)
    ports: dict[str, list[Vantage]] = {}
    for out in row["out"]:
        mac = mac_text(out["dst_mac"])
        if out["out_port"] < 0 or mac not in table:
            return Fact(f"{scene.bridge}'s FDB entry for {mac}: not known", None)
        ports.setdefault(mac, []).append(scene.vantages[out["out_port"]])
    texts, holds = [], True
    for mac, seen in ports.items():
        right = [port for port in seen if port.ifindex in table[mac]]
        holds &= bool(right) and len({port.container for port in seen}) == 1
        named = right if len(right) == len(seen) or holds else []
        numbers = (f"port {index}" for index in sorted(table[mac]))
        where = ", ".join(dict.fromkeys(port.name for port in named)) or ", ".join(numbers)
        texts.append(f"{mac} → {where}")
    return Fact(f"{scene.bridge}'s FDB: {', '.join(texts)}", holds)


def _result(row: dict[str, Any], evidence: Sequence[Fact], scene: Scene) -> tuple[str, str, str]:
    """(result, way, reason), see `Verdict`."""
    if row["delivered"]:
        way, reason = another_way(row, scene)
        if way:
            return REFUTED, way, reason
        if all(fact.holds for fact in evidence):
            return PROVED, BRIDGED, ""
    return UNDECIDED, "", _why_undecided(row, evidence, scene)


def _why_undecided(row: dict[str, Any], evidence: Sequence[Fact], scene: Scene) -> str:
    bridge, device = scene.bridge, scene.device
    if row["short"] and row["short"] == row["packets"]:
        name = row["destination"]
        return (
            f"{format_plural(row['short'], 'packet')} came to {name} without all of the fragments"
        )
    if not row["delivered"] and row["astray"] == row["packets"]:
        return f"none of {format_plural(row['packets'], 'packet')} came to {row['destination']}"
    if not row["delivered"]:
        return f"no packet was delivered ({row['lost']} of {row['packets']} lost on the way)"
    if device is None:
        return f"{bridge} was not captured"
    if not device.promiscuous:
        return (
            f"{bridge} was not in promiscuous mode during the capture: "
            "bridged unicast is not shown to it then"
        )
    if not row["port_in"]:
        return "no ingress port was captured"
    if not row["port_out"]:
        return "no egress port was captured: arrival at the bridge does not prove forwarding"
    if not scene.complete:
        return "the kernel dropped frames during the capture"
    failing = next(f for f in evidence if not f.holds)
    return f"not all of the evidence holds: {failing.fact}"
