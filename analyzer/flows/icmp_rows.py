"""Echo conversations as rows of the report, each with its echoes where those are listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from analyzer.flows.contradictions import settle_echoes
from analyzer.flows.echo_messages import KEY
from analyzer.flows.icmp import Echoes
from analyzer.flows.kind import AggregatorInputs, FlowContext, FlowKind, forgotten
from analyzer.model.echo_rows import Echo, EchoHop, EchoProcess, IcmpRow
from analyzer.model.journeys import HOP_NAMES, Status
from analyzer.model.ranks import percentile
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ip import address_text


def _aggregator(inputs: AggregatorInputs) -> Echoes:
    return Echoes(keep=inputs.keep_echoes, outside=inputs.outside)


def _rows(echoes: Echoes, context: FlowContext) -> list[IcmpRow]:
    single = echoes.echoes(context.end_ns) if echoes.keeps else None
    table = echoes.table(context.end_ns)
    return [_row(row, context, single) for row in table.iter_rows(named=True)]


def _row(row: Mapping[str, Any], context: FlowContext, echoes: pl.DataFrame | None) -> IcmpRow:
    asked = (*(row[key] for key in KEY[:5]), row["id"])
    unanswered = row["sent"] - row["answered"] - row["unmatched"]
    expired = min(context.expired_echoes.get(asked, 0), unanswered)
    seen = [ns for (ident, _), ns in context.process_rtt.items() if ident == row["id"]]
    target_ip = address_text(row["target_hi"], row["target_lo"])
    asker_ip = address_text(row["asker_hi"], row["asker_lo"])
    unheard = not row["answered"] and (context.one_way or not context.hears(asker_ip))
    silent = row["to_group"] or unheard
    times = ("rtt_min_ns", "rtt_p50_ns", "rtt_p99_ns", "rtt_max_ns", "turnaround_p50_ns")
    made = IcmpRow(
        source=row["source"],
        destination=row["destination"],
        source_ip=asker_ip,
        destination_ip=target_ip,
        id=row["id"],
        sent=row["sent"],
        answered=row["answered"],
        lost=0 if silent else unanswered - expired,
        duplicates=row["duplicates"],
        **{name: row[name] for name in times},
        echoes=[] if echoes is None else _echoes(row, context, echoes, silent),
        measured_at=context.vantages[row["vantage"]].name,
        unmatched=row["sent"] - row["answered"] if silent else row["unmatched"] + expired,
        process_rtt_p50_ns=percentile(seen, 0.5),
        payload_len=row["payload_len"],
        own=row["id"] in context.own_echoes,
        process=_process(row["id"], seen, context),
        **_turning(row, target_ip, context.vantages),
    )
    return settle_echoes(made)


def _process(ident: int, rtt_ns: Sequence[int], context: FlowContext) -> EchoProcess | None:
    """What the process with this ICMP id saw; None where it was not our own."""
    if ident not in context.own_echoes:
        return None
    return EchoProcess(context.own_echoes[ident], percentile(rtt_ns, 0.5))


def _turning(row: Mapping[str, Any], target_ip: str, vantages: Sequence[Vantage]) -> dict[str, Any]:
    """Where the turnaround was taken, and whether that is the answering end itself."""
    if row["turnaround_p50_ns"] is None or row["turned_at"] < 0:
        return {}
    at = vantages[row["turned_at"]]
    inside = at.container or ("host" if at.role in _OF_THE_HOST else "")
    named = inside == row["destination"]
    addresses = (address.partition("/")[0] for address in at.addresses)
    return {
        "turnaround_at": at.name,
        "turnaround_inside": at.role is not Role.HOST_VETH and (named or target_ip in addresses),
    }


_OF_THE_HOST = (Role.BRIDGE, Role.HOST, Role.UPLINK)
"""interfaces behind which the host's own stack is"""


def _echoes(
    row: Mapping[str, Any], context: FlowContext, echoes: pl.DataFrame, silent: bool
) -> list[Echo]:
    """Every echo of a conversation. silent: an answer could not have been seen."""
    keys = ("site", "asker_hi", "asker_lo", "target_hi", "target_lo", "id")
    of_row = echoes.filter(*(pl.col(key) == row[key] for key in keys))
    return [
        _echo({**echo, "open": echo["open"] or silent}, context)
        for echo in of_row.iter_rows(named=True)
    ]


def _echo(row: Mapping[str, Any], context: FlowContext) -> Echo:
    names = context.vantages
    answered, back = row["answered"], row["reply_last"]
    end = row["request_last"] if back is None else back
    return Echo(
        seq=row["seq"],
        rtt_ns=row["rtt_ns"],
        turnaround_ns=row["turnaround_ns"],
        request_hops=_hops_of(row, "request", names),
        reply_hops=[] if back is None else _hops_of(row, "reply", names),
        lost_after=None if answered or row["open"] else names[end].name,
        lost=None if answered else _which_was_lost(row),
        ts_ns=row["ts_ns"] if row["first_told"] else None,
        process_rtt_ns=context.process_rtt.get((row["id"], row["seq"])),
        ttl=row["ttl"],
    )


def _which_was_lost(row: Mapping[str, Any]) -> str | None:
    """'request' or 'reply' where correlation says lost; None: delivered, but never answered."""
    if row["request_status"] == Status.LOST:
        return "request"
    return "reply" if row["reply_status"] == Status.LOST else None


def _hops_of(row: Mapping[str, Any], way: str, vantages: Sequence[Vantage]) -> list[EchoHop]:
    """The timed hops of a request's or a reply's journey."""
    columns = (row[f"{way}_hop_{name}"] or () for name in ("from", "to", "kind", "ns"))
    return [
        EchoHop(vantages[from_].name, vantages[to].name, HOP_NAMES[kind], delay_ns)
        for from_, to, kind, delay_ns in zip(*columns, strict=True)
    ]


KINDS = (
    FlowKind(
        name="icmp",
        row=IcmpRow,
        about="an echo conversation: one pinger, one target, one ICMP id",
        aggregator=_aggregator,
        rows=_rows,
        nested=("echoes", "process"),
        left_out=forgotten,
        knows_untimed=True,
    ),
)
