"""Requests over UDP and SYNs that nobody answered: one line each, how far they came, and why."""

from __future__ import annotations

from typing import Any

import pytest
from evidence_samples import PID, moments, seen, texts
from finding_inputs import inputs
from msgspec.structs import replace
from test_echo_unanswered import AT, AWAY, INSIDE, NEAR, SEEN, routes, silent
from test_rules import ARP, DNS, ERROR, tcp

from analyzer.findings import dns_failures, request_unanswered, tcp_unanswered
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence
from analyzer.model.kernel_state import Ruleset, SocketState
from analyzer.model.report import LossRow
from analyzer.model.vantage import Role, Vantage

START = "request-unanswered 3 NTP requests of tomcat02 to tomcat01 (UDP port 123) "
REACHED = f"{START}reached tomcat01:eth0, and no answer came out there: "
LOOK = f"nsenter -n -t {PID} ss -lunmp"
SOCKET = SocketState("udp", "0.0.0.0", 123, inode=7)


def request(service: str = "NTP", port: int = 123, at: int = AT, **more: Any) -> dict[str, Any]:
    protocol = "tcp" if service == "TCP" else "udp"
    row = silent(at, more.pop("asked", "172.17.0.2"), more.pop("name", "tomcat01"))
    return {**row, "protocol": protocol, "service": service, "port": port, **more}


def sockets(start: list[SocketState], end: list[SocketState], **more: Any) -> Evidence:
    return moments({"sockets": start, **more}, {"sockets": end})


@pytest.mark.parametrize(
    ("evidence", "cause"),
    [
        (sockets([], []), f"nobody listens on udp port 123 there: {LOOK}"),
        (
            sockets([SOCKET], [SOCKET]),
            f"0.0.0.0:123 listens there, so its process did not answer: {LOOK}",
        ),
        (
            moments(
                {"sockets": [SOCKET]},
                {"sockets": [replace(SOCKET, drops=9)], "counters": {"UdpRcvbufErrors": 9}},
            ),
            "0.0.0.0:123 listens there, and dropped 9 packets meanwhile, for its receive buffer "
            f"was full: {LOOK}",
        ),
        (
            moments(
                {"sockets": [SOCKET]},
                {
                    "sockets": [replace(SOCKET, drops=9)],
                    "counters": {"UdpRcvbufErrors": 4, "UdpInCsumErrors": 5},
                },
            ),
            f"0.0.0.0:123 listens there, and dropped 9 packets meanwhile: {LOOK}",
        ),
        (
            sockets([SOCKET], [replace(SOCKET, drops=9)]),
            f"0.0.0.0:123 listens there, and dropped 9 packets meanwhile: {LOOK}",
        ),
        (
            sockets(*[[replace(SOCKET, address="127.0.0.1")]] * 2),
            f"on udp port 123, only 127.0.0.1:123 listens there: {LOOK}",
        ),
        (
            sockets([], [replace(SOCKET, address="172.17.0.2")]),
            f"udp port 123 was not open there all the time: {LOOK}",
        ),
        (
            routes(sockets=[SOCKET]),
            "tomcat01 has no route to 172.17.0.3, so no answer can leave: "
            f"nsenter -n -t {PID} ip route get 172.17.0.3",
        ),
    ],
    ids=[
        "closed",
        "silent",
        "full",
        "two counters",
        "dropped",
        "loopback only",
        "opened meanwhile",
        "no way back",
    ],
)
def test_why_nothing_came_back(evidence: Evidence, cause: str) -> None:
    given = seen(evidence, outlook=Outlook(SEEN), silent_requests=[request()])
    assert texts(request_unanswered.find, given) == [REACHED + cause]


REDIRECT = Ruleset("iptables-save", "-A PREROUTING -p udp -m udp --dport 123 -j REDIRECT")


@pytest.mark.parametrize(
    "more",
    [{"rulesets": (REDIRECT,)}, {"absent": {"sockets": "EPERM"}}, {"truncated": ("sockets",)}],
    ids=["redirected", "not read", "not all of them"],
)
def test_of_sockets_nothing_is_said_where_they_may_be_others(more: dict[str, Any]) -> None:
    given = seen(sockets([], [], **more), outlook=Outlook(SEEN), silent_requests=[request()])
    (text,) = texts(request_unanswered.find, given)
    assert "listens" not in text
    assert text.startswith(f"{REACHED}capture with --drops; ")


def test_the_packet_filter_is_not_advised_where_it_counted_nothing() -> None:
    drops = {"tied": 0, "others": {}}
    info = replace(inputs().info, drops=drops)
    quiet = routes(NEAR, absent={"sockets": "EPERM"})
    given = seen(quiet, outlook=Outlook(SEEN), silent_requests=[request()], info=info)
    look = f"nsenter -n -t {PID} ip route get 172.17.0.3; nsenter -n -t {PID} ss -lnp"
    assert texts(request_unanswered.find, given) == [REACHED + look]
    one, other = (Ruleset("iptables-save", f"[{n}:9] -A INPUT -j DROP") for n in (1, 2))
    counted = routes(NEAR, absent={"sockets": "EPERM"}, rulesets=(other,))
    given = seen(
        replace(
            counted, moments=[replace(counted.moments[0], rulesets=(one,)), counted.moments[1]]
        ),
        outlook=Outlook(SEEN),
        silent_requests=[request()],
        info=info,
    )
    assert "nft list ruleset" in texts(request_unanswered.find, given)[0]


def test_at_the_port_the_hosts_routes_and_sockets_are_not_the_containers() -> None:
    host = moments({"sockets": [SOCKET]}, {}, netns=1)
    given = seen(host, outlook=Outlook(SEEN), silent_requests=[request(at=0)])
    assert texts(request_unanswered.find, given) == [
        f"{START}reached veth1, and no answer came out there: capture with --drops; capture inside "
        "of tomcat01, too"
    ]


def test_beyond_what_is_captured() -> None:
    away = request(at=2, asked=AWAY, name=AWAY)
    given = seen(Evidence(), outlook=Outlook(SEEN), silent_requests=[away])
    said = f"{START.replace('tomcat01', AWAY)}came as far as docker0, and no answer came back there"
    assert texts(request_unanswered.find, given) == [
        f"{said}: the cause lies beyond: capture there, too; ip route get {AWAY}"
    ]
    arp = replace(ARP, asker="host", target_ip=AWAY, state="unanswered")
    asked = replace(given, flows={**given.flows, "arp": [arp]})
    assert texts(request_unanswered.find, asked) == [
        f"{said}: the host asked who has {AWAY}, and nobody answered: ip neigh show {AWAY}"
    ]


LOSS = LossRow("udp", "tomcat02", "tomcat01", INSIDE.name, "", 3, "", "", "")
REFUSED = replace(
    ERROR,
    source="tomcat02",
    destination_ip="172.17.0.2",
    destination_port=123,
    error="port unreachable",
)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, 1),
        ({"losses": [LOSS]}, 0),
        ({"losses": [replace(LOSS, port=123)]}, 0),
        ({"losses": [replace(LOSS, port=161)]}, 1),
        ({"losses": [replace(LOSS, protocol="tcp")]}, 1),
        ({"flows": {"icmp_errors": [REFUSED]}}, 0),
        ({"flows": {"icmp_errors": [replace(REFUSED, destination_port=161)]}}, 1),
        ({"outlook": Outlook(SEEN, one_way=frozenset({"udp dst port 123"}))}, 0),
        ({"outlook": Outlook(SEEN, complete=False)}, 0),
    ],
)
def test_where_something_else_tells_of_them_or_hides_answers(
    values: dict[str, Any], said: int
) -> None:
    given = {"outlook": Outlook(SEEN), "silent_requests": [request()], **values}
    assert len(texts(request_unanswered.find, inputs(**given))) == said


def test_in_another_tools_file_the_place_is_all_that_is_known() -> None:
    other = Vantage("eth0", "eth0", Role.OTHER, 0, 1)
    given = inputs(outlook=Outlook([other]), silent_requests=[request(at=0)])
    assert texts(request_unanswered.find, given) == [
        f"{START}brought no answer back at eth0: capture at the server, too"
    ]


def test_syns_of_one_port_are_one_line_with_the_place() -> None:
    row = tcp(client="tomcat02", server="tomcat01", state="unanswered")
    listening = [replace(SOCKET, protocol="tcp", port=80)]
    given = seen(
        sockets(listening, listening),
        outlook=Outlook(SEEN),
        flows={"tcp": [row, row, replace(row, server_port=81)]},
        silent_requests=[request("TCP", 80)],
    )
    assert texts(tcp_unanswered.find, given) == [
        "tcp-unanswered tomcat02 → tomcat01 TCP port 80: the SYN of 2 connections was not "
        "answered: it reached tomcat01:eth0, and no answer came out there: 0.0.0.0:80 listens "
        f"there, so its process did not answer: nsenter -n -t {PID} ss -ltnp",
        "tcp-unanswered tomcat02 → tomcat01 TCP port 81: the SYN was not answered",
    ]
    lost = replace(LOSS, protocol="tcp", port=81, location="in docker0", reason="QDISC_DROP")
    told = texts(tcp_unanswered.find, replace(given, losses=[lost]))
    assert told[1].endswith(
        "port 81: the SYN was not answered: it was lost in docker0 (QDISC_DROP)"
    )


def test_questions_of_dns_tell_how_far_they_came() -> None:
    row = replace(DNS, client="tomcat02", server="tomcat01", unanswered=3)
    given = seen(
        sockets([], []),
        outlook=Outlook(SEEN),
        flows={"dns": [row]},
        silent_requests=[request("DNS", 53)],
    )
    assert texts(dns_failures.find, given) == [
        "dns-unanswered tomcat01 left 3 questions of tomcat02 for db. A unanswered, which reached "
        "tomcat01:eth0, and no answer came out there: nobody listens on udp port 53 there: "
        f"{LOOK}: dig @172.17.0.1 db. A"
    ]


@pytest.mark.parametrize(
    ("counter", "why"),
    [
        ("TcpExtListenOverflows", ", for its queue of connections was full"),
        ("TcpExtTCPMD5NotFound", ", for it wants TCP-MD5 signatures (RFC 2385), which they lack"),
        ("TcpExtListenDrops", ""),
    ],
)
def test_why_a_socket_dropped_syns(counter: str, why: str) -> None:
    socket = replace(SOCKET, protocol="tcp", port=80)
    evidence = moments(
        {"sockets": [socket]}, {"sockets": [replace(socket, drops=4)], "counters": {counter: 4}}
    )
    given = seen(
        evidence,
        outlook=Outlook(SEEN),
        silent_requests=[request("TCP", 80)],
        flows={"tcp": [tcp(client="tomcat02", server="tomcat01", state="unanswered")]},
    )
    (text,) = texts(tcp_unanswered.find, given)
    assert f"0.0.0.0:80 listens there, and dropped 4 packets meanwhile{why}: nsenter" in text
