"""DNS that fails: which server, for whom, and who really asked.

In a user-defined network a container asks the Docker Engine's own resolver at 127.0.0.11. That is
a socket of dockerd inside the container's namespace, behind lo: neither the question nor the answer
for a container's name is on any veth. For other names dockerd asks the configured server from
inside the same namespace, with the container's address: these questions are on eth0, and their
failure is what a capture can show of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.model.census import Census
from analyzer.model.report import DnsRow, Finding

DOCKER, DEFAULT_NETWORK = "docker", "bridge"
EMBEDDED = "127.0.0.11"


def find_dns_trouble(rows: Sequence[DnsRow], census: Census, engine: str) -> Iterator[Finding]:
    """A finding a row: questions left unanswered, and answers that are errors."""
    for row in rows:
        whose = f"{row.client} for {row.name} {row.type}"
        if row.unanswered:
            what = f"{row.unanswered} question{'' if row.unanswered == 1 else 's'}"
            text = f"{row.server} left {what} of {whose} unanswered"
            yield Finding("warning", "dns-unanswered", text + _advice(row, census, engine))
    for row in rows:
        if row.failures:
            codes = ", ".join(code for code in row.rcodes if code != "NOERROR")
            text = f"{row.server} answers {codes} to {row.client} for {row.name} {row.type}"
            yield Finding("warning", "dns-failure", text + _advice(row, census, engine))


def _advice(row: DnsRow, census: Census, engine: str) -> str:
    networks = {one.network for one in census.residents if one.name == row.client}
    if engine == DOCKER and networks - {DEFAULT_NETWORK} and row.server_ip != EMBEDDED:
        return (
            f"; in network {min(networks - {DEFAULT_NETWORK})} the Engine's resolver {EMBEDDED} "
            f"asks in its place: docker exec {row.client} cat /etc/resolv.conf, docker inspect "
            f"-f '{{{{.HostConfig.Dns}}}}' {row.client}"
        )
    return f": dig @{row.server_ip} {row.name} {row.type}"
