"""Requests over UDP: which bytes are one, what answers it, what is left unanswered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scapy.asn1.asn1 import ASN1_OID
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.ntp import NTPHeader
from scapy.layers.radius import Radius
from scapy.layers.snmp import SNMP, SNMPbulk, SNMPget, SNMPresponse, SNMPtrapv2, SNMPvarbind
from scapy.layers.tftp import TFTP, TFTP_DATA, TFTP_RRQ
from tcp_streams import write_pcap

from analyzer.analysis import reading
from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.analysis.window import parse_window
from analyzer.flows.echoes_outside import may_be_answered

S, MS = 1_000_000_000, 1_000_000
CLIENT, SERVER, PORT = "172.17.0.2", "172.17.0.3", 40000


def datagram(payload: bytes, port: int, *, back: bool = False, client: int = PORT) -> bytes:
    ends = [(CLIENT, client), (SERVER, port)]
    (source, sport), (target, dport) = reversed(ends) if back else ends
    macs = {CLIENT: "02:42:ac:11:00:02", SERVER: "02:42:ac:11:00:03"}
    head = Ether(src=macs[source], dst=macs[target]) / IP(src=source, dst=target)
    return bytes(head / UDP(sport=sport, dport=dport) / payload)


def snmp(pdu: Any) -> bytes:
    pdu.varbindlist = [SNMPvarbind(oid=ASN1_OID("1.3.6.1"))]
    return bytes(SNMP(PDU=pdu))


def snmp_v3(ident: int, flags: int) -> bytes:
    header = b"\x02\x04" + ident.to_bytes(4, "big") + b"\x02\x02\x05\xdc\x04\x01" + bytes([flags])
    header = b"\x30" + bytes([len(header) + 3]) + header + b"\x02\x01\x03"
    inner = b"\x02\x01\x03" + header + b"\x04\x00\x30\x00"
    return b"\x30" + bytes([len(inner)]) + inner


def stun(kind: int, ident: int) -> bytes:
    return kind.to_bytes(2, "big") + b"\0\0\x21\x12\xa4\x42" + ident.to_bytes(12, "big")


def memcached(ident: int, text: bytes) -> bytes:
    return ident.to_bytes(2, "big") + b"\0\0\0\1\0\0" + text


def sip(line: bytes) -> bytes:
    return line + b"\r\nCall-ID: a84b4c76e66710\r\n\r\n"


def quic(version: int, first: int, size: int = 1200) -> bytes:
    return (bytes([first]) + version.to_bytes(4, "big")).ljust(size, b"\x55")


NTP_ASK, NTP_SAY = (bytes(NTPHeader(mode=mode, version=4)) for mode in (3, 4))
MESSAGES = {
    "NTP": (123, NTP_ASK, NTP_SAY),
    "SNMP": (161, snmp(SNMPget(id=7)), snmp(SNMPresponse(id=7))),
    "SNMP bulk": (161, snmp(SNMPbulk(id=0x7FFFFFFF)), snmp(SNMPresponse(id=0x7FFFFFFF))),
    "SNMP v3": (161, snmp_v3(9, 4), snmp_v3(9, 0)),
    "memcached": (11211, memcached(5, b"get key\r\n"), memcached(5, b"END\r\n")),
    "STUN": (3478, stun(1, 77), stun(0x101, 77)),
    "STUN error": (3478, stun(1, 77), stun(0x111, 77)),
    "SIP": (5060, sip(b"OPTIONS sip:b SIP/2.0"), sip(b"SIP/2.0 200 OK")),
    "CoAP": (5683, b"\x41\x01\x12\x34\x99", b"\x61\x45\x12\x34\x99"),
    "CoAP reset": (5683, b"\x40\x01\x12\x34", b"\x70\x00\x12\x34"),
    "RADIUS": (1812, bytes(Radius(code=1, id=3)), bytes(Radius(code=3, id=3))),
    "RADIUS accounting": (1813, bytes(Radius(code=4, id=3)), bytes(Radius(code=5, id=3))),
    "QUIC": (443, quic(1, 0xC3), quic(1, 0xE3, 60)),
    "QUIC 2": (443, quic(0x6B3343CF, 0xD3), quic(0, 0x80, 40)),
    "WireGuard": (51820, b"\1\0\0\0ABCD" + bytes(140), b"\2\0\0\0xxxxABCD" + bytes(80)),
}
NO_REQUESTS = {
    "NTP broadcast": (123, bytes(NTPHeader(mode=5))),
    "SNMP trap": (161, snmp(SNMPtrapv2(id=7))),
    "SNMP v3 report": (161, snmp_v3(9, 0)),
    "memcached without reply": (11211, memcached(5, b"set k 0 0 1 noreply\r\nx\r\n")),
    "STUN indication": (3478, stun(0x11, 77)),
    "STUN without cookie": (3478, b"\0\1\0\0" + bytes(16)),
    "SIP ACK": (5060, sip(b"ACK sip:b SIP/2.0")),
    "SIP keep-alive": (5060, b"\r\n\r\n" * 6),
    "CoAP unconfirmed": (5683, b"\x51\x01\x12\x34\x99"),
    "CoAP ping": (5683, b"\x40\x00\x12\x34"),
    "RADIUS of another length": (1812, bytes(Radius(code=1, id=3)) + b"x"),
    "QUIC short": (443, quic(1, 0x43)),
    "QUIC small": (443, quic(1, 0xC3, 1100)),
    "WireGuard data": (51820, b"\4\0\0\0ABCD" + bytes(140)),
    "another port": (9999, NTP_ASK),
}


def rows(tmp_path: Path, *steps: tuple[float, bytes]) -> list[tuple[Any, ...]]:
    """(protocol, port, requests, answered, unanswered) of what was sent at these milliseconds; the
    same in small chunks."""
    path = tmp_path / "requests.pcap"
    ends = [(-1.0, datagram(b"x", 9, back=True)), (60_000.0, datagram(b"x", 9))]
    write_pcap(path, [(1000 * S + int(at * MS), frame) for at, frame in (*steps, *ends)])
    said: list[dict[str, Any]] = report_files([str(path)])[0].to_json()["requests"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK_FRAMES", 2)
        patch.setattr(reading, "_FEWEST", 1)
        assert report_files([str(path)])[0].to_json()["requests"] == said
    names = ("protocol", "port", "requests", "answered", "unanswered")
    return [tuple(row[name] for name in names) for row in said]


@pytest.mark.parametrize("what", MESSAGES)
def test_a_request_and_its_answer(tmp_path: Path, what: str) -> None:
    port, ask, say = MESSAGES[what]
    name = what.partition(" ")[0]
    answer = datagram(say, port, back=True)
    assert rows(tmp_path, (0, datagram(ask, port)), (2, answer)) == [(name, port, 1, 1, 0)]
    assert rows(tmp_path, (0, datagram(ask, port))) == [(name, port, 1, 0, 1)]
    # what came before, and what another client gets, is no answer to it
    others = [(0.0, answer), (2.0, datagram(say, port, back=True, client=PORT + 1))]
    assert rows(tmp_path, (1, datagram(ask, port)), *others) == [(name, port, 1, 0, 1)]


@pytest.mark.parametrize("what", NO_REQUESTS)
def test_what_wants_no_answer(tmp_path: Path, what: str) -> None:
    port, payload = NO_REQUESTS[what]
    assert rows(tmp_path, (0, datagram(payload, port))) == []


def test_an_answer_is_told_by_what_it_repeats(tmp_path: Path) -> None:
    asked = [(n, datagram(snmp(SNMPget(id=n)), 161)) for n in range(4)]
    answered = [(5.0, datagram(snmp(SNMPresponse(id=2)), 161, back=True))]
    assert rows(tmp_path, *asked, *answered) == [("SNMP", 161, 4, 1, 3)]


def test_a_request_that_is_repeated_is_answered_by_one_answer(tmp_path: Path) -> None:
    asked = [(n, datagram(b"\x41\x01\x12\x34\x99", 5683)) for n in range(3)]
    answer = (5.0, datagram(b"\x61\x45\x12\x34\x99", 5683, back=True))
    assert rows(tmp_path, *asked, answer) == [("CoAP", 5683, 3, 3, 0)]


def test_a_transfer_goes_on_from_another_port(tmp_path: Path) -> None:
    ask = bytes(TFTP() / TFTP_RRQ(filename=b"boot.img"))
    data = bytes(TFTP() / TFTP_DATA(block=1) / b"hello")
    steps = [(0.0, datagram(ask, 69)), (1.0, datagram(data, 51000, back=True))]
    assert rows(tmp_path, *steps) == [("TFTP", 69, 1, 1, 0)]
    assert rows(tmp_path, steps[0]) == [("TFTP", 69, 1, 0, 1)]


def test_nothing_is_unanswered_where_no_answer_could_have_been_seen(tmp_path: Path) -> None:
    path = tmp_path / "one-side.pcap"
    write_pcap(path, [(1000 * S + n * S, datagram(NTP_ASK, 123)) for n in range(3)])
    (row,) = report_files([str(path)])[0].to_json()["requests"]
    assert (row["requests"], row["unanswered"]) == (3, 0)


@pytest.mark.parametrize(("asked_s", "unanswered"), [(0.5, 1), (9.5, 0)])
@pytest.mark.parametrize(
    ("kind", "question"),
    [
        ("requests", datagram(NTP_ASK, 123)),
        ("dns", datagram(bytes(DNS(id=1, qd=DNSQR(qname="a.test"))), 53)),
    ],
    ids=("ntp", "dns"),  # a question to a clock has the time in it
)
def test_what_is_asked_just_before_a_window_ends_may_be_answered_after_it(
    tmp_path: Path, kind: str, question: bytes, asked_s: float, unanswered: int
) -> None:
    path = tmp_path / "window.pcap"
    steps = [
        (0.0, datagram(b"x", 9, back=True)),
        (asked_s, question),
        (9.9, datagram(b"x", 9)),
        (60.0, datagram(b"x", 9)),
    ]
    write_pcap(path, [(1000 * S + int(at * S), frame) for at, frame in steps])
    options = AnalysisOptions(window=parse_window(None, "10"))
    (row,) = report_files([str(path)], options)[0].to_json()[kind]
    assert row["unanswered"] == unanswered


def test_a_time_that_was_not_seen() -> None:
    asked_ns = np.array([7 * S, 9 * S + 1, 10 * S, 12 * S])
    assert may_be_answered(asked_ns, [(10 * S, 12 * S)]).tolist() == [False, True, True, False]
    assert not may_be_answered(asked_ns, []).any()
