"""Addresses as text and as two halves, against inet_ntop(3); protocol numbers."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

from analyzer.net import ip
from analyzer.net.ip import MAPPED, address_text, address_value, ipv4_text


def test_protocol_numbers_are_those_of_the_system() -> None:
    for name in ("ICMP", "IGMP", "TCP", "UDP", "ICMPV6"):
        assert getattr(ip, name) == getattr(socket, f"IPPROTO_{name}")


@drawn(50)
@given(st.binary(min_size=4, max_size=4))
def test_an_ipv4_address_comes_back(raw: bytes) -> None:
    number = int.from_bytes(raw, "big")
    text = socket.inet_ntop(socket.AF_INET, raw)
    assert address_text(0, MAPPED | number) == ipv4_text(number) == text
    assert address_value(text) == (0, MAPPED | number)


@drawn(50)
@given(st.binary(min_size=16, max_size=16).filter(lambda raw: any(raw[:8])))
def test_an_ipv6_address_comes_back(raw: bytes) -> None:
    halves = int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:], "big")
    assert address_text(*halves) == socket.inet_ntop(socket.AF_INET6, raw)
    assert address_value(address_text(*halves)) == halves


def test_what_stands_behind_an_address_is_passed_over() -> None:
    assert address_value("172.17.0.2/16") == address_value("172.17.0.2")
    assert address_value("fe80::1%eth0") == address_value("fe80::1/64") == (0xFE80 << 48, 1)
    with pytest.raises(ValueError, match="tomcat01"):
        address_value("tomcat01")


def test_short_ipv6_addresses_are_no_ipv4_addresses() -> None:
    assert address_text(0, 1) == str(ipaddress.IPv6Address(1)) == "::1"
