"""A healthy host under every load at once, again and again: nothing bad is said of what is well.

Beside it, and beside two other captures, packets die all the time: a namespace asks for addresses
that nobody has, and two send to closed ports of their own lo. Who sent and who received count for
themselves.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_cases import HERE, Case, run

pytestmark = pytest.mark.root
ROUNDS, AT_ONCE = 7, 3
SCRIPT, SNAPLEN = HERE / "torture.sh", "-s 300"
NOISE = "n1"
ITS_OWN = {"arp-unanswered", "neighbour-queue-full"}
"""what may be said, of the noise alone"""
CLOCK = {"clock-step"}
"""the machine's own clock may be set while a test runs"""
PINGS = [3, 3, 3, 40, 40, 1000]


def check_truth(case: Case) -> None:
    """What the two ends say: all came, and was answered."""
    pings = re.findall(r"(\d+) packets transmitted, (\d+) received", case.log)
    assert sorted(int(sent) for sent, _ in pings) == PINGS, case.log
    assert all(sent == received for sent, received in pings), case.log
    assert case.log.count("ANSWERED 100") == 2, case.log
    assert case.log.count("SENT 3") == 2, case.log


def check(case: Case) -> None:
    report = case.report
    assert report.losses == [], case.told()
    for one in report.findings:
        if one.severity != "info":
            assert one.code in ITS_OWN | CLOCK, case.told()
            assert one.code in CLOCK or NOISE in one.text, case.told()
            assert not re.search(r"\b(c[1-4]|k)\b", one.text), case.told()
    assert sorted(row.answered for row in report.icmp) == PINGS, case.told()
    assert sum(row.lost for row in report.icmp) == 0
    asked = [row for row in report.dns if row.client != NOISE]
    assert sum(row.answered for row in asked) == 200
    assert sum(row.unanswered + row.retries for row in asked) == 0
    bulk = [row for row in report.tcp if row.server_port == 5001]
    assert len(bulk) == 6
    assert sum(row.lost for row in bulk) == 0
    assert sum(row.lost for row in report.udp if row.client != NOISE) == 0


@pytest.mark.timeout(500)
def test_nothing_bad_is_said_of_what_is_well(tmp_path: Path) -> None:
    """21 captures with --drops, three beside each other."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        folders = [tmp_path / str(number) for number in range(ROUNDS * AT_ONCE)]
        for case in pool.map(lambda folder: run(SCRIPT, folder, SNAPLEN), folders):
            check_truth(case)
            check(case)
