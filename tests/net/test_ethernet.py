"""MAC addresses as text and as numbers, and the group bit."""

from __future__ import annotations

import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st
from scapy.data import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6

from analyzer.net import ethernet
from analyzer.net.ethernet import GROUP_BIT, mac_text, mac_value


def test_ethertypes_are_those_of_the_kernel() -> None:
    assert (ethernet.IPV4, ethernet.ARP, ethernet.IPV6) == (ETH_P_IP, ETH_P_ARP, ETH_P_IPV6)


@drawn(50)
@given(st.binary(min_size=6, max_size=6))
def test_a_mac_comes_back(raw: bytes) -> None:
    text = mac_text(int.from_bytes(raw, "big"))
    assert text == ":".join(f"{octet:02x}" for octet in raw)
    assert mac_value(text) == int.from_bytes(raw, "big")


def test_the_group_bit_is_the_first_on_the_wire() -> None:
    groups = ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01")
    assert all(mac_value(mac) & GROUP_BIT for mac in groups)
    assert not mac_value("02:42:ac:11:00:02") & GROUP_BIT


def test_no_mac_is_zero_and_nonsense_is_refused() -> None:
    assert mac_value("") == 0
    with pytest.raises(ValueError, match="invalid literal"):
        mac_value("docker0")
