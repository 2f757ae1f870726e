"""Requests over UDP that came to their end, of protocols in which each is answered."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.no_answer import Unanswered, silent_requests
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.findings.where_unanswered import where_it_ended
from analyzer.formatting.numbers import format_plural
from analyzer.model.report import Finding
from analyzer.model.vantage import Role

REQUEST_UNANSWERED = Code(
    "request-unanswered",
    (WARNING,),
    "Requests over UDP, of a protocol in which each is answered (NTP, SNMP, memcached, STUN, TFTP, "
    "SIP, CoAP, RADIUS, QUIC, WireGuard), brought nothing back.",
    "capture with --drops; ss -lunp and ip route get CLIENT at the server",
)
_HAVE_THEIR_OWN = ("TCP", "DNS")


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One for each client, server, port and vantage, unless a loss or an ICMP error says why."""
    for one in silent_requests(inputs):
        if one.service not in _HAVE_THEIR_OWN and not _is_refused(inputs, one):
            yield REQUEST_UNANSWERED.finding(_text(inputs, one))


def _text(inputs: FindingInputs, one: Unanswered) -> str:
    requests = (
        f"{format_plural(one.packets, f'{one.service} request')} of {one.source} to "
        f"{one.destination} (UDP port {one.port})"
    )
    if one.last.role is Role.OTHER:
        return f"{requests} brought no answer back at {one.last.name}: capture at the server, too"
    return f"{requests} {where_it_ended(inputs, one, 'answer')}"


def _is_refused(inputs: FindingInputs, one: Unanswered) -> bool:
    """Whether an ICMP error tells of them."""
    asked = one.source, one.destination_ip, one.port
    rows = inputs.flows.get("icmp_errors", ())
    return any(asked == (r.source, r.destination_ip, r.destination_port) for r in rows)


RULE = Rule((REQUEST_UNANSWERED,), find, place=129)
