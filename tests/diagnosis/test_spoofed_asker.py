"""A container that asks in another one's name: the answers that come to it are not lost."""

from __future__ import annotations

import socket

import pytest
from faulty import Bench
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root


def ask_as_tomcat01(bench: Bench) -> None:
    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as plug:
            plug.bind(("eth0", 0))
            for seq in range(5):
                echo = IP(src="172.17.0.2", dst="172.17.0.3") / ICMP(id=78, seq=seq) / (b"x" * 56)
                plug.send(bytes(Ether(src=own, dst=other) / echo))

    own, other = bench.mac("tomcat01"), bench.mac("tomcat02")
    run_inside(bench.lab.netns_path("tomcat03"), send)


def test_what_answers_a_spoofer_came_to_the_one_that_asked(bench: Bench) -> None:
    report = bench.capture(["all"], lambda: ask_as_tomcat01(bench))
    (row,) = report.icmp
    assert (row.source, row.sent, row.answered, row.lost) == ("tomcat03", 5, 5, 0)
    assert report.losses == []
    (text,) = [one.text for one in report.findings if one.code == "foreign-source"]
    assert text.startswith("5 packets with tomcat01's MAC")
    assert f"entered at {bench.veth('tomcat03')}, the port of tomcat03" in text
