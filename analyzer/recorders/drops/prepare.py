"""How an instance is set up: clock, sizes, filters, and where the fields of its records lie."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analyzer.net.ethernet import ARP, IPV4, IPV6, VLAN
from analyzer.recorders.drops.formats import EventFormat, parse_format, parse_page_header
from analyzer.recorders.drops.neighbours import NUD_FAILED, NUD_INCOMPLETE, SEND_DONE, TIMER
from analyzer.recorders.drops.page_layout import LAYOUT
from analyzer.recorders.drops.tracefs import Instance

DROP, RECEIVE = "events/skb/kfree_skb", "events/net/netif_receive_skb"
SOFTIRQ_EXIT = "events/irq/softirq_exit"
ONLY_NET_RX = "vec == 3"
"""filter of the last: ends of the softirq that receives (linux/interrupt.h)"""
NO_FILTER = "0"
"""clears an event's filter (Documentation/trace/events.rst, 5.2)"""
_PACKETS = f"({' || '.join(f'protocol == {one:#06x}' for one in (IPV4, IPV6, ARP, VLAN))})"
"""IPv4, IPv6, ARP, VLAN: the rest is no packet (netlink, unix), or no protocol of the stack"""
NEIGHBOUR_FIELDS = ("dev", "family", "primary_key4", "primary_key6")
_RINGS_KIB, _LEAST_KIB, _MOST_KIB = 64 << 10, 256, 8 << 10
"""of all CPUs together; of each"""
_FILTER_BYTES = 3_000
"""the kernel takes a filter of less than a page"""
_PLAIN = re.compile(r"[^A-Za-z0-9_.:@-]")


def receive_filter(devices: Sequence[str]) -> str:
    """In the kernel's event filter language: only frames of these interfaces."""
    patterns = sorted({_PLAIN.sub("?", name) for name in devices})
    names = " || ".join(f'name ~ "{one}"' if "?" in one else f'name == "{one}"' for one in patterns)
    return names if names and len(names) < _FILTER_BYTES else 'name ~ "veth*"'


def drop_filter(drop: EventFormat) -> str:
    """Packets of the protocols that stacks speak; OTHERHOST is told by the frame itself."""
    number = _number_of(drop, "OTHERHOST")
    if number < 0 or "reason" not in drop.fields:
        return _PACKETS
    return f"{_PACKETS} && reason != {number}"


def choose_clock(instance: Instance) -> str:
    clocks = instance.read("trace_clock").replace("[", "").replace("]", "").split()
    clock = "tai" if "tai" in clocks else "mono"
    instance.write("trace_clock", clock)
    return clock


def ring_kib(cpus: int) -> int:
    return max(_LEAST_KIB, min(_MOST_KIB, _RINGS_KIB // cpus))


def listen_to_softirqs(instance: Instance) -> EventFormat | None:
    """Switch on the ends of the softirq that receives; None where this kernel tells none."""
    try:
        ends = parse_format(instance.read(f"{SOFTIRQ_EXIT}/format"))
        instance.write(f"{SOFTIRQ_EXIT}/filter", ONLY_NET_RX)
        instance.write(f"{SOFTIRQ_EXIT}/enable", "1")
    except OSError:
        return None
    return ends


def listen_to_neighbours(instance: Instance) -> tuple[EventFormat, EventFormat] | None:
    """Switch on what names a neighbour that is asked for; None where this kernel does not tell."""
    try:
        for event, state in ((SEND_DONE, NUD_INCOMPLETE), (TIMER, NUD_FAILED)):
            instance.write(f"{event}/filter", f"nud_state == {state}")
            instance.write(f"{event}/enable", "1")
        send, timer = (parse_format(instance.read(f"{e}/format")) for e in (SEND_DONE, TIMER))
    except OSError:
        return None
    return send, timer


def build_layout(
    page: str,
    drop: EventFormat,
    receive: EventFormat,
    softirq_exit: EventFormat | None = None,
    neighbours: tuple[EventFormat, EventFormat] | None = None,
) -> npt.NDArray[np.int64]:
    """In the order of `recorders.drops.pages`. Raises ValueError where a field is missing.

    softirq_exit: None where this kernel has no such event; then only the next frame ends a work.
    neighbours: a sender's event and a timer's; without them no drop's next hop is known.
    """
    needed = [drop.offset(name) for name in ("skbaddr", "location", "protocol")]
    heard = [receive.offset(name) for name in ("skbaddr", "len", "name")]
    if min(needed + heard) < 0:
        raise ValueError("its events lack a field (skbaddr, location, protocol, len or name)")
    reason, flags = drop.offset("reason"), drop.offset("common_flags")
    ends = [softirq_exit.id, softirq_exit.offset("vec")] if softirq_exit else [-1, -1]
    asked = [-1] * 8
    if neighbours:
        send, timer = neighbours
        fields = [send.offset(name) for name in NEIGHBOUR_FIELDS]
        reasons = [_number_of(drop, name) for name in ("NEIGH_QUEUEFULL", "NEIGH_FAILED")]
        asked = [send.id, timer.id, *fields, *reasons] if min(fields) >= 0 else asked
    values = [
        *parse_page_header(page),
        drop.id,
        *needed,
        reason,
        flags,
        receive.id,
        *heard,
        *ends,
        *asked,
    ]
    assert len(values) == LAYOUT
    return np.array(values, np.int64)


def _number_of(drop: EventFormat, reason: str) -> int:
    """-1 where this kernel has no such reason."""
    return next((value for value, name in drop.symbols.items() if name == reason), -1)
