"""TCP resets: refused connections and others, by who made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analyzer.findings.at_the_socket import listens_throughout
from analyzer.findings.invalid_segments import reset_unasked
from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.flows.endpoints import HOST
from analyzer.model.batch import Outlook
from analyzer.model.flow_rows import TcpRow
from analyzer.model.report import Finding
from analyzer.model.vantage import Role, Vantage
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


Published = Mapping[tuple[str, int], str]
"""(container, its TCP port) → where the engine publishes it"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """Refused connections, and resets of others, in order of appearance."""
    published = inputs.census.published or {}
    for row in inputs.resets:
        if row["refusal"]:
            yield _refused(row, inputs, published)
    yield from _cut(inputs)


def _maker(row: Mapping[str, Any], outlook: Outlook) -> str:
    """Who made it, by where it was first seen; '' where that does not tell."""
    vantage = outlook.vantages[row["vantage"]]
    if not vantage.ifindex or not outlook.complete:
        return ""
    out: bool = row["egress"]
    if out == (vantage.role is Role.CONTAINER):
        return vantage.container if vantage.role in (Role.CONTAINER, Role.HOST_VETH) else ""
    is_hosts = vantage.role in (Role.HOST_VETH, Role.BRIDGE, Role.UPLINK, Role.HOST)
    return HOST if out and is_hosts else ""


def _refused(row: Mapping[str, Any], inputs: FindingInputs, published: Published) -> Finding:
    outlook = inputs.outlook
    server, maker, port = row["source"], _maker(row, outlook), row["port"]
    times = f", {row['count']}×" if row["count"] > 1 else ""
    what = f"{row['destination']} → {server} TCP port {port}: refused{times}"
    seen = _name(row["vantage"], outlook.vantages)
    if maker == HOST and server != HOST:
        return TCP_REFUSED.finding(
            f"{what} by the host in {server}'s name (its RST is first seen going out of {seen}): "
            "a rule with REJECT --reject-with tcp-reset: iptables -nvL FORWARD"
            + ("; iptables -nvL DOCKER-USER" if inputs.engine == "docker" else ""),
        )
    asked = _asked_at(row, published)
    if maker and maker == server:
        where = "on the host" if maker == HOST else f"inside {server}"
        vantage = outlook.vantages[row["vantage"]]
        inside = vantage.peer_netns if vantage.role is Role.HOST_VETH else vantage.netns
        if listens_throughout(inputs, inside, port, address_text(row["hi"], row["lo"])):
            return TCP_REFUSED.finding(
                f"{what} by {server} itself{asked}, although it listens there (ss -ltnp {where}): "
                "a rule with REJECT --reject-with tcp-reset, iptables -nvL INPUT there, or the "
                "process itself"
            )
        text = (
            f"{what} by {server} itself{asked}: nothing listens there, see ss -ltnp {where}, "
            "or a rule with REJECT, iptables -nvL INPUT there"
        )
        return (PUBLISHED_UNSERVED if asked else TCP_REFUSED).finding(text)
    return TCP_REFUSED.finding(
        f"{what} (RST first seen at {seen}){asked}: nothing listens there (ss -ltnp), or a "
        "rule with REJECT",
    )


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
    counts: dict[tuple[str, str, int, str, str], int] = {}
    for row in inputs.resets:
        if not row["refusal"]:
            maker = _maker(row, inputs.outlook)
            seen = _name(row["vantage"], inputs.outlook.vantages)
            key = (row["source"], row["destination"], row["port"], maker, seen)
            counts[key] = counts.get(key, 0) + row["count"]
    for row in inputs.flows.get("tcp", ()):
        _forgive(counts, row)
    strange = {
        key: one
        for key in counts
        if key[0] == key[3] == HOST and (one := reset_unasked(inputs, key[1], key[2]))
    }
    followed = {(key[1], one.whose, key[2]) for key, one in strange.items()}
    for key, count in counts.items():
        source, destination, port, maker, seen = key
        what = f"reset TCP towards {destination}, port {port}, {count}× (first seen at {seen})"
        if key in strange:
            yield TCP_RESET.finding(f"the host {what}: {strange[key].text}", WARNING)
        elif (source, destination, port) in followed:
            yield TCP_RESET.finding(f"{source} {what}: the host had reset the connection before")
        else:
            forged = maker == HOST and source != HOST
            yield _plain(f"the host in {source}'s name" if forged else source, what, forged=forged)


def _forgive(counts: dict[tuple[str, str, int, str, str], int], row: TcpRow) -> None:
    """Take off the RSTs for challenge ACKs: see `analyzer.findings.challenge_ack`."""
    rest, ends = row.challenge_acks, (row.client, row.server, row.server_port)
    for key in [key for key in counts if key[:3] == ends]:
        taken = min(rest, counts[key])
        counts[key], rest = counts[key] - taken, rest - taken
        if not counts[key]:
            del counts[key]


def _plain(who: str, what: str, *, forged: bool) -> Finding:
    why = (
        "a rule with REJECT --reject-with tcp-reset: iptables -nvL FORWARD"
        if forged
        else f"its process closed with data unread, or knows of no connection: ss -tin at {who}"
    )
    return TCP_RESET.finding(f"{who} {what}: {why}", WARNING if forged else INFO)


def _name(at: int, vantages: Sequence[Vantage]) -> str:
    return vantages[at].name


RULE = Rule((TCP_REFUSED, PUBLISHED_UNSERVED, TCP_RESET), find, place=260)
