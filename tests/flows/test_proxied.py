"""docker-proxy: told by its command line, and two connections tied by it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from faulty import Bench
from talk import open_socket, serve

from analyzer.model.proxy import Proxy
from analyzer.net.netns import netns_inode
from analyzer.recorders.conntrack.proxies import (
    decode_proxies,
    encode_proxies,
    parse_command,
    read_proxies,
)

GATEWAY, TWO = "172.17.0.1", "172.17.0.3"
FLAGS = [
    "-proto",
    "tcp",
    "-host-ip",
    "0.0.0.0",
    "-host-port",
    "8080",
    "-container-ip",
    TWO,
    "-container-port",
    "80",
]
PROXY = Proxy("tcp", "0.0.0.0", 8080, TWO, 80)
RELAY = """
import socket
with socket.create_server(("0.0.0.0", 8080)) as server:
    print("listening", flush=True)
    while True:
        client, _ = server.accept()
        with client, socket.create_connection(("172.17.0.3", 80)) as upstream:
            while data := client.recv(100):
                upstream.sendall(data)
                client.sendall(upstream.recv(100))
"""


@pytest.mark.parametrize(
    ("line", "proxy"),
    [
        (["/usr/sbin/docker-proxy", *FLAGS], PROXY),
        (["docker-proxy", *FLAGS, "-use-listen-fd"], PROXY),
        (["dockerd", *FLAGS], None),
        (["docker-proxy", *FLAGS[:-2]], None),
        (["docker-proxy", *FLAGS[:-1], "http"], None),
        ([""], None),
    ],
)
def test_the_command_line_says_what_is_handed_on(line: list[str], proxy: Proxy | None) -> None:
    assert parse_command("\0".join([*line, ""]).encode()) == proxy


def test_blocks_that_are_damaged_are_passed_over() -> None:
    whole = encode_proxies([PROXY])
    assert decode_proxies([whole[:-3], b"drops", whole + b"\0\0"]) == [PROXY]


@pytest.mark.root
def test_two_connections_are_tied_by_the_proxy(bench: Bench) -> None:
    """A relay under docker-proxy's name; the sockets at both ends are the truth."""
    relay = bench.lab.start(
        "host",
        ["bash", "-c", 'exec -a docker-proxy "$0" -c "$@"', sys.executable, RELAY, *FLAGS],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONHOME": sys.base_prefix},  # argv[0] leads to it no more
    )
    assert relay.stdout is not None
    peers: list[tuple[str, int]] = []

    def answer(peer: socket.socket) -> None:
        peers.append(peer.getpeername())
        while data := peer.recv(100):
            peer.sendall(data)

    with relay.stdout as said:
        assert said.readline() == b"listening\n"
        path = bench.lab.host_netns_path
        assert read_proxies(netns_inode(path)) == [PROXY]
        assert read_proxies(netns_inode("/proc/self/ns/net"), Path("/proc/self/task")) == []
        ends: list[tuple[str, int]] = []
        listening = open_socket(bench.lab, "tomcat02", socket.SOCK_STREAM, ("0.0.0.0", 80))
        with listening:
            listening.listen()
            serving = serve(listening, answer)

            def ask() -> None:
                with open_socket(bench.lab, "tomcat01", socket.SOCK_STREAM) as asking:
                    asking.connect((GATEWAY, 8080))
                    ends.append(asking.getsockname())
                    asking.sendall(b"question")
                    assert asking.recv(100) == b"question"

            report = bench.capture(
                ["tomcat01", "tomcat02"], ask, filter_text="port 80 or port 8080"
            )
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()
    (row,) = report.proxied
    assert (row.client, row.client_ip, row.client_port) == ("tomcat01", *ends[0])
    assert (row.server, row.proxy_ip, row.proxy_port) == ("tomcat02", *peers[0])
    assert (row.host_ip, row.host_port, row.server_ip, row.server_port) == (GATEWAY, 8080, TWO, 80)
    assert row.certain
    assert row.delay_ns > 0
    assert (report.nat, report.losses) == ([], [])
