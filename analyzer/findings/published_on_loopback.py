"""A published port behind which the server listens on the container's loopback only.

What comes to a published port is sent on to the container's own address, where such a server does
not listen: it is refused, although the server runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from analyzer.diagnosis.bound_elsewhere import endpoint
from analyzer.findings.counted import owned_ends
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.findings.socket_overflows import NEEDS
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import SocketState
from analyzer.model.report import Finding

PUBLISHED_ON_LOOPBACK = Code(
    "published-on-loopback",
    (WARNING,),
    "The server behind a published port listens on the container's loopback only.",
    "ss -ltn inside; have the server listen on 0.0.0.0 or [::]",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    published = inputs.census.published or {}
    for moment, owner in owned_ends(inputs):
        for (container, port), outside in published.items():
            listening = _listening(moment, port) if container == owner.place.container else []
            if listening and all(ip_address(one.address).is_loopback for one in listening):
                where = ", ".join(endpoint(one) for one in listening)
                yield PUBLISHED_ON_LOOPBACK.finding(
                    f"{outside} is published for port {port} of {container}, but what listens "
                    f"there does so on {where} only: what comes from outside is refused; have it "
                    f"listen on 0.0.0.0: {owner.run('ss -ltnp')}"
                )


def _listening(moment: NamespaceEvidence, port: int) -> list[SocketState]:
    """On this port; [] where not all sockets are known."""
    if "sockets" in moment.absent or "sockets" in moment.truncated:
        return []
    return [one for one in moment.sockets if (one.protocol, one.port) == ("tcp", port)]


RULE = Rule((PUBLISHED_ON_LOOPBACK,), find, place=65, needs=NEEDS + ", Docker")
