"""Two ends of a veth pair with different MTUs: said where it is so, and it is true."""

from __future__ import annotations

import pytest
from faulty import Bench
from finding_inputs import PORTS, inputs
from msgspec.structs import replace

from analyzer.findings.mtu_mismatch import find
from analyzer.model.batch import Outlook
from analyzer.model.vantage import Role, Vantage

INSIDE = Vantage(
    "tomcat01:eth0",
    "eth0",
    Role.CONTAINER,
    2,
    5,
    "veth",
    mtu=1500,
    container="tomcat01",
    peer="veth1",
    peer_netns=1,
    peer_ifindex=11,
)
PORT = replace(PORTS[0], mtu=1500, peer_netns=2, peer_ifindex=5)


def texts(*vantages: Vantage) -> list[str]:
    return [finding.text for finding in find(inputs(outlook=Outlook(list(vantages))))]


def test_equal_ends_are_not_worth_a_word() -> None:
    assert texts(PORT, INSIDE) == []


def test_an_end_that_nobody_captured_is_not_guessed() -> None:
    assert texts(replace(PORT, mtu=9000)) == []
    assert texts(PORT, replace(INSIDE, mtu=0)) == []


@pytest.mark.parametrize(
    ("outer", "inner", "words"),
    [
        (1500, 1400, "of more than 1400 bytes to tomcat01:eth0 are dropped between"),
        (1400, 1500, "of more than 1400 bytes to veth1 are dropped between"),
    ],
)
def test_different_ends_are_told_once(outer: int, inner: int, words: str) -> None:
    (text,) = texts(replace(PORT, mtu=outer), replace(INSIDE, mtu=inner))
    assert words in text


@pytest.mark.root
def test_what_it_says_is_true(bench: Bench) -> None:
    """A ping that fits is answered, a larger one dies between the two ends."""
    bench.inside("tomcat02", "ip link set eth0 mtu 1400")
    found = bench.ping(size=1300, count=2)
    (echo,) = found.report.icmp
    assert (echo.sent, echo.answered) == (2, 2)
    (text,) = [f.text for f in found.report.findings if f.code == "mtu-mismatch"]
    assert "1400 bytes to tomcat02:eth0 are dropped" in text
    found = bench.ping(size=1420, count=2)
    (echo,) = found.report.icmp
    assert (echo.sent, echo.answered, echo.lost) == (2, 0, 2)
    (loss,) = found.report.losses
    assert loss.expected == "tomcat02:eth0"
