"""VXLAN tunnels whose ends do not take, or do not know where to send (RFC 7348).

A tunnel's end drops what has a network identifier (VNI) of no device there, and what comes with a
MAC that its FDB has at another far end by an entry that it does not learn; it cannot send what
its FDB has no far end for (drivers/net/vxlan/vxlan_core.c). Each is told where the kernel named
that reason, the frames ended there, and the FDB, or the devices, show why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analyzer.findings.counted import Owner, bearer_of, owner_of
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import FdbState
from analyzer.model.report import Finding
from analyzer.model.vantage import Vantage
from analyzer.net.ethernet import GROUP_BIT, mac_text
from analyzer.net.ip import address_text

UNKNOWN_VNI = Code(
    "vxlan-unknown-vni",
    (WARNING,),
    "VXLAN packets arrived with a network identifier (VNI) that no device there has.",
    "ip -d link show type vxlan, at both ends",
)
OTHER_END = Code(
    "vxlan-other-end",
    (WARNING,),
    "A VXLAN device dropped frames of a MAC that its FDB has at another far end.",
    "bridge fdb show dev DEVICE; bridge fdb replace MAC dev DEVICE dst ADDRESS",
)
NO_DESTINATION = Code(
    "vxlan-no-destination",
    (WARNING,),
    "A VXLAN device has no far end to send frames to: no FDB entry with an address, no default.",
    "bridge fdb show dev DEVICE; bridge fdb append 00:00:00:00:00:00 dev DEVICE dst ADDRESS",
)
VNI_NOT_FOUND, ENTRY_EXISTS = "VXLAN_VNI_NOT_FOUND", "VXLAN_ENTRY_EXISTS"
NO_TX_TARGET = "NO_TX_TARGET"
DEFAULT_MAC = "00:00:00:00:00:00"

Row = Mapping[str, Any]


def find(inputs: FindingInputs) -> Iterator[Finding]:
    ended = [
        {**row, "packets": row["packets"] - row["through"]}
        for row in inputs.tunnel_arrivals
        if row["packets"] > row["through"]
    ]
    if _dropped(inputs, VNI_NOT_FOUND):
        yield from _unknown_vnis(inputs, ended)
    if _dropped(inputs, ENTRY_EXISTS):
        yield from _other_ends(inputs, ended)
    if _dropped(inputs, NO_TX_TARGET):
        yield from _no_destinations(inputs)


def _dropped(inputs: FindingInputs, reason: str) -> int:
    """How often the kernel named this reason, of packets of the capture or on the whole machine."""
    drops = inputs.info.drops or {}
    tied = sum(one.packets for one in inputs.losses if one.reason == reason)
    return tied + int(drops.get("anywhere", {}).get(reason, 0))


def _unknown_vnis(inputs: FindingInputs, ended: Sequence[Row]) -> Iterator[Finding]:
    counts: dict[tuple[int, int, str], int] = {}
    for row in ended:
        key = (row["vantage"], row["vni"], address_text(row["src_hi"], row["src_lo"]))
        counts[key] = counts.get(key, 0) + row["packets"]
    for (at, vni, source), packets in counts.items():
        vantage = inputs.outlook.vantages[at]
        devices, owner = _devices(inputs, vantage), owner_of(inputs, vantage.netns)
        if owner is None or not devices or any(one.vni in (0, vni) for one in devices):
            continue
        have = ", ".join(f"{one.interface} has {one.vni}" for one in devices)
        yield UNKNOWN_VNI.finding(
            f"{format_plural(packets, 'VXLAN packet')} with VNI {vni} from {source} reached "
            f"{vantage.name}, and no device of {owner.name} has that VNI ({have}): the kernel "
            f"drops them ({VNI_NOT_FOUND}): {owner.run('ip -d link show type vxlan')}"
        )


def _devices(inputs: FindingInputs, vantage: Vantage) -> list[Vantage]:
    """The VXLAN devices of its namespace; [] where not all were captured."""
    here = [v for v in inputs.outlook.vantages if v.is_tunnel and v.space == vantage.space]
    links = {
        one.ifindex
        for moment in _moments(inputs, vantage.netns)
        for one in moment.links
        if one.kind == "vxlan"
    }
    return here if links <= {v.ifindex for v in here} else []


def _moments(inputs: FindingInputs, netns: int) -> list[NamespaceEvidence]:
    return [one for one in inputs.evidence.moments if one.netns == netns]


def _other_ends(inputs: FindingInputs, ended: Sequence[Row]) -> Iterator[Finding]:
    for row in ended:
        vantage, mac = inputs.outlook.vantages[row["vantage"]], mac_text(row["eth_src"])
        source = address_text(row["src_hi"], row["src_lo"])
        owner = owner_of(inputs, vantage.netns)
        for device in _devices(inputs, vantage):
            ends = {
                one.destination
                for one in _fdb(inputs, device)
                if one.mac == mac and one.destination
            }
            if owner is None or device.vni != row["vni"] or not ends or source in ends:
                continue
            yield OTHER_END.finding(
                _other_end(inputs, row, device, owner, " or ".join(sorted(ends)))
            )


def _other_end(inputs: FindingInputs, row: Row, device: Vantage, owner: Owner, ends: str) -> str:
    mac, source = mac_text(row["eth_src"]), address_text(row["src_hi"], row["src_lo"])
    vantages = inputs.outlook.vantages
    bearer, vantage = bearer_of(inputs, vantages.index(device), mac), vantages[row["vantage"]]
    whose = mac if bearer == mac else f"{bearer}'s MAC {mac}"
    repair = (
        f"bridge fdb show dev {device.interface}; bridge fdb replace {mac} dev {device.interface} "
        f"dst {source} static"
    )
    return (
        f"{format_plural(row['packets'], 'frame')} of {whose} came from {source} in the tunnel "
        f"with VNI {device.vni} as far as {vantage.name}, and {device.interface} dropped them "
        f"({ENTRY_EXISTS}): its FDB has that MAC at {ends} by an entry that is not learned, so "
        f"what is for it goes there, too: {owner.run(repair)}"
    )


def _fdb(inputs: FindingInputs, device: Vantage) -> list[FdbState]:
    """The device's own table, as it was told last."""
    told = max(_moments(inputs, device.netns), key=lambda moment: moment.ts_ns, default=None)
    return [entry for entry in told.fdb if entry.ifindex == device.ifindex] if told else []


def _no_destinations(inputs: FindingInputs) -> Iterator[Finding]:
    counts: dict[tuple[int, int], list[Row]] = {}
    for row in inputs.tunnel_departures:
        if not row["through"] and _is_wanted(inputs, row):
            to = GROUP_BIT if row["eth_dst"] & GROUP_BIT else row["eth_dst"]
            counts.setdefault((row["vantage"], to), []).append(row)
    for (at, to), rows in counts.items():
        device, mac = inputs.outlook.vantages[at], mac_text(to)
        owner, reads = owner_of(inputs, device.netns), _moments(inputs, device.netns)
        known = reads and not any("fdb" in one.absent or "fdb" in one.truncated for one in reads)
        entries = [one for one in _fdb(inputs, device) if one.destination]
        if owner is None or not known or not device.vni:
            continue
        if not any(one.mac in (mac, DEFAULT_MAC) for one in entries):
            yield NO_DESTINATION.finding(_no_destination(inputs, rows, device, owner))


def _is_wanted(inputs: FindingInputs, row: Row) -> bool:
    """Whether somebody waits for it: an overlay without a default lets other broadcasts go."""
    if not row["eth_dst"] & GROUP_BIT:
        return True
    asked = [one for kind in ("arp", "nd") for one in inputs.flows.get(kind, ())]
    asker = mac_text(row["eth_src"])
    return any(one.asker_mac == asker and one.state == "unanswered" for one in asked)


def _no_destination(
    inputs: FindingInputs, rows: Sequence[Row], device: Vantage, owner: Owner
) -> str:
    mac = mac_text(rows[0]["eth_dst"])
    to = "groups or all" if rows[0]["eth_dst"] & GROUP_BIT else mac
    senders = dict.fromkeys(bearer_of(inputs, r["vantage"], mac_text(r["eth_src"])) for r in rows)
    packets = format_plural(sum(row["packets"] for row in rows), "frame")
    repair = (
        f"bridge fdb show dev {device.interface}; bridge fdb append {DEFAULT_MAC} dev "
        f"{device.interface} dst FAR_END"
    )
    return (
        f"{packets} of {', '.join(senders)} for {to} went into {device.name} (VNI {device.vni}), "
        f"whose FDB has no far end for {'them' if to != mac else 'that MAC'} and no default one "
        f"({DEFAULT_MAC}): the kernel drops them ({NO_TX_TARGET}): {owner.run(repair)}"
    )


RULE = Rule(
    (UNKNOWN_VNI, OTHER_END, NO_DESTINATION),
    find,
    place=72,
    needs="--drops, a VXLAN device",
)
