"""Options of IPv4 and TCP headers: kind, length, content (RFC 791, 3.1; RFC 9293, 3.1)."""

from __future__ import annotations

from typing import Any

from analyzer.native.compiled import piece
from analyzer.native.loads import Bytes

_END, _NOP = 0, 1
"""kinds without a length"""


@piece
def options_contradict(data: Bytes, at: int, stop: int) -> Any:
    """Whether an option among data[at:stop] has a length that cannot be."""
    while at < stop and data[at] != _END:
        if data[at] == _NOP:
            at += 1
            continue
        if at + 1 >= stop or data[at + 1] < 2:
            return True
        at += data[at + 1]
    return at > stop
