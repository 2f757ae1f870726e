"""The main job on the embedded lab: a ping between two containers, seen at every hop."""

from __future__ import annotations

import json
import statistics
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from flood import send_identical

from analyzer.analysis.analyse import report_files, verdict_code
from analyzer.analysis.options import AnalysisOptions
from analyzer.app.ping import PingPlan, PingResult, choose_vantages, ping
from analyzer.app.ping_endpoints import find_end
from analyzer.capture.options import CaptureOptions
from analyzer.engines.lab import Lab
from analyzer.errors import EnvironmentProblem
from analyzer.model.echo_rows import IcmpRow
from analyzer.model.report import Report
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

pytestmark = pytest.mark.root

FAST = {"interval_s": 0.01, "wait_s": 0.3}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(containers=2) as lab:
        yield lab


def run(lab: Lab, source: str = "tomcat01", destination: str = "tomcat02", **options) -> PingResult:
    return ping(lab, PingPlan(source, destination, **{"count": 20, **FAST, **options}))


def conversation(report: Report, source: str, destination: str) -> IcmpRow:
    (row,) = [r for r in report.icmp if (r.source, r.destination) == (source, destination)]
    return row


def veth_of(lab: Lab, container: str) -> str:
    """The host veth, as `ip link` inside the lab's host names it."""
    inside = json.loads(lab.run(container, ["ip", "-j", "link", "show", "eth0"]).stdout)[0]
    links = json.loads(lab.run("host", ["ip", "-j", "link"]).stdout)
    return next(link["ifname"] for link in links if link["ifindex"] == inside["link_index"])


def test_twenty_echoes_seen_timed_and_proved(lab: Lab, tmp_path: Path) -> None:
    file = str(tmp_path / "ping.pcapng")
    result = run(lab, output=file)
    a, b = veth_of(lab, "tomcat01"), veth_of(lab, "tomcat02")
    row = conversation(result.report, "tomcat01", "tomcat02")
    assert result.exit_code == 0
    assert (row.sent, row.answered, row.lost, row.duplicates) == (20, 20, 0, 0)
    for echo in row.echoes:
        assert [(h.from_, h.to, h.kind) for h in echo.request_hops] == [
            ("tomcat01:eth0", a, "veth"),
            (a, b, "bridge"),
            (b, "tomcat02:eth0", "veth"),
        ]
        assert [(h.from_, h.to, h.kind) for h in echo.reply_hops] == [
            ("tomcat02:eth0", b, "veth"),
            (b, a, "bridge"),
            (a, "tomcat01:eth0", "veth"),
        ]
        hops = [h.delay_ns for h in (*echo.request_hops, *echo.reply_hops)]
        assert min(hops) >= 0
        assert sum(hops) + echo.turnaround_ns == echo.rtt_ns
        assert echo.process_rtt_ns > echo.rtt_ns
    assert [v.result for v in result.report.verdicts] == ["proved", "proved"]
    offline, errors = report_files([file], AnalysisOptions(packets=True))
    assert errors == []
    assert conversation(offline, "tomcat01", "tomcat02").echoes == row.echoes
    assert verdict_code(offline.verdicts) == 0


def test_arp_tells_who_asked_for_whom_and_who_answered(lab: Lab) -> None:
    lab.run("tomcat01", ["ip", "neigh", "flush", "all"])
    report = run(lab, count=1).report
    (row,) = [r for r in report.arp if r.asker == "tomcat01"]
    assert (row.target_ip, row.answered_by, row.answer_mac, row.state) == (
        "172.17.0.3",
        "tomcat02",
        "02:42:ac:11:00:03",
        "resolved",
    )
    assert row.latency_p50_ns > 0


def test_nobody_has_the_address(lab: Lab) -> None:
    result = run(lab, destination="172.17.0.99", count=2)
    assert result.exit_code == 1
    (row,) = result.report.arp
    assert (row.asker, row.target_ip, row.state) == ("tomcat01", "172.17.0.99", "unanswered")
    assert "arp-unanswered" in {f.code for f in result.report.findings}


def test_tbf_shows_its_serialisation_delay_in_the_bridge_hop_alone(lab: Lab) -> None:
    """1,442 bytes at 1 mbit/s leave 11.5 ms apart: back to back, each waits for those before."""
    veth = veth_of(lab, "tomcat02")
    lab.run(
        "host",
        [
            "tc",
            "qdisc",
            "add",
            "dev",
            veth,
            "root",
            "tbf",
            "rate",
            "1mbit",
            "burst",
            "1600",
            "limit",
            "100000",
        ],
    )
    report = run(lab, count=20, size=1400, interval_s=0.001, wait_s=1.0).report
    row = conversation(report, "tomcat01", "tomcat02")
    assert row.answered == 20
    left = [sum(h.delay_ns for h in e.request_hops[:2]) + e.ts_ns for e in row.echoes]
    gaps = [b - a for a, b in pairwise(left)]
    # the median: on a busy machine a single wake-up of the queue may come late
    assert statistics.median(gaps) == pytest.approx(1442 * 8 / 1e6 * 1e9, rel=0.05)
    bridge = [e.request_hops[1].delay_ns for e in row.echoes]
    veths = [e.request_hops[i].delay_ns for e in row.echoes for i in (0, 2)]
    assert max(bridge) > 150_000_000
    assert statistics.median(veths) < 1_000_000
    assert max(veths) < 10_000_000


def test_iptables_drop_between_the_containers(lab: Lab) -> None:
    run(lab, count=1)
    lab.run("host", ["iptables", "-I", "FORWARD", "-s", "172.17.0.2", "-j", "DROP"])
    lab.run("host", ["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1"])
    result = run(lab, count=5)
    a, b = veth_of(lab, "tomcat01"), veth_of(lab, "tomcat02")
    row = conversation(result.report, "tomcat01", "tomcat02")
    assert result.exit_code == 1
    assert (row.sent, row.answered, row.lost) == (5, 0, 5)
    assert {e.lost_after for e in row.echoes} == {a}
    (loss,) = [x for x in result.report.losses if x.protocol == "icmp"]
    assert (loss.packets, loss.last_seen, loss.expected) == (5, a, b)
    assert loss.seen == ["tomcat01:eth0", a, "docker0"]
    assert [v.result for v in result.report.verdicts] == ["undecided"]
    (hop,) = [h for h in result.report.hops if h.protocol == "icmp" and h.to == b]
    assert (hop.kind, hop.packets, hop.lost) == ("bridge", 0, 5)


def test_flood_of_a_who_has_is_one_journey() -> None:
    with Lab(containers=5) as lab:
        topology = discover(lab)
        source, target = find_end(topology, "tomcat02"), find_end(topology, "tomcat04")
        names = [f"tomcat0{n}" for n in range(1, 6)]
        report = _captured(lab, names, lambda: lab.run("tomcat02", ["ping", "-c1", "172.17.0.5"]))
        assert source.netns != target.netns
    asked = [p for p in report.packets if p.summary == "ARP who has 172.17.0.5? tell 172.17.0.3"]
    assert len(asked) == 1
    seen = asked[0].vantages
    ports = [v for v in seen if v.startswith("veth")]
    assert seen[0] == "tomcat02:eth0"
    assert len(ports) == len(set(ports)) == 5
    assert sorted(v for v in seen if ":" in v) == [f"{n}:eth0" for n in names]
    assert seen.count("docker0") == 1
    (answer,) = [p for p in report.packets if p.summary.startswith("ARP reply 172.17.0.5")]
    assert len([v for v in answer.vantages if v.startswith("veth")]) == 2
    kinds = [h.kind for h in report.hops if h.destination == "broadcast" and h.source == "tomcat02"]
    assert (kinds.count("bridge"), kinds.count("deliver")) == (4, 1)


def _captured(lab: Lab, names, act, *, filter_text: str = "") -> Report:
    """Capture around ``act`` and report."""
    import tempfile

    topology = discover(lab)
    vantages = select_vantages(topology, targets=names)
    with tempfile.NamedTemporaryFile(suffix=".pcapng") as file:
        options = TapOptions(CaptureOptions(filter=filter_text))
        tap = Tap(topology, vantages, file.name, options)
        running = threading.Thread(target=tap.run)
        with tap:
            running.start()
            act()
            tap.stop()
            running.join()
        report, errors = report_files([file.name], AnalysisOptions(packets=True))
    assert errors == []
    return report


def test_identical_packets_with_every_30th_dropped(lab: Lab) -> None:
    """3,000 UDP datagrams alike to the last bit; netfilter drops each 30th, and only these."""
    run(lab, count=1)
    lab.run("host", ["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1"])
    lab.run(
        "host",
        [
            "iptables",
            "-I",
            "FORWARD",
            "-p",
            "udp",
            "-m",
            "statistic",
            "--mode",
            "nth",
            "--every",
            "30",
            "--packet",
            "29",
            "-j",
            "DROP",
        ],
    )
    names = ["tomcat01", "tomcat02"]
    report = _captured(
        lab,
        names,
        lambda: send_identical(lab.netns_path("tomcat01"), "172.17.0.3", 3000),
        filter_text="udp",
    )
    packets = [p for p in report.packets if p.protocol == "udp"]
    whole = [p for p in packets if len(p.vantages) == 5]
    cut = [n for n, p in enumerate(packets) if len(p.vantages) == 3]
    assert len(packets) == 3000
    assert len(whole) == 2900
    assert cut == list(range(29, 3000, 30))
    (loss,) = report.losses
    assert loss.packets == 100
    assert loss.expected == veth_of(lab, "tomcat02")
    hops = [h for h in report.hops if h.kind == "bridge"]
    assert [(h.packets, h.lost) for h in hops] == [(2900, 100)]


def test_random_mac_is_attributed() -> None:
    with Lab(containers=2, macs={"tomcat02": "92:d0:c6:0a:29:33"}) as lab:
        result = run(lab, count=3)
    row = conversation(result.report, "tomcat01", "tomcat02")
    assert row.answered == 3
    assert [v.result for v in result.report.verdicts] == ["proved", "proved"]
    assert {v.mac for v in result.report.vantages if v.container == "tomcat02"} >= {
        "92:d0:c6:0a:29:33"
    }


@pytest.mark.parametrize("netfilter", ["0", "1"])
def test_fragments_are_one_echo_whether_the_bridge_reassembles_them_or_not(
    lab: Lab, netfilter: str
) -> None:
    """With bridge netfilter docker0's copy is the whole datagram, and the ports show fragments."""
    lab.run("host", ["sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={netfilter}"])
    for destination in ("tomcat02", "host"):
        result = run(lab, destination=destination, count=3, size=3000)
        row = conversation(result.report, "tomcat01", destination)
        assert (row.sent, row.answered, row.lost) == (3, 3, 0)
        assert result.report.losses == []
        for echo in row.echoes:
            hops = [h.delay_ns for h in (*echo.request_hops, *echo.reply_hops)]
            assert len(hops) == (6 if destination == "tomcat02" else 4)
            assert sum(hops) + echo.turnaround_ns == echo.rtt_ns
        wanted = "proved" if destination == "tomcat02" else "refuted"
        assert {v.result for v in result.report.verdicts} == {wanted}


def test_no_promiscuous_mode_is_said_and_leaves_it_undecided(lab: Lab) -> None:
    result = run(lab, count=3, promiscuous=False)
    assert conversation(result.report, "tomcat01", "tomcat02").answered == 3
    assert {v.result for v in result.report.verdicts} == {"undecided"}
    assert "not in promiscuous mode" in result.report.verdicts[0].reason
    assert "not-promiscuous" in {f.code for f in result.report.findings}


def test_without_inside_vantages_the_bridge_hop_and_the_verdict_stay(lab: Lab) -> None:
    result = run(lab, count=3, inside=False)
    row = conversation(result.report, "tomcat01", "tomcat02")
    assert row.answered == 3
    assert [h.kind for h in row.echoes[0].request_hops] == ["bridge"]
    assert [v.result for v in result.report.verdicts] == ["proved", "proved"]


def test_from_and_to_the_host(lab: Lab) -> None:
    to = run(lab, "tomcat01", "host", count=3)
    row = conversation(to.report, "tomcat01", "host")
    assert (row.answered, row.destination_ip) == (3, "172.17.0.1")
    assert [h.kind for h in row.echoes[0].request_hops] == ["veth", "deliver"]
    assert row.echoes[0].request_hops[1].delay_ns == 0
    back = run(lab, "host", "tomcat01", count=3)
    row = conversation(back.report, "host", "tomcat01")
    assert row.answered == 3
    assert [h.kind for h in row.echoes[0].request_hops] == ["originate", "veth"]
    assert {v.result for v in back.report.verdicts} == {"refuted"}


def test_to_the_outside_is_routed_and_refuted(lab: Lab) -> None:
    result = run(lab, "tomcat01", "198.51.100.2", count=3)
    row = conversation(result.report, "tomcat01", "198.51.100.2")
    assert row.answered == 3
    kinds = [h.kind for h in row.echoes[0].request_hops]
    assert kinds == ["veth", "deliver", "route"]
    assert [h.kind for h in row.echoes[0].reply_hops] == ["route", "originate", "veth"]
    for echo in row.echoes:
        hops = [h.delay_ns for h in (*echo.request_hops, *echo.reply_hops)]
        assert sum(hops) + echo.turnaround_ns == echo.rtt_ns
    assert {v.result for v in result.report.verdicts} == {"refuted"}
    assert "routed" in result.report.verdicts[0].reason


def test_two_networks_with_one_subnet_in_one_report_keep_apart(tmp_path: Path) -> None:
    """Same addresses, MACs and names in other namespaces: nothing is mixed."""
    files = [str(tmp_path / "one.pcapng"), str(tmp_path / "other.pcapng")]
    with Lab(containers=2) as one, Lab(containers=2) as other:
        veths = [[veth_of(lab, f"tomcat0{n}") for n in (1, 2)] for lab in (one, other)]
        singles = [
            run(lab, count=n, output=f).report
            for lab, n, f in zip((one, other), (3, 5), files, strict=True)
        ]
    report, _ = report_files(files, AnalysisOptions(packets=True))
    assert [row.answered for row in report.icmp] == [3, 5]
    for single, row, (a, b) in zip(singles, report.icmp, veths, strict=True):
        assert row.echoes == single.icmp[0].echoes
        assert {(h.from_, h.to) for e in row.echoes for h in e.request_hops} == {
            ("tomcat01:eth0", a),
            (a, b),
            (b, "tomcat02:eth0"),
        }
    assert {len(p.vantages) for p in report.packets if p.protocol == "icmp"} == {5}
    assert report.losses == []


def test_a_container_on_two_networks_and_one_that_shares(tmp_path: Path) -> None:
    options = {
        "networks": {"net2": "172.18.0.0/16"},
        "members": {"tomcat01": ("bridge", "net2"), "tomcat02": ("net2",)},
        "shares": {"tomcat03": "tomcat02"},
    }
    with Lab(containers=2, **options) as lab:
        result = run(lab, "tomcat01", "tomcat03", count=3)
    row = conversation(result.report, "tomcat01", "tomcat02")
    assert row.destination_ip.startswith("172.18.")
    assert row.measured_at == "tomcat01:eth1"
    (first, *_) = result.report.verdicts
    assert first.result == "refuted"
    assert "another bridge" in first.reason


def test_one_namespace_is_refused(lab: Lab) -> None:
    from analyzer.errors import UsageProblem

    with pytest.raises(UsageProblem, match="share one network namespace"):
        run(lab, "tomcat01", "tomcat01")


def test_vantages_of_a_ping_are_the_five(lab: Lab) -> None:
    topology = discover(lab)
    ends = find_end(topology, "tomcat01"), find_end(topology, "tomcat02", address=True)
    names = {v.name for v in choose_vantages(topology, *ends, inside=True)}
    assert names == {
        "tomcat01:eth0",
        "tomcat02:eth0",
        "docker0",
        veth_of(lab, "tomcat01"),
        veth_of(lab, "tomcat02"),
    }


@pytest.mark.root
def test_an_interpreter_that_may_not_be_run_is_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where Python is in a folder that only its owner may enter."""
    monkeypatch.setattr("sys.executable", "/nowhere/python3")
    with pytest.raises(EnvironmentProblem, match=r"cannot be started: /nowhere/python3: No such"):
        ping(lab, PingPlan("tomcat01", "tomcat02", count=1, wait_s=0.1))
