"""The flows' sheets: in both renderers the same, in 80 columns, harmless whatever was captured."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from msgspec.structs import replace
from report_samples import flows_of
from rich.console import Console

from analyzer.flows.services import ServiceRow
from analyzer.model.flow_rows import ArpRow, DhcpRow, DnsRow, IcmpErrorRow, TcpRow, UdpRow
from analyzer.model.report import CaptureInfo, LeftOut, Report
from analyzer.report.html.page import render_html
from analyzer.report.sheets import ROWS, cut_sheets, flow_sheets
from analyzer.report.text.report import render_text

ENDS = {
    "client": "tomcat01",
    "server": "tomcat02",
    "client_ip": "172.17.0.2",
    "client_port": 40000,
    "server_ip": "172.17.0.3",
    "server_port": 80,
    "packets": 12,
    "bytes": 12345,
    "lost": 1,
    "client_packets": 7,
    "server_packets": 5,
    "client_bytes": 345,
    "server_bytes": 12000,
    "client_lost": 1,
    "server_lost": 0,
    "lost_between": ["client: veth0 → veth1: 1"],
    "client_p50_ns": 1,
    "client_p99_ns": 3,
    "server_p50_ns": None,
    "server_p99_ns": None,
    "client_min_ns": 1,
    "client_mean_ns": 2,
    "client_max_ns": 3,
    "server_min_ns": None,
    "server_mean_ns": None,
    "server_max_ns": None,
}
TCP = TcpRow(
    **ENDS,
    connections=1,
    state="refused",
    handshake_rtt_ns=83_000,
    initial_rtt_ns=90_000,
    retransmissions=2,
    fast_retransmissions=1,
    spurious_retransmissions=0,
    out_of_order=0,
    duplicate_acks=3,
    zero_windows=4,
    keep_alives=0,
    resets=1,
    gaps=0,
    client_mss=1460,
    client_window_scale=7,
    client_sack_permitted=True,
    client_window_max_bytes=64_256,
    server_mss=None,
    server_window_scale=None,
    server_sack_permitted=None,
    server_window_max_bytes=None,
)
UDP = UdpRow(**ENDS)
DNS = DnsRow(
    "tomcat01",
    "tomcat02",
    "172.17.0.2",
    "172.17.0.3",
    "db.test",
    "AAAA",
    4,
    2,
    2,
    1,
    1,
    ["NXDOMAIN", "NOERROR"],
    5_000_000,
    6_000_000,
    7_000_000,
)
ERROR = IcmpErrorRow(
    "host",
    "172.17.0.1",
    "tomcat01",
    "172.17.0.2",
    "10.9.9.9",
    443,
    "tcp",
    "fragmentation needed",
    1400,
    3,
    2,
    17,
)
ND = ArpRow(
    "tomcat01", "fe80::2", "02:42:ac:11:00:02", "fe80::77", "", "", 3, 0, None, None, "unanswered"
)
DHCP = DhcpRow(
    "tomcat01", "02:42:ac:11:00:02", "", "", "", None, 2, 0, 0, 0, 0, 0, None, "unanswered"
)
SERVICE = ServiceRow(
    protocol="tcp",
    server="tomcat02",
    server_ip="172.17.0.3",
    port=8080,
    clients=2,
    connections=12,
    refused=0,
    requests=1200,
    timed=1190,
    unanswered=None,
    retransmissions=0,
    handshake_p99_ns=70_000,
    response_p50_ns=93_100_000,
    response_p99_ns=99_200_000,
    response_max_ns=101_300_000,
    network_p50_ns=40_100,
    network_p99_ns=60_000,
    network_max_ns=90_000,
    measured_at="tomcat02:eth0",
    measured_inside=True,
    not_timed="",
)
TITLES = ["Services", "TCP", "UDP", "DNS", "ICMP errors", "Neighbour Discovery", "DHCP"]


def report(**rows: list[Any]) -> Report:
    return Report(CaptureInfo(["a.pcapng"], 1, 60, 0, 1, False), flows=flows_of(**rows))


FULL = report(
    tcp=[TCP], udp=[UDP], dns=[DNS], icmp_errors=[ERROR], nd=[ND], dhcp=[DHCP], services=[SERVICE]
)


def text_of(found: Report, width: int = 80) -> str:
    out = io.StringIO()
    render_text(found, Console(file=out, width=width, highlight=False))
    return out.getvalue()


def test_each_kind_of_flow_has_its_sheet() -> None:
    assert [sheet.title for sheet in flow_sheets(FULL)] == TITLES
    assert flow_sheets(report()) == []
    for sheet in flow_sheets(FULL):
        assert {len(row) for row in sheet.rows} == {len(sheet.words) + len(sheet.numbers)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "network 40.1 µs, application 93.1 ms"),
        ({"measured_inside": False, "measured_at": "up0"}, "network 40.1 µs, beyond up0 93.1 ms"),
        ({"network_p50_ns": None}, "application 93.1 ms"),
        ({"refused": 3}, "network 40.1 µs, application 93.1 ms, 3 refused"),
        ({"network_p50_ns": None, "response_p50_ns": None, "not_timed": "TLS"}, "not timed: TLS"),
    ],
)
def test_who_takes_how_long(change: dict[str, Any], said: str) -> None:
    (sheet,) = flow_sheets(report(services=[replace(SERVICE, **change)]))
    assert [piece.text for piece in sheet.rows[0][:2]] == ["tomcat02:8080", said]
    if not change:
        assert f"tomcat02:8080  {said}" in text_of(report(services=[SERVICE]))


def test_both_renderers_show_the_same_cells() -> None:
    text, html = text_of(FULL, 200), render_html(FULL)
    for sheet in flow_sheets(FULL):
        assert re.search(rf"^{sheet.title}\b", text, re.MULTILINE)
        assert f">{sheet.title}<" in html
        for piece in (piece for row in sheet.rows for piece in row if piece.text):
            assert piece.text in text
            assert piece.text in html


def test_it_fits_into_80_columns() -> None:
    assert max(map(len, text_of(FULL).splitlines())) <= 80


def test_many_rows_are_counted_and_the_largest_come_first() -> None:
    many = [replace(TCP, client_port=40000 + n, packets=n) for n in range(ROWS + 7)]
    (sheet,) = flow_sheets(report(tcp=many))
    assert len(sheet.rows) == ROWS
    assert sheet.rows[0][0].text.startswith(f"tomcat01:{40000 + ROWS + 6} ")
    assert sheet.more == "and 7 more conversations: see --json"
    assert sheet.more in text_of(report(tcp=many))


def test_rows_that_are_not_shown_are_cut_before_anything_is_done_with_them() -> None:
    many = [replace(TCP, client_port=40000 + n, packets=n % 9) for n in range(10 * ROWS)]
    whole = replace(report(tcp=many), left_out={"tcp": LeftOut(3, [])})
    cut = cut_sheets(whole)
    assert (len(cut.tcp), cut.more_rows("tcp")) == (ROWS, 9 * ROWS + 3)
    assert flow_sheets(cut) == flow_sheets(whole)


@pytest.mark.parametrize("evil", ["\x1b[2J", "<script>alert(1)</script>", "\u202e"])
def test_captured_names_are_harmless(evil: str) -> None:
    hostile = report(
        tcp=[replace(TCP, client=evil)],
        dns=[replace(DNS, name=evil)],
        icmp_errors=[replace(ERROR, reporter=evil)],
    )
    text, html = text_of(hostile, 200), render_html(hostile)
    assert "\x1b" not in text + html
    assert "\u202e" not in text + html
    assert "<script>" not in html
