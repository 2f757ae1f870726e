"""What a rule with REJECT refuses is told once: refused, by this rule; and is not lost."""

from __future__ import annotations

import socket

import pytest
from faulty import Bench

from analyzer.model.report import Report
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root
RESET = "--reject-with tcp-reset"
TOLD = ("tcp-refused", "icmp-error", "tcp-unanswered", "likely-cause")


def knock(bench: Bench, address: str = "172.17.0.3") -> None:
    def connect() -> None:
        for _ in range(3):
            with pytest.raises(OSError, match=r"refused|unreachable"):
                socket.create_connection((address, 80), timeout=5)

    run_inside(bench.lab.netns_path("tomcat01"), connect)


def send(bench: Bench) -> None:
    def sender() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as plug:
            for _ in range(3):
                plug.sendto(b"anybody there?", ("172.17.0.3", 4711))

    run_inside(bench.lab.netns_path("tomcat01"), sender)


def told(report: Report) -> list[tuple[str, str]]:
    return [(one.code, one.text) for one in report.findings if one.code in TOLD]


PORT, NET = (f"--reject-with icmp-{one}-unreachable" for one in ("port", "net"))


@pytest.mark.parametrize(
    ("where", "how"),
    [("inside", RESET), ("inside", PORT), ("inside", NET), ("bridge", RESET), ("bridge", PORT)],
)
def test_a_connection_that_a_rule_refuses(bench: Bench, where: str, how: str) -> None:
    rule = f"-p tcp -m tcp --dport 80 -j REJECT {how}"
    if where == "inside":
        bench.inside("tomcat02", f"iptables -A INPUT {rule}")
    else:
        bench.bridge_netfilter()
        bench.host(f"iptables -I FORWARD {rule}")
    report = bench.capture(["tomcat01", "tomcat02"], lambda: knock(bench))
    assert report.losses == []
    assert [row.lost for row in report.tcp] == [0, 0, 0]
    ((code, text),) = told(report)
    assert code == ("tcp-refused" if how == RESET else "icmp-error")
    chain = "INPUT" if where == "inside" else "FORWARD"
    assert f"iptables {chain} rule 1 ({rule}) counted 3" in text
    assert f"iptables -nvL {chain} --line-numbers" in text
    assert "nobody listens" not in text


@pytest.mark.parametrize("where", ["inside", "bridge"])
def test_datagrams_that_a_rule_refuses(bench: Bench, where: str) -> None:
    rule = "-p udp -j REJECT --reject-with icmp-port-unreachable"
    if where == "inside":
        bench.inside("tomcat02", f"iptables -A INPUT {rule}")
    else:
        bench.bridge_netfilter()
        bench.host(f"iptables -I FORWARD {rule}")
    report = bench.capture(["tomcat01", "tomcat02"], lambda: send(bench))
    assert report.losses == []
    assert [row.lost for row in report.udp] == [0]
    ((code, text),) = told(report)
    assert code == "icmp-error"
    assert f"({rule}) counted 3" in text


def test_by_the_host_itself(bench: Bench) -> None:
    rule = f"-s 172.17.0.2/32 -p tcp -j REJECT {RESET}"
    bench.host(f"iptables -I INPUT {rule}")
    report = bench.capture(["tomcat01"], lambda: knock(bench, "172.17.0.1"))
    assert report.losses == []
    ((_, text),) = told(report)
    assert f"by host itself: iptables INPUT rule 1 ({rule}) counted 3" in text


def test_by_a_container_that_is_not_captured(bench: Bench) -> None:
    """Its RST is first seen going out of the asker's port, as if the host had made it."""
    bench.inside("tomcat02", f"iptables -A INPUT -p tcp -j REJECT {RESET}")
    report = bench.capture(["tomcat01"], lambda: knock(bench))
    ((_, text),) = told(report)
    assert "by the host" not in text
    assert "a rule with REJECT" in text


def test_what_a_rule_drops_in_silence_is_lost(bench: Bench) -> None:
    """Beside a REJECT for others."""
    bench.inside(
        "tomcat02",
        "iptables -A INPUT -p udp --dport 4711 -j DROP; iptables -A INPUT -p udp -j REJECT",
    )
    report = bench.capture(["tomcat01", "tomcat02"], lambda: send(bench))
    (row,) = [one for one in report.losses if one.protocol == "udp"]
    assert (row.packets, row.reason) == (3, "NETFILTER_DROP")
    assert "iptables INPUT rule 1" in row.advice
