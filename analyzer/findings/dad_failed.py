"""IPv6 addresses that the kernel does not use, for duplicate address detection has failed.

With hairpin on, a bridge sends a port its own solicitation back, and the stack takes it for another
node's (RFC 4862): then nobody else has the address.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.counted import owned_ends
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.findings.socket_overflows import NEEDS
from analyzer.model.report import Finding

DAD_FAILED = Code(
    "dad-failed",
    (WARNING,),
    "An IPv6 address is not used: another node, or the bridge's hairpin, answered its check.",
    "ip -6 addr show dadfailed inside; give each its own address, or switch the port's hairpin off",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for moment, owner in owned_ends(inputs):
        for one in moment.addresses:
            if "dadfailed" not in one.flags.split():
                continue
            device = moment.link_name(one.ifindex) or f"the device with ifindex {one.ifindex}"
            yield DAD_FAILED.finding(
                f"{one.address} at {device} of {owner.name} is not used: duplicate address "
                "detection has failed, for another node has it or the check came back to its "
                f"sender (hairpin): {owner.run('ip -6 addr show dadfailed')}"
            )


RULE = Rule((DAD_FAILED,), find, place=64, needs=NEEDS)
