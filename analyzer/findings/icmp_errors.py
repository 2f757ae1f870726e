"""Errors that were reported by ICMP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_interface

from analyzer.diagnosis.bound_elsewhere import bound_elsewhere
from analyzer.diagnosis.nat_rules import Translated, older_entry
from analyzer.diagnosis.reasons import NO_CLIENT, NO_SOCKET
from analyzer.findings.counted import owned_ends
from analyzer.findings.no_answer import refusal, routed
from analyzer.findings.rejecting import reporting
from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.flows.endpoints import HOST
from analyzer.model.flow_rows import IcmpErrorRow
from analyzer.model.report import Finding, LossRow
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ports import FIRST_EPHEMERAL

ICMP_ERROR = Code(
    "icmp-error",
    (WARNING, INFO),
    "A node reported that a packet could not go on: unreachable, too big, TTL exceeded; of a "
    "traceroute it is an information.",
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
_RAN_OUT = ("TTL exceeded", "hop limit exceeded")
_FEWEST_ROUTERS = 3
"""that tell one sender so: in a loop the hop limit runs out at one or two"""
_NO_CLIENT = (
    "nobody listens there; if it was a client's port, it is closed by now, or asked another "
    "address (ss -uanp); or a rule with REJECT"
)
_PROHIBITED = "a rule with REJECT: iptables -nvL"


def find(inputs: FindingInputs) -> Iterator[Finding]:
    rows = inputs.flows.get("icmp_errors", ())
    routers = Counter(_probed(row) for row in rows if row.error in _RAN_OUT)
    traced = {probed for probed, count in routers.items() if count >= _FEWEST_ROUTERS}
    for source, destination, protocol in sorted(traced):
        yield ICMP_ERROR.finding(
            f"{source} traced its route to {destination} by {protocol}: "
            f"{routers[source, destination, protocol]} routers answered",
            INFO,
        )
    for row in rows:
        if row.error in _RAN_OUT and _probed(row) in traced:
            continue
        port = "" if row.destination_port is None else f" port {row.destination_port}"
        mtu = f" (MTU {row.mtu})" if row.mtu else ""
        yield ICMP_ERROR.finding(
            f"{row.reporter} says {row.error}{mtu} to {row.source}, {row.errors}×, "
            f"about {row.protocol} to {row.destination_ip}{port}"
            f"{_why(row, inputs)}"
        )


def _why(row: IcmpErrorRow, inputs: FindingInputs) -> str:
    return (
        _redirected(row, inputs)
        or _refused(row, inputs)
        or _rejected(row, inputs)
        or _unheard(row, inputs)
    )


def _rejected(row: IcmpErrorRow, inputs: FindingInputs) -> str:
    """The rule with REJECT that made it; or nobody listened, as the kernel says."""
    if "unreachable" not in row.error and "prohibited" not in row.error:
        return ""
    for moment, owner in owned_ends(inputs):
        if row.reporter in (owner.name, HOST if owner.is_host else ""):
            made = reporting(inputs, row, moment.netns, owner.place)
            if made.rule:
                return f": {made.rule}"
    ends = row.protocol, row.source, row.reporter
    to_client = f"{NO_CLIENT} {row.protocol} port {row.destination_port} "
    for loss in inputs.losses:
        same = loss.port == row.destination_port or to_client in loss.advice
        if loss.reason == NO_SOCKET and same and _ends(loss) == ends:
            return f": {loss.advice}"
    return ""


def _ends(loss: LossRow) -> tuple[str, str, str]:
    return loss.protocol, loss.source, loss.destination


def _redirected(row: IcmpErrorRow, inputs: FindingInputs) -> str:
    """Of the host, where one of its rules should have sent the packets elsewhere."""
    if row.reporter != HOST or row.error != "port unreachable":
        return ""
    ends = (row.source_ip, row.destination_ip, row.destination_port or 0)
    asked = Translated(row.protocol, *ends, incoming=_incoming(row, inputs.outlook.vantages))
    for moment, owner in owned_ends(inputs):
        if owner.is_host and (entry := older_entry(moment.rulesets, asked)):
            return f": {entry}"
    return ""


def _refused(row: IcmpErrorRow, inputs: FindingInputs) -> str:
    """The route by which the reporter refuses the destination, if it has one."""
    if "unreachable" in row.error or "prohibited" in row.error:
        for moment, owner in owned_ends(inputs):
            onward = routed(inputs, moment.netns, row.destination_ip)
            names = (owner.name, HOST if owner.is_host else "")
            if onward and onward.refused and row.reporter in names:
                look = owner.run(f"ip route get {row.destination_ip}")
                return f": it {refusal(onward, row.destination_ip)}: {look}"
    return ""


def _unheard(row: IcmpErrorRow, inputs: FindingInputs) -> str:
    """What the error means; of a port, where else somebody listens."""
    port, address = row.destination_port or 0, row.destination_ip
    for moment, owner in owned_ends(inputs) if row.error == "port unreachable" else ():
        if row.reporter in (owner.name, HOST if owner.is_host else ""):
            ends = moment.netns, row.protocol, port, address
            if other := bound_elsewhere(inputs.evidence.moments, *ends):
                return f": it listens on {other} only: {owner.run('ss -lunp')}"
    return _advice(row)


def _incoming(row: IcmpErrorRow, vantages: Sequence[Vantage]) -> str:
    """The host's interface into whose network the source belongs; '' where there is none."""
    source = ip_address(row.source_ip)
    for vantage in vantages:
        if vantage.role in (Role.BRIDGE, Role.UPLINK, Role.HOST, Role.HOST_VETH):
            networks = (ip_interface(address).network for address in vantage.addresses)
            if any(source in network for network in networks):
                return vantage.interface
    return ""


def _probed(row: IcmpErrorRow) -> tuple[str, str, str]:
    return row.source, row.destination_ip, row.protocol


def _advice(row: IcmpErrorRow) -> str:
    advice = _PROHIBITED if "prohibited" in row.error else _ADVICE.get(row.error, "")
    if row.error == "port unreachable" and (row.destination_port or 0) >= FIRST_EPHEMERAL:
        advice = _NO_CLIENT
    return f": {advice.replace('ADDRESS', row.destination_ip)}" if advice else ""


RULE = Rule((ICMP_ERROR,), find, place=120)
