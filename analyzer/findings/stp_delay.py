"""Bridge ports that the spanning tree had listen and learn while somebody asked behind them.

A new port of a bridge with STP forwards nothing for twice the forward delay. That shows nowhere
afterwards: the port forwards then. A port without any STP in it goes from disabled to forwarding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from analyzer.findings.counted import Owner, owner_of, vantage_at
from analyzer.findings.link_changes import FORWARDING, GONE, states
from analyzer.findings.neighbour_queue import FAILED, waited_in_vain
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.findings.socket_overflows import NEEDS
from analyzer.formatting.numbers import format_plural, format_time
from analyzer.model.flow_rows import ArpRow
from analyzer.model.report import Finding
from analyzer.model.vantage import Vantage

STP_DELAY = Code(
    "stp-delay",
    (WARNING,),
    "A bridge's port listened and learned (STP) and forwarded nothing, while it was asked for.",
    "ip -d link show BRIDGE: stp_state, forward_delay; bridge -d link show dev DEVICE",
)
_WAITING = ("listening", "learning")


class Step(Struct, frozen=True):
    state: str
    since_ns: int


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if inputs.outlook.one_way:
        return
    for vantage in inputs.outlook.vantages:
        if not vantage.master_ifindex or not vantage.container:
            continue
        if vantage_at(inputs, vantage.netns, vantage.ifindex) is not vantage:
            continue
        owner, steps = owner_of(inputs, vantage.netns), _steps(inputs, vantage)
        asked = _asked(inputs, vantage)
        if owner and steps and asked:
            yield STP_DELAY.finding(_text(inputs, vantage, owner, steps, asked))


def _steps(inputs: FindingInputs, vantage: Vantage) -> list[Step]:
    """From the first state of waiting to the state behind the last; [] where it never waited."""
    steps = [Step(s, ns) for ns, s in states(inputs, "port", vantage.netns, vantage.ifindex)]
    waiting = [at for at, step in enumerate(steps) if step.state in _WAITING]
    if not waiting or any(step.state == GONE for step in steps):
        return []
    return steps[waiting[0] : waiting[-1] + 2]


def _asked(inputs: FindingInputs, vantage: Vantage) -> list[ArpRow]:
    """Who asked for its container's addresses more often than was answered.

    A container that joined a running capture may have got its address later than it was described.
    """
    inside = {address.partition("/")[0] for address in vantage.peer_addresses}
    rows = [row for kind in ("arp", "nd") for row in inputs.flows.get(kind, ())]
    its = [r for r in rows if r.target_ip in inside or r.answered_by == vantage.container]
    return [row for row in its if _in_vain(row)]


def _in_vain(row: ArpRow) -> int:
    """Requests without a reply; of probes and the like nobody expects one."""
    return max(row.requests - row.replies, 0) if row.state in ("resolved", "unanswered") else 0


def _text(
    inputs: FindingInputs,
    vantage: Vantage,
    owner: Owner,
    steps: Sequence[Step],
    asked: Sequence[ArpRow],
) -> str:
    day = format_time(steps[0].since_ns).partition(" ")[0] + " "
    when = [format_time(step.since_ns) for step in steps]
    spells = ", ".join(
        f"{step.state} from {time if at == 0 else time.removeprefix(day)}"
        for at, (step, time) in enumerate(zip(steps, when, strict=True))
    )
    end = "" if steps[-1].state == FORWARDING else " until the capture's end"
    vain = "; ".join(
        f"{row.asker} asked {row.requests}× for {row.target_ip} behind it, {_answers(row.replies)}"
        for row in asked
    )
    failed = waited_in_vain(inputs, [row.target_ip for row in asked])
    unsent = (
        f"; {format_plural(failed, 'packet')} on the way to such an address never left for want "
        f"of an answer ({FAILED})"
        if failed
        else ""
    )
    look = owner.run(f"ip -d link show {vantage.bridge}")
    return (
        f"bridge port {vantage.name} of {vantage.container} was {spells}{end}: until it forwards, "
        f"the bridge passes nothing on by it (spanning tree); {vain}{unsent}: {look} "
        "(stp_state, forward_delay)"
    )


def _answers(count: int) -> str:
    return f"{format_plural(count, 'answer')} came" if count != 1 else "1 answer came"


RULE = Rule((STP_DELAY,), find, place=69, needs=NEEDS)
