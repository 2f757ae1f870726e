"""Which frames are kept whole where: the same payload once, not once a vantage.

A packet is copied into the file at each vantage that it passes. What the copies tell is in their
first bytes; the payload is the same in all. So it is kept at the vantage where a packet first
enters the captured set, and elsewhere a frame is cut. The principle: a frame may be cut only where
another vantage that is heard has, or had, the same bytes whole. That follows from how Linux hands
frames on, not from addresses, and goes by vantage and direction alone (`cut_where`):

- What comes in at one end of a veth pair has gone out of the other, and is seen there
  (drivers/net/veth.c; the tap of what is sent is dev_queue_xmit_nit, just before the driver).
- What a bridge device takes in came in at one of its ports (br_pass_frame_up in
  net/bridge/br_input.c): known as captured only where all ports are.
- What goes out of a port came in at another, or out of the bridge device. If all ports are
  captured, each of these is. If not, the bridge device's copy of what came in is: as long as it
  is promiscuous, and does not filter by VLAN, which keeps frames from the device itself.

Each of these points to a place where the frame was before, or to a copy that is judged by the same
rules, so that it ends where the packet came in from outside. What is not among them stays whole:
what containers send, what comes in at an uplink, what the host sends or routes into a bridge or
out of an uplink (it cannot be told there whose it is): rather twice than never. A packet that
reaches a port in another way than through its bridge (tc's mirred, XDP's redirect, a packet socket
on the port) is kept to the cut.

A user's filter looks at each copy by itself, so a copy may pass where the whole one did not. On a
veth pair both ends hold the same bytes; in a bridge with bridge netfilter they may be translated
or reassembled. So the rules of bridges count only without a filter or without bridge netfilter, and
none counts for a filter that asks for more than bytes (`analyzer.capture.bpf_payload.by_bytes`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import NamedTuple

from analyzer.model.topology import Key
from analyzer.model.vantage import Vantage

CUT_BYTES = 128
"""What is kept of a frame that is cut. It has Ethernet, IPv6 and TCP with all options (114 bytes)
and two VLAN tags, and 106 bytes from the IP header on, of which identity is made
(`analyzer.decode.identity`). Frames with headers that may be longer are never cut; see
`analyzer.capture.bpf_payload`."""


class Payload(StrEnum):
    """What is kept of the payload of packets that are seen at several vantages."""

    AUTO = "auto"
    """once; and while a ring fills up, nowhere"""
    ONCE = "once"
    ALL = "all"
    HEADERS = "headers"
    """nowhere"""


class BridgePorts(NamedTuple):
    """What is known of a bridge of which not all need be captured."""

    ports: Collection[int]
    """their ifindexes"""
    by_vlan: bool = False
    """it filters by VLAN"""


class Cuts(NamedTuple):
    """Vantages at which frames of one direction are cut."""

    ingress: frozenset[Key]
    egress: frozenset[Key]


NOWHERE = Cuts(frozenset(), frozenset())


def cut_where(
    heard: Collection[Vantage], bridges: Mapping[Key, BridgePorts], *, over_bridges: bool = True
) -> Cuts:
    """At which vantages frames are cut, of those that are heard.

    bridges: those of which the ports are known for sure. over_bridges: whether a frame that
    passes the filter at one end of a bridge passes it at the other.
    """
    there = {one.key: one for one in heard}
    paired = {k for k, one in there.items() if one.kind == "veth" and one.peer_key in there}
    known = {k: bridges[k] for k in there.keys() & bridges.keys()} if over_bridges else {}
    closed = {
        key for key, one in known.items() if all((key[0], port) in there for port in one.ports)
    }
    copying = {k for k, one in known.items() if there[k].promiscuous and not one.by_vlan} | closed
    ports = {k for k, one in there.items() if (k[0], one.master_ifindex) in copying}
    return Cuts(frozenset(paired | closed), frozenset(ports))
