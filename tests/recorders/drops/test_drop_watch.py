"""What is recorded, what is left out, and that it goes on under load."""

from __future__ import annotations

import threading
import time

import pytest
from faulty import Bench

from analyzer.recorders.drops import attention
from analyzer.recorders.drops.prepare import receive_filter
from analyzer.recorders.drops.record import Drops, decode_drops
from analyzer.recorders.drops.watch import DropWatch


def test_names_become_a_filter_and_odd_ones_are_harmless() -> None:
    told = receive_filter(["veth3d64d10", "eth0", 'a"b', "x\x1by"])
    assert told == 'name ~ "a?b" || name == "eth0" || name == "veth3d64d10" || name ~ "x?y"'


def test_very_many_names_become_a_pattern() -> None:
    assert receive_filter([f"veth{n:07x}" for n in range(1000)]) == 'name ~ "veth*"'


@pytest.mark.root
def test_stamps_are_those_of_the_frames_clock(bench: Bench) -> None:
    """The drop of a frame comes after its stamp, and within the softirq."""
    bench.inside("tomcat02", "iptables -A INPUT -p icmp -j DROP")
    recorder = DropWatch([bench.veth("tomcat01")])
    with recorder:
        before = time.time_ns()
        bench.inside("tomcat01", "ping -c3 -i.01 -W.1 172.17.0.3", check=False)
        after = time.time_ns()
        recorder.stop()
        drops = decode_drops(recorder.take())
    ours = [row for row in drops.rows if drops.reasons[row["reason"]] == "NETFILTER_DROP"]
    assert len(ours) == 3
    assert drops.clock["trace"] in ("tai", "mono")
    for row in ours:
        assert before < row["seen_ns"] < row["ts_ns"] < after
        assert drops.locations[row["location"]].startswith("nft_do_chain+0x")
        assert (drops.devices[row["device"]], row["len_bytes"]) == ("eth0", 84)
    # a hypervisor may stop the CPU in between, not each time
    assert min(int(row["ts_ns"] - row["seen_ns"]) for row in ours) < 1_000_000


@pytest.mark.root
def test_under_a_flood_ties_end_and_come_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "BUSY_FRAMES_S", 200)
    monkeypatch.setattr(attention, "RETRY_S", 0.3)
    recorder = DropWatch([bench.veth("tomcat01")])
    drops = Drops()
    with recorder:
        flood = threading.Thread(
            target=lambda: bench.inside("tomcat01", "ping -fq -c20000 172.17.0.3", check=False)
        )
        flood.start()
        flood.join(timeout=60)
        deadline = time.monotonic() + 60
        blocks: list[bytes] = []
        while not drops.deaf_ns and time.monotonic() < deadline:
            time.sleep(0.05)
            blocks += recorder.take()
            drops = decode_drops(blocks)
        recorder.stop()
        drops = decode_drops(blocks + recorder.take())
    assert {level for _, _, level in drops.deaf_ns} >= {attention.CAPTURED}
    assert all(until > since for since, until, _ in drops.deaf_ns)
    assert recorder.failure == ""
