"""Lines of packets are printed by loops that were there before the first frame."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import numpy as np
from analyzer.app import packet_printer
from analyzer.native.compiled import Loop
packet_printer.warm()
find, late = Loop._find, []
def noted(self, kinds, arguments):
    late.append(self.function.__qualname__)
    return find(self, kinds, arguments)
Loop._find = noted
from analyzer.app import warm
from analyzer.savefile import blocks
lines = []
printer = packet_printer.PacketPrinter(lines.append)
sightings = list(warm._sightings())
packets = [blocks.enhanced_packet(at, 1000, one, len(one), flags=1) for at, one in sightings]
printer(np.frombuffer(b"".join(packets), np.uint8), warm._vantages())
assert len(lines) == len(packets)
print(late)
"""


def test_every_loop_is_there_before_the_first_frame() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
