"""``report --lost --min-latency --container --protocol``: only those packets, with journeys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faulty import Bench

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.analysis.packet_choice import parse_choice
from analyzer.errors import UsageProblem
from analyzer.model.report import PacketRow

pytestmark = pytest.mark.root


@pytest.fixture
def kept(bench: Bench) -> str:
    """Three echoes through, three dropped in the bridge, two in the stack of tomcat03."""
    some = "iptables -A FORWARD -s 172.17.0.2 -d 172.17.0.3"
    bench.bridge_netfilter()
    bench.host(f"{some} -m limit --limit 1/min --limit-burst 3 -j ACCEPT; {some} -j DROP")
    bench.inside("tomcat03", "iptables -A INPUT -p icmp -j DROP")

    def act() -> None:
        bench.inside("tomcat01", "ping -c6 -i.01 -W.2 172.17.0.3", check=False)
        bench.inside("tomcat01", "ping -c2 -i.01 -W.2 172.17.0.4", check=False)

    bench.capture(["all"], act)
    return bench.file


def chosen(file: str, **options: object) -> list[PacketRow]:
    values = {"min_latency": None, "lost": False, "containers": (), "protocols": (), **options}
    report, errors = report_files([file], AnalysisOptions(choice=parse_choice(**values)))
    assert errors == []
    return report.packets


def test_only_lost_ones_with_the_kernels_reason(kept: str) -> None:
    rows = chosen(kept, lost=True, protocols=("icmp",))
    assert [(r.source, r.destination, r.fate) for r in rows] == [
        ("tomcat01", "tomcat02", "lost"),
        ("tomcat01", "tomcat02", "lost"),
        ("tomcat01", "tomcat02", "lost"),
        ("tomcat01", "tomcat03", "dropped"),
        ("tomcat01", "tomcat03", "dropped"),
    ]
    assert all(r.reason.startswith("NETFILTER_DROP at nft_do_chain+0x") for r in rows)
    assert rows[0].last_seen.startswith("veth")
    assert rows[-1].last_seen == "tomcat03:eth0"
    assert rows[0].vantages[0] == "tomcat01:eth0"


def test_by_container_and_protocol(kept: str) -> None:
    rows = chosen(kept, containers=("tomcat03",), protocols=("icmp",))
    assert {(r.source, r.destination) for r in rows} == {("tomcat01", "tomcat03")}
    assert len(rows) == 2
    assert {r.protocol for r in chosen(kept, protocols=("arp",))} == {"arp"}


def test_by_latency(kept: str) -> None:
    everything = chosen(kept, min_latency="0ns", protocols=("icmp",))
    took = sorted(r.deltas_ns[-1] for r in everything)
    assert len(everything) == 3 + 3 + 3 + 2
    middle = took[len(took) // 2]
    rows = chosen(kept, min_latency=f"{middle}ns", protocols=("icmp",))
    assert 0 < len(rows) < len(everything)
    assert min(max(r.deltas_ns) for r in rows) >= middle
    assert chosen(kept, min_latency="1s") == []


@pytest.mark.parametrize("text", ["", "soon", "5", "1 hour", "-1ms"])
def test_no_duration(text: str) -> None:
    with pytest.raises(UsageProblem, match=r"is no duration: write 250us, 1ms or 0\.5s"):
        parse_choice(text, False, (), ())


def test_an_unknown_container_is_one_line(kept: str) -> None:
    with pytest.raises(UsageProblem, match="no container typo in this capture: there are tomcat01"):
        chosen(kept, containers=("typo",))


def test_as_a_command(kept: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    argv = [sys.executable, "-m", "analyzer", "report", kept, "--lost", "--protocol", "icmp"]
    done = subprocess.run(
        [*argv, "--html", str(page)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("✗ lost after veth") == 3
    assert done.stdout.count("✗ dropped behind tomcat03:eth0: NETFILTER_DROP") == 2
    assert page.read_text().count("✗ lost after veth") == 3
    told = json.loads(subprocess.run([*argv, "--json"], capture_output=True, check=True).stdout)
    assert [p["fate"] for p in told["packets"]] == ["lost"] * 3 + ["dropped"] * 2
    assert told["icmp"]
