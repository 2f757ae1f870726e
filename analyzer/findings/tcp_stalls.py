"""TCP connections that come to a halt: data that are sent again and again, and never acknowledged.

Where segments of that size are too large for a device on the way, and smaller ones pass, it is a
black hole: the ICMP error that should tell the sender did not reach it (RFC 2923). What became of
that error is told, where it was seen.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.diagnosis.filtered import TOO_BIG
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_count, format_ns
from analyzer.model.flow_rows import TcpRow
from analyzer.model.report import Finding, LossRow
from analyzer.model.vantage import Vantage

BLACK_HOLE = Code(
    "tcp-black-hole",
    (WARNING,),
    "Large TCP segments are repeated and never acknowledged while smaller ones pass, and no ICMP "
    "error told the sender.",
    "the text names the device and its MTU; let ICMP errors pass, or clamp the MSS",
)
DEAD = Code(
    "tcp-dead",
    (WARNING,),
    "A TCP connection died: the same data were sent five times more or oftener, and nothing "
    "acknowledged them.",
    "is the other end still there? the text names the place where the segment was seen last",
)
_DEAD, _STUCK = 5, 3
"""repetitions of a connection that is dead; of one that is stuck in a black hole"""
_HEADERS = 40
"""bytes of IPv4 and TCP at least"""
_TOO_BIG = ("fragmentation needed", "packet too big")


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One a service and pair, the one that was repeated most."""
    if inputs.outlook.one_way:
        return
    worst: dict[tuple[str, str, int], TcpRow] = {}
    for row in inputs.flows.get("tcp", ()):
        key = (row.client, row.server, row.server_port)
        if row.repeated >= _STUCK and row.repeated > getattr(worst.get(key), "repeated", 0):
            worst[key] = row
    for row in worst.values():
        sender, peer = _ends(row)
        what = (
            f"{sender} → {peer} TCP port {row.server_port}: {format_count(row.repeated_bytes)} "
            f"bytes were sent again {format_count(row.repeated)}× in {format_ns(row.repeated_ns)} "
            "and never acknowledged"
        )
        narrow = _narrow(inputs, row)
        if not _was_told(inputs, sender) and (narrow or 0 < row.passed_bytes < row.repeated_bytes):
            yield BLACK_HOLE.finding(f"{what}, {_black_hole(inputs, row, narrow)}")
        elif row.repeated >= _DEAD:
            yield DEAD.finding(f"{what}; last seen at {row.repeated_at}")


def _ends(row: TcpRow) -> tuple[str, str]:
    """Who sends, and to whom."""
    return (row.client, row.server) if row.repeated_by == "client" else (row.server, row.client)


def _narrow(inputs: FindingInputs, row: TcpRow) -> Vantage | None:
    """The device behind the last vantage that is too narrow for the segment."""
    vantages = inputs.outlook.vantages
    small = [one for one in vantages if 0 < one.mtu < row.repeated_bytes + _HEADERS]
    losses = _losses(inputs, row)
    names = [loss.expected for loss in losses]
    behind = [one for one in small if one.name in names]
    routers = {loss.last_seen for loss in losses if loss.reason == TOO_BIG}
    netns = {one.netns for one in vantages if one.name in routers}
    routed = [one for one in small if one.netns in netns]
    found = behind or (routed if len(routed) == 1 else [])
    return found[0] if found else None


def _losses(inputs: FindingInputs, row: TcpRow) -> list[LossRow]:
    """Of the side that repeats."""
    ends = ("tcp", *_ends(row))
    return [one for one in inputs.losses if (one.protocol, one.source, one.destination) == ends]


def _was_told(inputs: FindingInputs, sender: str) -> bool:
    """Whether an error about the size was seen, and came to the sender as far as is known."""
    errors = [
        row
        for row in inputs.flows.get("icmp_errors", ())
        if row.error in _TOO_BIG and row.source == sender
    ]
    return bool(errors) and _lost_error(inputs, sender) is None


def _lost_error(inputs: FindingInputs, sender: str) -> LossRow | None:
    """An ICMP error for the sender that was lost on its way, or dropped where it was made."""
    for loss in inputs.losses:
        on_its_way = loss.protocol.startswith("icmp") and loss.destination == sender
        answer = loss.protocol == "tcp" and loss.source == sender
        if on_its_way or (answer and "its answer dropped" in loss.location):
            return loss
    return None


def _black_hole(inputs: FindingInputs, row: TcpRow, narrow: Vantage | None) -> str:
    """What passes, where the rest ends, and what became of the error that should tell."""
    sender, _ = _ends(row)
    passed = (
        f"while up to {format_count(row.passed_bytes)} bytes were"
        if 0 < row.passed_bytes < row.repeated_bytes
        else "while smaller segments pass"
    )
    place = f"last seen at {row.repeated_at}{_mtu(inputs, row.repeated_at)}"
    if narrow:
        place += f", and {narrow.name} behind it has an MTU of {narrow.mtu}"
    lost = _lost_error(inputs, sender)
    too_big = [loss.advice for loss in _losses(inputs, row) if loss.reason == TOO_BIG]
    if too_big:
        error = f"the kernel dropped them for their size: {too_big[0]}"
    elif lost is None:
        error = f"no ICMP error about its size was seen on its way to {sender}"
    else:
        error = (
            f"the ICMP error for {sender} was lost {lost.location} ({lost.reason}): {lost.advice}"
        )
    return f"{passed}: {place}; {error}"


def _mtu(inputs: FindingInputs, name: str) -> str:
    mtus = [v.mtu for v in inputs.outlook.vantages if v.name == name and v.mtu]
    return f" (MTU {mtus[0]})" if mtus else ""


RULE = Rule((BLACK_HOLE, DEAD), find, place=275)
