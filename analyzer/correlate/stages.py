"""Where a frame stands on its way through one layer-2 segment, from the vantages alone.

In a segment (a bridge with its veth pairs, or one veth pair) a frame passes four stages::

    0  leaves a station     (tomcat01:eth0 egress)
    1  enters the bridge    (veth port ingress, or the bridge device's egress from the host)
    2  leaves the bridge    (veth port egress, or the bridge device's ingress up to the host)
    3  reaches a station    (tomcat02:eth0 ingress)

A station is any interface that is neither bridge nor port. The parent of stage 1 and 3 is
the other end of that veth pair; the parent of stage 2 is any entry of the same segment
other than the same port. Vantages of a file without topology have no stage (``FREE``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from ipaddress import ip_interface

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from analyzer.model.vantage import Vantage
from analyzer.native.keys import mixed
from analyzer.net.ethernet import mac_value

LONGEST_NS = 1_000_000_000
"""Of identical frames a parent older than this is another one, unless a queue is between."""
QUEUE_NS = 5_000_000_000
"""a queue may hold a packet this long, where nothing tells of its own bound; a frame later than
that is another packet's"""
FREE = 4
"""no topology: frames of these vantages are tied by identity and time alone"""

STATION, PORT, BRIDGE, LOOSE = 0, 1, 2, 3
_STAGES = {STATION: (3, 0), PORT: (1, 2), BRIDGE: (2, 1), LOOSE: (FREE, FREE)}
"""(ingress, egress) stage by kind of vantage"""
_BRIDGE_NAME = re.compile(r"(docker|br|virbr|cni|cbr|lxcbr|lxdbr|podman)\d+|br-[0-9a-f]{12}")
"""names that engines and people give to bridges"""


class Layout(Struct, frozen=True):
    """The vantages as arrays, v of them. All int32."""

    kind: npt.NDArray[np.int32]
    """[v] STATION, PORT, BRIDGE or LOOSE"""
    stage: npt.NDArray[np.int32]
    """[v, 2] stage of ingress and of egress"""
    segment: npt.NDArray[np.int32]
    """[v] layer-2 segment"""
    site: npt.NDArray[np.int32]
    """[v] segments joined by the namespaces between them"""
    peer: npt.NDArray[np.int32]
    """[v] vantage at the other end of the veth pair, -1 where it was not captured"""
    master: npt.NDArray[np.int32]
    """[v] number of the bridge that this is, or is a port of; -1"""
    bridge: npt.NDArray[np.int32]
    """[v] vantage of that bridge, -1 where it was not captured"""
    ring: npt.NDArray[np.int32]
    """[v] number of the ring: frames of one stand in the file in the order they were seen"""
    netns: npt.NDArray[np.int32]
    """[v] small number of the namespace; each LOOSE vantage has one of its own"""
    inode: npt.NDArray[np.int64]
    """[v] the namespace's inode number"""
    patience_ns: npt.NDArray[np.int64]
    """[v] of what is seen here, how long before it may have been seen at the point before"""
    mac: npt.NDArray[np.uint64]
    copied: npt.NDArray[np.bool_]
    """[v] of what enters here the bridge device, captured in promiscuous mode, shows a copy"""
    size: npt.NDArray[np.int32]
    """[v] vantages of the segment; of a file without topology: all that have none"""
    forwards: npt.NDArray[np.bool_]
    """[v] what arrives here may leave its namespace at another vantage; by a bridge, whose host
    routes, back as well"""
    returns: npt.NDArray[np.bool_]
    """[v] the only interface of its namespace: what is routed there leaves by it again"""
    lan: npt.NDArray[np.int32]
    """[v] segments joined by tunnels, and by the device beneath several: one realm of MACs"""
    onward: npt.NDArray[np.bool_]
    """[v] what was seen here may be seen at a device above or beneath, or in a tunnel"""
    over: npt.NDArray[np.int32]
    """[v] number of the device that this one stands on (macvlan, ipvlan, VLAN), -1"""
    under: npt.NDArray[np.int32]
    """[v] the same number of a device on which others stand, -1"""
    tunnel: npt.NDArray[np.bool_]
    """[v] what goes out here goes on inside of other frames"""
    mixed: npt.NDArray[np.bool_]
    """[v] several interfaces in one, of which nothing tells which: each shows a frame once"""
    copies: npt.NDArray[np.bool_]
    """[v] by its name a bridge of which nothing else is known: of equal stamps, its is the copy"""
    own: npt.NDArray[np.uint64]
    """`own_keys` of all addresses of the vantages: what is for them goes no further"""

    @property
    def count(self) -> int:
        return len(self.kind)

    @property
    def queued(self) -> npt.NDArray[np.bool_]:
        """[v] a qdisc may hold frames back before the egress tap."""
        return self.patience_ns > LONGEST_NS


class _Union:
    """Disjoint sets of hashable nodes."""

    def __init__(self) -> None:
        self._up: dict[Hashable, Hashable] = {}

    def find(self, node: Hashable) -> Hashable:
        self._up.setdefault(node, node)
        while self._up[node] != node:
            node = self._up[node]
        return node

    def join(self, a: Hashable, b: Hashable) -> None:
        self._up[self.find(a)] = self.find(b)


def build_layout(
    vantages: Sequence[Vantage], patience_ns: Mapping[tuple[int, int], int] | None = None
) -> Layout:
    """Resolve peers, segments and stages of all vantages of a file.

    patience_ns: (netns, ifindex) → how long the queue there may hold a packet, where that is told.
    """
    index = {v.key: i for i, v in enumerate(vantages) if v.ifindex}
    kinds = [_kind(v) for v in vantages]
    masters = [_master(v) for v in vantages]
    bridges = {(v.space, v.interface): i for i, v in enumerate(vantages) if v.is_bridge}
    segment = _numbers(_segments(vantages, kinds, routed=False))
    netns = _numbers([v.space or ("loose", i) for i, v in enumerate(vantages)])
    onward = _goes_on(vantages)
    ends = Counter(v.space for v, k in zip(vantages, kinds, strict=True) if k in (STATION, BRIDGE))
    return Layout(
        kind=np.array(kinds, np.int32),
        stage=np.array([_STAGES[k] for k in kinds], np.int32).reshape(-1, 2),
        segment=segment,
        site=_numbers(_segments(vantages, kinds, routed=True)),
        peer=np.array([index.get(v.peer_key or (0, 0), -1) for v in vantages], np.int32),
        master=_numbers(masters),
        bridge=np.array([bridges.get(m, -1) if m else -1 for m in masters], np.int32),
        ring=_numbers([v.ring for v in vantages]),
        netns=netns,
        inode=np.array([v.netns for v in vantages], np.int64),
        patience_ns=np.array([_patience_ns(v, patience_ns or {}) for v in vantages], np.int64),
        mac=np.array([mac_value(v.mac) for v in vantages], np.uint64),
        copied=np.array([_is_copied(v, vantages, index, bridges) for v in vantages], np.bool_),
        size=np.bincount(segment)[segment].astype(np.int32) if kinds else np.empty(0, np.int32),
        forwards=np.array(
            [
                k == BRIDGE or (k == STATION and ends[v.space] > 1) or goes_on
                for v, k, goes_on in zip(vantages, kinds, onward, strict=True)
            ],
            np.bool_,
        ),
        returns=np.array(
            [k == STATION and ends[v.space] == 1 for v, k in zip(vantages, kinds, strict=True)],
            np.bool_,
        ),
        onward=np.array(onward, np.bool_),
        lan=_numbers(_segments(vantages, kinds, routed=False, joined=True)),
        **_stacks(vantages),
        tunnel=np.array([v.is_tunnel for v in vantages], np.bool_),
        mixed=np.array([v.mixed for v in vantages], np.bool_),
        copies=np.array([bool(_BRIDGE_NAME.fullmatch(v.interface)) for v in vantages], np.bool_),
        own=_own_keys(vantages, netns),
    )


def _patience_ns(vantage: Vantage, told: Mapping[tuple[int, int], int]) -> int:
    usual = LONGEST_NS if vantage.qdisc in ("", "noqueue") else QUEUE_NS
    return max(usual, told.get((vantage.netns, vantage.ifindex), 0))


def _lower(vantage: Vantage) -> tuple[int, int] | None:
    return (vantage.lower_netns, vantage.lower_ifindex) if vantage.lower_ifindex else None


def _stacks(vantages: Sequence[Vantage]) -> dict[str, npt.NDArray[np.int32]]:
    """``over`` and ``under``, see `Layout`."""
    numbers: dict[Hashable, int] = {}
    over = [numbers.setdefault(k, len(numbers)) if (k := _lower(v)) else -1 for v in vantages]
    under = [numbers.get(v.key, -1) for v in vantages]
    return {"over": np.array(over, np.int32), "under": np.array(under, np.int32)}


def _goes_on(vantages: Sequence[Vantage]) -> list[bool]:
    """[v] whether what was seen here may be seen at a device above or beneath, or in a tunnel."""
    beneath = {_lower(v) for v in vantages}
    tunnelled = {v.space for v in vantages if v.is_tunnel}
    return [
        v.is_tunnel or v.lower_ifindex > 0 or v.key in beneath or v.space in tunnelled
        for v in vantages
    ]


def own_keys(
    netns: npt.NDArray[np.int32], hi: npt.NDArray[np.uint64], lo: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """One key of a namespace and an address (as in `analyzer.model.frames.DECODED`)."""
    return mixed(hi, lo, netns)


def _own_keys(vantages: Sequence[Vantage], netns: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    all_of = ((at, _address(text)) for at, v in enumerate(vantages) for text in v.addresses)
    readable = [(at, value) for at, value in all_of if value is not None]
    values = [value for _, value in readable]
    return own_keys(
        netns[[at for at, _ in readable]] if readable else np.empty(0, np.int32),
        np.array([value >> 64 for value in values], np.uint64),
        np.array([value & (1 << 64) - 1 for value in values], np.uint64),
    )


def _address(text: str) -> int | None:
    """128 bits; IPv4 as ::ffff:a.b.c.d. None where a file tells something else."""
    try:
        address = ip_interface(text).ip
    except ValueError:
        return None
    return int(address) | (0xFFFF << 32 if address.version == 4 else 0)


def _kind(vantage: Vantage) -> int:
    if not vantage.ifindex:
        return LOOSE
    if vantage.is_bridge:
        return BRIDGE
    return PORT if vantage.master_ifindex else STATION


def _is_copied(
    vantage: Vantage,
    vantages: Sequence[Vantage],
    index: Mapping[tuple[int, int], int],
    bridges: Mapping[tuple[int, str], int],
) -> bool:
    """Of a port, and of a station of which the port was not captured."""
    if vantage.is_bridge or not vantage.bridge:
        return False
    if vantage.master_ifindex:
        at = bridges.get((vantage.space, vantage.bridge))
    elif vantage.peer_key and vantage.peer_key not in index:
        at = bridges.get((vantage.peer_space, vantage.bridge))
    else:
        at = None
    return at is not None and vantages[at].promiscuous


def _master(vantage: Vantage) -> tuple[int, str] | None:
    """(netns, name) of the bridge that the vantage is or is a port of."""
    if vantage.is_bridge:
        return (vantage.space, vantage.interface)
    return (vantage.space, vantage.bridge) if vantage.master_ifindex else None


def _segments(
    vantages: Sequence[Vantage], kinds: Sequence[int], *, routed: bool, joined: bool = False
) -> list[Hashable]:
    """The layer-2 segment of each vantage, uncaptured interfaces between them included.

    routed: interfaces of one namespace count as joined, too. joined: the ends of a tunnel, and
    a device with those that stand on it.
    """
    union = _Union()
    for vantage, kind in zip(vantages, kinds, strict=True):
        if kind == LOOSE:
            continue
        if routed:
            union.join(vantage.key, vantage.space)
        if joined and vantage.is_tunnel:
            union.join(vantage.key, ("tunnel", vantage.vni))
        if joined and (lower := _lower(vantage)):
            union.join(vantage.key, lower)
        if vantage.peer_key and vantage.kind == "veth":
            union.join(vantage.key, vantage.peer_key)
        if master := _master(vantage):
            union.join(vantage.key, master)
        elif vantage.bridge and vantage.peer_key:
            union.join(vantage.key, (vantage.peer_space, vantage.bridge))
    pairs = zip(vantages, kinds, strict=True)
    return [union.find(v.key) if k != LOOSE else "loose" for v, k in pairs]


def _numbers(nodes: Sequence[Hashable]) -> npt.NDArray[np.int32]:
    """Small numbers for equal nodes, in order of appearance; None → -1."""
    seen: dict[Hashable, int] = {}
    return np.array([-1 if n is None else seen.setdefault(n, len(seen)) for n in nodes], np.int32)
