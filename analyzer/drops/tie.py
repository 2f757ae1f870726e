"""Which packet a drop was: from the frame that entered the stack to the frame in the capture.

The kernel's event names interface, length and time of the frame; the capture has the frame with
its stamp, a little earlier (received frames are stamped when they are enqueued) or a little later
(TCP has no receive stamp: every tap takes its own time). A drop is tied to a packet only where
that packet can have ended there: it is lost, or nothing is seen of it any further. Where frames
of two conversations come into question and none is clearly nearer, the drop stays untied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.compiled import compiled, piece
from analyzer.drops.pages import SAME
from analyzer.drops.record import Drops
from analyzer.model.frames import FLAG_DIRECTION, INGRESS
from analyzer.model.journeys import Journeys, Status
from analyzer.model.vantage import Role, Vantage

BEFORE_NS = 5_000_000
"""a stamp may be so much older than the event: the softirq's wait"""
AFTER_NS = 50_000
"""… or newer, where the tap takes the time itself"""
CLEARLY = 4
"""a frame of another conversation has to be so many times farther away"""
SLACK_NS = 2_000
_LOST = int(Status.LOST)

Columns = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Ties:
    """k tied drops."""

    drop: npt.NDArray[np.int64]
    """[k] row of `Drops.rows`"""
    packet: npt.NDArray[np.int32]
    frame: npt.NDArray[np.int32]
    """[k] the frame that entered the stack, in the capture"""
    answer: npt.NDArray[np.bool_]
    """[k] not the packet itself was dropped, but what the stack sent in answer to it"""


def tie_drops(
    drops: Drops, frames: Columns, journeys: Journeys, vantages: Sequence[Vantage]
) -> Ties:
    """Tie what can be told. frames: decoded columns with vantage, ts_ns, wirelen, flags."""
    if not len(drops):
        none = np.empty(0, np.int32)
        return Ties(none.astype(np.int64), none, none, none.astype(np.bool_))
    device, order, start = _index_frames(drops, frames, vantages)
    end = _ends(frames, journeys, vantages)
    rows = drops.rows
    by_time = np.argsort(rows["seen_ns"], kind="stable")
    packet = np.full(len(rows), -1, np.int32)
    frame, answer = np.full(len(rows), -1, np.int32), np.zeros(len(rows), np.bool_)
    column = {name: np.ascontiguousarray(rows[name]) for name in ("seen_ns", "ts_ns", "tie")}
    wide = {name: rows[name].astype(np.int64) for name in ("len_bytes", "device", "protocol")}
    _tie_all(
        by_time, column["seen_ns"], column["ts_ns"], wide["len_bytes"], wide["device"],
        wide["protocol"], column["tie"], order, start, frames["ts_ns"], frames["wirelen"],
        frames["ethertype"], _conversations(frames), journeys.packet,
        journeys.status[journeys.packet], end, np.zeros(len(device), np.bool_),
        packet, frame, answer,
    )  # fmt: skip
    tied = np.flatnonzero(packet >= 0)
    return Ties(tied, packet[tied], frame[tied], answer[tied])


def _index_frames(
    drops: Drops, frames: Columns, vantages: Sequence[Vantage]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(device of each frame, ingress frames by device and time, where each device begins)."""
    place = {name: number for number, name in enumerate(drops.devices)}
    of_vantage = [place.get(v.interface, -1) for v in vantages]
    device = np.array([*of_vantage, -1], np.int64)[frames["vantage"]]
    device[(frames["flags"] & FLAG_DIRECTION) != INGRESS] = -1
    order = np.lexsort((frames["ts_ns"], device))
    start = np.searchsorted(device[order], np.arange(len(drops.devices) + 1))
    return device, order, start.astype(np.int64)


NOWHERE, HERE, STACK, BEYOND = 0, 1, 2, 3
"""Where the packet of a frame was seen last: not on this frame's way; at this frame; at a bridge
device (handed up to the host, or sent by it); at a station or port farther on"""


def _ends(
    frames: Columns, journeys: Journeys, vantages: Sequence[Vantage]
) -> npt.NDArray[np.uint8]:
    """[n] NOWHERE … BEYOND of every frame's packet."""
    if not len(journeys.packet):
        return np.empty(0, np.uint8)
    bridge = np.array([v.role is Role.BRIDGE for v in vantages], np.bool_)
    last = journeys.last[journeys.packet]
    ends = np.where(bridge[frames["vantage"][last]], STACK, BEYOND)
    # a station that is no end of its bridge's way: the host's own interface
    return np.where(last == np.arange(len(last)), HERE, ends).astype(np.uint8)


def _conversations(frames: Columns) -> npt.NDArray[np.uint64]:
    """[n] equal for frames of one conversation's direction."""
    odd = np.uint64(0x9E3779B97F4A7C15)
    key = np.zeros(len(frames["ts_ns"]), np.uint64)
    for name in ("src_hi", "src_lo", "dst_hi", "dst_lo", "protocol", "src_port", "dst_port"):
        key = (key ^ frames[name].astype(np.uint64)) * odd
        key ^= key >> np.uint64(29)
    return key


@piece
def _first_since(since: int, low: int, high: int, order: Any, ts: Any) -> Any:
    """The first place from ``low`` on, before ``high``, whose frame is not older."""
    while low < high:
        middle = (low + high) // 2
        if ts[order[middle]] < since:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _tie_all(
    by_time: Any, seen: Any, dropped: Any, length: Any, device: Any, protocol: Any, tie: Any,
    order: Any, start: Any, ts: Any, wirelen: Any, ethertype: Any, conversation: Any,
    packet_of: Any, status: Any, end: Any, taken: Any, packet: Any, frame: Any, answer: Any,
) -> None:  # fmt: skip
    """Fill packet, frame and answer for each drop; -1 stays where it cannot be told."""
    for at in by_time:
        first, last = start[device[at]], start[device[at] + 1]
        latest = min(seen[at] + AFTER_NS, dropped[at] + SLACK_NS)
        low = _first_since(seen[at] - BEFORE_NS, first, last, order, ts)
        best, best_far, best_answer, rival_far = -1, np.int64(0), False, np.int64(-1)
        for place in range(low, last):
            i = order[place]
            if ts[i] > latest:
                break
            extra = np.int64(wirelen[i]) - length[at]
            fits = (extra == 14 or extra == 18) and ethertype[i] == protocol[at]
            if not fits or taken[i]:
                continue
            lost = status[i] == _LOST
            as_answer = tie[at] != SAME and not lost
            if not lost and end[i] == BEYOND:
                continue
            far = abs(seen[at] - ts[i])
            if best < 0 or far < best_far:
                if best >= 0 and conversation[best] != conversation[i]:
                    rival_far = best_far
                best, best_far, best_answer = i, far, as_answer
            elif conversation[best] != conversation[i] and (rival_far < 0 or far < rival_far):
                rival_far = far
        if best < 0 or (rival_far >= 0 and rival_far < CLEARLY * best_far + SLACK_NS):
            continue
        taken[best] = not best_answer
        packet[at], frame[at], answer[at] = packet_of[best], best, best_answer
