"""The frames that a drop may have been: those behind which nothing is seen of their packets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.model.frames import FLAG_DIRECTION, INGRESS
from analyzer.model.journeys import Journeys, Status
from analyzer.model.vantage import Role, Vantage
from analyzer.native.keys import mixed
from analyzer.net.ethernet import GROUP_BIT_U64

_LOST = int(Status.LOST)
_ENDS = ("src_hi", "src_lo", "dst_hi", "dst_lo", "protocol", "src_port", "dst_port")

Columns = Mapping[str, npt.NDArray[Any]]


def candidates(
    frames: Columns, journeys: Journeys, vantages: Sequence[Vantage], places: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[Any]]:
    """The received frames whose packets may have ended there: what `tie_drops` needs, and their
    packet (``of``). places: [v] the number of each vantage's interface in the drops' log."""
    received = (frames["flags"] & FLAG_DIRECTION) == INGRESS
    rows = np.flatnonzero(received & (journeys.packet >= 0))
    packet = journeys.packet[rows]
    bridge = np.array([v.role is Role.BRIDGE for v in vantages], np.bool_)
    last, lost = journeys.last[packet], journeys.status[packet] == _LOST
    # a station that is no end of its bridge's way: the host's own interface
    ended = lost | (last == rows) | bridge[frames["vantage"][last]]
    # of what goes to many, each branch ends somewhere, and a stack that is no member drops it
    ended |= (frames["eth_dst"][rows] & GROUP_BIT_U64) != 0
    ended |= (frames["eth_dst"][journeys.first[packet]] & GROUP_BIT_U64) != 0  # in a tunnel
    rows, packet, lost = rows[ended], packet[ended], lost[ended]
    return {
        "ts_ns": frames["ts_ns"][rows],
        "number": frames["number"][rows],
        "wirelen": frames["wirelen"][rows],
        "ethertype": frames["ethertype"][rows],
        "device": places[frames["vantage"][rows]],
        "conversation": mixed(*(frames[name][rows] for name in _ENDS)),
        "lost": lost,
        "taken": np.zeros(len(rows), np.bool_),
        "of": packet,
    }
