"""Compile what is compiled at first use, by running everything once on a tiny capture."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from analyzer.capture.merge import warm as warm_capture
from analyzer.drops.pages import warm as warm_drops
from analyzer.drops.record import ROW, UNKNOWN, Drops, encode_drops
from analyzer.model.vantage import Role, Vantage
from analyzer.pipeline.analyse import report_files
from analyzer.pipeline.export import export_pcap
from analyzer.savefile import blocks

_FRAME = bytes.fromhex("ffffffffffff0242ac1100020806000108000604000102") + bytes(19)
_PCAP_HEADER = bytes.fromhex("4d3cb2a1020004000000000000000000000004000100000000000000")


def compile_all() -> None:
    """Fill the machine-code cache; takes the better part of a minute where it is empty."""
    warm_capture()
    warm_drops()
    with tempfile.TemporaryDirectory(prefix="vethscope-") as directory:
        file = Path(directory, "tiny.pcapng")
        file.write_bytes(_tiny())
        report_files([str(file)], packets=True)
        export_pcap(str(file), directory)
        old = Path(directory, "tiny.pcap")
        old.write_bytes(_PCAP_HEADER + np.array([1, 1, 42, 42], "<u4").tobytes() + _FRAME)
        report_files([str(old)])


def _tiny() -> bytes:
    """One frame at the two ends of a veth pair."""
    ends = (
        Vantage("a", "a", Role.CONTAINER, 1, 2, "veth", peer_netns=3, peer_ifindex=4, ring=1),
        Vantage("b", "b", Role.HOST_VETH, 3, 4, "veth", peer_netns=1, peer_ifindex=2, ring=2),
    )
    described = (
        blocks.interface_description(v.name, snaplen=0, comment=json.dumps(v.to_json()))
        for v in ends
    )
    frames = (blocks.enhanced_packet(n, n, _FRAME, len(_FRAME), flags=2 - n) for n in (0, 1))
    drop = blocks.own(encode_drops(Drops(np.zeros(1, ROW), ["b"], [""], [UNKNOWN])))
    return b"".join((blocks.section_header(), *described, *frames, drop))
