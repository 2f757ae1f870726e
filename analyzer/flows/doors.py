"""Doors: a container's own interface, or its port, where a frame goes into or out of it for sure.

A frame that goes out through a door was sent by that container, and one that comes in to its MAC
is for it: no address can pretend otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.model.frames import EGRESS, FLAG_DIRECTION, INGRESS
from analyzer.model.vantage import Role, Vantage
from analyzer.native.compiled import compiled
from analyzer.net.ethernet import mac_value

OUTWARD, INWARD = False, True


class Doors(NamedTuple):
    """Of v vantages, which are doors, and whose."""

    owner: npt.NDArray[np.int32]
    """[v] place in ``owners``; 0 where it is none"""
    mac: npt.NDArray[np.uint64]
    """[v] of the interface inside"""
    out_flag: npt.NDArray[np.uint32]
    """[v] direction of a frame that leaves the container: egress inside, ingress at its port"""
    owners: list[str]
    """names, after an empty one"""


def find_doors(vantages: Sequence[Vantage]) -> Doors:
    """A container that bridges sends for others: its bridge's ports are no doors."""
    bridging = {v.key for v in vantages if v.role is Role.CONTAINER and v.master_ifindex}
    numbers: dict[str, int] = {"": 0}
    owner, mac, out_flag = [], [], []
    for vantage in vantages:
        inside = vantage.role is Role.CONTAINER
        at = vantage.key if inside else vantage.peer_key
        bears = vantage.mac if inside else vantage.peer_mac
        opens = vantage.ifindex and at not in bridging and not vantage.is_bridge and bears
        number = numbers.setdefault(vantage.container, len(numbers))
        owner.append(number if opens and vantage.role in _SIDES else 0)
        mac.append(mac_value(bears))
        out_flag.append(EGRESS if inside else INGRESS)
    return Doors(
        np.array(owner, np.int32),
        np.array(mac, np.uint64),
        np.array(out_flag, np.uint32),
        list(numbers),
    )


_SIDES = (Role.CONTAINER, Role.HOST_VETH)


def passing(
    frames: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int32], doors: Doors, inward: bool
) -> npt.NDArray[np.int32]:
    """[len(rows)] whose door each frame passes outward, or inward to its own MAC; 0: nobody's."""
    found = np.zeros(len(rows), np.int32)
    columns = (frames["vantage"], frames["flags"], frames["eth_dst"])
    _pass(rows, columns, (doors.owner, doors.mac, doors.out_flag), inward, found)
    return found


@compiled
def _pass(rows: Any, columns: Any, doors: Any, inward: bool, found: Any) -> None:
    vantage, flags, eth_dst = columns
    owner, mac, out_flag = doors
    for k in range(len(rows)):
        i = rows[k]
        v = vantage[i]
        if not owner[v] or flags[i] & FLAG_DIRECTION == 0:
            continue
        outward = flags[i] & FLAG_DIRECTION == out_flag[v]
        if outward != inward and (outward or eth_dst[i] == mac[v]):
            found[k] = owner[v]
