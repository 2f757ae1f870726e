"""Captures of other tools: nothing is said that they could not have shown."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from scapy.all import ARP, Ether, wrpcap

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.analysis.window import parse_window
from analyzer.app.dissect import dissected_frames, matching_frames
from analyzer.model.report import Report
from analyzer.report.sheets import flow_sheets

FILES = Path(__file__).parent / "foreign"
A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


@cache
def report_of(name: str) -> Report:
    report, errors = report_files([str(FILES / name)])
    assert not errors
    return report


def codes(report: Report) -> Counter[tuple[str, str]]:
    return Counter((one.severity, one.code) for one in report.findings)


def test_a_window_of_a_file_without_frames_is_a_report_of_nothing() -> None:
    options = AnalysisOptions(window=parse_window("0.1", None))
    report, errors = report_files([str(FILES / "empty.pcap")], options)
    assert (report.capture.frames, errors) == (0, [])


def test_wireshark_numbers_custom_blocks_too() -> None:
    path = str(FILES / "custom-block.pcapng")
    assert matching_frames(path, "icmp").tolist() == [1]
    assert matching_frames(path, "udp").tolist() == [2, 3]
    shown = {frame: " ".join(lines) for frame, lines in dissected_frames(path, [1, 3])}
    assert "ICMP" in shown[1]
    assert "3333" in shown[3]
    assert list(shown) == [1, 3]


def test_ones_own_advertisement_after_dad_is_no_conflict() -> None:
    report = report_of("own-na-after-dad.pcap")
    assert [row.state for row in report.flows["nd"]] == ["probe"]
    assert not codes(report)


def test_dhcp_clients_without_an_address_are_told_by_their_macs() -> None:
    report = report_of("two-dhcp-clients.pcap")
    rows = report.flows["dhcp"]
    assert [row.client for row in rows] == ["00:0c:29:00:00:01", "00:0c:29:00:00:02"]
    assert not codes(report)  # an offer may go to its client only


def test_a_bystander_does_not_know_what_was_answered() -> None:
    report = report_of("arp-bystander.pcap")
    assert [row.state for row in report.flows["arp"]] == ["unknown"]
    assert not codes(report)


@pytest.mark.parametrize(("last", "state"), [(A, "unanswered"), (B, "unknown")])
def test_who_was_seen_receiving_was_not_answered(last: str, state: str, tmp_path: Path) -> None:
    ask = Ether(src=A, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=A, psrc="10.0.0.1", pdst="10.0.0.9")
    path = tmp_path / "asked.pcap"
    wrpcap(str(path), [ask, Ether(src="02:00:00:00:00:0c", dst=last, type=0x88B5) / b"x"])
    report, _ = report_files([str(path)])
    assert [row.state for row in report.flows["arp"]] == [state]


def test_a_client_that_goes_on_was_answered() -> None:
    report = report_of("tcp-one-side.pcap")
    assert [row.state for row in report.flows["tcp"]] == ["open"]
    assert not codes(report)


def test_a_traceroute_loses_nothing() -> None:
    report = report_of("traceroute.pcap")
    (row,) = report.flows["icmp"]
    assert (row.sent, row.answered, row.lost, row.unmatched) == (5, 1, 0, 4)
    assert codes(report) == {("info", "icmp-error"): 1}
    assert "traced its route to 8.8.8.8 by icmp: 4 routers" in report.findings[0].text


def test_wrong_checksums_that_were_acknowledged_are_no_error() -> None:
    report = report_of("rewritten.pcap")
    assert codes(report) == {("info", "bad-checksum"): 2}
    assert not any("drops them" in one.text for one in report.findings)


@pytest.mark.parametrize("name", ["traceroute.pcap", "rewritten.pcap"])
def test_without_topology_there_is_one_verdict_and_no_count_of_losses(name: str) -> None:
    report = report_of(name)
    (verdict,) = report.verdicts
    assert (verdict.result, verdict.packets) == ("undecided", report.capture.frames)
    for sheet in flow_sheets(report):
        assert lost_cells(sheet) <= {"–"}


def lost_cells(sheet: Any) -> set[str]:
    titles = (*sheet.words, *sheet.numbers)
    at = [number for number, title in enumerate(titles) if title == "lost"]
    return {row[number].text for row in sheet.rows for number in at}
