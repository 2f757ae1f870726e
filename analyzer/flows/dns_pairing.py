"""Which DNS answer is to which question: the loop over messages, and what it remembers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.flows.sightings import Sightings
from analyzer.native.compiled import compiled, piece

_PATIENCE_NS = 30_000_000_000
"""no resolver waits for an answer longer"""
_COPY_NS, _NO_RETRY_NS = 100_000_000, 1_000_000
"""a copy comes this soon; without an IP identification (RFC 6864) only one that comes at once"""
ASKED_NS, _FROM, GROUP, OPEN, CAME, _AGAIN_NS, _IP_ID = range(7)
"""of each transaction: when and where it was asked, its row, whether an answer is awaited, whether
what became of a question is known (else nothing is said of the server), and when and with which IP
identification it was asked last"""
QUERIES, ANSWERED, RETRIES, FIRST = range(4)
"""of each row, before the counts of its response codes"""


class DnsMessages(NamedTuple):
    """Questions and answers in order of time; [messages] of each."""

    transaction: npt.NDArray[np.int32]
    """number of what a question and its answer have in common"""
    group: npt.NDArray[np.int32]
    """number of the row that it counts for"""
    response: npt.NDArray[np.bool_]
    code: npt.NDArray[np.uint8]
    """RCODE"""
    came: npt.NDArray[np.bool_]
    """nothing is odd about its packet's way"""
    ip_id: npt.NDArray[np.uint32]


@compiled
def tie_answers(
    messages: DnsMessages, seen: Sightings, transactions: Any, counts: Any, latency: Any
) -> None:
    """Count, and measure answers.

    transactions: [7, transactions] ASKED_NS …; counts: [QUERIES …, groups]; latency: [messages],
    filled where an answer came back to where its question was first seen.
    """
    for row in range(len(messages.group)):
        one, group = messages.transaction[row], messages.group[row]
        waits = (
            transactions[OPEN, one] > 0
            and seen.ts_ns[row] - transactions[ASKED_NS, one] < _PATIENCE_NS
        )
        if not messages.response[row]:
            if not waits:
                transactions[CAME, one] = 0
            transactions[CAME, one] |= messages.came[row]
            if waits:
                counts[RETRIES, group] += not _is_copy(messages, seen, row, transactions)
            transactions[_AGAIN_NS, one] = seen.ts_ns[row]
            transactions[_IP_ID, one] = messages.ip_id[row]
            if waits:
                continue
            counts[QUERIES, group] += 1
            transactions[ASKED_NS, one] = seen.ts_ns[row]
            transactions[_FROM, one] = seen.first_vantage[row]
            transactions[GROUP, one], transactions[OPEN, one] = group, 1
        elif waits:
            counts[ANSWERED, group] += 1
            counts[4 + (messages.code[row] & 0x0F), group] += 1
            transactions[OPEN, one] = 0
            if seen.last_vantage[row] == transactions[_FROM, one]:
                latency[row] = seen.last_ts_ns[row] - transactions[ASKED_NS, one]


@piece
def _is_copy(messages: DnsMessages, seen: Sightings, row: int, transactions: Any) -> Any:
    """Whether the network, and not the asker, repeated a question that is not answered yet."""
    one, ip_id = messages.transaction[row], messages.ip_id[row]
    since_ns = seen.ts_ns[row] - transactions[_AGAIN_NS, one]
    same = ip_id != 0 and transactions[_IP_ID, one] == ip_id
    return since_ns < (_COPY_NS if same else _NO_RETRY_NS)
