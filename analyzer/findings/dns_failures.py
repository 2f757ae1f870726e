"""DNS that fails: which server, for whom, and who really asked.

In a user-defined network a container asks the Docker Engine's own resolver at 127.0.0.11. That is
a socket of dockerd inside the container's namespace, behind lo: neither the question nor the answer
for a container's name is on any veth. For other names dockerd asks the configured server from
inside the same namespace, with the container's address: these questions are on eth0, and their
failure is what a capture can show of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from analyzer.findings.no_answer import silent_requests
from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.findings.where_unanswered import where_it_ended
from analyzer.model.census import Census
from analyzer.model.flow_rows import DnsRow
from analyzer.model.report import Finding
from analyzer.model.vantage import Role

DNS_UNANSWERED = Code(
    "dns-unanswered",
    (WARNING,),
    "A DNS server left questions unanswered.",
    "dig @SERVER NAME from inside the client; capture with --drops",
)
DNS_FAILURE = Code(
    "dns-failure",
    (WARNING, INFO),
    "A DNS server answered with an error.",
    "dig @SERVER NAME TYPE; cat /etc/resolv.conf inside the client",
)


DOCKER, DEFAULT_NETWORK = "docker", "bridge"
EMBEDDED = "127.0.0.11"
NXDOMAIN = "NXDOMAIN"


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One a row: questions left unanswered, and answers that are errors."""
    for row in inputs.flows.get("dns", ()):
        whose = f"{row.client} for {row.name} {row.type}"
        if row.unanswered and not inputs.outlook.one_way:
            what = f"{row.unanswered} question{'' if row.unanswered == 1 else 's'}"
            text = f"{row.server} left {what} of {whose} unanswered"
            text += _where(inputs, row)
            yield DNS_UNANSWERED.finding(text + _advice(row, inputs.census, inputs.engine))
    for row in inputs.flows.get("dns", ()):
        if row.failures:
            codes = ", ".join(code for code in row.rcodes if code != "NOERROR")
            text = f"{row.server} answers {codes} to {row.client} for {row.name} {row.type}"
            tried = _is_a_try(row, codes, inputs.flows["dns"])
            advice = tried or _advice(row, inputs.census, inputs.engine)
            yield DNS_FAILURE.finding(text + advice, INFO if tried else WARNING)


def _where(inputs: FindingInputs, row: DnsRow) -> str:
    """How far this client's questions to this server came, and the cause, where that was one place
    that is captured with its topology."""
    ends = row.client, row.server
    places = [
        one
        for one in silent_requests(inputs)
        if one.service == "DNS" and (one.source, one.destination) == ends
    ]
    if len(places) != 1 or places[0].last.role is Role.OTHER:
        return ""
    return f", which {where_it_ended(inputs, places[0], 'answer')}"


def _is_a_try(row: DnsRow, codes: str, rows: Iterable[DnsRow]) -> str:
    """Why it is no fault that a name does not exist; empty where it may be one."""
    if codes != NXDOMAIN:
        return ""
    if row.type == "PTR":
        return ": the address has no name, which is no fault"
    names = {one.name for one in rows if one.client_ip == row.client_ip} - {row.name}
    if any(name.endswith(".") and row.name.startswith(name) for name in names):
        return ": a search domain was tried (/etc/resolv.conf), as the resolver does"
    return ""


def _advice(row: DnsRow, census: Census, engine: str) -> str:
    networks = {one.network for one in census.residents if one.name == row.client}
    if engine == DOCKER and networks - {DEFAULT_NETWORK} and row.server_ip != EMBEDDED:
        return (
            f"; in network {min(networks - {DEFAULT_NETWORK})} the Engine's resolver {EMBEDDED} "
            f"asks in its place: docker exec {row.client} cat /etc/resolv.conf, docker inspect "
            f"-f '{{{{.HostConfig.Dns}}}}' {row.client}"
        )
    return f": dig @{row.server_ip} {row.name} {row.type}"


RULE = Rule((DNS_UNANSWERED, DNS_FAILURE), find, place=250)
