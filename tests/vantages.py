"""Packets between two containers as five vantages see them, written as one of our captures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from world import World

from analyzer.savefile import blocks

S, US = 1_000_000_000, 1_000
CLIENT_MAC = "02:42:ac:11:00:01"
WAY = (
    ("c{}:eth0", 2, 0),
    ("veth{}", 1, 5 * US),
    ("docker0", 1, 5 * US),
    ("veth{}", 2, 80 * US),
    ("c{}:eth0", 1, 82 * US),
)


def write_vantages(
    path: Path,
    frames: list[tuple[int, bytes]],
    *,
    lost: tuple[int, ...] = (),
    late: dict[int, int] | None = None,
    cut: dict[int, Callable[[bytes], list[bytes]]] | None = None,
) -> None:
    """Each packet at five vantages. lost: numbers of packets that end at the bridge; late: by
    how much one is held back there; cut: what comes out of it there instead of the frame."""
    world = World()
    data = blocks.section_header()
    for vantage in world.vantages:
        comment = json.dumps(vantage.to_json())
        data += blocks.interface_description(vantage.name, snaplen=0, comment=comment)
    seen: list[tuple[int, str, int, bytes]] = []
    for number, (ts, frame) in enumerate(frames):
        client = frame[6:12].hex(":") == CLIENT_MAC
        ends = (0, 1) if client else (1, 0)
        for step, (name, flags, delay) in enumerate(WAY[: 3 if number in lost else 5]):
            held = (late or {}).get(number, 0) if step > 2 else 0
            vantage = name.format(ends[0] if step < 2 else ends[1])
            frames_here = cut[number](frame) if step > 2 and number in (cut or {}) else [frame]
            for place, one in enumerate(frames_here):
                seen.append((ts + delay + held + place, vantage, flags, one))
    for ts, vantage, flags, frame in sorted(seen, key=lambda sighting: sighting[0]):
        data += blocks.enhanced_packet(world.at(vantage), ts, frame, len(frame), flags=flags)
    last = frames[-1][0] + 10 * S
    for number in range(len(world.vantages)):
        data += blocks.interface_statistics(
            number, last, start_ns=1, end_ns=last, received=99, dropped=0
        )
    path.write_bytes(data)
