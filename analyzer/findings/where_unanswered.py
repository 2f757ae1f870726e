"""How far requests came that nobody answered, the best cause, and what to look at next: for every
protocol in the same words."""

from __future__ import annotations

import polars as pl

from analyzer.findings.at_the_socket import at_the_socket, is_quiet
from analyzer.findings.changed_on_the_way import changed_on_the_way
from analyzer.findings.counted import owner_of
from analyzer.findings.no_answer import (
    Unanswered,
    has_address,
    inside_of,
    it_vanished,
    look_inside,
    next_hop,
    no_way_back,
    no_way_on,
    routed,
    who_vanished,
    without_address,
)
from analyzer.findings.rule import FindingInputs
from analyzer.findings.sent_on import sent_on
from analyzer.findings.translated_source import translated_source
from analyzer.flows.endpoints import HOST as FLOWS_HOST
from analyzer.formatting.numbers import format_plural
from analyzer.model.vantage import Role

_AT_ONCE_NS = 1_000_000_000
"""a vanished interface is noticed so late at most, and an engine stops what is inside before"""


def where_it_ended(inputs: FindingInputs, one: Unanswered, answer: str) -> str:
    """``reached tomcat02:eth0, and no reply came out there: …``, with the best cause, and the next
    command. answer: what is missing, in a word."""
    if has_address(one.last, one.destination_ip):
        cause = (
            no_way_back(inputs, one)
            or _without_address(inputs, one)
            or _nobody_has(inputs, one, one.source_ip)
            or sent_on(inputs, one)
            or at_the_socket(inputs, one)
            or _unknown(inputs, one)
        )
        return f"reached {one.last.name}, and no {answer} came out there: {cause}"
    if (owners := who_vanished(inputs.outlook, one.destination_ip)) and _sent_later(inputs, one):
        return f"came as far as {one.last.name}, and no {answer} came back: {it_vanished(owners)}"
    if changed := changed_on_the_way(inputs, one):
        return f"{_came_to(one)}, and no {answer} came back there: {changed}"
    if came_back := _came_back(inputs, one):
        return f"{_came_to(one)}, {came_back}"
    cause = (
        _to_nobody(inputs, one)
        or _no_port(inputs, one)
        or _nobody_has(inputs, one, one.destination_ip)
        or no_way_on(inputs, one)
        or _another_router(inputs, one)
        or translated_source(inputs, one)
        or _in_a_tunnel(inputs, one)
        or _untranslated(inputs, one)
        or f"the cause lies beyond: capture there, too; ip route get {one.destination_ip}"
    )
    return f"{_came_to(one)}, and no {answer} came back there: {cause}"


def _came_to(one: Unanswered) -> str:
    """How far, or by which wrong way: a bridge floods what it has no port for."""
    last, router = one.last, one.last.container not in ("", one.source, one.destination)
    if router and last.role in (Role.CONTAINER, Role.HOST_VETH):
        return f"came as far as {last.name}, which is not {one.destination}'s"
    return f"came as far as {last.name}"


def _sent_later(inputs: FindingInputs, one: Unanswered) -> bool:
    """Whether all were sent, as far as is known, about when the target's interface vanished, or
    later."""
    outlook = inputs.outlook
    its = [at for at, v in enumerate(outlook.vantages) if has_address(v, one.destination_ip)]
    first_ns = min(gone for at in its if (gone := outlook.lifetime(at)[1]))
    return all(ns > first_ns - _AT_ONCE_NS for ns in one.sent_ns)


def _without_address(inputs: FindingInputs, one: Unanswered) -> str:
    """Whether the stack did not have the address when they came; a port's stack is the host's."""
    if one.last.role is Role.HOST_VETH:
        return ""
    return without_address(inputs, one.last.netns, one.destination_ip, one.sent_ns)


def _unknown(inputs: FindingInputs, one: Unanswered) -> str:
    """What would tell why."""
    drops = "" if inputs.info.drops else "capture with --drops; "
    owner = owner_of(inputs, one.last.netns) if one.last.role is not Role.HOST_VETH else None
    if owner is None:
        return f"{drops}capture inside of {one.destination}, too"
    commands = [f"ip route get {one.source_ip}"]
    if drops or not is_quiet(inputs, one.last.netns):
        commands.append("nft list ruleset")
    if one.port:
        commands.append("ss -lnp")
    return f"{drops}{'; '.join(owner.run(command) for command in commands)}"


def _came_back(inputs: FindingInputs, one: Unanswered) -> str:
    """Whether their target's own packets came back there, and were not tied to them."""
    if inputs.outcomes is None or one.port:
        return ""
    ends = (one.destination, one.source)
    if any((e.reporter, e.source) == ends for e in inputs.flows.get("icmp_errors", ())):
        return ""
    at = [v.name for v in inputs.outlook.vantages].index(one.last.name)
    of_target = (pl.col("protocol") == one.protocol, pl.col("source") == one.destination)
    back = inputs.outcomes.filter(*of_target, pl.col("first_vantage") == at)
    if back.is_empty():
        return ""
    count = format_plural(int(back["count"].sum()), f"{one.protocol} packet")
    return (
        f"and {count} of {one.destination} came in there for {back['destination'][0]}, likely the "
        "answers, which the host dropped or did not translate back: iptables -nvL FORWARD; "
        f"conntrack -L -d {one.destination_ip}"
    )


def _untranslated(inputs: FindingInputs, one: Unanswered) -> str:
    """Whether they left the host with an address that nobody may know the way to."""
    vantages = inputs.outlook.vantages
    left = [
        (row["source"], vantages[row["vantage"]].name, row["inward"]) for row in inputs.untranslated
    ]
    if (one.source, one.last.name, False) not in left:
        return ""
    return (
        f"they left with {one.source}'s own address {one.source_ip}, to which nobody out there may "
        "know the way: iptables -t nat -nvL POSTROUTING"
    )


def _to_nobody(inputs: FindingInputs, one: Unanswered) -> str:
    """Whether they went to a MAC that nobody has, so that a bridge flooded them."""
    outlook = inputs.outlook
    ports = [v for v in outlook.vantages if v.bridge == one.last.bridge and v.bridge]
    if not one.mac or not ports or one.last.container in ("", one.source, one.destination):
        return ""
    learnt = {mac for some in (outlook.fdb.values()) for mac, _ in some}
    learnt |= {mac for v in outlook.vantages for mac, _ in v.fdb}
    if one.mac in learnt | {mac for v in outlook.vantages for mac in (v.mac, v.peer_mac)}:
        return ""
    inside = inside_of(inputs, one.source)
    owner = owner_of(inputs, inside.netns) if inside else None
    return (
        f"they were sent to {one.mac}, which nobody here has, and {ports[0].bridge} does not "
        f"know: {look_inside(owner, 'ip neigh show')}"
    )


def _no_port(inputs: FindingInputs, one: Unanswered) -> str:
    """Whether the destination's host end hangs in the air; one to which the
    host routes, is no port by design."""
    ports = [
        v
        for v in inputs.outlook.vantages
        if v.role is Role.HOST_VETH and has_address(v, one.destination_ip)
    ]
    if not ports or any(port.master_ifindex for port in ports):
        return ""
    way = routed(inputs, ports[0].netns, one.destination_ip)
    if way is not None and way.device == ports[0].interface:
        return ""
    return (
        f"{ports[0].name}, behind which {one.destination} lives, is no port of a bridge: "
        f"ip -d link show dev {ports[0].interface}"
    )


def _nobody_has(inputs: FindingInputs, one: Unanswered, address: str) -> str:
    """Whether who had to send on to an address, or to answer to it, asked for the next hop's MAC in
    vain."""
    owner = owner_of(inputs, one.last.netns)
    onward = routed(inputs, one.last.netns, address)
    hop = (onward.gateway if onward else "") or address
    if owner is None or one.last.role is Role.HOST_VETH:
        return ""
    name = FLOWS_HOST if owner.is_host else one.last.container
    for kind in ("arp", "nd"):
        for row in inputs.flows.get(kind, ()):
            if (row.asker, row.target_ip, row.state) == (name, hop, "unanswered"):
                look = owner.run(f"ip neigh show {hop}")
                return f"{owner.name} asked who has {hop}, and nobody answered: {look}"
    return ""


def _in_a_tunnel(inputs: FindingInputs, one: Unanswered) -> str:
    """Whether they went on under another destination address, and what was lost of that."""
    inside = [v for v in inputs.outlook.vantages if v.container == one.destination]
    if not inside or any(has_address(v, one.destination_ip) for v in inside):
        return ""
    ends = {v.container for v in inputs.outlook.vantages if has_address(v, one.destination_ip)}
    lost = [
        loss for loss in inputs.losses if loss.destination in {*ends, one.destination_ip} - {""}
    ]
    if not lost:
        return (
            f"they went on in packets to {one.destination_ip} (a tunnel, or translated): follow "
            "those"
        )
    return (
        f"they went on in packets to {one.destination_ip}, of which some were lost "
        f"{lost[0].location} ({lost[0].reason}): {lost[0].advice}"
    )


def _another_router(inputs: FindingInputs, one: Unanswered) -> str:
    """Whether the asker sends by way of another container."""
    hop = next_hop(inputs, one.source, one.destination_ip)
    if hop is None:
        return ""
    router, route = hop
    inside = next(v for v in inputs.outlook.vantages if v.container == one.source)
    look = look_inside(owner_of(inputs, inside.netns), f"ip route get {one.destination_ip}")
    return f"{one.source} takes {router} for its router (route {route}): {look}"
