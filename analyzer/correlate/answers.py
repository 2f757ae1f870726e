"""Which request a frame answers: keys that a request and its answer have in common. Pure.

An echo and its reply share addresses, identifier and number (RFC 792, RFC 4443); a SYN and the RST
that refuses it share addresses, ports and number (the RST acknowledges the SYN, RFC 9293 3.5.2). An
ICMP error that refuses a SYN or a datagram quotes it (RFC 792, RFC 4443).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.native.keys import mixed
from analyzer.net.icmp import ECHO_REPLY, ECHO_REPLY_V6, ECHO_REQUEST, ECHO_REQUEST_V6
from analyzer.net.ip import ICMP, ICMPV6, TCP, UDP
from analyzer.net.tcp_flags import ACK, RST, SYN, SYN_ACK

Columns = Mapping[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.intp]
Keys = npt.NDArray[np.uint64]
NO_KEY = np.uint64(0)


def echo_keys(frames: Columns, rows: Rows) -> Keys:
    """[rows] of echo requests; 0 of everything else."""
    keys = mixed(*_numbers(frames, rows), *_ends(frames, rows, "src", "dst"))
    return np.where(_is_echo(frames, rows, ECHO_REQUEST, ECHO_REQUEST_V6), keys, NO_KEY)


def echo_reply_keys(frames: Columns) -> tuple[Rows, Keys]:
    """(the frames that answer an echo, the keys of these echoes)."""
    protocol = frames["protocol"]
    rows = np.flatnonzero((protocol == ICMP) | (protocol == ICMPV6))
    rows = rows[_is_echo(frames, rows, ECHO_REPLY, ECHO_REPLY_V6)]
    return rows, mixed(*_numbers(frames, rows), *_ends(frames, rows, "dst", "src"))


def syn_keys(frames: Columns, rows: Rows) -> Keys:
    """[rows] of segments that ask for a connection; 0 of everything else."""
    protocol, flags = frames["protocol"][rows], frames["tcp_flags"][rows]
    ports = (frames[name][rows] for name in ("src_port", "dst_port"))
    number = frames["tcp_seq"][rows] + np.uint32(1)
    keys = mixed(number, *ports, *_ends(frames, rows, "src", "dst"))
    return np.where((protocol == TCP) & (flags & SYN_ACK == SYN), keys, NO_KEY)


def refusal_keys(frames: Columns) -> tuple[Rows, Keys]:
    """(the frames that refuse a SYN, the keys of these SYNs)."""
    refuses = frames["tcp_flags"] & (RST | ACK) == RST | ACK
    rows = np.flatnonzero((frames["protocol"] == TCP) & refuses)
    ports = (frames[name][rows] for name in ("dst_port", "src_port"))
    return rows, mixed(frames["tcp_ack"][rows], *ports, *_ends(frames, rows, "dst", "src"))


def opening_keys(frames: Columns, rows: Rows) -> Keys:
    """[rows] of SYNs and of datagrams over UDP, as `quoted_keys` has them; 0 of everything else."""
    protocol, flags = frames["protocol"][rows], frames["tcp_flags"][rows]
    opens = (protocol == UDP) | ((protocol == TCP) & (flags & SYN_ACK == SYN))
    return np.where(opens, quoted_keys(frames, rows), NO_KEY)


def quoted_keys(frames: Columns, rows: Rows) -> Keys:
    """[rows] of packets by what an error quotes of them at least: the IP header and eight bytes."""
    names = ("protocol", "ip_id", "src_port", "dst_port", "tcp_seq")
    return mixed(*(frames[n][rows] for n in names), *_ends(frames, rows, "src", "dst"))


def _is_echo(frames: Columns, rows: Rows, kind: int, kind_v6: int) -> npt.NDArray[np.bool_]:
    protocol, icmp_type = frames["protocol"][rows], frames["icmp_type"][rows]
    is_echo: npt.NDArray[np.bool_] = (protocol == ICMP) & (icmp_type == kind)
    is_echo |= (protocol == ICMPV6) & (icmp_type == kind_v6)
    return is_echo


def _numbers(frames: Columns, rows: Rows) -> list[npt.NDArray[Any]]:
    return [frames["icmp_id"][rows], frames["icmp_seq"][rows]]


def _ends(frames: Columns, rows: Rows, first: str, second: str) -> list[npt.NDArray[Any]]:
    return [frames[f"{side}_{half}"][rows] for side in (first, second) for half in ("hi", "lo")]
