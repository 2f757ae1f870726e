"""Answers that came to who had asked another address: where they go, nobody translates them back.

A host that gives a container's connection to another container of the same bridge has to see the
answers, too. They go from port to port by MAC, and its NAT does so only with bridge netfilter, or
where it gave the connection a source address of its own (Docker's "hairpin" MASQUERADE).
"""

from __future__ import annotations

from analyzer.findings.rule import FindingInputs

_BRIDGED = "net.bridge.bridge-nf-call-iptables"


def untranslated(inputs: FindingInputs, client: str, server: str, port: int) -> str:
    """Why a client knows of no such connection: it asked for another address; '' where it did not,
    or answers were translated back. port: where the server was reached."""
    for row in inputs.flows.get("nat", ()):
        reached = row.source, row.destination, row.new_destination_port
        given_on = row.destination_ip != row.new_destination_ip
        kept = (row.source_ip, row.protocol) == (row.new_source_ip, "tcp")
        if reached == (client, server, port) and given_on and kept and not row.answers:
            return (
                f"it asked {row.destination_ip} port {row.destination_port}, which the host gives "
                f"to {row.new_destination_ip} port {port}, and {server} answers it without the "
                f"host, untranslated: a rule with MASQUERADE for what comes from there and goes "
                f"there (iptables -t nat -nvL POSTROUTING), or sysctl {_BRIDGED}=1"
            )
    return ""
