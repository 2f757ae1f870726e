"""A clock that was set while capturing."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_ns, format_plural
from analyzer.model.report import Finding

CLOCK_STEP = Code(
    "clock-step",
    (WARNING,),
    "The clock was set back while capturing.",
    "look at delays away from that moment only",
)
CLOCK_SET = Code(
    "clock-set",
    (WARNING,),
    "The time of day was set while capturing; another clock tells by how much.",
    "mistrust silences and delays of that length",
)
CLOCK_OFFSET = Code(
    "clock-offset",
    (WARNING,),
    "The clocks of two files are apart, by the packets that are in both.",
    "chronyc tracking on both hosts; editcap -t SECONDS FILE OUT shifts a file",
)
OUT_OF_ORDER = Code(
    "stamps-out-of-order",
    (WARNING,),
    "Frames of one interface stand far out of order in the file.",
    "reordercap FILE OUT puts them in order, if it is the order that is wrong",
)
NEGATIVE_DELAY = Code(
    "negative-delay",
    (WARNING,),
    "Some hops would end before they begin.",
    "these have no delay; the others hold",
)


SET_NS = 1_000_000
"""a clock that is less off was not set: two clocks cannot be read at once"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    clocks = inputs.clocks
    if clocks.steps:
        yield CLOCK_STEP.finding(
            f"the clock was set back during the capture ({clocks.steps}×, by "
            f"{format_ns(clocks.largest_step_ns)} at most): delays and losses around that time "
            "mean nothing"
        )
    if clocks.set_ns > SET_NS or (clocks.set_ns < -SET_NS and not clocks.steps):
        yield CLOCK_SET.finding(
            f"the clock was set {'forward' if clocks.set_ns > 0 else 'back'} by "
            f"{format_ns(abs(clocks.set_ns))} in all during the capture, though not when: of a "
            "silence or a delay of that length nobody can say that it was one"
        )
    if clocks.disorder:
        yield OUT_OF_ORDER.finding(
            f"stamps stand far out of order in the file: {clocks.disorder}× a frame is stamped "
            f"before one that stands in front of it at the same interface, by "
            f"{format_ns(clocks.largest_disorder_ns)} at most: the clock was set, or frames were "
            "joined from several captures; delays and silences of that length mean nothing"
        )
    for one in clocks.offsets:
        way = "both ways to be equally quick" if one.both_ways else "the quickest to need no time"
        yield CLOCK_OFFSET.finding(
            f"the clock of {one.file} is {format_ns(abs(one.ns))} "
            f"{'ahead of' if one.ns > 0 else 'behind'} that of {one.other}, by "
            f"{format_plural(one.packets, 'packet')} that are in both: its times are told by the "
            f"other's clock, and delays between the two take {way}"
        )
    if clocks.negative_hops:
        adjusted = clocks.steps or abs(clocks.set_ns) > SET_NS
        why = "the clock was adjusted" if adjusted else "by their stamps; why is not known"
        yield NEGATIVE_DELAY.finding(
            f"{format_plural(clocks.negative_hops, 'hop')} would end before they begin ({why}): "
            "counted, but without a delay"
        )


RULE = Rule((CLOCK_STEP, CLOCK_SET, CLOCK_OFFSET, OUT_OF_ORDER, NEGATIVE_DELAY), find, place=40)
