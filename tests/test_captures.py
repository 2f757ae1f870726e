"""The recorded sessions: the report is the golden one, and other tools read the same in them."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from rich.console import Console
from tshark import assert_agrees

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.report.text.report import render_text

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
CAPTURES = sorted(ROOT.glob("captures/*.pcapng"))


def render(path: Path) -> str:
    """The report in 80 columns, as it is piped; the path as from the project's root."""
    report, errors = report_files([str(path)], AnalysisOptions(packets=True))
    assert errors == []
    report.capture.files = [f"captures/{path.name}"]
    out = io.StringIO()
    render_text(report, Console(file=out, width=80, no_color=True))
    return out.getvalue()


def test_there_are_captures() -> None:
    assert {p.stem for p in CAPTURES} == {
        "tomcat-ping",
        "host-to-container",
        "arp-unanswered",
        "iptables-drop",
    }


@pytest.mark.parametrize("path", CAPTURES, ids=lambda p: p.stem)
def test_report_is_golden(path: Path, request: pytest.FixtureRequest) -> None:
    golden = GOLDEN / f"{path.stem}.txt"
    text = render(path)
    if request.config.getoption("--update-golden"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("path", CAPTURES, ids=lambda p: p.stem)
def test_every_field_is_what_tshark_says(path: Path) -> None:
    assert_agrees(path)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda p: p.stem)
def test_other_tools_open_it_without_complaint(path: Path) -> None:
    report, _ = report_files([str(path)])
    frames = report.capture.frames
    tcpdump = subprocess.run(["tcpdump", "-nr", path], capture_output=True, text=True, check=True)
    assert len(tcpdump.stdout.splitlines()) == frames
    capinfos = subprocess.run(["capinfos", "-Mc", path], capture_output=True, text=True, check=True)
    assert f"Number of packets:   {frames}" in capinfos.stdout
    tshark = subprocess.run(["tshark", "-nr", path], capture_output=True, text=True, check=True)
    assert len(tshark.stdout.splitlines()) == frames
    complaints = [li for li in tshark.stderr.splitlines() if li and "Running as user" not in li]
    assert complaints == []


@pytest.mark.parametrize("path", CAPTURES, ids=lambda p: p.stem)
def test_scapy_opens_it(path: Path) -> None:
    from scapy.utils import PcapNgReader

    report, _ = report_files([str(path)])
    with PcapNgReader(str(path)) as reader:
        assert sum(1 for _ in reader) == report.capture.frames
