"""Requests over UDP that want an answer, and the answers to them, told by their bytes.

Of protocols in which each request is answered, and only of messages that are requests beyond
doubt: what asks for nothing (traps, indications, ``noreply``, messages that CoAP does not confirm)
is none. What a request and its answer have in common is `ident`; where their bytes share nothing
that can be relied on, it is 0, and the ends alone tell that they belong together.

====================  ===========================================================================
protocol              read
====================  ===========================================================================
DNS (RFC 1035)        QR; the id
NTP (RFC 5905)        modes 3 (client) and 4 (server)
SNMP (RFC 3416)       Get, GetNext, GetBulk, Set and Response by their request-id; of SNMPv3
                      (RFC 3412) msgID, a request has the reportable flag
memcached             protocol.txt: the frame header's request id, of ``get``, ``gets``, ``stats``
                      and ``version``
STUN (RFC 8489)       class of the message; the transaction id, behind the magic cookie
TFTP (RFC 1350)       RRQ and WRQ; the first DATA, ACK, OACK or an ERROR, of any port
SIP (RFC 3261)        request line, but for ACK; status line
CoAP (RFC 7252)       confirmable requests; ACK and RST; the message id
RADIUS (RFC 2865)     Access- and Accounting-Request and what answers them; the identifier
QUIC (RFC 9000)       a client's Initial, which fills 1,200 bytes; a server's long headers
WireGuard             handshake initiation and response, whose receiver is the initiator's index
====================  ===========================================================================
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.rows import Columns, frames_of, view_of
from analyzer.decode.udp import UDP_HEADER
from analyzer.model.frames import FrameChunk
from analyzer.native.compiled import compiled, piece
from analyzer.native.loads import Bytes, be16, be32, be64
from analyzer.net.ip import UDP
from analyzer.net.ports import REQUEST_PORTS, TFTP_PORT

PROTOCOLS = (
    "",
    "DNS",
    "NTP",
    "SNMP",
    "memcached",
    "STUN",
    "TFTP",
    "SIP",
    "CoAP",
    "RADIUS",
    "QUIC",
    "WireGuard",
)
"""by their codes"""
_NONE, _DNS, _NTP, _SNMP, _MEMCACHED, _STUN, _TFTP, _SIP, _COAP, _RADIUS, _QUIC, _WIREGUARD = range(
    len(PROTOCOLS)
)
_BY_PORT = dict(
    zip(
        REQUEST_PORTS,
        (_DNS, _NTP, _SNMP, _MEMCACHED, _STUN, _SIP, _COAP, _RADIUS, _RADIUS, _QUIC, _WIREGUARD),
        strict=True,
    )
)
_REQUEST, _ANSWER = 1, 2
_COOKIE = 0x2112A442
_INTEGER, _STRING, _SEQUENCE = 0x02, 0x04, 0x30
_SNMP_REQUESTS, _SNMP_RESPONSE, _REPORTABLE = (0xA0, 0xA1, 0xA3, 0xA5), 0xA2, 4
_FLAGS = _STRING << 8 | 1
"""msgFlags is a string of one byte"""
_GET, _STAT, _VERS, _SIP2, _ACK_ = (
    int.from_bytes(word, "big") for word in (b"get", b"stat", b"vers", b"SIP/", b"ACK ")
)
_QUIC_INITIAL_BYTES, _QUIC_V2 = 1200, 0x6B3343CF
"""RFC 9000, 14.1; RFC 9369"""
_RADIUS_ASKS, _RADIUS_ANSWERS = (1, 4), (2, 3, 5, 11)


_NOTHING: Any = np.uint64(0)
_NO: Any = False


class _Out(NamedTuple):
    """[n] of each."""

    kind: npt.NDArray[np.uint8]
    role: npt.NDArray[np.uint8]
    ident: npt.NDArray[np.uint64]


def request_messages(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    """A row each message: row (of the chunk), kind (see PROTOCOLS), asks (else it answers),
    ident."""
    rows = np.flatnonzero(_may_be(columns))
    n = len(rows)
    out = _Out(np.zeros(n, np.uint8), np.zeros(n, np.uint8), np.zeros(n, np.uint64))
    at, stop = frames_of(chunk, columns, rows)
    wire = columns["payload_len"][rows].astype(np.int64)
    stop = np.minimum(stop, at + UDP_HEADER + wire)
    to, source = (_codes(columns[f"{side}_port"][rows]) for side in ("dst", "src"))
    _read(view_of(chunk), at + UDP_HEADER, stop, wire, to, source, out)
    known = np.flatnonzero(out.role)
    return pl.DataFrame(
        {
            "row": rows[known].astype(np.uint32),
            "kind": out.kind[known],
            "asks": out.role[known] == _REQUEST,
            "ident": out.ident[known],
        }
    )


def occur(columns: Columns) -> bool:
    """Whether any UDP is there."""
    return bool(np.any(columns["protocol"] == UDP))


def _may_be(columns: Columns) -> npt.NDArray[np.bool_]:
    chosen: npt.NDArray[np.bool_] = (columns["protocol"] == UDP) & (columns["l4_offset"] != 0)
    return chosen & (columns["payload_len"] > 3)


def _codes(ports: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    codes: npt.NDArray[np.uint8] = _CODE_OF_PORT[ports]
    return codes


_CODE_OF_PORT = np.zeros(1 << 16, np.uint8)
_CODE_OF_PORT[list(_BY_PORT)] = list(_BY_PORT.values())
_CODE_OF_PORT[TFTP_PORT] = _TFTP


class _Size(NamedTuple):
    """Bytes of a message."""

    captured: Any
    wire: Any


@compiled
def _read(
    data: Bytes,
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    wire: npt.NDArray[np.int64],
    to: npt.NDArray[np.uint8],
    source: npt.NDArray[np.uint8],
    out: _Out,
) -> None:
    """wire: bytes of each message, of which some may not be captured. to, source: codes of the
    protocols to whose ports the messages go, and come from."""
    for row in range(len(starts)):
        at, size = starts[row], _Size(stops[row] - starts[row], wire[row])
        if size.captured < 4:
            continue
        ident, fits = _message(data, at, size, to[row], True)
        if fits:
            out.kind[row], out.role[row], out.ident[row] = to[row], _REQUEST, ident
            continue
        if source[row] and source[row] != _TFTP:
            ident, fits = _message(data, at, size, source[row], False)
            if fits:
                out.kind[row], out.role[row], out.ident[row] = source[row], _ANSWER, ident
        elif not to[row] and not source[row] and _begins_tftp(data, at):
            out.kind[row], out.role[row] = _TFTP, _ANSWER


@piece
def _begins_tftp(data: Bytes, at: Any) -> Any:
    """The first block of data, the acknowledgement of a write, of options, or an error."""
    code, number = be16(data, at), be16(data, at + 2)
    return (code == 3 and number == 1) or (code == 4 and number == 0) or code in (5, 6)


@piece
def _message(data: Bytes, at: Any, sizes: _Size, kind: Any, asks: bool) -> Any:
    """(ident, whether it is a message of that kind: a request, else an answer)."""
    ident, fits, first, size = _NOTHING, _NO, np.int64(data[at]), sizes.captured
    if kind == _DNS and size >= 12:
        ident, fits = np.uint64(be16(data, at)), ((data[at + 2] & 0x80) == 0) == asks
    elif kind == _NTP and size >= 48:
        fits = 1 <= (first >> 3 & 7) <= 4 and (first & 7) == (3 if asks else 4)
    elif kind == _SNMP:
        ident, fits = _snmp(data, at, at + size, asks)
    elif kind == _MEMCACHED and size > 12:
        ident, fits = np.uint64(be16(data, at)), _is_memcached(data, at, asks)
    elif kind == _STUN and size >= 20 and be32(data, at + 4) == _COOKIE:
        code = be16(data, at) & 0xC110
        ident, fits = be64(data, at + 8), code == 0 if asks else (code & 0xC100) == 0x100
    elif kind == _TFTP and size > 6:
        fits = be16(data, at) in (1, 2) and data[at + 2] > 0x1F
    elif kind == _SIP and size >= 20:
        fits = _sip(data, at, asks)
    elif kind >= _COAP:
        ident, fits = _in_binary(data, at, sizes, kind, asks)
    return ident, fits


@piece
def _in_binary(data: Bytes, at: Any, sizes: _Size, kind: Any, asks: bool) -> Any:
    """As `_message`."""
    ident, fits, first = _NOTHING, _NO, np.int64(data[at])
    size, wire = sizes
    if kind == _COAP:
        confirmed = (first & 0xF0) == 0x40 and 1 <= data[at + 1] < 0x20
        ident, fits = np.uint64(be16(data, at + 2)), confirmed if asks else (first & 0xE0) == 0x60
        fits = fits and (first & 0x0F) <= 8
    elif kind == _RADIUS and size >= 20:
        fits = first in _RADIUS_ASKS if asks else first in _RADIUS_ANSWERS
        ident, fits = np.uint64(data[at + 1]), fits and be16(data, at + 2) == wire
    elif kind == _QUIC and not asks:
        fits = (first & 0x80) != 0
    elif kind == _QUIC and size >= 5 and wire >= _QUIC_INITIAL_BYTES:
        version, form = be32(data, at + 1), first & 0xF0
        fits = (version == 1 and form == 0xC0) or (version == _QUIC_V2 and form == 0xD0)
    elif kind == _WIREGUARD and size >= 12 and first == (1 if asks else 2):
        fits = wire == (148 if asks else 92)
        ident = np.uint64(be32(data, at + (4 if asks else 8)))
    return ident, fits


@piece
def _is_memcached(data: Bytes, at: Any, asks: Any) -> Any:
    """The header of a message that is one datagram or the first of several, and what follows."""
    if be16(data, at + 2) != 0 or be16(data, at + 6) != 0 or be16(data, at + 4) == 0:
        return False
    word = be32(data, at + 8)
    return not asks or word >> 8 == _GET or word in (_STAT, _VERS)


@piece
def _length(data: Bytes, at: Any, stop: Any) -> Any:
    """(what BER tells there of the length, behind it); -1: it is cut, or longer than a datagram."""
    if at >= stop:
        return -1, at
    first = np.int64(data[at])
    if first < 0x80:
        return first, at + 1
    if first == 0x81 and at + 2 <= stop:
        return np.int64(data[at + 1]), at + 2
    if first == 0x82 and at + 3 <= stop:
        return be16(data, at + 1), at + 3
    return np.int64(-1), at


@piece
def _number(data: Bytes, at: Any, stop: Any) -> Any:
    """(an INTEGER, behind it); behind is -1 where none stands there."""
    if at >= stop or data[at] != _INTEGER:
        return np.uint64(0), np.int64(-1)
    size, at = _length(data, at + 1, stop)
    if size < 1 or size > 5 or at + size > stop:
        return np.uint64(0), np.int64(-1)
    value = np.uint64(0)
    for i in range(at, at + size):
        value = value << np.uint64(8) | np.uint64(data[i])
    return value, at + size


@piece
def _snmp(data: Bytes, at: Any, stop: Any, asks: bool) -> Any:
    """As `_message`. SNMPv1 and v2c: the PDU's tag and request-id, behind version and community;
    v3: msgID and msgFlags of the header."""
    ident, fits = _NOTHING, _NO
    size, inner = _length(data, at + 1, stop)
    if data[at] != _SEQUENCE or size < 0:
        return ident, fits
    version, at = _number(data, inner, stop)
    if at < 0 or at >= stop or version > 3:
        return ident, fits
    tag = data[at]
    size, inner = _length(data, at + 1, stop)
    if size < 0:
        return ident, fits
    if version == 3 and tag == _SEQUENCE:
        ident, at = _number(data, inner, stop)
        if at > 0:
            _, at = _number(data, at, stop)
        if at > 0 and at + 3 <= stop and be16(data, at) == _FLAGS:
            fits = ((data[at + 2] & _REPORTABLE) != 0) == asks
    elif version < 3 and tag == _STRING and inner + size < stop:
        tag, at = data[inner + size], inner + size + 1
        fits = tag in _SNMP_REQUESTS if asks else tag == _SNMP_RESPONSE
        size, inner = _length(data, at, stop)
        ident, at = _number(data, inner, stop)
        fits = fits and size >= 0 and at > 0
    return ident, fits


@piece
def _sip(data: Bytes, at: Any, asks: Any) -> Any:
    """A status line, or a request line that wants an answer: ACK wants none."""
    word, first = be32(data, at), data[at]
    if not asks:
        return word == _SIP2
    return word not in (_SIP2, _ACK_) and 0x41 <= first <= 0x5A
