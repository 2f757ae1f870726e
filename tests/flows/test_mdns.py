"""mDNS: who asked for which name, who answered, how fast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from tcp_streams import write_pcap

from analyzer.analysis import reading
from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.flows import mdns

S, MS = 1_000_000_000, 1_000_000
A, B, C = (f"172.17.0.{n}" for n in (2, 3, 4))


def message(source: str, **fields: Any) -> Any:
    number = int(source.rpartition(".")[2])
    return (
        Ether(src=f"02:42:ac:11:00:{number:02x}", dst="01:00:5e:00:00:fb")
        / IP(src=source, dst="224.0.0.251", ttl=255)
        / UDP(sport=5353, dport=5353)
        / DNS(id=0, rd=0, **fields)
    )


def ask(source: str, name: str = "web.local", kind: str = "A") -> Any:
    return message(source, qd=[DNSQR(qname=name, qtype=kind)])


def answer(source: str, name: str = "web.local", kind: str = "A") -> Any:
    record = DNSRR(rrname=name, type=kind, rdata="172.17.0.3" if kind == "A" else "fe80::3")
    return message(source, qr=1, aa=1, qd=[], an=[record])


def rows(tmp_path: Path, *steps: tuple[float, Any]) -> list[dict[str, Any]]:
    """What is said of messages sent at these milliseconds; the same in small chunks."""
    path = tmp_path / "mdns.pcap"
    write_pcap(path, [(1000 * S + int(at * MS), bytes(packet)) for at, packet in steps])
    said: list[dict[str, Any]] = report_files([str(path)])[0].to_json()["mdns"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK_FRAMES", 2)
        patch.setattr(reading, "_FEWEST", 1)
        assert report_files([str(path)])[0].to_json()["mdns"] == said
    return said


def test_a_question_is_answered_by_who_has_the_name(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, (0, ask(A)), (30, answer(B)), (1000, ask(A)), (1050, answer(B)))
    assert row == {
        "client": A,
        "client_ip": A,
        "name": "web.local",
        "type": "A",
        "questions": 2,
        "answered": 2,
        "answered_by": [B],
        "latency_p50_ns": row["latency_p50_ns"],
        "latency_max_ns": 50 * MS,
    }
    assert row["latency_p50_ns"] in (30 * MS, 50 * MS)


def test_one_answer_serves_all_who_asked(tmp_path: Path) -> None:
    first, second = rows(tmp_path, (0, ask(A)), (10, ask(C)), (40, answer(B)))
    assert [(row["client"], row["latency_max_ns"]) for row in (first, second)] == [
        (A, 40 * MS),
        (C, 30 * MS),
    ]


def test_what_is_not_kept_is_counted_and_nothing_said_of_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of those that are kept may have been answered by one that is not."""
    monkeypatch.setattr(mdns, "MOST", 4)
    path = tmp_path / "mdns.pcap"
    asked = [(0, ask(A)), (30, answer(B)), (6_000, ask(A)), (10_000, ask(C)), (10_100, answer(B))]
    asked += [(20_000 + n, ask(A, f"n{n}.local")) for n in range(5)]
    monkeypatch.setattr(reading, "CHUNK_FRAMES", 2)
    monkeypatch.setattr(reading, "_FEWEST", 1)
    write_pcap(path, [(1000 * S + int(at * MS), bytes(packet)) for at, packet in asked])
    report, _ = report_files([str(path)], AnalysisOptions(top=10))
    (row,) = report.flows["mdns"]
    assert (row.client, row.questions, row.answered) == (A, 1, 1)
    assert report.left_out["mdns"].rows == 7


def test_rows_beyond_the_top_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "mdns.pcap"
    packets = [ask(A, f"n{n % 5}.local") for n in range(11)]
    write_pcap(path, [(1000 * S + n * MS, bytes(packet)) for n, packet in enumerate(packets)])
    report, _ = report_files([str(path)], AnalysisOptions(top=2))
    assert [row.name for row in report.flows["mdns"]] == ["n0.local", "n1.local"]
    assert report.left_out["mdns"].rows == 3


def test_nobody_has_to_answer(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, (0, ask(A, "nobody.local")), (10, answer(B)))
    assert (row["questions"], row["answered"], row["answered_by"]) == (1, 0, [])
    assert row["latency_p50_ns"] is None


def test_names_types_and_late_answers_are_told_apart(tmp_path: Path) -> None:
    said = rows(
        tmp_path,
        (0, ask(A, "WEB.local")),
        (1, ask(A, "web.local", "AAAA")),
        (20, answer(B, "Web.Local")),
        (6000, answer(B, "web.local", "AAAA")),
    )
    assert [(row["name"], row["type"], row["answered"]) for row in said] == [
        ("web.local", "A", 1),
        ("web.local", "AAAA", 0),
    ]


def test_an_announcement_is_no_question_and_dns_is_no_mdns(tmp_path: Path) -> None:
    assert rows(tmp_path, (0, answer(B))) == []
    unicast = (
        Ether(src="02:42:ac:11:00:02", dst="02:42:ac:11:00:03")
        / IP(src=A, dst=B)
        / UDP(sport=40000, dport=53)
        / DNS(id=7, qd=[DNSQR(qname="x.y")])
    )
    assert rows(tmp_path, (0, unicast)) == []
