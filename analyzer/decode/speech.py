"""What a TCP segment's first bytes tell of how the two sides talk to each other.

Who waits for whom can be told from the turns of question and answer, unless both sides may speak
at any time: SSH, HTTP/2, WebSocket, and what goes on inside of TLS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.rows import Columns, view_of
from analyzer.model.frames import MARK_FRAGMENT, MARK_MALFORMED, FrameChunk
from analyzer.native.compiled import compiled, piece
from analyzer.native.loads import Bytes, be16, be32
from analyzer.net.ip import TCP

LIKE_HTTP2, TLS, SSH, HTTP2, WEBSOCKET, SERVER_HELLO = range(1, 7)
"""LIKE_HTTP2: the segment begins as a frame of HTTP/2 does, which other bytes may, too;
SERVER_HELLO: TLS's answer to a ClientHello, and to nothing else (RFC 8446, 4.1.3)"""
SPEECH_NAMES = ("", "HTTP/2", "TLS", "SSH", "HTTP/2", "WebSocket", "TLS")
"""by these codes"""
_SSH, _PRI, _HTTP, _VERSION = (
    int.from_bytes(text, "big") for text in (b"SSH-", b"PRI ", b"HTTP", b"/1.1")
)
_SWITCHING = int.from_bytes(b" 101", "big")
_HEAD = 12
"""bytes that are looked at"""
_HANDSHAKE, _HELLO = 22, 2
"""the type of a record, and of the message in it"""
_TLS_FIRST, _TLS_LAST, _TLS_LONGEST = 20, 23, (1 << 14) + 2048
"""types of records, and the longest one (RFC 8446, 5.1)"""
_FRAME_HEAD, _FRAME_KINDS, _FRAME_LONGEST = 9, 10, 1 << 14
_OF_THE_CONNECTION = 1 << 4 | 1 << 6 | 1 << 7
"""kinds of HTTP/2's frames that belong to no stream: SETTINGS, PING, GOAWAY (RFC 9113, 6)"""
_WINDOW_UPDATE = 8


def speech(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    """row (of the chunk) and speech, of the segments that tell."""
    marks = columns["marks"]
    data = (columns["protocol"] == TCP) & (columns["l4_offset"] != 0)
    data &= (columns["payload_len"] >= _HEAD) & ((marks & (MARK_FRAGMENT | MARK_MALFORMED)) == 0)
    rows = np.flatnonzero(data)
    if not len(rows):
        return pl.DataFrame()
    start = chunk.offset[rows] + columns["l4_offset"][rows]
    stop = (chunk.offset[rows] + chunk.caplen[rows]).astype(np.int64)
    kinds = np.zeros(len(rows), np.uint8)
    _tell(view_of(chunk), start, stop, columns["payload_len"][rows], kinds)
    told = np.flatnonzero(kinds)
    return pl.DataFrame({"row": rows[told].astype(np.uint32), "speech": kinds[told]})


@compiled
def _tell(
    data: Bytes,
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.uint32],
    kinds: Any,
) -> None:
    """Fill ``kinds``. starts: of TCP headers; sizes: bytes of payload."""
    for row in range(len(starts)):
        if stops[row] - starts[row] < 20:
            continue
        at = starts[row] + np.int64(data[starts[row] + 12] >> 4) * 4
        if stops[row] - at >= _HEAD:
            kinds[row] = _kind_at(data, at, np.int64(sizes[row]))


@piece
def _kind_at(data: Bytes, at: Any, size: Any) -> Any:
    first = be32(data, at)
    if first == _SSH:
        return SSH
    if first == _PRI:
        return HTTP2
    if first == _HTTP and be32(data, at + 4) == _VERSION and be32(data, at + 8) == _SWITCHING:
        return WEBSOCKET
    version = data[at + 1] == 3 and data[at + 2] <= 4
    if version and _TLS_FIRST <= data[at] <= _TLS_LAST and be16(data, at + 3) <= _TLS_LONGEST:
        return SERVER_HELLO if data[at] == _HANDSHAKE and data[at + 5] == _HELLO else TLS
    return LIKE_HTTP2 if _like_http2(data, at, size) else 0


@piece
def _like_http2(data: Bytes, at: Any, size: Any) -> Any:
    length, kind = np.int64(be32(data, at) >> 8), np.int64(data[at + 3])
    if length > _FRAME_LONGEST or length + _FRAME_HEAD > size or kind >= _FRAME_KINDS:
        return False
    stream = np.int64(be32(data, at + 5))
    of_connection = (_OF_THE_CONNECTION >> kind) & 1 == 1
    return kind == _WINDOW_UPDATE or (stream == 0) == of_connection
