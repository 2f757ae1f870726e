"""Where connection tracking told less than there was."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding

CONNTRACK_OVERRUN = Code(
    "conntrack-overrun",
    (INFO,),
    "Connection tracking had more to tell than was read in time.",
    "NAT of some connections is likely, not certain",
)
CONNTRACK_FULL = Code(
    "conntrack-full",
    (INFO,),
    "More connections were translated than a capture file keeps.",
    "NAT of the rest is likely, not certain",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if inputs.nat.overruns:
        yield CONNTRACK_OVERRUN.finding(
            "the kernel had more to tell of connections than there was room for "
            f"({inputs.nat.overruns}×): of some, NAT is guessed from the packets"
        )
    if inputs.nat.left_out:
        yield CONNTRACK_FULL.finding(
            f"{inputs.nat.left_out} translated connections more than a file keeps: "
            "of these, NAT is guessed from the packets"
        )


RULE = Rule((CONNTRACK_OVERRUN, CONNTRACK_FULL), find, place=180)
