"""Faults from public bug reports, made by the scripts beside this file: what must be said of them,
and what must not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from analyzer.analysis.analyse import report_files
from analyzer.model.report import Report

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCRIPTS = {path.name.split("-")[0]: path for path in sorted(HERE.glob("[0-9]*.sh"))}
LONGEST = ("22", "27")
AT_ONCE = 4
"""captures with --drops beside each other: none may take another's drops for its own"""
PRIVATE = ["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc"]


@dataclass(frozen=True)
class Case:
    """What a script printed, and what is said of its capture."""

    log: str
    report: Report

    def texts(self, code: str) -> list[str]:
        return [one.text for one in self.report.findings if one.code == code]

    def the(self, code: str) -> str:
        """The text of the one finding of this code."""
        texts = self.texts(code)
        assert len(texts) == 1, self.told()
        return texts[0]

    def told(self) -> str:
        """All findings and losses, for whom a test fails."""
        rows = [f"{one.code}: {one.text}" for one in self.report.findings]
        return "\n".join([self.log, *rows, *map(str, self.report.losses)])

    @property
    def codes(self) -> set[str]:
        """Of warnings and errors."""
        return {one.code for one in self.report.findings if one.severity != "info"}

    @property
    def reasons(self) -> list[tuple[str, int, str]]:
        return [(one.protocol, one.packets, one.reason) for one in self.report.losses]


def run(script: Path, folder: Path, words: str = "") -> Case:
    """In namespaces of its own; a script ends by itself. words: for ``capture``."""
    folder.mkdir()
    file = folder / "x.pcapng"
    text = script.read_text()
    uplink = "-i uplink0 " if re.search(r"^host;.*out( |$)|uplink0", text, re.MULTILINE) else ""
    command = f"{sys.executable} -m analyzer capture all {uplink}--engine netns --drops "
    command += f"{words} -w {file}"
    (folder / "stderr").touch()
    done = subprocess.run(
        [*PRIVATE, "bash", script],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "CAP": command,
            "ERR": str(folder / "stderr"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert "capture rc=0" in done.stdout, done.stdout
    report, errors = report_files([str(file)])
    assert errors == []
    return Case(done.stdout, report)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Case]]]:
    """All of them, as they come."""
    folder = tmp_path_factory.mktemp("cases")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        first = sorted(SCRIPTS, key=lambda name: name not in LONGEST)
        yield {name: pool.submit(run, SCRIPTS[name], folder / name) for name in first}


def names(report: Report) -> set[tuple[str, str, int]]:
    """(source, destination, lost) of the echoes."""
    return {(row.source, row.destination, row.lost) for row in report.icmp}


def test_two_questions_of_one_socket_race(cases: dict[str, Future[Case]]) -> None:
    case = cases["01b"].result()
    assert case.log.count("answer b'") == 2
    assert case.reasons == []
    assert sum(row.answered for row in case.report.dns) == 2
    assert case.codes == set()


def test_masquerade_has_no_free_port(cases: dict[str, Future[Case]]) -> None:
    case = cases["02"].result()
    text = case.the("conntrack-insert-failed")
    assert "masquerade found no free port" in text
    assert "conntrack-table-full" not in case.codes
    assert not any("FORWARD" in loss.advice for loss in case.report.losses)


def test_a_flow_that_is_older_than_its_rule(cases: dict[str, Future[Case]]) -> None:
    text = cases["04"].result().the("icmp-error")
    assert "went on untranslated" in text
    assert "conntrack -D" in text
    assert "nobody listens" not in text


def test_the_host_resets_what_conntrack_calls_invalid(cases: dict[str, Future[Case]]) -> None:
    case = cases["05"].result()
    (text,) = [text for text in case.texts("tcp-reset") if text.startswith("the host reset")]
    assert "neither end reset it: connection tracking called" in text
    assert case.reasons == []


def test_masquerade_is_missing(cases: dict[str, Future[Case]]) -> None:
    case = cases["07"].result()
    text = case.the("left-untranslated")
    assert text.startswith(
        "2 packets of c1 left uplink0 with the container's own address 172.17.0.2"
    )
    text = case.the("echo-unanswered")
    assert "out has no route to 172.17.0.2" in text


def test_the_rule_stands_in_the_legacy_tables(cases: dict[str, Future[Case]]) -> None:
    (loss,) = cases["08"].result().report.losses
    assert (loss.packets, loss.reason) == (2, "NETFILTER_DROP")
    assert "iptables-legacy" in loss.advice
    assert "iptables -nvL" not in loss.advice


def test_arp_is_dropped_by_ebtables(cases: dict[str, Future[Case]]) -> None:
    text = cases["12"].result().the("arp-unanswered")
    assert "never left by its port v-c2" in text
    assert "02:42:ac:11:00:99" in text
    assert "not running" not in text


def test_fragments_of_a_tunnel_are_dropped(cases: dict[str, Future[Case]]) -> None:
    case = cases["14"].result()
    (loss,) = [loss for loss in case.report.losses if loss.protocol == "udp"]
    assert (loss.reason, loss.packets) == ("NETFILTER_DROP", 2)
    text = case.the("echo-unanswered")
    assert text.startswith("2 echo requests of k1 to k2")
    assert "they went on in packets to 192.0.2.2, of which some were lost in h2's stack" in text
    assert sum(row.answered for row in case.report.icmp if row.source == "k1") == 2
    assert case.texts("nat") == []


def test_the_queue_of_a_neighbour_overflows(cases: dict[str, Future[Case]]) -> None:
    case = cases["18"].result()
    text = case.the("neighbour-queue-full")
    count = int(text.split()[0].replace(",", ""))
    assert "NEIGH_QUEUEFULL" in text
    assert count > 100


def test_a_port_that_listened_and_learned(cases: dict[str, Future[Case]]) -> None:
    text = cases["22"].result().the("stp-delay")
    assert re.search(r"v-c2 of c2 was listening from .*, learning from .*, forwarding from", text)


def test_a_listener_whose_queue_is_full(cases: dict[str, Future[Case]]) -> None:
    case = cases["27"].result()
    text = case.the("listen-overflow")
    assert "the queue of a listening socket of web was full" in text
    text = case.the("slow-connect")
    told = re.search(r"took up to ([\d.]+) s to be accepted, \d+ SYNs repeated", text)
    assert told is not None
    longest = max(map(float, re.findall(r"connected after ([\d.]+)", case.log)))
    assert longest > 3
    assert abs(float(told[1]) - longest) < 0.1 * longest


def test_a_restarted_client_is_challenged(cases: dict[str, Future[Case]]) -> None:
    case = cases["29"].result()
    text = case.the("challenge-ack")
    assert text.startswith("web answered c1's SYN to port 80 with a challenge ACK, 1×")
    assert "tcp-reset" not in case.codes


def test_what_hairpin_and_a_promiscuous_bridge_double(cases: dict[str, Future[Case]]) -> None:
    case = cases["53"].result()
    assert case.reasons == []
    assert sum(row.answered for row in case.report.dns) == 5
    assert case.codes == {"doubled"}


def test_a_rule_that_is_gone_again(cases: dict[str, Future[Case]]) -> None:
    case = cases["56"].result()
    assert ("icmp", 4, "NETFILTER_DROP") in case.reasons
    text = case.the("rules-changed")
    assert text.count("ip filter FORWARD") == 2
    (verdict,) = [one for one in case.report.verdicts if one.source == "c1"]
    assert (verdict.delivered, verdict.packets) == (2, 11)


def test_a_healthy_overlay(cases: dict[str, Future[Case]]) -> None:
    case = cases["58"].result()
    assert case.reasons == []
    assert case.codes == set()
    assert {("k1", "k2", 0)} <= names(case.report)
    assert case.texts("nat") == []


def test_a_loop_of_bridges(cases: dict[str, Future[Case]]) -> None:
    case = cases["60"].result()
    text = case.the("loop")
    assert re.match(r"loop at docker0: .*loop[01]a \([\d,]+×\) and loop[01]a \([\d,]+×\)", text)
    assert re.search(r"one .* frame of .*, sent (once|\d×), came back [\d,]{2,}×", text)
    assert "lead to bridge br1" in text
    for _, _, reason in case.reasons:
        assert re.fullmatch(
            r"loop|port loop1a is disabled|docker0 took .* to be at loop\da", reason
        )
    asked = {row.target_ip: row.requests for row in case.report.arp if row.asker == "c1"}
    assert asked["172.17.0.77"] == 3
    assert sum(row.duplicates for row in case.report.icmp) == 0
    assert {"loop", "arp-unanswered"} <= case.codes
    assert not case.codes & {"foreign-source", "duplicate-mac", "address-conflict", "arp-spoofing"}


def test_what_the_ends_of_tunnels_do_not_take(cases: dict[str, Future[Case]]) -> None:
    case = cases["61"].result()
    assert "k4 for groups or all went into h1:vx4 (VNI 44)" in case.the("vxlan-no-destination")
    assert "with VNI 45 from 203.0.113.1 reached h2:eth0" in case.the("vxlan-unknown-vni")
    assert "vx6 of h1 sends to 192.0.2.99, and r answers" in case.the("vxlan-wrong-destination")
    assert "vx0 of h1 has MTU 1450" in case.the("vxlan-mtu")
    text = case.the("vxlan-other-end")
    assert re.match(r"\d frames of k1's MAC .* from 203.0.113.1 in the tunnel with VNI 42", text)
    assert "its FDB has that MAC at 203.0.113.77" in text
    assert not any("netmask" in text for text in case.texts("arp-unanswered"))
