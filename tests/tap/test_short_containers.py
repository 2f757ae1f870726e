"""Containers that send at once and live for some hundredths of a second, several at a time.

Ground truth is what the containers themselves read of their eth0's counters as the last thing that
they do: so many frames at least have to be in the file.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from frames_of import vantages_and_frames
from running import capturing

pytestmark = [pytest.mark.root, pytest.mark.docker]
COUNT, AT_ONCE = 16, 4
GATEWAY = "$(route -n | awk '$1 == \"0.0.0.0\" {print $2}')"
SPEAK = f"ping -q -c 1 -W 5 {GATEWAY} >/dev/null; cat /proc/net/dev"


def counted(container: Any) -> int:
    """Frames that its eth0 received and sent before it ended."""
    assert container.wait()["StatusCode"] == 0
    (line,) = re.findall(r"eth0:(.*)", container.logs().decode())
    words = line.split()
    container.remove()
    return int(words[1]) + int(words[9])


def test_each_is_captured_inside_and_out_by_its_name(container: Any, tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    with (
        capturing("all", "-w", str(file), "--json") as capture,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):

        def live(number: int) -> tuple[str, int]:
            one = container(f"short{number}", command=["sh", "-c", SPEAK])
            return one.name, counted(one)

        truth = dict(pool.map(live, range(COUNT)))
        for name in truth:
            capture.wait_for(f"{name} is captured from now on: {name}:eth0, veth")
        told = capture.end()
    vantages, frames = vantages_and_frames(file)
    at = {v.name: number for number, v in enumerate(vantages)}
    inside = {name: len(frames[at[f"{name}:eth0"]]) for name in truth}
    outside = {name: len(frames[at[vantages[at[f"{name}:eth0"]].peer]]) for name in truth}
    assert min(truth.values()) >= 4  # ARP and an echo, both ways
    assert not {name: (outside[name], n) for name, n in truth.items() if outside[name] < n}
    heard = sum(min(inside[name], n) for name, n in truth.items())
    assert heard >= 0.98 * sum(truth.values()), (inside, truth)
    assert told["dropped"] == 0
