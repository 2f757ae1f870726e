"""Classic BPF programs: the user's pcap-filter, and "is it one of our interfaces?".

The socket of a ring hears every interface of its namespace. The program that is attached
to it first looks the interface index up in a binary search (a load from the kernel's
ancillary data, SKF_AD_IFINDEX of linux/filter.h), so that hundreds of vantages cost a
dozen instructions a frame; what is ours goes on to the user's filter, which libpcap compiles.

cBPF's conditional jumps reach 255 instructions; longer ways go by ``ja``.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from analyzer.errors import EnvironmentProblem, UsageProblem

Instruction: TypeAlias = tuple[int, int, int, int]
"""(code, jt, jf, k) of ``struct sock_filter``"""
Program: TypeAlias = tuple[Instruction, ...]

MAX_INSTRUCTIONS = 4096
"""BPF_MAXINSNS of linux/bpf_common.h"""

_LD_W_ABS, _JA, _JEQ, _JGT, _JGE, _RET = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
_CLASS = 0x07
_AD_IFINDEX = 0xFFFFF000 + 8
_REFUSE: Instruction = (_RET, 0, 0, 0)
_LEAF = 8
"""indexes compared one by one at a leaf of the search: 1.5 instructions a vantage in all"""
_NETMASK_UNKNOWN = 0xFFFFFFFF
_ERROR_BYTES = 256

NOTHING: Program = (_REFUSE,)
"""lets no frame pass"""


def accept(snaplen: int) -> Program:
    """The program that takes every frame, up to ``snaplen`` bytes of it."""
    return ((_RET, 0, 0, snaplen),)


def compile_filter(expression: str, snaplen: int, devices: Sequence[str] = ("lo",)) -> Program:
    """Compile pcap-filter(7) syntax for Ethernet frames; a match keeps ``snaplen`` bytes.

    ``devices`` are interfaces of the calling thread's namespace, tried in turn: libpcap
    looks for VLAN tags where Linux keeps them (out of band) only for a handle that is open
    on a device that is up. Raises UsageProblem with libpcap's words where the expression is
    wrong, EnvironmentProblem where libpcap is missing.
    """
    if not expression.strip():
        return accept(snaplen)
    library = _libpcap()
    handle = _open_handle(library, expression, snaplen, devices)
    try:
        instructions = _compile(library, handle, expression)
    finally:
        library.pcap_close(handle)
    return tuple(_with_snaplen(one, snaplen) for one in instructions)


def for_interfaces(
    ifindexes: Sequence[int],
    then: Program,
    newer_than: int | None = None,
    but_not: Sequence[int] = (),
) -> Program:
    """Only frames of the given interface indexes go on to the program ``then``.

    newer_than: those of all greater indexes do too, but for ``but_not``; the kernel numbers
    the interfaces of a namespace upwards (dev_new_index in net/core/dev.c). Raises
    UsageProblem where all together are longer than the kernel takes.
    """
    if newer_than is not None:
        lookup = _resolve(_either(ifindexes, newer_than, but_not))
    elif ifindexes:
        lookup = search(ifindexes, _REFUSE)
    else:
        return NOTHING
    program = ((_LD_W_ABS, 0, 0, _AD_IFINDEX), *lookup, *then)
    if len(program) > MAX_INSTRUCTIONS:
        raise UsageProblem(
            f"{len(ifindexes)} interfaces and a filter of {len(then)} instructions are more than "
            f"one kernel filter holds ({MAX_INSTRUCTIONS}); capture fewer, or shorten the filter"
        )
    return program


def search(ifindexes: Sequence[int], otherwise: Instruction) -> list[Instruction]:
    """Look up what was loaded: behind its end if it is one of these, else the instruction."""
    rows = _resolve(_search(sorted(set(ifindexes))))
    return [otherwise if one == _REFUSE else one for one in rows]


_ACCEPT = -1
"""stands as ``k`` of a ja whose target is the end of the search"""


def _either(ifindexes: Sequence[int], newer_than: int, but_not: Sequence[int]) -> list[Instruction]:
    """Old indexes are looked up among the wanted ones, new ones among the unwanted."""
    old = _search(sorted({i for i in ifindexes if i <= newer_than}))
    unwanted = sorted({i for i in but_not if i > newer_than})
    new = _swap(_search(unwanted)) if unwanted else [(_JA, 0, 0, _ACCEPT)]
    return [(_JGT, 0, 1, newer_than), (_JA, 0, 0, len(old)), *old, *new]


def _swap(rows: list[Instruction]) -> list[Instruction]:
    """A search that lets pass what the given one refuses."""
    accept_ = (_JA, 0, 0, _ACCEPT)
    return [accept_ if one == _REFUSE else _REFUSE if one == accept_ else one for one in rows]


def _search(ifindexes: list[int]) -> list[Instruction]:
    """Binary search over sorted indexes; its ja to the end are not yet resolved."""
    if len(ifindexes) <= _LEAF:
        count = len(ifindexes)
        tests = [(_JEQ, count - place, 0, index) for place, index in enumerate(ifindexes)]
        return [*tests, _REFUSE, (_JA, 0, 0, _ACCEPT)]
    middle = len(ifindexes) // 2
    lower, upper = _search(ifindexes[:middle]), _search(ifindexes[middle:])
    if len(lower) <= 255:
        head = [(_JGE, len(lower), 0, ifindexes[middle])]
    else:
        head = [(_JGE, 0, 1, ifindexes[middle]), (_JA, 0, 0, len(lower))]
    return [*head, *lower, *upper]


def _resolve(rows: list[Instruction]) -> list[Instruction]:
    return [
        (_JA, 0, 0, len(rows) - place - 1) if one == (_JA, 0, 0, _ACCEPT) else one
        for place, one in enumerate(rows)
    ]


def _with_snaplen(one: Instruction, snaplen: int) -> Instruction:
    code, jt, jf, k = one
    return (code, jt, jf, snaplen) if code & _CLASS == _RET and k else one


def _libpcap() -> Any:
    try:
        from scapy.libs import winpcapy
    except OSError as error:
        raise EnvironmentProblem(
            "no libpcap to compile the filter with; install it (Debian: apt install libpcap0.8)"
        ) from error
    return winpcapy


def _open_handle(library: Any, expression: str, snaplen: int, devices: Sequence[str]) -> Any:
    message = ctypes.create_string_buffer(_ERROR_BYTES)
    for device in devices:
        if handle := library.pcap_open_live(device.encode(), snaplen, 0, 100, message):
            return handle
    if re.search(r"\bvlan\b", expression):
        raise EnvironmentProblem(
            "cannot compile a filter with 'vlan': libpcap opened none of "
            f"{', '.join(devices)} ({message.value.decode(errors='replace')}); set one up"
        )
    return library.pcap_open_dead(1, snaplen)


def _compile(library: Any, handle: Any, expression: str) -> list[Instruction]:
    program = library.bpf_program()
    text = expression.encode("utf-8", "surrogateescape")
    if library.pcap_compile(handle, ctypes.byref(program), text, 1, _NETMASK_UNKNOWN) != 0:
        words = bytes(library.pcap_geterr(handle)).decode(errors="replace")
        raise UsageProblem(f"filter {expression!r}: {words}; see man pcap-filter")
    try:
        rows = (program.bf_insns[place] for place in range(program.bf_len))
        return [(row.code, row.jt, row.jf, row.k & 0xFFFFFFFF) for row in rows]
    finally:
        library.pcap_freecode(ctypes.byref(program))
