"""Connections that nobody answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.findings.no_answer import Unanswered, has_address, no_way_back, no_way_on, unanswered
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding

TCP_UNANSWERED = Code(
    "tcp-unanswered",
    (WARNING,),
    "A SYN was seen and nothing came back.",
    "capture with --drops; ss -ltn and the packet filter at the server",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if inputs.outlook.one_way:
        return
    places: dict[tuple[str, str], list[Unanswered]] = {}
    for one in unanswered(inputs):
        if one.protocol == "tcp":
            places.setdefault((one.source, one.destination), []).append(one)
    for row in inputs.flows.get("tcp", ()):
        if row.state == "unanswered":
            where = _where(inputs, places.get((row.client, row.server), []))
            yield TCP_UNANSWERED.finding(
                f"{row.client} → {row.server} TCP port {row.server_port}: the SYN was not "
                f"answered{where}"
            )


def _where(inputs: FindingInputs, places: Sequence[Unanswered]) -> str:
    """How far it came, and why no answer left there; '' where SYNs ended at several places."""
    if len({one.last.name for one in places}) != 1:
        return ""
    one = places[0]
    if has_address(one.last, one.destination_ip):
        cause = no_way_back(inputs, one)
        return f": it reached {one.last.name}" + (f": {cause}" if cause else "")
    cause = no_way_on(inputs, one)
    return f": it came as far as {one.last.name}" + (f": {cause}" if cause else "")


RULE = Rule((TCP_UNANSWERED,), find, place=130)
