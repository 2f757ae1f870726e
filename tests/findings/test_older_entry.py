"""A conntrack entry that is older than the rule that would redirect its datagrams."""

from __future__ import annotations

import socket

import pytest
from evidence_samples import HOST, START, S, seen
from faulty import Bench, the_loss
from finding_inputs import BRIDGE, PORTS
from msgspec.structs import replace

from analyzer.findings.icmp_errors import find
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence
from analyzer.model.flow_rows import IcmpErrorRow
from analyzer.model.kernel_state import Ruleset
from analyzer.net.netns import run_inside

RULE = "-A PREROUTING -i docker0 -p udp -m udp --dport 8125 -j DNAT --to-destination 172.17.0.3"
ROW = IcmpErrorRow(
    "host",
    "172.17.0.1",
    "tomcat01",
    "172.17.0.2",
    "198.51.100.1",
    8125,
    "udp",
    "port unreachable",
    None,
    3,
    3,
    1,
)
OUTLOOK = Outlook([*PORTS, replace(BRIDGE, addresses=("172.17.0.1/16",))])
LIKELY = (
    f"a rule redirects that port ({RULE}), and the datagrams went on untranslated: likely the "
    "flow's conntrack entry is older than the rule: conntrack -D -p udp --dport 8125"
)


def told(row: IcmpErrorRow, rule: str = RULE) -> str:
    end = replace(START, netns=HOST, at_start=False, ts_ns=20 * S)
    end = replace(end, rulesets=(Ruleset("iptables-save", f"*nat\n[0:0] {rule}\nCOMMIT"),))
    given = replace(seen(Evidence((end,)), outlook=OUTLOOK), flows={"icmp_errors": [row]})
    (found,) = find(given)
    return found.text


def test_the_cause() -> None:
    assert told(ROW) == (
        f"host says port unreachable to tomcat01, 3×, about udp to 198.51.100.1 port 8125: {LIKELY}"
    )


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (ROW, RULE.replace("-i docker0", "! -i docker0")),
        (ROW, RULE.replace("8125", "8126")),
        (replace(ROW, source_ip="203.0.113.9"), RULE),
        (replace(ROW, reporter="tomcat02"), RULE),
    ],
    ids=["another interface", "another port", "unknown interface", "a container"],
)
def test_a_rule_that_does_not_fit(row: IcmpErrorRow, rule: str) -> None:
    assert told(row, rule).endswith(": nobody listens there (ss -lunp), or a rule with REJECT")


@pytest.mark.root
def test_a_rule_that_comes_after_its_flow(bench: Bench) -> None:
    client = run_inside(
        bench.lab.netns_path("tomcat01"), lambda: socket.socket(type=socket.SOCK_DGRAM)
    )

    def send() -> None:
        client.sendto(b"1", ("198.51.100.1", 8125))
        bench.inside("tomcat01", "ping -c1 -W5 172.17.0.1")
        bench.host(f"iptables -t nat {RULE}")
        for _ in range(3):
            client.sendto(b"2", ("198.51.100.1", 8125))
        bench.inside("tomcat01", "ping -c1 -W5 172.17.0.1")

    with client:
        report = bench.capture(["tomcat01"], send, uplink=True)
    (text,) = [one.text for one in report.findings if one.code == "icmp-error"]
    assert text.endswith(LIKELY)
    assert the_loss(report, "udp").advice == LIKELY
