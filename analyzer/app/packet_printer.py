"""``capture`` without ``-w``: a line a frame as it comes, with names.

The batch that the session has just written is read back by the same reader and decoder that
read files, so a line says what the file would say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.capture import describe
from analyzer.capture.options import MAX_SNAPLEN
from analyzer.correlate.stages import build_layout
from analyzer.decode.frames import decode_frames
from analyzer.flows.endpoints import Endpoints
from analyzer.formatting.sanitize import sanitize
from analyzer.model.frames import EGRESS, FLAG_DIRECTION
from analyzer.model.tenures import Life
from analyzer.model.vantage import Vantage
from analyzer.net.link_types import ETHERNET
from analyzer.report.summary import summarise_frame
from analyzer.savefile import blocks
from analyzer.savefile.columns import chunk_of, new_columns
from analyzer.savefile.pcapng import PcapngReader

_SMALLEST_BLOCK = 32
"""bytes of an Enhanced Packet Block without data: how many fit into a batch at most"""


_NAME = 22
"""columns that the longest vantage name may take in all lines"""


_FRAME = bytes.fromhex(
    "0242ac1100030242ac11000208004500001c0001000040010000ac110002ac1100030800000000010001"
)
"""an echo request"""


def warm() -> None:
    """Have the code of its loops at hand: no frame should wait for it."""
    block = blocks.enhanced_packet(0, 1, _FRAME, len(_FRAME), flags=1)
    printer = PacketPrinter(lambda text: None)
    printer(np.frombuffer(block, np.uint8), [Vantage("lo", "lo")])


class PacketPrinter:
    """Give each frame of a batch to ``line`` as text."""

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line
        self._vantages: Sequence[Vantage] = ()
        self._head = np.empty(0, np.uint8)
        self._since_ns: list[int] = []
        self._printed_ns = 0

    def _describe(self, vantages: Sequence[Vantage]) -> None:
        """Take the vantages that there are now; new ones came after what was printed so far."""
        layout = build_layout(vantages)
        self._vantages, self._segment = vantages, layout.lan
        self._width = min(max(len(v.name) for v in vantages), _NAME)
        self._since_ns += [self._printed_ns] * (len(vantages) - len(self._since_ns))
        lives = [Life(since_ns, since_ns) for since_ns in self._since_ns]
        self._endpoints = Endpoints()
        self._endpoints.learn(vantages, layout.lan, layout.site, {}, lives)
        blocks = [describe.section(""), *(describe.interface(v, MAX_SNAPLEN, "") for v in vantages)]
        self._head = np.frombuffer(b"".join(blocks), np.uint8)

    def __call__(self, batch: npt.NDArray[np.uint8], vantages: Sequence[Vantage]) -> None:
        """vantages: those that there are by now, in the order of their interface numbers."""
        if len(vantages) != len(self._vantages):
            self._describe(tuple(vantages))
        data = np.concatenate([self._head, batch])
        columns = new_columns(len(batch) // _SMALLEST_BLOCK + 1)
        reader = PcapngReader()
        stop = reader.walk(data, 0, columns, 0)
        chunk = chunk_of(data, columns, stop.row)
        frames = decode_frames(chunk, np.full(len(self._vantages), ETHERNET, np.int32))
        frames["wirelen"], frames["ts_ns"] = chunk.wirelen, chunk.ts_ns
        frames["vantage"], frames["flags"] = chunk.interface, chunk.flags
        sources, targets = (self._endpoints.column(frames, s).to_list() for s in ("src", "dst"))
        self._printed_ns = int(chunk.ts_ns.max(initial=self._printed_ns))
        for row in range(len(chunk)):
            self._line(self._text(frames, row, sources[row], targets[row]))

    def _text(self, frames: dict[str, npt.NDArray[Any]], row: int, source: str, target: str) -> str:
        """``12:01:02.345678901 tomcat01:eth0 → ICMP echo request seq 3  tomcat01 → tomcat02``"""
        seconds, rest = divmod(int(frames["ts_ns"][row]), 1_000_000_000)
        clock = time.strftime("%H:%M:%S", time.localtime(seconds))
        out = int(frames["flags"][row]) & FLAG_DIRECTION == EGRESS
        arrow = "→" if out else "←"
        name = self._vantages[int(frames["vantage"][row])].name
        summary = summarise_frame(frames, row)
        return sanitize(
            f"{clock}.{rest:09d} {name:<{self._width}} {arrow} {summary}  {source} → {target}"
        )
