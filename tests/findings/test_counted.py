"""What recorded counters and states prove, and no word more. No root, no capture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from evidence_samples import ETH0, HOST, INSIDE, PID, VANTAGES, WHEN, moments, seen

from analyzer.findings import (
    conntrack_counters,
    dad_failed,
    not_recorded,
    published_on_loopback,
    qdisc_drops,
    socket_overflows,
)
from analyzer.findings.catalogue import find_all
from analyzer.findings.rule import FindingInputs
from analyzer.model.batch import Outlook
from analyzer.model.census import Census
from analyzer.model.evidence import (
    TC_ROOT,
    AddressState,
    Evidence,
    QdiscState,
    SocketState,
)
from analyzer.recorders.evidence.namespace import GONE

SERVER = SocketState("tcp", "0.0.0.0", 80, 0, 99, 4, 3, 10)
TBF = QdiscState(5, "tbf", 1 << 16, TC_ROOT, 90, 2, 7, 0, 0, 1_000_000)


def texts(module: Any, given: FindingInputs) -> list[str]:
    return [f"{finding.code} {finding.text}" for finding in module.find(given)]


def grown(netns: int = INSIDE, **counters: int) -> Evidence:
    """Counters that were 5 at the start, and by so much more at the end."""
    names = {name.replace("conntrack_", "conntrack."): by for name, by in counters.items()}
    full = {"conntrack.count": 250_000, "conntrack.max": 262_144}
    start = full | dict.fromkeys(names, 5)
    return moments(
        {"counters": start},
        {"counters": full | {name: 5 + by for name, by in names.items()}},
        netns,
    )


def test_a_table_that_is_full() -> None:
    assert texts(
        conntrack_counters, seen(grown(HOST, conntrack_drop=4, conntrack_early_drop=1))
    ) == [
        "conntrack-table-full connection tracking of the host dropped 4 packets it could make no "
        f"entry for (drop) and threw out 1 entry to make room (early_drop) {WHEN}; at the end it "
        "held 250,000 of at most 262,144 entries: it is full: conntrack -S"
    ]


def test_a_table_that_emptied_meanwhile_is_not_called_full() -> None:
    evidence = grown(conntrack_drop=1)
    start, end = evidence.moments
    end = replace(end, counters={**end.counters, "conntrack.count": 7})
    (text,) = texts(conntrack_counters, seen(Evidence((start, end))))
    assert "dropped 1 packet it could make no entry for (drop)" in text
    assert "at the end it held 7 of at most 262,144 entries: nsenter" in text


def test_connections_that_clashed() -> None:
    (text,) = texts(conntrack_counters, seen(grown(conntrack_insert_failed=3)))
    assert text.startswith(
        "conntrack-insert-failed connection tracking of tomcat01 could not enter 3 packets "
        f"(insert_failed) {WHEN}: "
    )
    assert text.endswith(f": nsenter -n -t {PID} conntrack -S")


def test_a_listen_queue_with_its_socket() -> None:
    evidence = moments(
        {"sockets": (SERVER,)},
        {"sockets": (replace(SERVER, drops=22),), "counters": {"TcpExtListenOverflows": 12}},
    )
    assert texts(socket_overflows, seen(evidence)) == [
        "listen-overflow the queue of a listening socket of tomcat01 was full 12 times "
        f"{WHEN}: connection attempts that had reached it were not taken; 0.0.0.0:80 dropped 12 "
        "(at the end 4 waited to be accepted, backlog 3): "
        f"nsenter -n -t {PID} nstat -az TcpExtListenOverflows TcpExtListenDrops; "
        f"nsenter -n -t {PID} ss -ltn"
    ]


def test_no_socket_is_accused_where_not_all_are_known() -> None:
    end = {"sockets": (replace(SERVER, drops=22),), "counters": {"TcpExtListenOverflows": 1}}
    for start in ({"truncated": {"sockets": 1}}, {"absent": {"sockets": "No such file"}}):
        (text,) = texts(socket_overflows, seen(moments(start, end)))
        assert "was full once between" in text
        assert "were not taken: nsenter" in text


def test_a_receive_buffer_with_its_socket() -> None:
    udp = SocketState("udp", "::", 53, 0, 7, 900, 2304, 5)
    evidence = moments({}, {"sockets": (udp, SERVER), "counters": {"Udp6RcvbufErrors": 5}})
    (text,) = texts(socket_overflows, seen(evidence))
    assert text.startswith(
        f"receive-buffer-full 5 UDP datagrams that had reached tomcat01 were dropped {WHEN}, for "
        "the receive buffer of the socket was full; [::]:53 dropped 5 (buffer 2.30 kB): nsenter"
    )


def test_a_queueing_discipline_with_its_rate() -> None:
    later = replace(TBF, dropped=9, overlimits=20, queued=2, backlog_bytes=3000)
    assert texts(qdisc_drops, seen(moments({"qdiscs": (TBF,)}, {"qdiscs": (later,)}))) == [
        "qdisc-drops the queueing discipline tbf of 1 Mbit/s of tomcat01:eth0 dropped 7 packets "
        f"(overlimits 13) {WHEN}, 2 packets (3.00 kB) waited in it at the end; they never left "
        f"that interface: nsenter -n -t {PID} tc -s qdisc show dev eth0"
    ]


def test_children_are_not_counted_beside_their_root() -> None:
    root = replace(TBF, kind="htb", rate_bit_s=0)
    child = QdiscState(5, "pfifo", 2 << 16, 1 << 16 | 1)
    start = {"qdiscs": (root, child)}
    both = {"qdiscs": (replace(root, dropped=5), replace(child, dropped=3))}
    (text,) = texts(qdisc_drops, seen(moments(start, both)))
    assert "discipline htb of tomcat01:eth0 dropped 3 packets" in text
    below = {"qdiscs": (root, replace(child, dropped=3))}
    (text,) = texts(qdisc_drops, seen(moments(start, below)))
    assert "discipline pfifo of tomcat01:eth0 dropped 3 packets" in text


def test_a_device_that_nobody_captured_is_no_matter() -> None:
    later = replace(TBF, ifindex=6, dropped=9)
    assert texts(qdisc_drops, seen(moments({}, {"qdiscs": (later,)}))) == []


def test_what_a_qdisc_dropped_before_an_unread_start_is_not_counted() -> None:
    start = {"absent": {"qdiscs": "Operation not supported"}}
    assert texts(qdisc_drops, seen(moments(start, {"qdiscs": (TBF,)}))) == []


def test_an_address_that_is_not_used() -> None:
    failed = AddressState(5, "fd00::2/64", "dadfailed tentative")
    fine = AddressState(5, "fd00::3/64", "tentative")
    assert texts(dad_failed, seen(moments({}, {"addresses": (failed, fine)}))) == [
        "dad-failed fd00::2/64 at eth0 of tomcat01 is not used: duplicate address detection has "
        "failed, for another node has it or the check came back to its sender (hairpin): nsenter "
        f"-n -t {PID} ip -6 addr show dadfailed"
    ]


@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        (("127.0.0.1",), "127.0.0.1:80"),
        (("127.0.0.1", "::1"), "127.0.0.1:80, [::1]:80"),
        (("127.0.0.1", "0.0.0.0"), ""),
        (("172.17.0.2",), ""),
        ((), ""),
    ],
)
def test_a_published_port(addresses: tuple[str, ...], told: str) -> None:
    sockets = tuple(replace(SERVER, address=address) for address in addresses)
    census = Census(published={("tomcat01", 80): "0.0.0.0:8080", ("tomcat02", 80): "0.0.0.0:8081"})
    found = texts(published_on_loopback, seen(moments({}, {"sockets": sockets}), census=census))
    assert [text.partition(": what comes")[0] for text in found] == (
        [
            "published-on-loopback 0.0.0.0:8080 is published for port 80 of tomcat01, but what "
            f"listens there does so on {told} only"
        ]
        if told
        else []
    )


def test_what_was_not_read_is_said_once() -> None:
    evidence = moments(
        {"absent": {"rulesets": "CAP_NET_ADMIN is needed"}},
        {"absent": {"rulesets": "CAP_NET_ADMIN is needed"}},
    )
    evidence = replace(evidence, absent={"nftables": "Operation not permitted"})
    assert texts(not_recorded, seen(evidence)) == [
        "not-read not read: rulesets of tomcat01 (CAP_NET_ADMIN is needed); "
        "events of nftables (Operation not permitted)"
    ]


def test_a_namespace_that_is_gone_is_no_matter_of_rights() -> None:
    assert texts(not_recorded, seen(moments({}, {"absent": {"namespace": GONE}}))) == []


def test_nobody_is_accused_where_two_had_the_same_number() -> None:
    other = replace(ETH0, name="tomcat09:eth0", container="tomcat09", generation=1)
    given = seen(grown(TcpExtListenOverflows=3), outlook=Outlook([*VANTAGES, other]))
    assert texts(socket_overflows, given) == []


def test_nothing_is_said_of_what_did_not_grow() -> None:
    evidence = moments(
        {"qdiscs": (TBF,), "sockets": (SERVER,), "counters": {"TcpExtListenOverflows": 4}},
        {"addresses": (AddressState(5, "fd00::2/64", ""),)},
    )
    assert [f for f in find_all(seen(evidence)) if f.code != "likely-matches"] == []
