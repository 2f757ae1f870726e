"""Requests that reached a namespace: what its sockets and its packet filter tell of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analyzer.diagnosis.bound_elsewhere import ANY_ADDRESS, endpoint, on_port
from analyzer.diagnosis.nat_rules import Translated, destination_rules, were_read
from analyzer.findings.counted import Owner, owner_of, socket_drops
from analyzer.findings.no_answer import Unanswered
from analyzer.findings.rule import FindingInputs
from analyzer.formatting.numbers import format_plural
from analyzer.model.evidence import Span
from analyzer.model.kernel_state import SocketState
from analyzer.model.vantage import Role

_WHY: Mapping[str, Mapping[str, Sequence[str]]] = {
    "udp": {
        "its receive buffer was full": ("UdpRcvbufErrors", "Udp6RcvbufErrors"),
        "their checksums are wrong": ("UdpInCsumErrors", "Udp6InCsumErrors"),
    },
    "tcp": {
        "its queue of connections was full": ("TcpExtListenOverflows",),
        "it wants TCP-MD5 signatures (RFC 2385), which they lack": ("TcpExtTCPMD5NotFound",),
        "it wants no TCP-MD5 signatures (RFC 2385), which they bear": ("TcpExtTCPMD5Unexpected",),
        "their TCP-MD5 signatures (RFC 2385) are wrong: another key": ("TcpExtTCPMD5Failure",),
        "it wants TCP-AO signatures (RFC 5925), which they lack": ("TcpExtTCPAORequired",),
        "their TCP-AO signatures (RFC 5925) are wrong": ("TcpExtTCPAOBad",),
        "no TCP-AO key (RFC 5925) fits theirs": ("TcpExtTCPAOKeyNotFound",),
        "their TTL is below what it takes (RFC 5082)": ("TcpExtTCPMinTTLDrop",),
        "their checksums are wrong": ("TcpInCsumErrors",),
    },
}
"""by protocol: why a socket drops what comes to it → the namespace's counters of that
(net/ipv4/udp.c, tcp_ipv4.c); what the socket itself counts is all of it"""
_LOOK = {"udp": "ss -lunmp", "tcp": "ss -ltnp"}


def at_the_socket(inputs: FindingInputs, one: Unanswered) -> str:
    """Why the stack that they reached did not answer: nobody listens, or who does has no room, or
    is silent; '' where the sockets were not read, or the port may be somebody else's by then."""
    owner = owner_of(inputs, one.last.netns)
    span = next((s for s in inputs.evidence.spans() if s.start.netns == one.last.netns), None)
    beside = one.last.role is Role.HOST_VETH  # its namespace is the host's
    if owner is None or span is None or beside or not one.port or _is_redirected(span, one):
        return ""
    return _of_sockets(span, one, owner)


def listens_throughout(inputs: FindingInputs, netns: int, port: int, address: str) -> bool:
    """Whether a TCP socket was open for it there at both ends of the capture."""
    spans = [span for span in inputs.evidence.spans() if span.start.netns == netns]
    ends = [end for span in spans for end in (span.start, span.end)]
    return bool(ends) and all(_at(on_port(end, "tcp", port) or (), address) for end in ends)


def _of_sockets(span: Span, one: Unanswered, owner: Owner) -> str:
    look = owner.run(_LOOK[one.protocol])
    port = f"{one.protocol} port {one.port}"
    before, after = (on_port(moment, one.protocol, one.port) for moment in (span.start, span.end))
    if before is None or after is None:
        return ""
    if not before and not after:
        return f"nobody listens on {port} there: {look}"
    here = [socket for socket in after if socket.address in (*ANY_ADDRESS, one.destination_ip)]
    if not here and not _at(before, one.destination_ip):
        return f"on {port}, only {', '.join(map(endpoint, after or before))} listens there: {look}"
    if count := sum(drops for socket, drops in socket_drops(span, one.protocol) if socket in here):
        dropped = f"dropped {format_plural(count, 'packet')} meanwhile{_why(span, one.protocol)}"
        return f"{endpoint(here[0])} listens there, and {dropped}: {look}"
    if here and _at(before, one.destination_ip):
        return f"{endpoint(here[0])} listens there, so its process did not answer: {look}"
    return f"{port} was not open there all the time: {look}"


def _why(span: Span, protocol: str) -> str:
    """Of what the sockets there dropped, by the counters; '' where none of them grew, or several
    did."""
    grown = [why for why, names in _WHY[protocol].items() if any(map(span.grown, names))]
    return f", for {grown[0]}" if len(grown) == 1 else ""


def _at(sockets: Sequence[SocketState], address: str) -> bool:
    return any(socket.address in (*ANY_ADDRESS, address) for socket in sockets)


def _is_redirected(span: Span, one: Unanswered) -> bool:
    """Whether a rule may give them to another port or address."""
    ends = one.source_ip, one.destination_ip, one.port
    asked = Translated(one.protocol, *ends, incoming=one.last.interface)
    return any(destination_rules(m.rulesets, asked) for m in (span.start, span.end))


def is_quiet(inputs: FindingInputs, netns: int) -> bool:
    """Whether no rule of a packet filter there counted anything: it is not to be advised."""
    spans = [span for span in inputs.evidence.spans() if span.start.netns == netns]
    ends = [moment for span in spans for moment in (span.start, span.end)]
    read = [were_read(one) or ("rulesets" not in one.absent and not one.rulesets) for one in ends]
    return bool(ends) and all(read) and all(s.start.rulesets == s.end.rulesets for s in spans)
