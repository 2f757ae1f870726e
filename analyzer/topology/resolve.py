"""Find each interface's peer, from the facts of all namespaces. Pure.

A veth names its peer by IFLA_LINK, an ifindex, and IFLA_LINK_NETNSID, the namespace in which
that ifindex counts, by a number that only the viewing namespace understands. The ifindex alone
repeats in every container. Three surprises:

- IFLA_LINK may be left out where the peer has the *same* ifindex (rtnl_fill_ifinfo puts it only
  where it differs, in kernels that do not force it): then the namespace id alone says so;
- IFLA_LINK without IFLA_LINK_NETNSID means: both ends are in this namespace;
- an answer can be stale, since namespaces are read one after the other. So what one end claims
  is believed only as far as the other end does not contradict it.

What stays unknown is None. Nothing is guessed from neighbouring numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

from analyzer.model.topology import Interface, Key
from analyzer.topology.netlink import LinkFacts, NamespaceFacts

PAIRED = frozenset({"veth", "netkit"})
"""Kinds that come in pairs. For all others a link is a parent, that knows nothing of its child."""


def resolve_interfaces(namespaces: Iterable[NamespaceFacts]) -> tuple[Interface, ...]:
    """All interfaces of all namespaces with their peers (or parents), ordered by key."""
    links = {(facts.netns, link.ifindex): link for facts in namespaces for link in facts.links}
    peers = resolve_peers(namespaces)
    return tuple(_interface(key, links[key], peers[key]) for key in sorted(links))


def resolve_peers(namespaces: Iterable[NamespaceFacts]) -> dict[Key, Key | None]:
    """Key of each interface → key of its peer or parent, or None where that is unknown."""
    links: dict[Key, LinkFacts] = {}
    claims: dict[Key, Key | None] = {}
    for facts in namespaces:
        nsids = dict(facts.nsids)
        for link in facts.links:
            key = (facts.netns, link.ifindex)
            links[key] = link
            claims[key] = _claim(facts.netns, link, nsids)
    claimants = _claimants(links, claims)
    return {key: _peer(key, links, claims, claimants) for key in links}


def _claim(netns: int, link: LinkFacts, nsids: dict[int, int]) -> Key | None:
    """Where a link says that its peer is."""
    if link.link_nsid is None:
        return (netns, link.link) if link.link else None
    inode = nsids.get(link.link_nsid)
    if inode is None or link.link == 0:
        return None
    if link.link is None:
        return (inode, link.ifindex) if link.kind in PAIRED else None
    return (inode, link.link)


def _claimants(links: dict[Key, LinkFacts], claims: dict[Key, Key | None]) -> dict[Key, list[Key]]:
    """Who of the paired kinds claims each key."""
    claimants: dict[Key, list[Key]] = {}
    for key, claim in claims.items():
        if claim is not None and links[key].kind in PAIRED:
            claimants.setdefault(claim, []).append(key)
    return claimants


def _peer(
    key: Key,
    links: dict[Key, LinkFacts],
    claims: dict[Key, Key | None],
    claimants: dict[Key, list[Key]],
) -> Key | None:
    claim = claims[key]
    if links[key].kind not in PAIRED:
        return claim if claim in links else None
    if claim is None:
        # Our own side could not say (a namespace id that we cannot read). One end suffices.
        said = [c for c in claimants.get(key, ()) if links[c].kind == links[key].kind]
        return said[0] if len(said) == 1 else None
    if claim not in links or links[claim].kind != links[key].kind:
        return None
    return claim if claims[claim] in (None, key) else None


def _interface(key: Key, link: LinkFacts, peer: Key | None) -> Interface:
    return Interface(
        netns=key[0],
        ifindex=key[1],
        name=link.name,
        kind=link.kind,
        mac=link.mac if link.mac != "00:00:00:00:00:00" else "",
        addresses=link.addresses,
        mtu=link.mtu,
        up=link.up,
        promiscuous=link.promiscuous,
        qdisc=link.qdisc,
        peer=peer,
        master_ifindex=link.master,
        port_state=link.port_state,
        hairpin=link.hairpin,
        isolated=link.isolated,
        vni=link.vni,
    )
