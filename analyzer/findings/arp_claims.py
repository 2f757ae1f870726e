"""Addresses that several claim: conflict, hand-over, proxy, or the shape of ARP spoofing."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import ERROR, INFO, Code, FindingInputs, Rule
from analyzer.flows.arp_claims import ClaimKind, ClaimVerdict
from analyzer.flows.claims import Claim
from analyzer.model.report import Finding
from analyzer.net.ethernet import mac_text

ADDRESS_CONFLICT = Code(
    "address-conflict",
    (ERROR,),
    "Several MACs hold one address at the same time.",
    "ip addr show inside each; docker network inspect",
)
ARP_SPOOFING = Code(
    "arp-spoofing",
    (ERROR,),
    "Somebody claims another's address while its owner is there.",
    "ip neigh show inside the others; docker pause the sender",
)
PROXY_ARP = Code(
    "proxy-arp",
    (INFO,),
    "The host answers ARP for a container's address.",
    "sysctl -a -r proxy_arp",
)
ARP_FLUX = Code(
    "arp-flux",
    (INFO,),
    "A container answers ARP for an address of another of its interfaces.",
    "sysctl -a -r arp_ignore inside it",
)
ADDRESS_MOVED = Code(
    "address-moved",
    (INFO,),
    "An address was announced by another MAC, and the one before is silent: a failover.",
    "ip neigh show tells who believes it",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    return map(_finding, inputs.claims)


def _finding(verdict: ClaimVerdict) -> Finding:
    address, macs = verdict.address, [mac_text(mac) for mac in verdict.macs]
    if verdict.kind is ClaimKind.CONFLICT:
        names = {mac_text(owner.mac): owner.name for owner in verdict.owners}
        who = ", ".join(mac + (f" ({names[mac]})" if mac in names else "") for mac in macs)
        many, more = f"{len(macs)}", ""
        if verdict.others:
            many, more = f"more than {len(macs)}", f" and up to {verdict.others:,} others"
        return ADDRESS_CONFLICT.finding(
            f"{address} is claimed by {many} MACs: {who}{more}; whoever answers first gets the "
            "traffic. Give each its own: ip addr show inside, docker network inspect NETWORK"
        )
    if verdict.kind is ClaimKind.MOVED:
        return ADDRESS_MOVED.finding(
            f"{address} moved to {macs[0]} ({verdict.sender}), which announced "
            "it; the one before is silent since: a failover. ip neigh show tells who believes it"
        )
    return _besides_owner(verdict, macs[0])


def _besides_owner(verdict: ClaimVerdict, mac: str) -> Finding:
    """Somebody claims an address whose owner the topology knows."""
    owner, sender, address = verdict.owners[0], verdict.sender, verdict.address
    if verdict.kind is ClaimKind.PROXY:
        return PROXY_ARP.finding(
            f"the host answers for {address}, which is {owner.name}'s, with its own MAC {mac}: "
            "proxy ARP, see sysctl -a -r proxy_arp"
        )
    if verdict.kind is ClaimKind.FLUX:
        return ARP_FLUX.finding(
            f"{sender} claims {address} with {mac} besides {owner.name}'s {mac_text(owner.mac)}: "
            f"each of its interfaces answers for all of its addresses (ARP flux), see inside "
            f"{sender}: sysctl -a -r arp_ignore"
        )
    return ARP_SPOOFING.finding(
        f"{sender} claims {address} for {mac}, but it is {owner.name}'s "
        f"{mac_text(owner.mac)} ({_counts(verdict.claim)}): the shape of ARP spoofing. ip neigh "
        f"show inside the others tells whom they believe; docker pause {sender} stops it"
    )


def _counts(claim: Claim | None) -> str:
    if claim is None:
        return ""
    return f"{claim.unasked} unasked replies, {claim.announced} announcements"


RULE = Rule((ADDRESS_CONFLICT, ARP_SPOOFING, PROXY_ARP, ARP_FLUX, ADDRESS_MOVED), find, place=230)
