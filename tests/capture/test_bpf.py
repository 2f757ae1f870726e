"""The selection program is run here by a few lines of interpreter, and by the kernel elsewhere."""

from __future__ import annotations

import random

import pytest

from analyzer.capture import bpf
from analyzer.errors import EnvironmentProblem, UsageProblem


def passes(program: bpf.Program, ifindex: int) -> int:
    """What cBPF returns for a frame on an interface; fails on a jump out of the program."""
    at, accumulator = 0, 0
    while True:
        code, jt, jf, k = program[at]
        at += 1
        if code == 0x20:
            assert k == 0xFFFFF008
            accumulator = ifindex
        elif code == 0x05:
            at += k
        elif code in (0x15, 0x25, 0x35):
            assert 0 <= jt <= 255
            assert 0 <= jf <= 255
            holds = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k}[code]
            at += jt if holds else jf
        else:
            assert code == 0x06
            return k


@pytest.mark.parametrize("count", [1, 2, 8, 9, 17, 100, 500, 2000])
def test_exactly_the_chosen_interfaces_pass(count: int) -> None:
    chosen = set(random.Random(count).sample(range(1, 100_000), count))
    program = bpf.for_interfaces(list(chosen), bpf.accept(96))
    for ifindex in {near for one in chosen for near in (one - 1, one, one + 1)}:
        assert passes(program, ifindex) == (96 if ifindex in chosen else 0)


@pytest.mark.parametrize("unwanted", [0, 1, 9, 300])
@pytest.mark.parametrize("count", [0, 1, 9, 500])
def test_newer_interfaces_pass_but_for_the_unwanted(count: int, unwanted: int) -> None:
    pick = random.Random(count)
    chosen = set(pick.sample(range(1, 2000), count))
    refused = set(pick.sample(range(900, 3000), unwanted))
    program = bpf.for_interfaces(sorted(chosen), bpf.accept(96), 1000, sorted(refused))
    for ifindex in range(1, 3100):
        wanted = ifindex not in refused if ifindex > 1000 else ifindex in chosen
        assert passes(program, ifindex) == (96 if wanted else 0)


def test_five_hundred_interfaces_stay_short_and_cheap() -> None:
    program = bpf.for_interfaces(range(3, 1003, 2), bpf.accept(1))
    assert len(program) < 800


def test_no_interface_no_frame() -> None:
    assert bpf.for_interfaces([], bpf.accept(96)) == bpf.NOTHING


def test_what_the_kernel_would_refuse_is_told_before() -> None:
    with pytest.raises(UsageProblem, match=r"4000 interfaces .*\(4096\)"):
        bpf.for_interfaces(range(1, 4001), bpf.accept(96))


def test_the_filter_keeps_snaplen_bytes_and_refuses_with_none() -> None:
    program = bpf.compile_filter("icmp or arp", 96)
    assert {k for code, _, _, k in program if code & 7 == 6} == {96, 0}


def test_no_filter_takes_everything() -> None:
    assert bpf.compile_filter("  ", 77) == bpf.accept(77)


def test_a_wrong_filter_is_refused_in_libpcaps_words() -> None:
    with pytest.raises(UsageProblem, match=r"filter 'tcp prot 80': .*syntax error"):
        bpf.compile_filter("tcp prot 80", 96)


@pytest.mark.root
def test_vlan_looks_where_linux_keeps_the_tag() -> None:
    program = bpf.compile_filter("vlan 10", 96)
    assert 0xFFFFF000 + 48 in {k for code, _, _, k in program}  # SKF_AD_VLAN_TAG_PRESENT


@pytest.mark.root
def test_vlan_without_a_device_to_open_is_refused() -> None:
    with pytest.raises(EnvironmentProblem, match=r"'vlan'.*nosuch0"):
        bpf.compile_filter("vlan 10", 96, devices=("nosuch0",))
    assert len(bpf.compile_filter("icmp", 96, devices=("nosuch0",))) > 1
