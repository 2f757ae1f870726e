"""Indices of the arrays that the walk over the trace ring's pages reads and fills."""

from __future__ import annotations

SAME, NESTED, COPY, ANSWER = 1, 2, 3, 4
"""how a drop is tied: see above. NESTED stands in files of older versions only, for any other skb
than the frame in hand: it proves nothing"""

MOST_WORK_NS = 1_000_000
"""a softirq does not hold one packet for longer"""

# Where the fields lie: indices of the int64 array ``layout``
COMMIT, DATA = 0, 1
KFREE_ID, KFREE_SKB, KFREE_LOCATION, KFREE_PROTOCOL, KFREE_REASON, KFREE_FLAGS = 2, 3, 4, 5, 6, 7
RECEIVE_ID, RECEIVE_SKB, RECEIVE_LEN, RECEIVE_NAME = 8, 9, 10, 11
EXIT_ID, EXIT_VECTOR = 12, 13
SEND_ID, TIMER_ID, NEIGHBOUR_DEVICE, NEIGHBOUR_FAMILY, KEY4, KEY6 = 14, 15, 16, 17, 18, 19
QUEUE_FULL, FAILED = 20, 21
"""numbers of the reasons"""
LAYOUT = 22

# The frame in hand on a CPU and what was counted there: indices of the uint64 array ``state``
SEEN_NS, SKB, LEN, NAME_LOW, NAME_HIGH, RECEIVED, LOST = 0, 1, 2, 3, 4, 5, 6
WHOLE, PENDING = 7, 8
"""whether the frames of all devices are listened to; drops that wait for their proof"""
UNRESOLVED, UNRESOLVED_REASON, UNRESOLVED_NS = 9, 10, 11
"""drops of one reason that wait for the neighbour's event: how many, which, when the last was"""
STATE = 12
MOST_PENDING = 8
"""drops of one frame's work that wait; of a flooded frame there are as many as ports"""

# A row of the uint64 table ``out``
(
    OUT_TS,
    OUT_TIE,
    OUT_SEEN,
    OUT_LEN,
    OUT_NAME_LOW,
    OUT_NAME_HIGH,
    OUT_LOCATION,
    OUT_REASON,
    OUT_PROTOCOL,
) = range(9)
OUT = 9

# A row of the uint64 table ``tally``
TALLY_LOCATION, TALLY_REASON, TALLY_PROTOCOL, TALLY_COUNT = range(4)
TALLY = 4

# A row of the uint64 table ``neighbours``
(
    NEIGHBOUR_REASON,
    NEIGHBOUR_NAME_LOW,
    NEIGHBOUR_NAME_HIGH,
    FAMILY,
    KEY_LOW,
    KEY_HIGH,
    NEIGHBOUR_COUNT,
) = range(7)
NEIGHBOUR = 7

NO_REASON = 0xFFFF
"""this kernel tells none"""
