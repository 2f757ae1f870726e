"""Packets of containers that left the host with their own private address, and got no answer.

A bridge's private network is nobody's beyond the host, unless it is routed there: then something
comes back for its addresses, and nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, ip_interface
from typing import Any

from analyzer.diagnosis.nat_rules import Translated, source_rules, untracking_rules, were_read
from analyzer.findings.counted import owner_of
from analyzer.findings.ended_entries import entry_ended_ns
from analyzer.findings.no_answer import inside_of, look_inside, next_hop
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.flows.untranslated import host_namespaces
from analyzer.formatting.numbers import format_plural, format_time
from analyzer.model.evidence import KernelEvent, NamespaceEvidence
from analyzer.model.kernel_state import Ruleset
from analyzer.model.report import Finding
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ip import ipv4_text

LEFT_UNTRANSLATED = Code(
    "left-untranslated",
    (WARNING,),
    "A container's packets left the host with its own private address, and nothing came back.",
    "iptables -t nat -nvL POSTROUTING; conntrack -L -s ADDRESS",
)
_PATIENCE_NS = 1_000_000_000
"""what was sent later may be answered after the capture"""
_PRIVATE = tuple(IPv4Network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))

Row = Mapping[str, Any]


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One a container's address and interface that its packets left by."""
    if not inputs.outlook.complete or inputs.outlook.one_way:
        return
    networks = _networks(inputs.outlook.vantages)
    answered = {
        _network_of(ipv4_text(row["dst"]), networks) for row in inputs.untranslated if row["inward"]
    }
    groups: dict[tuple[int, int], list[Row]] = {}
    for row in inputs.untranslated:
        if not row["inward"] and row["first_ns"] <= inputs.outlook.end_ns - _PATIENCE_NS:
            groups.setdefault((row["src"], row["vantage"]), []).append(row)
    for (source, at), rows in groups.items():
        network = _network_of(ipv4_text(source), networks)
        if network is not None and network not in answered:
            yield LEFT_UNTRANSLATED.finding(_text(inputs, rows, at, network))


def _networks(vantages: Sequence[Vantage]) -> list[IPv4Network]:
    """Private ones of the host's bridges."""
    bridges = [v for v in vantages if v.role is Role.BRIDGE]
    networks = [ip_interface(a).network for v in bridges for a in v.addresses]
    return [one for one in networks if isinstance(one, IPv4Network) and _is_private(one)]


def _is_private(network: IPv4Network) -> bool:
    return any(network.subnet_of(one) for one in _PRIVATE)


def _network_of(address: str, networks: Sequence[IPv4Network]) -> IPv4Network | None:
    return next((one for one in networks if IPv4Address(address) in one), None)


def _text(inputs: FindingInputs, rows: Sequence[Row], at: int, network: IPv4Network) -> str:
    vantages = inputs.outlook.vantages
    behind = vantages[at]
    hosts = host_namespaces(vantages)
    way_out = behind
    if behind.netns not in hosts:
        way_out = next((v for v in vantages if v.name == behind.peer), behind)
    source, packets = ipv4_text(rows[0]["src"]), sum(row["count"] for row in rows)
    since, until = (
        format_time(limit(row[f"{end}_ns"] for row in rows))
        for limit, end in ((min, "first"), (max, "last"))
    )
    until = until.removeprefix(since.partition(" ")[0] + " ")
    return (
        f"{format_plural(packets, 'packet')} of {rows[0]['source']} left {way_out.interface} with "
        f"the container's own address {source} between {since} and {until}, and nothing came back "
        f"for it: {_cause(inputs, rows, way_out, network)}"
    )


def _cause(inputs: FindingInputs, rows: Sequence[Row], way_out: Vantage, network: Any) -> str:
    source = ipv4_text(rows[0]["src"])
    if hop := next_hop(inputs, rows[0]["source"], ipv4_text(rows[0]["dst"])):
        router, route = hop
        inside = inside_of(inputs, rows[0]["source"])
        owner = owner_of(inputs, inside.netns) if inside else None
        return (
            f"{rows[0]['source']} takes {router} for its router (route {route}), so that they were "
            "bridged first, and conntrack kept them as untranslated: "
            + look_inside(owner, f"ip route get {ipv4_text(rows[0]['dst'])}")
        )
    look = f"iptables -t nat -nvL POSTROUTING; conntrack -L -s {source}"
    if ended_ns := entry_ended_ns(inputs.nat, rows, way_out.netns):
        return (
            f"the conntrack entry by which it was translated had ended by {format_time(ended_ns)} "
            "(idle for longer than its timeout, or deleted), and what a connection sends without "
            "one is invalid and not translated: keep-alives more often than sysctl "
            "net.netfilter.nf_conntrack_tcp_timeout_established; conntrack -L -p tcp -s "
            f"{source}"
        )
    last = [m for m in inputs.evidence.at_end() if m.netns == way_out.netns and were_read(m)]
    if len(last) != 1:
        return f"its source was not translated (MASQUERADE, SNAT): {look}"
    if untracked := _rule(last[0], rows, way_out, untracking_rules):
        return (
            f"conntrack leaves them alone ({untracked}), and what it does not track is not "
            f"translated: iptables -t raw -nvL; nft list ruleset; conntrack -L -s {source}"
        )
    if rule := _rule(last[0], rows, way_out):
        changed = _changed(inputs.evidence.events, way_out.netns)
        return (
            f"a rule for it stands there ({rule}){changed}: likely the flow's conntrack entry is "
            f"older than the rule: conntrack -D -s {source}; {look}"
        )
    began = [m for m in inputs.evidence.moments if m.netns == way_out.netns and m.at_start]
    gone = any(were_read(m) and _rule(m, rows, way_out) for m in began)
    when = " at the capture's end, while one did at its begin" if gone else ""
    return (
        f"none of the rules that were read translates (MASQUERADE, SNAT) {network} out of "
        f"{way_out.interface}{when}: {look}"
    )


def _rule(
    moment: NamespaceEvidence,
    rows: Sequence[Row],
    way_out: Vantage,
    fitting: Callable[[Sequence[Ruleset], Translated], list[str]] = source_rules,
) -> str:
    """The first that should have translated one of them, or that fits otherwise; '' where there is
    none."""
    for row in rows:
        ends = (ipv4_text(row["src"]), ipv4_text(row["dst"]))
        packet = Translated(row["protocol"], *ends, outgoing=way_out.interface)
        if found := fitting(moment.rulesets, packet):
            return found[0]
    return ""


def _changed(events: Sequence[KernelEvent], netns: int) -> str:
    """When a chain of translations was changed, if it was."""
    for event in events:
        words = event.subject.lower()
        if (event.netns, event.what) == (netns, "nftables") and (
            " nat " in words or "postrouting" in words
        ):
            return f", whose chain was changed at {format_time(event.ts_ns)}"
    return ""


RULE = Rule((LEFT_UNTRANSLATED,), find, place=67, needs="the bridge and the way out captured")
