"""A real TLS server that thinks before each of its steps: its own clock is the truth."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time

import pytest
from faulty import Bench
from lab_fixtures import bench as bench
from lab_fixtures import lab as lab

from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root

PORT, THINKS_S, WORKS_S = 8443, 0.04, 0.09
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    key, pem = str(folder / "key.pem"), str(folder / "cert.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=tomcat02"),
            *("-days", "2", "-keyout", key, "-out", pem),
        ],
        check=True,
        capture_output=True,
    )
    return pem, key


def serve(listening: socket.socket, context: ssl.SSLContext) -> None:
    """One connection: think, shake hands, and work for each of two requests."""
    peer, _ = listening.accept()
    time.sleep(THINKS_S)
    with context.wrap_socket(peer, server_side=True) as inside:
        for _ in range(2):
            assert inside.recv(1000)
            time.sleep(WORKS_S)
            inside.sendall(b"answer")


def ask(plain: socket.socket, version: ssl.TLSVersion) -> float:
    """Seconds that the handshake took."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    begun = time.monotonic()
    with context.wrap_socket(plain) as inside:
        shaken = time.monotonic() - begun
        for _ in range(2):
            inside.sendall(b"question")
            assert inside.recv(1000) == b"answer"
    return shaken


@pytest.mark.parametrize("version", VERSIONS)
def test_the_answer_to_the_hello_and_nothing_of_what_follows(
    bench: Bench, certificate: tuple[str, str], version: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listening = run_inside(
        bench.lab.netns_path("tomcat02"), lambda: socket.create_server(("", PORT))
    )
    shaken: list[float] = []

    def talk() -> None:
        with run_inside(
            bench.lab.netns_path("tomcat01"),
            lambda: socket.create_connection(("172.17.0.3", PORT), 20),
        ) as plain:
            shaken.append(ask(plain, VERSIONS[version]))

    with listening:
        server = threading.Thread(target=serve, args=(listening, context))
        server.start()
        report = bench.capture(["tomcat01", "tomcat02"], talk)
        server.join(10)
    (row,) = [one for one in report.services if one.port == PORT]
    assert (row.requests, row.timed, row.response_p50_ns) == (0, 0, None)
    assert (row.not_timed, row.measured_at) == ("TLS", "tomcat02:eth0")
    assert row.tls_hello_p50_ns == row.tls_hello_max_ns
    assert THINKS_S / 2 < row.tls_hello_max_ns / 1e9 <= shaken[0]
