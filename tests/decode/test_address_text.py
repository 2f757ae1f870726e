"""Addresses as text."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest

from analyzer.decode.text import address_texts, ipv4_texts, mac_texts
from analyzer.net.ethernet import mac_text
from analyzer.net.ip import address_text


def test_one() -> None:
    assert mac_text(0x0242AC110002) == "02:42:ac:11:00:02"
    assert mac_text(0) == "00:00:00:00:00:00"
    assert address_text(0, 0xFFFFAC110002) == "172.17.0.2"
    assert address_text(0x20010DB8_00000000, 2) == "2001:db8::2"
    assert address_text(0, 1) == "::1"
    assert address_text(0xFE80 << 48, 0x1_FFFF_0000_0000) == "fe80::1:ffff:0:0"


def test_many() -> None:
    """Rows keep their order; repetitions are no matter."""
    noise = np.random.default_rng(1)
    macs = noise.integers(0, 2**48, 50, np.uint64)[noise.integers(0, 50, 2000)]
    assert mac_texts(macs).to_list() == [mac_text(int(mac)) for mac in macs]
    four = noise.integers(0, 2**32, 50, np.uint32)[noise.integers(0, 50, 2000)]
    assert ipv4_texts(four).to_list() == [str(IPv4Address(int(value))) for value in four]
    high = noise.integers(0, 2**64, 5, np.uint64)[noise.integers(0, 5, 2000)]
    low = noise.integers(0, 2**64, 5, np.uint64)[noise.integers(0, 5, 2000)]
    expected = [str(IPv6Address(int(a) << 64 | int(b))) for a, b in zip(high, low, strict=True)]
    assert address_texts(high, low).to_list() == expected


@pytest.mark.parametrize("empty", [np.empty(0, np.uint64)])
def test_none(empty: np.ndarray) -> None:
    assert mac_texts(empty).to_list() == []
    assert address_texts(empty, empty).to_list() == []
