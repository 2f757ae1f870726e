"""A published port behind which the server listens on loopback only."""

from __future__ import annotations

import pytest
from evidence_samples import moments, seen, texts
from msgspec.structs import replace

from analyzer.findings.published_on_loopback import find
from analyzer.model.census import Census
from analyzer.model.kernel_state import SocketState

SERVER = SocketState("tcp", "0.0.0.0", 80, 0, 99, 4, 3, 10)


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
    found = texts(find, seen(moments({}, {"sockets": sockets}), census=census))
    assert [text.partition(": what comes")[0] for text in found] == (
        [
            "published-on-loopback 0.0.0.0:8080 is published for port 80 of tomcat01, but what "
            f"listens there does so on {told} only"
        ]
        if told
        else []
    )
