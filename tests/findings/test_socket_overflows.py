"""Queues and buffers of sockets that overflowed, with the socket where it is certain."""

from __future__ import annotations

from evidence_samples import ETH0, HOST, PID, VANTAGES, WHEN, grown, moments, seen, texts
from msgspec.structs import replace

from analyzer.findings.catalogue import find_all
from analyzer.findings.socket_overflows import find
from analyzer.model.batch import Outlook
from analyzer.model.kernel_state import AddressState, QdiscState, SocketState

SERVER = SocketState("tcp", "0.0.0.0", 80, 0, 99, 4, 3, 10)


def test_a_listen_queue_with_its_socket() -> None:
    evidence = moments(
        {"sockets": (SERVER,)},
        {"sockets": (replace(SERVER, drops=22),), "counters": {"TcpExtListenOverflows": 12}},
    )
    assert texts(find, seen(evidence)) == [
        "listen-overflow the queue of a listening socket of tomcat01 was full 12 times "
        f"{WHEN}: connection attempts that had reached it were not taken; 0.0.0.0:80 dropped 12 "
        "(at the end 4 waited to be accepted, backlog 3): "
        f"nsenter -n -t {PID} nstat -az TcpExtListenOverflows TcpExtListenDrops; "
        f"nsenter -n -t {PID} ss -ltn"
    ]


def test_no_socket_is_accused_where_not_all_are_known() -> None:
    end = {"sockets": (replace(SERVER, drops=22),), "counters": {"TcpExtListenOverflows": 1}}
    for start in ({"truncated": {"sockets": 1}}, {"absent": {"sockets": "No such file"}}):
        (text,) = texts(find, seen(moments(start, end)))
        assert "was full once between" in text
        assert "were not taken: nsenter" in text


def test_a_receive_buffer_with_its_socket() -> None:
    udp = SocketState("udp", "::", 53, 0, 7, 900, 2304, 5)
    evidence = moments({}, {"sockets": (udp, SERVER), "counters": {"Udp6RcvbufErrors": 5}})
    (text,) = texts(find, seen(evidence))
    assert text.startswith(
        f"receive-buffer-full 5 UDP datagrams that had reached tomcat01 were dropped {WHEN}, for "
        "the receive buffer of the socket was full; [::]:53 dropped 5 (buffer 2.30 kB): nsenter"
    )


def test_nobody_is_accused_where_two_had_the_same_number() -> None:
    other = replace(ETH0, name="tomcat09:eth0", container="tomcat09", generation=1)
    given = seen(grown(TcpExtListenOverflows=3), outlook=Outlook([*VANTAGES, other]))
    assert texts(find, given) == []


def test_nothing_is_said_of_what_did_not_grow() -> None:
    evidence = moments(
        {
            "qdiscs": (QdiscState(5, "tbf", dropped=4),),
            "sockets": (SERVER,),
            "counters": {"TcpExtListenOverflows": 4},
        },
        {"addresses": (AddressState(5, "fd00::2/64", ""),)},
    )
    assert [f for f in find_all(seen(evidence)) if f.code != "likely-matches"] == []


def test_a_namespace_that_is_shared_names_all_in_it() -> None:
    shared = replace(ETH0, sharing=("sidecar",))
    given = seen(grown(TcpExtListenOverflows=1), outlook=Outlook([shared]))
    (text,) = texts(find, given)
    assert "socket of tomcat01 (or sidecar, in the same namespace) was full once" in text


def test_the_hosts_own_sockets_are_no_warning() -> None:
    (finding,) = find(seen(grown(HOST, UdpRcvbufErrors=1)))
    assert (finding.severity, finding.code) == ("info", "receive-buffer-full")
    assert finding.text.startswith("1 UDP datagram that had reached the host was dropped ")
