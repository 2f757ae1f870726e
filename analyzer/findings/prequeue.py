"""What the bridge hop includes."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding

PREQUEUE = Code(
    "prequeue",
    (INFO,),
    "Frames are stamped when they are enqueued, before the softirq runs.",
    "sysctl net.core.netdev_tstamp_prequeue=0 moves that wait to the veth hop",
)

SYSCTL = "net.core.netdev_tstamp_prequeue"


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if inputs.has_hops and inputs.info.sysctls.get(SYSCTL) == "1":
        yield PREQUEUE.finding(
            "receive stamps are taken at enqueue (net.core.netdev_tstamp_prequeue=1): "
            "the bridge hop includes the wait for the softirq"
        )


RULE = Rule((PREQUEUE,), find, place=100)
