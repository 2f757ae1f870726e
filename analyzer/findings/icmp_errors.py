"""Errors that were reported by ICMP."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding

ICMP_ERROR = Code(
    "icmp-error",
    (WARNING,),
    "A node reported that a packet could not go on: unreachable, too big, TTL exceeded.",
    "the text names the command for each kind of error",
)

_ADVICE = {
    "network unreachable": "no route there: ip route get ADDRESS",
    "host unreachable": "nobody answers ARP there: ip neigh show",
    "port unreachable": "nobody listens there (ss -lunp), or a rule with REJECT",
    "fragmentation needed": "larger than an MTU on the way, with DF set: ip link show",
    "packet too big": "larger than an MTU on the way: ip link show",
    "TTL exceeded": "the hop limit ran out there, or a loop: ip route get ADDRESS",
    "hop limit exceeded": "it ran out there, or a loop: ip -6 route get ADDRESS",
    "reassembly time exceeded": "fragments were lost: nstat -az 'IpReasm*'",
    "redirect": "a better router in the same network: ip route show",
}
"""error → what it means, and the command to look further"""
_PROHIBITED = "a rule with REJECT: iptables -nvL"


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for row in inputs.flows.get("icmp_errors", ()):
        port = "" if row.destination_port is None else f" port {row.destination_port}"
        mtu = f" (MTU {row.mtu})" if row.mtu else ""
        yield ICMP_ERROR.finding(
            f"{row.reporter} says {row.error}{mtu} to {row.source}, {row.errors}×, "
            f"about {row.protocol} to {row.destination_ip}{port}{_advice(row.error)}"
        )


def _advice(error: str) -> str:
    advice = _PROHIBITED if "prohibited" in error else _ADVICE.get(error, "")
    return f": {advice}" if advice else ""


RULE = Rule((ICMP_ERROR,), find, place=120)
