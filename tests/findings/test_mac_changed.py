"""A bridge whose MAC changes meanwhile: that is said, and no ARP flux or conflict."""

from __future__ import annotations

import json

import pytest
from evidence_samples import ETH0, EVENT_NS, VANTAGES, seen, texts
from faulty import Bench
from msgspec.structs import replace

from analyzer.findings.mac_changed import find
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence
from analyzer.model.tenures import Life

NEW = "02:42:00:00:00:01"
AT = VANTAGES.index(ETH0)


@pytest.mark.parametrize(("from_ns", "said"), [(0, 1), (EVENT_NS, 0)])
def test_who_has_just_come_gets_its_first_mac(from_ns: int, said: int) -> None:
    vantages = [replace(one, mac="aa:aa:aa:aa:aa:aa") if one is ETH0 else one for one in VANTAGES]
    lives = [Life(from_ns if one is ETH0 else 0) for one in VANTAGES]
    outlook = Outlook(vantages, lives=lives, later_macs={AT: [NEW]})
    told = texts(find, seen(Evidence(), outlook=outlook))
    assert len(told) == said
    assert all(f"tomcat01:eth0's MAC was aa:aa:aa:aa:aa:aa and became {NEW}" in t for t in told)


@pytest.mark.root
def test_a_bridge_gets_another_mac(bench: Bench) -> None:
    before = json.loads(bench.host("ip -j link show docker0"))[0]["address"]

    def change() -> None:
        bench.inside("tomcat01", "ping -c1 -W2 172.17.0.1")
        bench.host(f"ip link set docker0 address {NEW}")
        bench.inside("tomcat01", "ip neigh flush all; ping -c2 -i.1 -W2 172.17.0.1")

    report = bench.capture(["all"], change)
    codes = {one.code for one in report.findings}
    assert not codes & {"arp-flux", "address-conflict", "arp-spoofing", "proxy-arp"}
    (text,) = [one.text for one in report.findings if one.code == "mac-changed"]
    assert text.startswith(f"docker0's MAC was {before} and became {NEW}: ")
    assert text.endswith(f"ip link set dev docker0 address {before}")
