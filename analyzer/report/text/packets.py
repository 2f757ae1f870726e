"""Single packets as lines of text. Pure; what was captured is sanitized here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analyzer.formatting.numbers import NONE, format_ns, format_plural, format_us_exact
from analyzer.formatting.sanitize import sanitize


def packet_line(row: Mapping[str, Any]) -> str:
    """``11  23:30:33.006241095  tomcat01 → tomcat02  ICMP echo request …  5 vantages, 89.8 µs``."""
    way = format_plural(row["frames"], "vantage")
    if row["one_way_ns"] is not None:
        way += f", {format_ns(row['one_way_ns'])}"
    if row["status"] == "lost":
        way += f", lost behind {row['last_vantage']}"
    if not row["certain"]:
        way += ", likely"
    return sanitize(
        f"{row['packet']:>6}  {clock(row['ts_ns'])}  {row['source']} → {row['destination']}  "
        f"{row['summary']}  {way}"
    )


def journey_lines(packet: Mapping[str, Any], frames: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The packet, then a line for each vantage: time since the first, the hop and its delay."""
    yield packet_line(packet)
    width = max(len(sanitize(str(row["vantage"]))) for row in frames)
    for row in frames:
        arrow = {"egress": "→", "ingress": "←"}.get(row["direction"], " ")
        hop = f"{row['kind']:<9}"
        if row["delay_ns"] is not None:
            hop += f" {format_us_exact(row['delay_ns']):>12} µs"
        elif row["kind"] == "copy":
            hop += " evidence, no timed hop"
        elif row["kind"] == "none":
            hop = "first seen"
        else:
            hop += " the file tells no time"
        likely = "" if row["certain"] else "  likely"
        since = format_us_exact(row["delta_ns"])
        name = sanitize(str(row["vantage"]))
        line = f"frame {row['frame']:>6}  {name:<{width}} {arrow}  +{since:>12} µs  {hop}{likely}"
        yield line.rstrip()
        if row["translated"]:
            yield sanitize(f"{'':>13}NAT: {row['translated']}")
    if packet["status"] == "lost":
        yield sanitize(f"lost: had to be seen next at {packet['expected']} and was not")


def dissection_lines(frame: int, lines: Sequence[str]) -> Iterator[str]:
    """A frame's full dissection."""
    yield f"frame {frame}"
    yield from (f"  {sanitize(line)}" for line in lines)


def clock(ts_ns: int | None) -> str:
    """Local time of day with all digits, as ``capture`` prints it; where the file tells none, –."""
    if ts_ns is None:
        return f"{NONE:^18}"
    seconds, rest = divmod(ts_ns, 1_000_000_000)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest:09d}"
