"""Time stamps of pcapng: any power of 10 or 2, an offset, turned into nanoseconds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.native.compiled import compiled, piece
from analyzer.savefile.interfaces import NANOSECONDS, SavefileInterface

_NS = np.uint64(1_000_000_000)
_ONE, _NONE = np.uint64(1), np.uint64(0)
_BINARY = 0x80
"""if_tsresol's bit 7: the rest is a negative power of 2, not of 10"""
_FRACTION_BITS = 34
"""a binary fraction of a second of so many bits, times 10⁹, just fits into 64"""
_LARGEST_POWER = 19
"""of ten that fits into 64 bits"""


class Clocks(NamedTuple):
    """Per interface: how its stamps become nanoseconds. Arrays of one length."""

    multiply: npt.NDArray[np.uint64]
    divide: npt.NDArray[np.uint64]
    """0: the unit is so small that every 64-bit stamp is less than a nanosecond"""
    binary: npt.NDArray[np.int64]
    """n of a resolution of 2⁻ⁿ s; -1 where it is decimal: then the two above hold"""
    offset_ns: npt.NDArray[np.int64]
    snaplen: npt.NDArray[np.int64]
    """not a clock's, but the walk wants it per interface too; 0: no limit"""


def new_clocks(size: int = 16) -> Clocks:
    """Room for ``size`` interfaces."""
    return Clocks(
        np.ones(size, np.uint64),
        np.ones(size, np.uint64),
        np.full(size, -1, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
    )


def grown(clocks: Clocks) -> Clocks:
    """The same with twice the room."""
    double = new_clocks(2 * len(clocks.multiply))
    for old, new in zip(clocks, double, strict=True):
        new[: len(old)] = old
    return double


def set_clock(clocks: Clocks, interface: SavefileInterface) -> None:
    """Fill the interface's row from if_tsresol, if_tsoffset and its snaplen."""
    at, resolution = interface.index, interface.tsresol
    binary = bool(resolution & _BINARY)
    power = NANOSECONDS - resolution
    clocks.multiply[at] = 10**power if power > 0 and not binary else 1
    clocks.divide[at] = 1
    if power < 0 and not binary:
        clocks.divide[at] = 10**-power if -power <= _LARGEST_POWER else 0
    clocks.binary[at] = resolution & ~_BINARY if binary else -1
    clocks.offset_ns[at] = _wrapped(interface.tsoffset_s * 1_000_000_000)
    clocks.snaplen[at] = interface.snaplen


def _wrapped(value: int) -> int:
    """As 64-bit arithmetic has it: a nonsensical offset gives nonsensical stamps, no exception."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


@compiled
def stamp_ns(high: int, low: int, interface: int, clocks: Clocks) -> Any:
    """A block's 64-bit stamp in nanoseconds since the epoch, rounded down."""
    stamp = (np.uint64(high) << np.uint64(32)) | np.uint64(low)
    bits = clocks.binary[interface]
    if bits >= 0:
        value = _binary_ns(stamp, bits)
    else:
        value = stamp * clocks.multiply[interface]
        divide = clocks.divide[interface]
        if divide != _ONE:
            value = value // divide if divide else _NONE
    return np.int64(value) + clocks.offset_ns[interface]


@piece
def _binary_ns(stamp: Any, bits: int) -> Any:
    whole, fraction = _NONE, stamp
    if bits < 64:
        whole = stamp >> np.uint64(bits)
        fraction = stamp & ((_ONE << np.uint64(bits)) - _ONE)
    surplus = bits - _FRACTION_BITS
    if surplus >= 64:
        fraction = _NONE
    elif surplus > 0:
        fraction = fraction >> np.uint64(surplus)
    kept = np.uint64(min(bits, _FRACTION_BITS))
    return whole * _NS + ((fraction * _NS) >> kept)
