"""A stack that was told to answer no ARP (``arp_ignore`` = 8) while it was asked.

The larger of the value for ``all`` devices and the device's own one holds (net/ipv4/arp.c,
arp_ignore; Documentation/networking/ip-sysctl.rst); 8 is the largest, and means: none at all.
"""

from __future__ import annotations

from analyzer.diagnosis.meanwhile import covering, setting_spells
from analyzer.findings.counted import owner_of
from analyzer.findings.no_answer import look_inside
from analyzer.findings.rule import FindingInputs
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.flow_rows import ArpRow
from analyzer.model.vantage import Vantage

ALL = "net.ipv4.conf.all.arp_ignore"
_NONE = "8"


def arp_ignored(row: ArpRow, inside: Vantage, inputs: FindingInputs) -> str:
    """Which setting of the target's stack kept it from answering all these requests; '' where none
    is known to have."""
    own = f"net.ipv4.conf.{inside.interface.replace('.', '/')}.arp_ignore"
    for name in (ALL, own):
        if when := _stood(row, inside, inputs, name):
            look = look_inside(owner_of(inputs, inside.netns), f"sysctl {name}")
            return f"its stack {when}: {look}"
    return _speaks_none(inside, inputs)


def _speaks_none(inside: Vantage, inputs: FindingInputs) -> str:
    """Whether the interface was told to speak no ARP, all the capture long."""
    moments = [one for one in inputs.evidence.moments if one.netns == inside.netns]
    links = [link.noarp for m in moments for link in m.links if link.ifindex == inside.ifindex]
    if not links or not all(links):
        return ""
    commands = f"ip link show dev {inside.interface}; ip link set {inside.interface} arp on"
    return f"it speaks no ARP (NOARP): {look_inside(owner_of(inputs, inside.netns), commands)}"


def _stood(row: ArpRow, inside: Vantage, inputs: FindingInputs, name: str) -> str:
    moments = [one for one in inputs.evidence.moments if one.netns == inside.netns]
    values = [_value(one, inside, name) for one in moments]
    before = values[0] if values and moments[0].at_start else None
    spells = setting_spells(inputs.evidence.events, inside.netns, name, _NONE, before=before or "0")
    if spells is None:
        always = len(values) > 1 and set(values) == {_NONE}
        return f"answers no ARP request ({name} = {_NONE})" if always else ""
    if row.first_ns is None or row.last_ns is None:
        return ""
    spell = covering(spells, [row.first_ns, row.last_ns])
    return f"answered no ARP request ({name} was {_NONE} {spell.when})" if spell else ""


def _value(moment: NamespaceEvidence, inside: Vantage, name: str) -> str | None:
    """None: not read."""
    if name == ALL:
        return next((one.value for one in moment.settings if one.name == name), None)
    links = (one.arp_ignore for one in moment.links if one.ifindex == inside.ifindex)
    return next(map(str, links), None)
