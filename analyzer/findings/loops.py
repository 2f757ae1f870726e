"""Bridges that form a loop: what a port sends comes back by it, again and again.

Only a spanning tree, or a port that is taken out, ends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analyzer.diagnosis.looping import Loop, loops_of, returns
from analyzer.findings.counted import bearer_of, owner_of
from analyzer.findings.rule import ERROR, MANY, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_ns, format_plural, format_time
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.report import Finding
from analyzer.model.vantage import Vantage
from analyzer.net.ethernet import ARP, mac_text

LOOP = Code(
    "loop",
    (ERROR,),
    "Bridges form a loop: a frame that was sent once came back many times by the ports that it "
    "had left by.",
    "ip link set dev PORT down, or ip link set BRIDGE type bridge stp_state 1",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for loop in loops_of(inputs.returned, inputs.outlook.vantages):
        yield LOOP.finding(_text(inputs, loop))


def _text(inputs: FindingInputs, loop: Loop) -> str:
    rows, same = loop.rows, loop.proof
    counts: dict[int, int] = {}
    for row in rows:
        counts[row["vantage"]] = counts.get(row["vantage"], 0) + row["returns"]
    ports = [inputs.outlook.vantages[at] for at in counts]
    bridge = ports[0].bridge
    listed = " and ".join(
        f"{port.name} ({count:,}×)" for port, count in zip(ports, counts.values(), strict=True)
    )
    frames = len({row["l2key"] for row in rows})
    others = f", with {format_plural(frames - 1, 'other frame')}" if frames > 1 else ""
    frame, sends = same[0], max(row["sends"] for row in same)
    sender = bearer_of(inputs, frame["vantage"], mac_text(frame["eth_src"]))
    spell = f"{format_ns(loop.last_ns - loop.first_ns)} from {format_time(loop.first_ns)} on"
    return (
        f"loop at {bridge}: frames came back by the ports that they had left by, {listed}, within "
        f"{spell}: one {_named(frame)} frame of {sender}, sent {_times(sends)}, "
        f"came back {_times(returns(same))}{others}; {_ends(inputs, ports)}until it is cut each "
        "broadcast goes round, and MACs move between these ports: "
        f"{_cut(inputs, ports[-1])}"
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,}×"


def _named(row: Mapping[str, Any]) -> str:
    return "ARP" if row["ethertype"] == ARP else f"{row['wirelen']}-byte"


def _ends(inputs: FindingInputs, ports: Sequence[Vantage]) -> str:
    """Where the ports lead, where that is known."""
    led: dict[str, list[str]] = {}
    for port in ports:
        if there := _beyond(inputs, port):
            led.setdefault(there, []).append(port.name)
    return "".join(f"{' and '.join(names)} lead to {there}; " for there, names in led.items())


def _beyond(inputs: FindingInputs, port: Vantage) -> str:
    if port.container:
        return port.container
    for moment in _moments(inputs, port.peer_netns):
        for one in moment.ports:
            if one.ifindex == port.peer_ifindex and (name := moment.link_name(one.bridge)):
                return f"bridge {name}"
    return ""


def _moments(inputs: FindingInputs, netns: int) -> Iterator[NamespaceEvidence]:
    """The latest first."""
    of_it = [one for one in inputs.evidence.moments if one.netns == netns]
    yield from sorted(of_it, key=lambda one: -one.ts_ns)


def _cut(inputs: FindingInputs, port: Vantage) -> str:
    """How to end it; where the spanning tree is off, how to switch it on."""
    owner = owner_of(inputs, port.netns)
    states = [b for m in _moments(inputs, port.netns) for b in m.bridges]
    off = any(one.ifindex == port.master_ifindex and not one.stp for one in states)
    tree = f", or ip link set {port.bridge} type bridge stp_state 1 (STP is off)" if off else ""
    command = f"ip link set dev {port.interface} down"
    return (owner.run(command) if owner else command) + tree


RULE = Rule((LOOP,), find, place=58, needs="a topology", most=MANY)
