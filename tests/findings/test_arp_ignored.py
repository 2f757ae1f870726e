"""A stack that was told to answer no ARP, and when."""

from __future__ import annotations

from typing import Any

import pytest
from evidence_samples import ETH0, INSIDE, PID, S, moments, seen

from analyzer.findings.arp_ignored import arp_ignored
from analyzer.model.evidence import Evidence, KernelEvent
from analyzer.model.flow_rows import ArpRow
from analyzer.model.kernel_state import LinkState, Setting

ALL, OWN = "net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.eth0.arp_ignore"
ASKED = ArpRow(
    *("tomcat02", "172.17.0.3", "", "172.17.0.2", "", ""),
    *(3, 0, None, None, "unanswered"),
    first_ns=12 * S,
    last_ns=14 * S,
)


def stood(name: str, value: int) -> dict[str, Any]:
    own = value if name == OWN else 0
    link = LinkState(5, "eth0", "veth", up=True, running=True, arp_ignore=own)
    setting = Setting(ALL, str(value if name == ALL else 0))
    return {"links": (link,), "settings": (setting,)}


def told(start: dict[str, Any], end: dict[str, Any], *changes: tuple[str, float, str]) -> str:
    """changes: name, second, value; looked for a tenth of a second before."""
    events = [
        KernelEvent(int(at * S), INSIDE, "sysctl", "changed", name, value, 0, int((at - 0.1) * S))
        for name, at, value in changes
    ]
    evidence = Evidence(moments(start, end).moments, events)
    return arp_ignored(ASKED, ETH0, seen(evidence))


@pytest.mark.parametrize("name", [ALL, OWN])
def test_all_the_time(name: str) -> None:
    assert told(stood(name, 8), stood(name, 8)) == (
        f"its stack answers no ARP request ({name} = 8): nsenter -n -t {PID} sysctl {name}"
    )


@pytest.mark.parametrize("name", [ALL, OWN])
def test_for_a_while(name: str) -> None:
    free, shut = stood(name, 0), stood(name, 8)
    said = told(free, free, (name, 11, "8"), (name, 15, "0"))
    assert said.startswith(
        f"its stack answered no ARP request ({name} was 8 from 1970-01-01 00:00:11.000000 UTC "
        "until 00:00:15.000000 UTC): "
    )
    assert f"{name} was 8 from the capture's start until " in told(shut, free, (name, 15, "1"))
    assert "until the capture's end" in told(free, shut, (name, 11, "8"))


@pytest.mark.parametrize(
    ("start", "end", "changes"),
    [
        (0, 0, []),
        (1, 1, []),
        (0, 8, []),
        (0, 0, [(ALL, 15, "8"), (ALL, 16, "0")]),
        (0, 0, [(ALL, 13, "8"), (ALL, 16, "0")]),
        (0, 0, [(ALL, 11, "2"), (ALL, 16, "0")]),
    ],
    ids=[
        "never",
        "another value",
        "when is not known",
        "later",
        "of a part",
        "another for a while",
    ],
)
def test_what_does_not_explain_it(start: int, end: int, changes: list[Any]) -> None:
    assert told(stood(ALL, start), stood(ALL, end), *changes) == ""


def test_without_evidence_nothing_is_known() -> None:
    assert arp_ignored(ASKED, ETH0, seen(Evidence())) == ""
