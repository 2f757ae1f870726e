"""Indices of the arrays that the walk over the trace ring's pages reads and fills."""

from __future__ import annotations

SAME, NESTED, COPY, ANSWER = 1, 2, 3, 4
"""how a drop is tied: see above. NESTED stands in files of older versions only, for any other skb
than the frame in hand: it proves nothing"""

# Where the fields lie: indices of the int64 array ``layout``
COMMIT, DATA = 0, 1
KFREE_ID, KFREE_SKB, KFREE_LOCATION, KFREE_PROTOCOL, KFREE_REASON, KFREE_FLAGS = 2, 3, 4, 5, 6, 7
RECEIVE_ID, RECEIVE_SKB, RECEIVE_LEN, RECEIVE_NAME = 8, 9, 10, 11
EXIT_ID, EXIT_VECTOR = 12, 13
LAYOUT = 14

# The frame in hand on a CPU and what was counted there: indices of the uint64 array ``state``
SEEN_NS, SKB, LEN, NAME_LOW, NAME_HIGH, RECEIVED, LOST = 0, 1, 2, 3, 4, 5, 6
WHOLE, PENDING = 7, 8
"""whether the frames of all devices are listened to; drops that wait for their proof"""
STATE = 9
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

NO_REASON = 0xFFFF
"""this kernel tells none"""
