"""Which reply answers which request: the loop over echo messages, and what it remembers.

Only the first of requests with one key that follow each other without an answer between is one:
no pinger uses a sequence number again so soon, so the others were duplicated on the way, or are
copies in a file that does not tell its vantages apart (``tcpdump -i any``, merged files). A reply
that was seen, and neither lost nor at the vantage where its request was first seen, decides
nothing: a bridge's copy whose port was not captured is one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.flows.sightings import Sightings
from analyzer.flows.slow_echoes import SLOWEST
from analyzer.model.journeys import Status
from analyzer.native.compiled import compiled, piece

REPEAT_NS = 1_000_000_000
"""a request with the same id and seq as one so shortly before, unanswered, is that one again"""
SENT, HOME, MORE = range(3)
"""rows of the counts: requests, answered at the asker's interface, further replies"""
_ECHO, GROUP, ANSWERED, REPLIED, _WAITS, _EVENT, NUMBER, _TOLD = range(8)
SENT_NS, _LAST_NS, _FROM, TO, _PAIR, _SLOW = range(8, 14)
SILENT = _SLOW + len(SLOWEST)
STATES = SILENT + 1
"""rows of what is known of the latest request with a key: its number, conversation, whether it
was answered at home, has a reply, waits for the first; the last event; id << 16 | seq; which of
its times the file tells (1: the first, 2: the last), these, vantages, pair and slowest hop, number
among the silent"""
AT_HOME, ELSEWHERE = 1, 2
"""of ANSWERED: a reply came home; one was seen, and nobody knows whether it did"""
_LOST = int(Status.LOST)


class EchoColumns(NamedTuple):
    """Echo messages in order of time; [messages] of each but ``journey``."""

    asked: npt.NDArray[np.bool_]
    """a request, not a reply"""
    key: npt.NDArray[np.int32]
    """number of what a request and its reply have in common"""
    group: npt.NDArray[np.int32]
    """number of a request's conversation; of replies -1"""
    silent: npt.NDArray[np.int64]
    """number of a delivered request's row among the silent; else -1"""
    status: npt.NDArray[np.uint8]
    """of its packet"""
    journey: npt.NDArray[np.int64]
    """[1 + SLOWEST, messages] pair and slowest hop"""
    first_told: npt.NDArray[np.bool_]
    """the file tells the time of its first frame"""
    last_told: npt.NDArray[np.bool_]
    """and of its last one"""
    machine: npt.NDArray[np.int64]
    """[vantages] number of the machine all of whose interfaces were captured together; else -1"""


class EchoState(NamedTuple):
    """What is known of the latest requests, and what was counted."""

    requests: npt.NDArray[np.int64]
    """[STATES, keys]"""
    counts: npt.NDArray[np.int64]
    """[3, conversations]: SENT, HOME, MORE"""
    silent: npt.NDArray[np.int64]
    """[silent rows] requests that were delivered and have no reply"""


class Pairing(NamedTuple):
    """What the loop tells of each message; [messages] of each but ``brought``; -1: nothing."""

    tie: npt.NDArray[np.int64]
    """number of the echo that a request is and a reply answers"""
    rtt_ns: npt.NDArray[np.int64]
    turnaround_ns: npt.NDArray[np.int64]
    """of the first reply of each, where they could be taken"""
    answered: npt.NDArray[np.bool_]
    """a reply that came back, the first of its request"""
    brought: npt.NDArray[np.int64]
    """[1 + SLOWEST, messages] where turnaround_ns is: ``journey`` of its request"""


def new_pairing(messages: int) -> Pairing:
    """Of messages that were not looked at yet."""
    tie, rtt_ns, turnaround_ns = (np.full(messages, -1, np.int64) for _ in range(3))
    brought = np.full((1 + len(SLOWEST), messages), -1, np.int64)
    return Pairing(tie, rtt_ns, turnaround_ns, np.zeros(messages, np.bool_), brought)


@compiled
def pair_echoes(
    messages: EchoColumns, seen: Sightings, state: EchoState, echo: int, pairing: Pairing
) -> Any:
    """Go through the messages in order; fill ``pairing``. echo, and returned: number of the next
    echo."""
    for row in range(len(messages.key)):
        if messages.asked[row]:
            echo += _take_request(messages, seen, state, echo, row, pairing)
        else:
            _take_reply(messages, seen, state, row, pairing)
    return echo


@piece
def _take_request(
    messages: EchoColumns, seen: Sightings, state: EchoState, echo: int, row: int, pairing: Pairing
) -> Any:
    """1 where it is a new one, else 0."""
    requests, key, group = state.requests, messages.key[row], messages.group[row]
    silent, ts = messages.silent[row], seen.ts_ns[row]
    again = requests[_WAITS, key] == 1 and ts - requests[_EVENT, key] <= REPEAT_NS
    requests[_EVENT, key] = ts
    if again:
        return 0
    requests[_ECHO, key], requests[GROUP, key], requests[_WAITS, key] = echo, group, 1
    requests[ANSWERED, key], requests[REPLIED, key] = 0, 0
    requests[SENT_NS, key], requests[_LAST_NS, key] = ts, seen.last_ts_ns[row]
    requests[_TOLD, key] = messages.first_told[row] + 2 * messages.last_told[row]
    requests[_FROM, key], requests[TO, key] = seen.first_vantage[row], seen.last_vantage[row]
    for fact in range(len(messages.journey)):
        requests[_PAIR + fact, key] = messages.journey[fact, row]
    requests[SILENT, key] = silent
    if silent >= 0:
        state.silent[silent] += 1
    state.counts[SENT, group] += 1
    pairing.tie[row] = echo
    return 1


@piece
def _take_reply(
    messages: EchoColumns, seen: Sightings, state: EchoState, row: int, pairing: Pairing
) -> None:
    requests, key = state.requests, messages.key[row]
    requests[_WAITS, key], requests[_EVENT, key] = 0, seen.ts_ns[row]
    if requests[_ECHO, key] < 0:
        return
    pairing.tie[row] = requests[_ECHO, key]
    if requests[REPLIED, key] == 0 and requests[SILENT, key] >= 0:
        state.silent[requests[SILENT, key]] -= 1
    requests[REPLIED, key] = 1
    home = seen.last_vantage[row] == requests[_FROM, key]
    lost = messages.status[row] == _LOST
    if requests[ANSWERED, key] == AT_HOME:
        state.counts[MORE, requests[GROUP, key]] += 1 if home else 0
    elif home or (seen.first_vantage[row] == requests[_FROM, key] and not lost):
        _count_answer(requests, state, key, row, pairing)
        arrived_ns = seen.last_ts_ns[row] if home else seen.ts_ns[row]
        told = messages.last_told[row] if home else messages.first_told[row]
        if told and requests[_TOLD, key] & 1:
            pairing.rtt_ns[row] = arrived_ns - requests[SENT_NS, key]
        if home and messages.first_told[row] and requests[_TOLD, key] & 2:
            _take_turnaround(seen, requests, key, row, pairing)
    elif _is_on_one_machine(requests[_FROM, key], seen.last_vantage[row], messages.machine):
        _count_answer(requests, state, key, row, pairing)
    elif not lost:
        requests[ANSWERED, key] = ELSEWHERE


@piece
def _is_on_one_machine(one: Any, other: Any, machine: Any) -> Any:
    """Whether two vantages are in one capture of all interfaces: what was seen at one of them is
    on the way to the other, and may be seen there no more than once."""
    return machine[one] >= 0 and machine[one] == machine[other]


@piece
def _count_answer(requests: Any, state: EchoState, key: Any, row: int, pairing: Pairing) -> None:
    requests[ANSWERED, key] = AT_HOME
    state.counts[HOME, requests[GROUP, key]] += 1
    pairing.answered[row] = True


@piece
def _take_turnaround(seen: Sightings, requests: Any, key: Any, row: int, pairing: Pairing) -> None:
    """Where the reply was first seen where the request was last seen."""
    turned_at = requests[TO, key]
    if seen.first_vantage[row] == turned_at and turned_at != requests[_FROM, key]:
        pairing.turnaround_ns[row] = seen.ts_ns[row] - requests[_LAST_NS, key]
        for fact in range(len(pairing.brought)):
            pairing.brought[fact, row] = requests[_PAIR + fact, key]
