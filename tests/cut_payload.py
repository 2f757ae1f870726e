"""Cut the frames of a capture file as a capture with ``--payload once`` does, byte for byte.

The rule is written a second time here, in plain Python over one frame, so that what the kernel runs
can be compared with it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

from analyzer.capture.payload import CUT_BYTES, BridgePorts, Cuts, cut_where
from analyzer.model.vantage import Vantage
from analyzer.savefile.read import open_savefile

EPB, IDB = 6, 1
TCP, UDP, ICMP, ICMPV6, FRAGMENT = 6, 17, 1, 58, 44
NAMED = {53, 5353, 67, 68, 4789, 8472}
"""ports of what is read beyond the cut"""
INGRESS, EGRESS = 1, 2


def vantages_of(path: Path) -> list[Vantage]:
    """Those that the file describes."""
    savefile = open_savefile(str(path))
    for _ in savefile.chunks():
        pass
    comments = [json.loads(one.comment) for one in savefile.interfaces]
    return [Vantage.from_json(comment) for comment in comments]


def cuts_of(vantages: list[Vantage]) -> Cuts:
    """Where frames are cut, where all ports of the bridges are captured."""
    bridges = {
        one.key: BridgePorts(
            [v.ifindex for v in vantages if (v.netns, v.master_ifindex) == (one.netns, one.ifindex)]
        )
        for one in vantages
        if one.is_bridge
    }
    return cut_where(vantages, bridges)


def is_bulk(frame: bytes) -> bool:
    """Whether a whole frame is one whose payload may be cut."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == 0x0800:
        if frame[14] != 0x45:
            return False
        if int.from_bytes(frame[20:22], "big") & 0x1FFF:
            return True
        return _by_protocol(frame, frame[23], 34, {ICMP: (0, 8)})
    if kind != 0x86DD:
        return kind >= 0x600 and kind not in (0x0806, 0x8100, 0x88A8, 0x9100)
    if frame[20] == FRAGMENT:
        return bool(int.from_bytes(frame[56:58], "big") >> 3)
    return _by_protocol(frame, frame[20], 54, {ICMPV6: (128, 129)})


def _by_protocol(frame: bytes, protocol: int, at: int, echoes: dict[int, tuple[int, int]]) -> bool:
    if protocol in (TCP, UDP):
        return not NAMED & set(struct.unpack_from("!HH", frame, at))
    return frame[at] in echoes.get(protocol, ())


def blocks(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, block) of a little-endian pcapng."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from("<II", content, at)
        yield kind, content[at : at + size]
        at += size


def cut_file(whole: Path, to: Path, *, everywhere: bool = False) -> int:
    """Write a file as it would be with payload kept once; returns how many frames were cut."""
    vantages = vantages_of(whole)
    cuts = cuts_of(vantages)
    written, done = [], 0
    for kind, block in blocks(whole.read_bytes()):
        if kind == EPB:
            at, caplen = (
                struct.unpack_from("<I", block, 8)[0],
                struct.unpack_from("<I", block, 20)[0],
            )
            frame, rest = block[28 : 28 + caplen], block[28 + caplen + -caplen % 4 : -4]
            direction = struct.unpack_from("<I", rest, 4)[0] & 3
            assert rest[:4] == struct.pack("<HH", 2, 4)
            side = cuts.egress if direction == EGRESS else cuts.ingress
            here = everywhere or vantages[at].key in side
            if here and len(frame) > CUT_BYTES and is_bulk(frame):
                block = _rebuilt(block, frame[:CUT_BYTES], rest)
                done += 1
        written.append(block)
    to.write_bytes(b"".join(written))
    return done


def _rebuilt(block: bytes, data: bytes, rest: bytes) -> bytes:
    body = block[8:20] + struct.pack("<I", len(data)) + block[24:28]
    body += data + bytes(-len(data) % 4) + rest
    size = struct.pack("<I", len(body) + 12)
    return block[:4] + size + body + size


def declare(path: Path, *, cut: bool) -> None:
    """Have the file say that its frames may be cut, or that they are not."""
    written = []
    for kind, block in blocks(path.read_bytes()):
        if kind == IDB:
            options = [(code, value) for code, value in _options(block[16:-4])]
            block = _described([(c, _declared(v, cut) if c == 1 else v) for c, v in options], block)
        written.append(block)
    path.write_bytes(b"".join(written))


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        code, size = struct.unpack_from("<HH", data)
        if code == 0:
            return
        yield code, data[4 : 4 + size]
        data = data[4 + size + -size % 4 :]


def _declared(comment: bytes, cut: bool) -> bytes:
    told = {name: value for name, value in json.loads(comment).items() if name != "cut_bytes"}
    return json.dumps(told | ({"cut_bytes": CUT_BYTES} if cut else {})).encode()


def _described(options: list[tuple[int, bytes]], block: bytes) -> bytes:
    body = block[8:16]
    for code, value in [*options, (0, b"")]:
        body += struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
    size = struct.pack("<I", len(body) + 12)
    return block[:4] + size + body + size
