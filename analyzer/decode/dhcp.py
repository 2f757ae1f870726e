"""DHCP for IPv4 (RFC 2131, 2132): who asked for an address and what was given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.link import mac_at
from analyzer.decode.rows import Columns, frames_of, transport_rows, view_of
from analyzer.decode.udp import UDP_HEADER
from analyzer.model.frames import FrameChunk
from analyzer.native.compiled import compiled
from analyzer.native.loads import Bytes, be32
from analyzer.net.ip import UDP
from analyzer.net.ports import DHCP_CLIENT, DHCP_SERVER

PORTS = (DHCP_SERVER, DHCP_CLIENT)
_XID, _CIADDR, _YIADDR, _CHADDR, _COOKIE, _OPTIONS = 4, 12, 16, 28, 236, 240
_MAGIC = 0x63825363
_PAD, _END = 0, 255
_REQUESTED, _LEASE, _TYPE, _SERVER = 50, 51, 53, 54


class _Out(NamedTuple):
    """[n] of each; 0 where there is none."""

    kind: npt.NDArray[np.uint8]
    xid: npt.NDArray[np.uint32]
    mac: npt.NDArray[np.uint64]
    ciaddr: npt.NDArray[np.uint32]
    yiaddr: npt.NDArray[np.uint32]
    requested: npt.NDArray[np.uint32]
    server: npt.NDArray[np.uint32]
    lease: npt.NDArray[np.uint32]


def dhcp_messages(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    """A row each DHCP message: row (of the chunk), dhcp_type, xid, mac (chaddr), ciaddr, yiaddr,
    requested, server (IPv4 as numbers in host order), lease_s; 0 where there is none.

    BOOTP without DHCP's options, and what is cut before its type, is left out.
    """
    rows = transport_rows(columns, UDP, *PORTS)
    n = len(rows)
    out = _Out(
        np.zeros(n, np.uint8),
        np.zeros(n, np.uint32),
        np.zeros(n, np.uint64),
        *(np.zeros(n, np.uint32) for _ in range(5)),
    )
    at, stop = frames_of(chunk, columns, rows)
    end = at + UDP_HEADER + columns["payload_len"][rows]
    _walk(view_of(chunk), at + UDP_HEADER, np.minimum(stop, end), out)
    return pl.DataFrame(
        {
            "row": rows.astype(np.uint32),
            "dhcp_type": out.kind,
            "xid": out.xid,
            "mac": out.mac,
            "ciaddr": out.ciaddr,
            "yiaddr": out.yiaddr,
            "requested": out.requested,
            "server": out.server,
            "lease_s": out.lease,
        }
    ).filter(pl.Series(out.kind) > 0)


@compiled
def _walk(
    data: Bytes, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64], out: _Out
) -> None:
    for row in range(len(starts)):
        at, stop = starts[row], stops[row]
        if stop - at < _OPTIONS or be32(data, at + _COOKIE) != _MAGIC:
            continue
        out.xid[row] = be32(data, at + _XID)
        out.ciaddr[row] = be32(data, at + _CIADDR)
        out.yiaddr[row] = be32(data, at + _YIADDR)
        out.mac[row] = mac_at(data, at + _CHADDR)
        at += _OPTIONS
        while stop - at >= 2 and data[at] != _END:
            kind, size = data[at], np.int64(data[at + 1])
            if kind == _PAD:
                at += 1
                continue
            at += 2
            if size > stop - at:
                break  # a length that lies ends the options
            if kind == _TYPE and size == 1:
                out.kind[row] = data[at]
            elif size == 4:
                value = be32(data, at)
                if kind == _REQUESTED:
                    out.requested[row] = value
                elif kind == _SERVER:
                    out.server[row] = value
                elif kind == _LEASE:
                    out.lease[row] = value
            at += size
