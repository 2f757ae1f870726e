"""What correlation yields: codes of hops, statuses and evidence, and the tables' columns.

``Journeys`` holds two tables as numpy columns: one row a frame (links into the tree of its
packet) and one row a packet. Names are added later: here vantages are indices.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt
from msgspec import Struct


class Hop(IntEnum):
    """Kind of the edge from a frame's parent to the frame."""

    NONE = 0
    """the frame is the first of its journey"""
    VETH = 1
    """across a veth pair"""
    BRIDGE = 2
    """port in → port out"""
    DELIVER = 3
    """port in → bridge device, for the host itself"""
    ORIGINATE = 4
    """bridge device → port out, from the host"""
    ROUTE = 5
    """bridge device ↔ uplink or another bridge, NAT included"""
    SPAN = 6
    """over vantages that were not captured"""
    COPY = 7
    """port in → promiscuous bridge device: the same skb and stamp; evidence, no timed hop"""
    STACKED = 8
    """between a device and the one beneath it: a macvlan, an ipvlan, a VLAN"""
    TUNNEL = 9
    """into or out of a VXLAN tunnel: the frame inside is that of the journey"""


HOP_NAMES = tuple(hop.name.lower() for hop in Hop)


class Status(IntEnum):
    """What became of a packet, as far as the vantages tell."""

    DELIVERED = 0
    """it reached the last vantage that the topology has for it"""
    LOST = 1
    """it should have been seen at a further vantage and was not"""
    UNMATCHED = 2
    """cannot be said: dropped frames, the capture's edge, an unknown destination"""


class Evidence(IntEnum):
    """Bits of what was seen of a packet."""

    STATION_OUT = 1
    """at the sender's own interface"""
    PORT_IN = 2
    BRIDGE_COPY = 4
    """at the bridge device, on the way up, tied to its ingress frame"""
    PORT_OUT = 8
    STATION_IN = 16
    """at the receiver's own interface"""
    BRIDGE_OUT = 32
    """originated at the bridge device by the host"""
    DELIVERED_UP = 64
    """handed up by the bridge device to the host"""
    ROUTED = 128
    FLOODED = 256
    """unicast out of more than one port (FDB miss)"""
    SAME_STAMP = 512
    """the bridge device's copy has the ingress port's stamp, bit for bit"""
    STRAY = 1024
    """a bridge device's copy whose frame at the ingress port is missing: no packet of its own"""
    TUNNELLED = 2048
    """it went through a tunnel"""
    DOUBTED = 4096
    """it looks lost, but was answered or may have gone on translated"""


class Journeys(Struct):
    """n frames, p packets; all indices are int32, -1 where there is none."""

    parent: npt.NDArray[np.int32]
    """[n] frame that this one came from"""
    hop: npt.NDArray[np.uint8]
    """[n] Hop of the edge from the parent"""
    likely: npt.NDArray[np.bool_]
    """[n] the edge is likely only: identical packets were in flight at the same time"""
    packet: npt.NDArray[np.int32]
    """[n] the packet that the frame belongs to"""
    first: npt.NDArray[np.int32]
    """[p] frame at the journey's start"""
    last: npt.NDArray[np.int32]
    """[p] frame at the end of its main path (for a flooded broadcast: the start)"""
    status: npt.NDArray[np.uint8]
    """[p] Status"""
    expected: npt.NDArray[np.int32]
    """[p] vantage where a lost packet should have been seen next"""
    evidence: npt.NDArray[np.uint16]
    """[p] Evidence bits"""
    in_port: npt.NDArray[np.int32]
    """[p] vantage of the bridge port that it entered by"""
    out_port: npt.NDArray[np.int32]
    """[p] vantage of the bridge port that it left by on its main path"""
    frames: npt.NDArray[np.int32]
    """[p] number of frames"""
    segment: npt.NDArray[np.int32]
    """[v] the realm of each vantage in which a MAC is unique: all bridges and devices of one
    layer-2 network, joined by tunnels and by the devices beneath them"""
    site: npt.NDArray[np.int32]
    """[v] segments joined by namespaces that may route: the realm in which an address is unique"""
