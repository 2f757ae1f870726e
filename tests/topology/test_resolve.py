"""Whose peer is whose: every case that rtnetlink has, without a kernel."""

from __future__ import annotations

from topology_samples import HOST, ONE, TWO, facts, veth

from analyzer.topology.netlink import LinkFacts, NamespaceFacts
from analyzer.topology.resolve import resolve_interfaces, resolve_peers

A, B = 1000, 2000


def space(netns: int, *links: LinkFacts, **nsids: int) -> NamespaceFacts:
    """``n5=B``: what this namespace calls 5 is B."""
    pairs = tuple((int(name[1:]), inode) for name, inode in nsids.items())
    return NamespaceFacts(netns, links, nsids=pairs)


def test_ifindexes_that_repeat_in_every_container_are_told_apart() -> None:
    peers = resolve_peers(facts())
    assert peers[ONE, 2] == (HOST, 11)
    assert peers[TWO, 2] == (HOST, 13)
    assert (peers[HOST, 11], peers[HOST, 13]) == ((ONE, 2), (TWO, 2))
    assert peers[HOST, 14] is None


def test_same_ifindex_on_both_sides_leaves_iflink_out() -> None:
    near = space(A, veth(7, "x", None, 0), n0=B)
    far = space(B, veth(7, "eth0", None, 3), n3=A)
    assert resolve_peers([near, far]) == {(A, 7): (B, 7), (B, 7): (A, 7)}


def test_left_out_iflink_is_no_licence_to_take_a_stranger() -> None:
    near = space(A, veth(7, "x", None, 0), n0=B)
    other = space(B, veth(7, "eth0", 30, 3), veth(8, "eth1", None, 9), n3=A)
    peers = resolve_peers([near, other])
    assert peers[A, 7] is None
    assert peers[B, 8] is None


def test_never_the_neighbouring_number() -> None:
    peers = resolve_peers(
        [space(A, veth(41, "veth0", None, 6)), space(B, veth(42, "eth0", None, 6))]
    )
    assert set(peers.values()) == {None}


def test_both_ends_in_one_namespace() -> None:
    both = space(A, veth(5, "left", 6, None), veth(6, "right", 5, None))
    assert resolve_peers([both]) == {(A, 5): (A, 6), (A, 6): (A, 5)}


def test_peer_in_a_namespace_that_nobody_showed() -> None:
    assert resolve_peers([space(A, veth(5, "x", 2, 4))]) == {(A, 5): None}


def test_one_side_suffices_where_the_other_could_not_say() -> None:
    near = space(A, veth(5, "x", 2, 4))
    far = space(B, veth(2, "eth0", 5, 0), n0=A)
    assert resolve_peers([near, far]) == {(A, 5): (B, 2), (B, 2): (A, 5)}


def test_contradiction_is_believed_by_neither() -> None:
    # B's eth0 was made anew, for another pair, between the two reads
    near = space(A, veth(5, "old", 2, 0), veth(6, "new", 2, 0), n0=B)
    far = space(B, veth(2, "eth0", 6, 0), n0=A)
    peers = resolve_peers([near, far])
    assert (peers[A, 5], peers[A, 6], peers[B, 2]) == (None, (B, 2), (A, 6))


def test_vanished_peer_is_none() -> None:
    assert resolve_peers([space(A, veth(5, "x", 2, 0), n0=B), space(B)]) == {(A, 5): None}


def test_parent_of_a_macvlan_is_no_pair() -> None:
    host = space(A, LinkFacts(2, "eth0"), veth(9, "v", None, 0), n0=B)
    inside = space(B, LinkFacts(9, "eth0", "macvlan", link=2, link_nsid=0), n0=A)
    peers = resolve_peers([host, inside])
    assert peers[B, 9] == (A, 2)
    assert (peers[A, 2], peers[A, 9]) == (None, None)


def test_tunnel_without_a_parent() -> None:
    assert resolve_peers([space(A, LinkFacts(3, "sit0", "sit", link=0))]) == {(A, 3): None}


def test_interfaces_are_ordered_and_lo_has_no_mac() -> None:
    read = [space(B, LinkFacts(1, "lo", mac="00:00:00:00:00:00")), space(A, veth(5, "x", 6, None))]
    found = resolve_interfaces(read)
    assert [(i.key, i.mac) for i in found] == [((A, 5), "02:00:00:00:00:05"), ((B, 1), "")]
