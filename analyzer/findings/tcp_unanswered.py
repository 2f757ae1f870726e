"""Connections that nobody answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.findings.no_answer import Unanswered, silent_requests
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.findings.where_unanswered import where_it_ended
from analyzer.formatting.numbers import format_count
from analyzer.model.flow_rows import IcmpErrorRow
from analyzer.model.report import Finding, LossRow
from analyzer.model.vantage import Role
from analyzer.net.icmp import REFUSING

TCP_UNANSWERED = Code(
    "tcp-unanswered",
    (WARNING,),
    "A SYN was seen and nothing came back.",
    "capture with --drops; ss -ltn and the packet filter at the server",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One for each client and port of a server; what an ICMP error refused is its finding's."""
    if inputs.outlook.one_way:
        return
    places: dict[tuple[str, str, int], list[Unanswered]] = {}
    for one in silent_requests(inputs):
        if one.protocol == "tcp":
            places.setdefault((one.source, one.destination, one.port), []).append(one)
    connections: dict[tuple[str, str, int], int] = {}
    refused = {
        (one.source_ip, one.destination_ip, one.destination_port)
        for one in inputs.flows.get("icmp_errors", ())
        if one.protocol == "tcp" and _refuses(inputs, one)
    }
    for row in inputs.flows.get("tcp", ()):
        asked = row.client_ip, row.server_ip, row.server_port
        if row.state == "unanswered" and asked not in refused:
            key = row.client, row.server, row.server_port
            connections[key] = connections.get(key, 0) + 1
    lost: dict[tuple[str, str], list[LossRow]] = {}
    for loss in inputs.losses:
        if loss.protocol == "tcp":
            lost.setdefault((loss.source, loss.destination), []).append(loss)
    for key, count in connections.items():
        client, server, port = key
        losses = [row for row in lost.get(key[:2], ()) if row.port in (None, port)]
        many = f" of {format_count(count)} connections" if count > 1 else ""
        yield TCP_UNANSWERED.finding(
            f"{client} → {server} TCP port {port}: the SYN{many} was not answered"
            f"{_where(inputs, losses, places.get(key, ()))}"
        )


def _refuses(inputs: FindingInputs, error: IcmpErrorRow) -> bool:
    """Whether it is what became of the SYNs: nothing is known to have lost them."""
    lost = ((row.protocol, row.source, row.port) for row in inputs.losses)
    ends = ("tcp", error.source, error.destination_port)
    return error.error in REFUSING or ("unreachable" in error.error and ends not in lost)


def _where(inputs: FindingInputs, lost: Sequence[LossRow], places: Sequence[Unanswered]) -> str:
    """How far it came, and why nothing came back; '' where SYNs ended at several places."""
    if len(lost) == 1 and not places:
        return f": it was lost {lost[0].location} ({lost[0].reason})"
    if len({one.last.name for one in places}) != 1 or lost or places[0].last.role is Role.OTHER:
        return ""
    return f": it {where_it_ended(inputs, places[0], 'answer')}"


RULE = Rule((TCP_UNANSWERED,), find, place=130)
