"""Losses with all that is known of them: topology, kernel, settings, in one list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from analyzer.analysis.notes import VantageNotes
from analyzer.diagnosis.counted_drops import may_have_dropped, stays_in
from analyzer.diagnosis.drop_places import arrived_at, behind_vantage, between_vantages
from analyzer.diagnosis.dropped_packets import DroppedPackets
from analyzer.diagnosis.example import Examples
from analyzer.diagnosis.explain import explain_lost, stack_losses
from analyzer.diagnosis.likely import LOST, UNANSWERED, InVain, LikelyCause, likely_causes
from analyzer.diagnosis.lost_flows import GROUP, LostFlow, LostFlows
from analyzer.diagnosis.settings import Scene
from analyzer.diagnosis.silent import Asked, unanswered_echoes, unheard_askers
from analyzer.diagnosis.stale_neighbours import Addressed
from analyzer.flows.icmp import Echoes
from analyzer.flows.losses import UNKNOWN
from analyzer.model.batch import Batch
from analyzer.model.flow_rows import ArpRow
from analyzer.model.report import LossRow
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ip import address_text
from analyzer.recorders.drops.untied import UntiedDrop
from analyzer.recorders.settings.facts import MAGIC as FACTS
from analyzer.recorders.settings.facts import Facts, decode_facts

_NO_OUTCOMES = pl.DataFrame(schema={"number": pl.Int64, "reason": pl.String, "location": pl.String})


class LossEvidence(Struct, frozen=True):
    """What the analysis has found besides."""

    notes: Sequence[VantageNotes]
    segments: npt.NDArray[Any]
    """[v] layer-2 segments"""
    ends: Mapping[int, Mapping[str, int]]
    """number of the first lost packet of a place → EXAMPLE of its last frame"""
    echoes: Echoes
    end_ns: int
    arp: Sequence[ArpRow]
    nd: Sequence[ArpRow] = ()
    """that nobody answered"""
    requests: Sequence[Mapping[str, Any]] = ()
    """over UDP, and SYNs, that came to their end and brought nothing back"""


class LossDiagnosis:
    """An aggregator of all that explains losses.

    Without a block of our own there is nothing that it could explain.
    """

    def __init__(self, keep: bool = False, expected: bool = False) -> None:
        """keep: which packets the kernel dropped, too (see `outcomes`).

        expected: there will be a block of our own, or may be.
        """
        self.expected = expected
        self.recorded = False
        """there was such a block"""
        self.likely: list[LikelyCause] = []
        """what may explain the losses that `explain` could not"""
        self._facts: list[bytes] = []
        self._examples = Examples()
        self._addressed = Addressed()
        self._asked = Asked()
        self._ended = DroppedPackets(self._examples, keep)
        self._lost = LostFlows(self._examples)

    def add(self, batch: Batch) -> None:
        """Take in one batch."""
        self.recorded = self.recorded or bool(batch.own)
        if self.recorded or self.expected:
            self._facts += [data for data in batch.own if data.startswith(FACTS)]
            for aggregator in (self._addressed, self._asked, self._ended, self._lost):
                aggregator.add(batch)

    def facts(self) -> list[Facts]:
        """Settings and counters of packet filters, at both ends."""
        return decode_facts(self._facts)

    def explain(
        self, rows: Sequence[LossRow], table: pl.DataFrame, evidence: LossEvidence, scene: Scene
    ) -> list[LossRow]:
        """The report's losses. rows, table: those that the topology proved, in the same order."""
        scene = replace(scene, facts=self.facts())
        ends = evidence.ends
        last = [self._examples.keep(ends[number]) for number in table["number"].to_list()]
        table = table.with_columns(pl.Series("last_frame", last, pl.Int64))
        silent = [
            row | {"last_frame": self._examples.keep(row["example"])}
            for row in evidence.echoes.silent(evidence.end_ns)
        ]
        frames, ended = self._examples.columns(), self._ended
        losses = explain_lost(rows, table, self._flows(table), frames, scene)
        losses += stack_losses(ended.stacks, frames, scene)
        losses += unanswered_echoes(silent, frames, losses, scene)
        gone, since = (
            [getattr(n, name) for n in evidence.notes] for name in ("gone_ns", "start_ns")
        )
        vanished = {v.container for v, ns in zip(scene.vantages, gone, strict=True) if ns}
        losses += unheard_askers(evidence.arp, scene, vanished)
        losses = self._addressed.misaddressed(evidence.segments, losses, scene, vanished)
        losses += self._asked.went_away(gone, since, scene, scene.events)
        in_vain = _in_vain(losses, [*silent, *evidence.requests], scene)
        asked = {one: row for row in evidence.arp if (one := _asked_in_vain(row, losses))}
        own = (self._dropped_requests(one, row, scene) for one, row in asked.items())
        told = [one for one in own if one]
        solicited = (self._dropped_requests(_solicited(row), row, scene) for row in evidence.nd)
        told += [one for one in solicited if one]
        rest = [one for one in asked if one not in {cause.of for cause in told}]
        in_vain += rest
        self.likely = [*likely_causes(in_vain, self._untied(), scene), *told]
        return losses

    def _dropped_requests(self, one: InVain, row: ArpRow, scene: Scene) -> LikelyCause | None:
        ends = {v.container for v in scene.vantages if arrived_at(v, row.target_ip)}
        others = _ports_of_others(row, ends, scene.vantages)
        drops = self._ended.requests.of(row.asker_ip, row.target_ip, others)
        spaces = {v.netns for v in scene.vantages if _is_concerned(v, {*ends, row.asker})}
        fitting = tuple(
            drop
            for drop in drops
            if drop.packets == one.packets and may_have_dropped(spaces, drop, scene)
        )
        return LikelyCause(one, fitting, tied=True) if fitting else None

    def _flows(self, table: pl.DataFrame) -> list[list[LostFlow]]:
        """Of each row."""
        groups = table.select(GROUP).iter_rows()
        return [self._lost.of(group, self._ended.reasons.get(group, {})) for group in groups]

    def _untied(self) -> Iterator[UntiedDrop]:
        """Drops that belong to no packet of the capture."""
        yield from self._ended.tying.log.elsewhere
        yield from self._ended.tying.untied()

    def outcomes(self) -> pl.DataFrame:
        """number (of a packet), reason, location of those that were dropped themselves, in a
        bridge or a stack."""
        return pl.concat([_NO_OUTCOMES, *self._ended.outcomes])

    def summary(self, vantages: Sequence[Vantage] = ()) -> dict[str, Any] | None:
        """What was recorded of drops: how much of it is tied to packets here, and the rest by the
        kernel's reason; None: nothing was.

        captured: of the rest, frames that came in by the host's interfaces among ``vantages``;
        anywhere: of packets anywhere on this machine, this capture's or not; others: both.
        """
        log = self._ended.tying.log
        if not log.recorded:
            return None
        untied = log.counts - self._ended.tied_by_reason
        others = Counter({log.told.reasons[place]: count for place, count in untied.items()})
        for (reason, _, _), count in log.told.alone.items():
            others[reason] += count
        captured = Counter(self._ended.tying.untied(_host_names(vantages)).by_reason())
        return {
            "tied": self._ended.tied,
            "others": dict(others.most_common()),
            "captured": dict(captured.most_common()),
            "anywhere": dict((others - captured).most_common()),
            "neighbours": [
                {
                    "reason": reason,
                    "interface": device,
                    "next_hop": next_hop,
                    "packets": packets,
                    "first_ns": first_ns,
                    "last_ns": last_ns,
                }
                for (reason, device, next_hop), packets, (first_ns, last_ns) in log.waited.items()
            ],
            "lost": log.told.lost,
            "partly_untied_s": sum(until - since for since, until, _ in log.told.deaf_ns) / 1e9,
        }


def _is_concerned(vantage: Vantage, ends: Collection[str]) -> bool:
    """Whether what one of these asks another passes its namespace: theirs, and the host's."""
    return vantage.role is not Role.CONTAINER or vantage.container in ends


def _ports_of_others(row: ArpRow, ends: Collection[str], vantages: Sequence[Vantage]) -> list[str]:
    """Host veths of containers that neither ask nor have the address."""
    ports = [v for v in vantages if v.role is Role.HOST_VETH and v.container]
    return [v.interface for v in ports if v.container not in {*ends, row.asker}]


def _host_names(vantages: Sequence[Vantage]) -> set[str]:
    """Names of captured interfaces of the host that no captured container's interface has, too:
    the kernel tells the name alone."""
    inside = {v.interface for v in vantages if v.role is Role.CONTAINER}
    return {v.interface for v in vantages if v.role is not Role.CONTAINER} - inside


def _in_vain(
    losses: Sequence[LossRow], silent: Sequence[Mapping[str, Any]], scene: Scene
) -> list[InVain]:
    """What is lost for no known reason, and what was delivered and brought no answer."""
    by_name = {vantage.name: vantage for vantage in scene.vantages}
    lost = [
        InVain(
            *(r.protocol, r.source, r.destination, LOST, r.packets, r.first_ns, r.last_ns),
            places=between_vantages(by_name.get(r.last_seen), by_name.get(r.expected)),
            port=r.port or 0,
            namespaces=frozenset(
                by_name[name].netns for name in (r.last_seen, r.expected) if name in by_name
            ),
        )
        for r in losses
        if r.reason == UNKNOWN and r.first_ns is not None and r.last_ns is not None
    ]
    explained = {(row.protocol, row.source, row.destination, row.port or 0) for row in losses}
    for row in silent:
        ends, port = (row["protocol"], row["source"], row["destination"]), row.get("port", 0)
        if explained.isdisjoint({(*ends, port), (*ends, 0)}):
            span, example = (row["first_ns"], row["last_ns"]), row["example"]
            address = address_text(example["dst_hi"], example["dst_lo"])
            last = scene.vantages[row["at"]]
            where = stays_in(last, arrived_at(last, address), scene)
            places = behind_vantage(last, address)
            lost.append(InVain(*ends, UNANSWERED, row["packets"], *span, places, port, where))
    return lost


def _asked_in_vain(row: ArpRow, losses: Sequence[LossRow]) -> InVain | None:
    """ARP requests that nobody answered, and of which nothing tells why."""
    told = any(one.protocol == "arp" and one.source == row.asker for one in losses)
    if row.state != "unanswered" or told or row.first_ns is None or row.last_ns is None:
        return None
    ends = (row.asker, row.target_ip)
    return InVain("arp", *ends, UNANSWERED, row.requests, row.first_ns, row.last_ns)


def _solicited(row: ArpRow) -> InVain:
    """The same of neighbour solicitations, which are told with the finding that nobody answered."""
    ends = (row.asker, row.target_ip)
    return InVain("nd", *ends, UNANSWERED, row.requests, row.first_ns or 0, row.last_ns or 0)


def with_outcomes(packets: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """The packets with ``dropped``, and the kernel's ``reason`` and ``location`` where known."""
    joined = packets.join(outcomes, on="number", how="left", maintain_order="left")
    return joined.with_columns(pl.col("reason").is_not_null().alias("dropped"))
