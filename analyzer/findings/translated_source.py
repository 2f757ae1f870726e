"""Requests whose source is translated to an address that the translating host has not got: what
answers them goes elsewhere, and is not translated back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzer.diagnosis.nat_rules import Translated, source_rules
from analyzer.findings.counted import Owner, owned_ends
from analyzer.findings.lookups import moments_of
from analyzer.findings.no_answer import Unanswered, routed
from analyzer.findings.rule import FindingInputs
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.nat_entries import Rows
from analyzer.net.ip import PROTOCOL_NAMES, address_text, address_value


def translated_source(inputs: FindingInputs, one: Unanswered) -> str:
    """Such a translation of these requests, with the rule; '' where there is none."""
    source, target = address_value(one.source_ip), address_value(one.destination_ip)
    for moment, owner, rows in inputs.once(_strangers):
        for row in rows:
            of_these = _protocol(row) == one.protocol and moment.netns == one.last.netns
            seen = _address(row, "src"), _address(row, "back_dst")
            if of_these and source in seen and _address(row, "dst") == target:
                return f"{_told(inputs, moment, owner, row)}: {_look(owner, row)}"
    return ""


def stands_for(inputs: FindingInputs, address: str) -> str:
    """The translation by which an address that nobody has is asked for; '' where there is none."""
    hi, lo = address_value(address)
    for moment, owner, rows in inputs.once(_strangers):
        for row in rows[(rows["back_dst_hi"] == hi) & (rows["back_dst_lo"] == lo)]:
            return f"{_told(inputs, moment, owner, row)}: {_look(owner, row)}"
    return ""


def _strangers(inputs: FindingInputs) -> list[tuple[NamespaceEvidence, Owner, Rows]]:
    return list(_find_strangers(inputs))


def _find_strangers(
    inputs: FindingInputs,
) -> Iterator[tuple[NamespaceEvidence, Owner, Rows]]:
    """Of each namespace the translations of sources to addresses that are not its own."""
    for moment, owner in owned_ends(inputs):
        ours = np.flatnonzero(inputs.nat.netns == moment.netns)
        if not len(ours) or "addresses" in moment.absent or "addresses" in moment.truncated:
            continue
        every = moments_of(inputs, moment.netns)
        own = {address_value(a.address) for one in every for a in one.addresses}
        rows = inputs.nat.rows[ours]
        changed = (rows["back_dst_hi"] != rows["src_hi"]) | (rows["back_dst_lo"] != rows["src_lo"])
        pairs = zip(rows["back_dst_hi"].tolist(), rows["back_dst_lo"].tolist(), strict=True)
        yield moment, owner, rows[changed & np.array([pair not in own for pair in pairs])]


def _told(inputs: FindingInputs, moment: NamespaceEvidence, owner: Owner, row: np.void) -> str:
    source, target, address = (
        address_text(row[f"{side}_hi"], row[f"{side}_lo"]) for side in ("src", "dst", "back_dst")
    )
    way = routed(inputs, moment.netns, target)
    packet = Translated(_protocol(row), source, target, outgoing=way.device if way else "")
    rules = [line for line in source_rules(moment.rulesets, packet) if address in line]
    rule = f" ({rules[0]})" if rules else ""
    return (
        f"{owner.name} translates the source {source} to {address}{rule}, which is none of its own "
        "addresses, so that what answers goes elsewhere"
    )


def _look(owner: Owner, row: np.void) -> str:
    address = address_text(row["back_dst_hi"], row["back_dst_lo"])
    return owner.run(f"ip address show to {address}; iptables -t nat -nvL POSTROUTING")


def _address(row: np.void, side: str) -> tuple[int, int]:
    return int(row[f"{side}_hi"]), int(row[f"{side}_lo"])


def _protocol(row: np.void) -> str:
    return PROTOCOL_NAMES.get(int(row["protocol"]), "")
