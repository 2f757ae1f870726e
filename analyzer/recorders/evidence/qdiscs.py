"""Queueing disciplines and their classes with what they dropped, and traffic control's filters.

A classful root counts what its children drop as well, so that the sum of all would count twice.
``noqueue`` has no queue and is left out. Source: linux/pkt_sched.h, linux/gen_stats.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator

from analyzer.model.kernel_state import ClassState, QdiscState, TcFilter
from analyzer.net import rtnetlink
from analyzer.net.netlink import attributes, number_of, text_of
from analyzer.net.rtnetlink import RtnetlinkSocket

TCA_KIND, TCA_OPTIONS, TCA_CHAIN, TCA_STATS2 = 1, 2, 11, 7
TCA_STATS_BASIC, TCA_STATS_QUEUE = 1, 3
TCA_TBF_PARMS, TCA_TBF_RATE64 = 1, 4
TCA_HTB_PARMS, TCA_HTB_RATE64, TCA_HTB_CEIL64 = 1, 6, 7
WITH_CLASSES = ("htb", "hfsc", "drr", "ets", "prio", "qfq")
INGRESS_HOOK, EGRESS_HOOK = 0xFFFFFFF2, 0xFFFFFFF3
"""where the filters of ``clsact`` hang"""
_TCMSG = struct.Struct("=BxxxiIII")
"""family, ifindex, handle, parent, info"""
_BASIC = struct.Struct("=QI")
"""bytes, packets"""
_QUEUE = struct.Struct("=IIIII")
"""queued packets, backlog, drops, requeues, overlimits"""
_RATE_AT, _CEIL_AT, _LIMIT_AT = 8, 20, 24
"""of a tc_tbf_qopt and a tc_htb_opt: the rate in bytes a second, 32 bits; of the second: the most
that a class may borrow; of the first: the bytes that may wait"""


def read_qdiscs(netlink: RtnetlinkSocket) -> Iterator[QdiscState]:
    """Of the socket's namespace. Raises OSError."""
    request = _TCMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    for body in netlink.dump(rtnetlink.RTM_GETQDISC, request):
        qdisc = decode_qdisc(body)
        if qdisc.kind != "noqueue":
            yield qdisc


def decode_qdisc(body: bytes) -> QdiscState:
    """An RTM_NEWQDISC body (tcmsg and attributes)."""
    _, ifindex, handle, parent, _ = _TCMSG.unpack_from(body)
    options = attributes(body, _TCMSG.size)
    kind = text_of(options.get(TCA_KIND))
    own = attributes(options.get(TCA_OPTIONS, b"")) if kind == "tbf" else {}
    parameters = own.get(TCA_TBF_PARMS, b"")
    rate = _rate(own.get(TCA_TBF_RATE64), parameters, _RATE_AT)
    limit = number_of(parameters[_LIMIT_AT : _LIMIT_AT + 4])
    return QdiscState(ifindex, kind, handle, parent, *_statistics(options), rate, limit)


def read_classes(netlink: RtnetlinkSocket, qdiscs: Iterable[QdiscState]) -> Iterator[ClassState]:
    """Those of the interfaces that have a queueing discipline with classes. Raises OSError."""
    for ifindex in {one.ifindex: None for one in qdiscs if one.kind in WITH_CLASSES}:
        request = _TCMSG.pack(socket.AF_UNSPEC, ifindex, 0, 0, 0)
        yield from map(decode_class, netlink.dump(rtnetlink.RTM_GETTCLASS, request))


def decode_class(body: bytes) -> ClassState:
    """An RTM_NEWTCLASS body."""
    _, ifindex, classid, parent, _ = _TCMSG.unpack_from(body)
    options = attributes(body, _TCMSG.size)
    kind = text_of(options.get(TCA_KIND))
    own = attributes(options.get(TCA_OPTIONS, b"")) if kind == "htb" else {}
    parameters = own.get(TCA_HTB_PARMS)
    rate = _rate(own.get(TCA_HTB_RATE64), parameters, _RATE_AT)
    ceil = _rate(own.get(TCA_HTB_CEIL64), parameters, _CEIL_AT)
    return ClassState(ifindex, kind, classid, parent, *_statistics(options), rate, ceil)


def _statistics(options: dict[int, bytes]) -> tuple[int, int, int, int, int]:
    """packets, drops, overlimits, backlog, queued packets."""
    statistics = attributes(options.get(TCA_STATS2, b""))
    _, packets = _unpacked(_BASIC, statistics.get(TCA_STATS_BASIC, b""))
    queued, backlog, drops, _, over = _unpacked(_QUEUE, statistics.get(TCA_STATS_QUEUE, b""))
    return packets, drops, over, backlog, queued


def _unpacked(form: struct.Struct, data: bytes) -> tuple[int, ...]:
    """Zeros where the kernel told less."""
    return form.unpack_from(data.ljust(form.size, b"\0"))


def _rate(wide: bytes | None, parameters: bytes | None, at: int) -> int:
    """Bits a second; wide: where it is told with 64 bits, for it does not fit into 32."""
    return 8 * number_of(wide or (parameters or b"")[at : at + 4])


def read_filters(netlink: RtnetlinkSocket, qdiscs: Iterable[QdiscState]) -> Iterator[TcFilter]:
    """Those that hang at one of the qdiscs. Raises OSError."""
    for qdisc in qdiscs:
        parents = (INGRESS_HOOK, EGRESS_HOOK) if qdisc.kind == "clsact" else (qdisc.handle,)
        for parent in parents if qdisc.handle else ():
            request = _TCMSG.pack(socket.AF_UNSPEC, qdisc.ifindex, 0, parent, 0)
            try:
                bodies = netlink.dump(rtnetlink.RTM_GETTFILTER, request)
            except OSError:
                continue  # a qdisc that has no filters says so
            yield from map(decode_filter, bodies)


def decode_filter(body: bytes) -> TcFilter:
    """An RTM_NEWTFILTER body."""
    _, ifindex, _, parent, info = _TCMSG.unpack_from(body)
    options = attributes(body, _TCMSG.size)
    kind, chain = text_of(options.get(TCA_KIND)), number_of(options.get(TCA_CHAIN))
    return TcFilter(ifindex, parent, kind, socket.ntohs(info & 0xFFFF), info >> 16, chain)
