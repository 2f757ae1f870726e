"""How much of the kernel's drops was recorded."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding

DROPS_BUSY = Code(
    "drops-busy",
    (INFO,),
    "There were too many frames to tie every drop to its frame.",
    "capture again at less load, or fewer interfaces",
)
DROPS_LOST = Code(
    "drops-lost",
    (INFO,),
    "Some of the kernel's drop events found no room.",
    "some losses have no reason; capture again at less load",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    drops = inputs.info.drops
    if not drops:
        return
    if busy_s := drops.get("partly_untied_s", 0):
        yield DROPS_BUSY.finding(
            f"for {busy_s:.1f} s there were too many frames to tie every drop to its frame: "
            "reasons are told for a part of the losses then"
        )
    if drops["lost"]:
        yield DROPS_LOST.finding(
            f"{drops['lost']} of the kernel's events found no room: some drops have no reason here"
        )


RULE = Rule((DROPS_BUSY, DROPS_LOST), find, needs="--drops", place=70)
