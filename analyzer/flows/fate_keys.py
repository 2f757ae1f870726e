"""What packets of one fate have in common, as one key: the loop over packets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.native.compiled import compiled, piece
from analyzer.native.keys import mix

_ODD = np.uint64(0x9E3779B97F4A7C15)


class Facts(NamedTuple):
    """What makes the fate of packets; [packets] of each, see `PacketOutcomes.table`."""

    pair: npt.NDArray[np.int64]
    first_vantage: npt.NDArray[np.int32]
    last_vantage: npt.NDArray[np.int32]
    in_port: npt.NDArray[np.int32]
    out_port: npt.NDArray[np.int32]
    expected: npt.NDArray[np.int32]
    status: npt.NDArray[np.uint8]
    evidence: npt.NDArray[np.uint16]
    frames: npt.NDArray[np.int32]
    stray: npt.NDArray[np.bool_]
    torn: npt.NDArray[np.bool_]
    judged: npt.NDArray[np.bool_]
    """a verdict is about it: unicast IP"""
    dst_mac: npt.NDArray[np.uint64]
    """of those that are judged, else 0"""


class Addresses(NamedTuple):
    """The ends of packets: the source as first seen, the destination as last seen."""

    first_frame: npt.NDArray[np.int32]
    last_frame: npt.NDArray[np.int32]
    """[packets] rows of those that follow"""
    src_hi: npt.NDArray[np.uint64]
    src_lo: npt.NDArray[np.uint64]
    dst_hi: npt.NDArray[np.uint64]
    dst_lo: npt.NDArray[np.uint64]
    """[frames]"""


@compiled
def fill_keys(facts: Facts, addresses: Addresses, keys: Any) -> None:
    """One key of all columns; equal keys are equal rows but once in 2⁶⁴."""
    for q in range(len(keys)):
        key = mix(_key_of_fate(facts, q), facts.dst_mac[q])
        first, last = addresses.first_frame[q], addresses.last_frame[q]
        source = addresses.src_lo[first] ^ addresses.src_hi[first] * _ODD
        destination = addresses.dst_lo[last] ^ addresses.dst_hi[last] * _ODD
        keys[q] = mix(mix(key, source), destination)


@piece
def _key_of_fate(facts: Facts, q: int) -> Any:
    """All but the addresses."""
    ends = _both(facts.first_vantage[q] + 1, facts.last_vantage[q] + 1)
    ports = _both(facts.in_port[q] + 1, facts.out_port[q] + 1)
    size = mix(facts.frames[q], facts.pair[q])
    marks = np.uint64(facts.stray[q]) << np.uint64(2) | np.uint64(facts.torn[q]) << np.uint64(1)
    marks |= np.uint64(facts.judged[q]) | np.uint64(facts.status[q]) << np.uint64(3)
    rest = _both(facts.expected[q] + 1, 0) | np.uint64(facts.evidence[q]) << np.uint64(8)
    return mix(mix(size, ends), mix(ports, rest | marks))


@piece
def _both(high: Any, low: Any) -> Any:
    """Two numbers of 32 bits in one."""
    return np.uint64(high) << np.uint64(32) | np.uint64(low)
