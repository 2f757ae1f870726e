"""TCP resets: refused connections and others, by who made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from analyzer.diagnosis.bound_elsewhere import bound_elsewhere
from analyzer.findings.at_the_socket import listens_throughout
from analyzer.findings.invalid_segments import reset_unasked
from analyzer.findings.rejecting import Rejecting, rejecting, would_be_seen
from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.findings.untranslated_answers import untranslated
from analyzer.flows.endpoints import HOST
from analyzer.model.flow_rows import TcpRow
from analyzer.model.report import Finding
from analyzer.model.vantage import Role
from analyzer.net.ip import address_text

TCP_REFUSED = Code(
    "tcp-refused",
    (WARNING,),
    "A connection was refused by an RST: nothing listens, or a rule rejects.",
    "ss -ltnp where the RST was made; iptables -nvL for REJECT rules",
)
PUBLISHED_UNSERVED = Code(
    "published-unserved",
    (WARNING,),
    "A published port was asked, and nothing in its container listens.",
    "ss -ltnp inside the container; docker port NAME",
)
TCP_RESET = Code(
    "tcp-reset",
    (INFO, WARNING),
    "A connection was reset; a warning where the host did it in a container's name.",
    "ss -tin at who reset; iptables -nvL FORWARD where it was the host",
)


class _Cut(NamedTuple):
    """RSTs of connections that were established, which are told together."""

    source: str
    destination: str
    port: int
    maker: str
    seen: str
    """where they were first seen"""


Published = Mapping[tuple[str, int], str]
"""(container, its TCP port) → where the engine publishes it"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """Refused connections, and resets of others, in order of appearance."""
    published = inputs.census.published or {}
    for row in inputs.resets:
        if row["refusal"]:
            yield _refused(row, inputs, published)
    yield from _cut(inputs)


def _maker(row: Mapping[str, Any], inputs: FindingInputs) -> str:
    """Who made it, by where it was first seen; '' where that does not tell."""
    outlook = inputs.outlook
    vantage = outlook.vantages[row["vantage"]]
    if not vantage.ifindex or not outlook.complete:
        return ""
    out: bool = row["egress"]
    if out == (vantage.role is Role.CONTAINER):
        return vantage.container if vantage.role in (Role.CONTAINER, Role.HOST_VETH) else ""
    is_hosts = vantage.role in (Role.HOST_VETH, Role.BRIDGE, Role.UPLINK, Role.HOST)
    forwarded = row["source"] != HOST and not would_be_seen(inputs, row)
    return HOST if out and is_hosts and not forwarded else ""


def _refused(row: Mapping[str, Any], inputs: FindingInputs, published: Published) -> Finding:
    outlook = inputs.outlook
    server, maker, port = row["source"], _maker(row, inputs), row["port"]
    times = f", {row['count']}×" if row["count"] > 1 else ""
    what = f"{row['destination']} → {server} TCP port {port}: refused{times}"
    vantage = outlook.vantages[row["vantage"]]
    if maker == HOST and server != HOST:
        return TCP_REFUSED.finding(
            f"{what} by the host in {server}'s name (its RST is first seen going out of "
            f"{vantage.name}): {_by_the_host(rejecting(inputs, row, vantage.netns), inputs)}"
        )
    asked = _asked_at(row, published)
    if maker and maker == server:
        by_host = maker == HOST
        behind = vantage.role is Role.HOST_VETH and not by_host
        inside = vantage.peer_netns if behind else vantage.netns
        there = rejecting(inputs, row, inside, "" if by_host else server, itself=by_host)
        address = address_text(row["hi"], row["lo"])
        listens = listens_throughout(inputs, inside, port, address)
        other = bound_elsewhere(inputs.evidence.moments, inside, "tcp", port, address)
        why = _by_itself(server, there, other, listens=listens)
        text = f"{what} by {server} itself{asked}{why}"
        return (PUBLISHED_UNSERVED if asked and not listens else TCP_REFUSED).finding(text)
    on_the_way = rejecting(inputs, row, vantage.netns)
    why = on_the_way.rule or "nothing listens there (ss -ltnp), or a rule with REJECT"
    return TCP_REFUSED.finding(f"{what} (RST first seen at {vantage.name}){asked}: {why}")


def _by_the_host(made: Rejecting, inputs: FindingInputs) -> str:
    """What made an RST in somebody else's name."""
    if made.rule or made.read:
        return made.rule or "no rule that was read has counted it: nft list ruleset; ss -ltnp"
    user = "; iptables -nvL DOCKER-USER" if inputs.engine == "docker" else ""
    return f"likely a rule with REJECT --reject-with tcp-reset: iptables -nvL FORWARD{user}"


def _by_itself(server: str, there: Rejecting, other: str, *, listens: bool) -> str:
    """other: where alone it listens on that port."""
    where = "on the host" if server == HOST else f"inside {server}"
    if there.rule:
        return f": {there.rule}"
    if listens:
        rule = (
            ""
            if there.read
            else ("a rule with REJECT --reject-with tcp-reset, iptables -nvL INPUT there, or ")
        )
        return f", although it listens there (ss -ltnp {where}): {rule}the process itself"
    rule = "" if there.read else ", or a rule with REJECT, iptables -nvL INPUT there"
    if other:
        return f": it listens on {other} only: ss -ltnp {where}{rule}"
    return f": nothing listens there, see ss -ltnp {where}{rule}"


def _asked_at(row: Mapping[str, Any], published: Published) -> str:
    """The published port that was asked, or is known of the engine; '' where there is none."""
    if (row["as_hi"], row["as_lo"], row["as_port"]) != (row["hi"], row["lo"], row["port"]):
        address = address_text(row["as_hi"], row["as_lo"])
        address = f"[{address}]" if ":" in address else address
        return f", asked at the published port {address}:{row['as_port']}"
    name = published.get((row["source"], row["port"]), "")
    return f", published as {name}" if name else ""


def _cut(inputs: FindingInputs) -> Iterator[Finding]:
    """Connections that were reset: one finding a pair, service and maker."""
    counts: dict[_Cut, int] = {}
    why: dict[_Cut, str] = {}
    first_ns: dict[_Cut, int] = {}
    for row in inputs.resets:
        if not row["refusal"]:
            vantage = inputs.outlook.vantages[row["vantage"]]
            maker = _maker(row, inputs)
            key = _Cut(row["source"], row["destination"], row["port"], maker, vantage.name)
            counts[key] = counts.get(key, 0) + row["count"]
            why[key] = _why_cut(row, maker, inputs)
            first_ns.setdefault(key, row.get("first_ns", 0))
    for conversation in inputs.flows.get("tcp", ()):
        _forgive(counts, conversation)
    strange = {
        key: one
        for key in counts
        if key.source == key.maker == HOST
        and (one := reset_unasked(inputs, key.destination, key.port, first_ns[key]))
    }
    followed = {(key.destination, one.whose, key.port) for key, one in strange.items()}
    for key, count in counts.items():
        source, destination, port, maker, seen = key
        what = f"reset TCP towards {destination}, port {port}, {count}× (first seen at {seen})"
        forged = maker == HOST and source != HOST
        if key in strange:
            yield TCP_RESET.finding(f"the host {what}: {strange[key].text}", WARNING)
        elif (source, destination, port) in followed:
            yield TCP_RESET.finding(f"{source} {what}: the host had reset the connection before")
        else:
            who = f"the host in {source}'s name" if forged else source
            unknown = untranslated(inputs, source, destination, port) if maker == source else ""
            severity = WARNING if forged or unknown else INFO
            yield TCP_RESET.finding(f"{who} {what}: {unknown or why[key]}", severity)


def _why_cut(row: Mapping[str, Any], maker: str, inputs: FindingInputs) -> str:
    """What made the RST of a connection that was established."""
    vantage, source = inputs.outlook.vantages[row["vantage"]], row["source"]
    if (
        not maker
        and row["egress"]
        and not inputs.outlook.one_way
        and vantage.role is not Role.CONTAINER
    ):
        made = rejecting(inputs, row, vantage.netns)
        return made.rule or f"it came by an interface that was not captured: ss -tin at {source}"
    if maker == HOST and source != HOST:
        return _by_the_host(rejecting(inputs, row, vantage.netns), inputs)
    return f"its process closed with data unread, or knows of no connection: ss -tin at {source}"


def _forgive(counts: dict[_Cut, int], row: TcpRow) -> None:
    """Take off the RSTs for challenge ACKs: see `analyzer.findings.challenge_ack`."""
    rest, ends = row.challenge_acks, (row.client, row.server, row.server_port)
    for key in [key for key in counts if key[:3] == ends]:
        taken = min(rest, counts[key])
        counts[key], rest = counts[key] - taken, rest - taken
        if not counts[key]:
            del counts[key]


RULE = Rule((TCP_REFUSED, PUBLISHED_UNSERVED, TCP_RESET), find, place=260)
