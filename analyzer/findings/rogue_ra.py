"""Containers that advertise themselves as IPv6 routers, and who believes them (RFC 6104).

Whoever accepts router advertisements takes its default route from any node of the network that
sends one. A container that does not forward cannot be a router: what is sent to it ends there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from analyzer.findings.counted import Owner, owned_ends, owner_of
from analyzer.findings.no_answer import FORWARDING_V6, forwards_v6, inside_of
from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_time
from analyzer.model.kernel_state import RouteState
from analyzer.model.report import Finding
from analyzer.net.ethernet import mac_text
from analyzer.net.ip import address_text

ROGUE_RA = Code(
    "rogue-ra",
    (WARNING, INFO),
    "A container advertised itself as an IPv6 router; whoever accepts that sends to it.",
    "ss -awnp inside the sender; sysctl net.ipv6.conf.DEVICE.accept_ra inside of the others",
)
_TOLD = 5
"""names"""


class _Taker(NamedTuple):
    owner: Owner
    device: str
    others: tuple[str, ...]
    """gateways of its other default routes"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for row in inputs.router_advertisements:
        inside = inside_of(inputs, row["sender"])
        netns = inside.netns if inside else 0
        sender = owner_of(inputs, netns) if inside else None
        forwards = forwards_v6(inputs, netns)
        takers = _takers(inputs, address_text(row["hi"], row["lo"]), netns)
        if not takers and forwards is not False:
            continue
        severity = WARNING if takers and forwards is not True else INFO
        yield ROGUE_RA.finding(_text(row, takers, forwards, sender), severity)


def _takers(inputs: FindingInputs, gateway: str, sender: int) -> list[_Taker]:
    """Whose default route leads to it, at either end or at some time in between."""
    takers = []
    for moment, owner in owned_ends(inputs):
        if moment.netns == sender:
            continue
        defaults = [one for one in moment.routes if _is_default(one)]
        led = [one.ifindex for one in defaults if one.gateway == gateway]
        led += [
            event.ifindex
            for event in inputs.evidence.events
            if (event.netns, event.what, event.subject) == (moment.netns, "route", "default")
            and f" via {gateway} " in f"{event.detail} "
        ]
        if led:
            others = dict.fromkeys(one.gateway for one in defaults if one.gateway != gateway)
            takers.append(_Taker(owner, moment.link_name(led[0]), tuple(filter(None, others))))
    return takers


def _is_default(route: RouteState) -> bool:
    return route.destination == "default" and ":" in route.gateway


def _text(
    row: Mapping[str, Any], takers: list[_Taker], forwards: bool | None, sender: Owner | None
) -> str:
    gateway = address_text(row["hi"], row["lo"])
    ends = (
        f"; {row['sender']} does not forward IPv6 ({FORWARDING_V6} = 0), so what is sent by it "
        "ends there"
        if forwards is False
        else ""
    )
    look = sender.run("ss -awnp") if sender else f"ss -awnp inside {row['sender']}"
    more = ""
    if takers:
        device = takers[0].device or "DEVICE"
        repair = (
            f"ip -6 route del default via {gateway} dev {device}; "
            f"sysctl -w net.ipv6.conf.{device}.accept_ra=0"
        )
        more = f"; for {takers[0].owner.name}: {takers[0].owner.run(repair)}"
    return (
        f"{row['sender']} ({mac_text(row['mac'])}) advertised itself as an IPv6 router, "
        f"{row['packets']}× from {format_time(row['first_ns'])} on: {_who(takers, gateway)}{ends}: "
        f"{look}{more}"
    )


def _who(takers: list[_Taker], gateway: str) -> str:
    if not takers:
        return "nobody whose routes were read took one from it"
    names = [taker.owner.name for taker in takers]
    listed = ", ".join(names[:_TOLD]) + (f" and {len(names) - _TOLD} more" * (len(names) > _TOLD))
    others = [f"{t.owner.name} beside via {', '.join(t.others)}" for t in takers if t.others]
    beside = f" ({'; '.join(others[:_TOLD])})" if others else ""
    return f"{listed} took a default route via {gateway} from it{beside}"


RULE = Rule((ROGUE_RA,), find, place=206, needs="counters, the sender's port captured")
