"""DNS messages over UDP and TCP, and mDNS (RFC 1035, 6762): enough to tie answers to questions.

Names are written as RFC 1035 writes them in master files: dots within labels, backslashes and
what does not print are escaped. So a name is plain ASCII and can do no harm on a terminal.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.identity import add_bytes, finished
from analyzer.decode.rows import Columns, frames_of, texts_of, transport_rows, view_of
from analyzer.decode.tcp import TCP_HEADER
from analyzer.decode.udp import UDP_HEADER
from analyzer.model.frames import FrameChunk
from analyzer.native.compiled import compiled, piece
from analyzer.native.keys import SECRET
from analyzer.native.loads import Bytes, be16
from analyzer.net.ip import TCP, UDP
from analyzer.net.ports import DNS_PORT, MDNS_PORT

PORTS = (DNS_PORT, MDNS_PORT)
_HEADER = 12
_LENGTH = 2
"""in front of each message in a TCP stream"""
_DATA_OFFSET = 12
_MAX_NAME, _PER_BYTE = 255, 4
"""bytes of a name; bytes of text that one of them may become"""
_LABEL = 63
_RESPONSE, _TRUNCATED, _RCODE = 0x8000, 0x0200, 0x000F
_OPCODE = 11
_BACKSLASH, _DOT, _ZERO = 0x5C, 0x2E, 0x30
_FIRST_PRINTED, _LAST_PRINTED = 0x21, 0x7E


class _Out(NamedTuple):
    """[n] of each."""

    whole: npt.NDArray[np.bool_]
    ident: npt.NDArray[np.uint16]
    flags: npt.NDArray[np.uint16]
    answers: npt.NDArray[np.uint16]
    kind: npt.NDArray[np.uint16]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    """of the name in the text"""
    digest: npt.NDArray[np.uint64]
    """of the name"""
    secret: np.uint64
    """of this process, not [n]: else who asks could choose names of one digest"""


def dns_messages(
    chunk: FrameChunk, columns: Columns, ports: tuple[int, ...] = PORTS
) -> pl.DataFrame:
    """A row each DNS message whose first question (mDNS: or answer) was captured.

    row (of the chunk), dns_id, response, opcode, rcode (of a response, else null), truncated,
    answers (their number), name, qtype (number). What does not look like DNS is left out.
    """
    udp, tcp = (transport_rows(columns, protocol, *ports) for protocol in (UDP, TCP))
    rows = np.sort(np.concatenate([udp, tcp]))
    n = len(rows)
    out = _Out(
        np.zeros(n, np.bool_),
        np.zeros(n, np.uint16),
        np.zeros(n, np.uint16),
        np.zeros(n, np.uint16),
        np.zeros(n, np.uint16),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.uint64),
        np.uint64(SECRET),
    )
    at, stop = frames_of(chunk, columns, rows)
    text = np.empty(int((np.minimum(stop - at, _MAX_NAME) * _PER_BYTE).sum()), np.uint8)
    _walk(
        view_of(chunk),
        at,
        stop,
        columns["protocol"][rows] == TCP,
        columns["payload_len"][rows].astype(np.int64),
        text,
        out,
    )
    whole = np.flatnonzero(out.whole)
    flags = out.flags[whole]
    response = pl.Series(flags & _RESPONSE != 0)
    return pl.DataFrame(
        {
            "row": rows[whole].astype(np.uint32),
            "dns_id": out.ident[whole],
            "response": response,
            "opcode": (flags >> _OPCODE).astype(np.uint8) & 0x0F,
            "rcode": pl.Series((flags & _RCODE).astype(np.uint8)).set(~response, None),
            "truncated": flags & _TRUNCATED != 0,
            "answers": out.answers[whole],
            "name": texts_of(text, out.start[whole], out.end[whole], out.digest[whole]),
            "qtype": out.kind[whole],
        }
    )


@compiled
def _walk(
    data: Bytes,
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    stream: npt.NDArray[np.bool_],
    payload_len: npt.NDArray[np.int64],
    text: Bytes,
    out: _Out,
) -> None:
    end: Any = np.int64(0)
    for row in range(len(starts)):
        at, stop = starts[row] + UDP_HEADER, stops[row]
        if stream[row]:
            at = _in_stream(data, starts[row], stop, payload_len[row])
        written = _message(data, at, min(stop, at + payload_len[row]), text, end, row, out)
        if written < 0:
            continue
        out.whole[row] = True
        out.start[row], out.end[row] = end, written
        state = add_bytes(np.uint64(written - end), text, end, written, out.secret)
        out.digest[row] = finished(state)
        end = written


@piece
def _in_stream(data: Bytes, at: Any, stop: Any, payload_len: Any) -> Any:
    """Where the message in a TCP segment begins: one that fills it whole; else ``stop``."""
    if stop - at < TCP_HEADER:
        return stop
    payload = at + (data[at + _DATA_OFFSET] >> 4) * 4
    if stop - payload < _LENGTH or be16(data, payload) != payload_len - _LENGTH:
        return stop
    return payload + _LENGTH


@piece
def _message(data: Bytes, at: Any, stop: Any, text: Bytes, end: Any, row: int, out: _Out) -> Any:
    """Where the name ends in the text; -1 where no whole question stands there."""
    if stop - at < _HEADER:
        return -1
    questions, answers = be16(data, at + 4), be16(data, at + 6)
    if questions == 0 and answers == 0:
        return -1
    out.ident[row] = be16(data, at)
    out.flags[row] = be16(data, at + 2)
    out.answers[row] = answers
    behind, written = _name(data, at + _HEADER, stop, text, end)
    if behind < 0 or stop - behind < 4:
        return -1
    out.kind[row] = be16(data, behind)
    return written


@piece
def _name(data: Bytes, at: Any, stop: Any, text: Bytes, end: Any) -> Any:
    """(behind the name, end of its text); behind is -1 where it is cut or compressed."""
    begin, first = end, at
    while at < stop:
        size = np.int64(data[at])
        at += 1
        if size == 0:
            if end == begin:
                text[end] = _DOT
                end += 1
            return at, end
        if size > _LABEL or size > stop - at or at + size - first > _MAX_NAME:
            return -1, begin
        if end > begin:
            text[end] = _DOT
            end += 1
        for i in range(at, at + size):
            end = _letter(data[i], text, end)
        at += size
    return -1, begin


@piece
def _letter(byte: Any, text: Bytes, end: Any) -> Any:
    """One byte of a label as text; where the text goes on."""
    if byte < _FIRST_PRINTED or byte > _LAST_PRINTED:
        text[end] = _BACKSLASH
        text[end + 1] = _ZERO + byte // 100
        text[end + 2] = _ZERO + byte // 10 % 10
        text[end + 3] = _ZERO + byte % 10
        return end + 4
    if byte in (_BACKSLASH, _DOT):
        text[end] = _BACKSLASH
        end += 1
    text[end] = byte
    return end + 1
