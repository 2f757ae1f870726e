"""What a capture filter hides: one that takes one direction only shows no answers. Pure."""

from __future__ import annotations

import re

_DIRECTED = re.compile(
    r"\b(src|dst|inbound|outbound|less|greater|len|ifindex)\b|\[|"
    r"\bicmp6?-|\btcp-(syn|fin|rst|push|ack|urg)\b"
)
"""words of pcap-filter(7) by which a request may pass and its answer not"""


def takes_one_direction(expression: str) -> bool:
    """Whether frames that answer those which pass may not pass: then silence says nothing.

    Words that name both directions alike (protocols, hosts, networks, ports) never do.
    """
    return bool(_DIRECTED.search(expression))
