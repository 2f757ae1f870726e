"""``--drops`` as people call it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import Bench

from analyzer.app.ping import PingPlan, ping
from analyzer.engines.lab import Lab, take_down_lab

pytestmark = pytest.mark.root


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Bench]:
    """A named lab with a rule that drops, for commands in processes of their own."""
    name = f"vsdrops{os.getpid()}"
    with Lab(containers=2, name=name) as lab:
        try:
            bench = Bench(lab, tmp_path)
            ping(lab, PingPlan("tomcat01", "tomcat02", count=1, wait_s=0.2))
            bench.bridge_netfilter()
            bench.host("iptables -I FORWARD -s 172.17.0.2 -j DROP")
            yield bench
        finally:
            take_down_lab(name)


def command(bench: Bench, *words: str) -> list[str]:
    return [sys.executable, "-m", "analyzer", *words, "--engine", f"lab:{bench.lab.lab_name}"]


def test_ping_reports_the_rule(named: Bench) -> None:
    done = subprocess.run(
        command(named, "ping", "tomcat01", "tomcat02", "-c3", "-i.01", "-W.3", "--drops"),
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "✗ 3 icmp packets tomcat01 → tomcat02 lost in bridge docker0" in done.stdout
    text = " ".join(done.stdout.split())
    assert "iptables FORWARD rule 1 (-s 172.17.0.2/32 -j DROP) counted 3" in text


def test_capture_keeps_what_report_needs(named: Bench) -> None:
    """Rights that the capture gives up are not those that the end needs."""
    argv = command(named, "capture", "all", "-w", named.file, "--drops", "--json")
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "capturing on" not in (line := process.stderr.readline()):
            assert line, "the capture did not start"
        named.inside("tomcat01", "ping -c4 -i.01 -W.2 172.17.0.3", check=False)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert "kernel drop reasons" not in errors
    assert json.loads(told)["dropped"] == 0
    argv = [sys.executable, "-m", "analyzer", "report", named.file, "--json"]
    report = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    (row,) = [row for row in report["losses"] if row["protocol"] == "icmp"]
    assert (row["packets"], row["reason"]) == (4, "NETFILTER_DROP")
    assert "iptables FORWARD rule 1 (-s 172.17.0.2/32 -j DROP) counted 4" in row["advice"]
    assert report["capture"]["drops"]["tied"] >= 4
