"""TCP conversations drawn at random, as one capture at one place; and what tshark counts in it."""

from __future__ import annotations

import random
import struct
import subprocess
from collections import Counter
from pathlib import Path

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
S = 1_000_000_000

# Our column ← tshark's field, counted for each conversation.
FLAGS = {
    "retransmissions": "tcp.analysis.retransmission",
    "fast_retransmissions": "tcp.analysis.fast_retransmission",
    "spurious_retransmissions": "tcp.analysis.spurious_retransmission",
    "out_of_order": "tcp.analysis.out_of_order",
    "duplicate_acks": "tcp.analysis.duplicate_ack",
    "zero_windows": "tcp.analysis.zero_window",
    "keep_alives": "tcp.analysis.keep_alive",
    "gaps": "tcp.analysis.lost_segment",
    "resets": "tcp.flags.reset",
}


class Talk:
    """One connection's segments, (ts_ns, frame) each."""

    def __init__(self, port: int, start_ns: int, noise: random.Random) -> None:
        self.port, self.now, self.noise = port, start_ns, noise
        self.isn = [noise.randrange(2**32), noise.randrange(2**32)]
        self.next = list(self.isn)
        self.window = [64000, 64000]
        self.frames: list[tuple[int, bytes]] = []

    def send(
        self,
        side: int,
        flags: int,
        *,
        seq: int | None = None,
        length: int = 0,
        ack: int | None = None,
        window: int | None = None,
    ) -> None:
        """side 0 is the client. seq, ack: as they would be where they are not given."""
        self.now += self.noise.choice([1_000, 50_000, 400_000, 5_000_000, 50_000_000])
        at = self.next[side] if seq is None else seq % 2**32
        acked = (self.next[1 - side] if ack is None else ack % 2**32) if flags & ACK else 0
        ports = (self.port, 80) if side == 0 else (80, self.port)
        told = self.window[side] if window is None else window
        tcp = struct.pack("!HHIIBBHHH", *ports, at, acked, 0x50, flags, told, 0, 0) + bytes(length)
        hosts = [bytes([172, 17, 0, 2]), bytes([172, 17, 0, 3])]
        ends = hosts[side] + hosts[1 - side]
        ident = self.noise.randrange(65536)
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), ident, 0x4000, 64, 6, 0) + ends
        macs = [bytes.fromhex("0242ac110001"), bytes.fromhex("0242ac110002")]
        self.frames.append((self.now, macs[1 - side] + macs[side] + b"\x08\x00" + ip + tcp))
        end = (at + length + (1 if flags & (SYN | FIN) else 0)) % 2**32
        if 0 < (end - self.next[side]) % 2**32 < 2**31:
            self.next[side] = end

    def shake(self) -> None:
        for side, flags in ((0, SYN), (1, SYN | ACK)):
            for _ in range(self.noise.choice([1, 1, 1, 2])):
                self.send(side, flags, seq=self.isn[side])
        self.send(0, ACK)

    def step(self) -> None:
        """Something that happens to connections."""
        noise, side = self.noise, self.noise.randrange(2)
        back = noise.choice([1, 100, 500, 1000, 1500, 3000])
        kind = noise.choice(KINDS)
        if kind == "data":
            self.send(side, ACK | PSH, length=noise.choice([1, 100, 500, 1448]))
        elif kind == "ack":
            self.send(side, ACK)
        elif kind == "old ack":
            self.send(side, ACK, ack=self.next[1 - side] - back)
        elif kind == "again":
            self.send(side, ACK, seq=self.next[side] - back, length=noise.choice([1, 100, 500]))
        elif kind == "hole":
            self.send(side, ACK, seq=self.next[side] + back, length=100)
        elif kind == "repeat":
            ack = self.next[1 - side] - noise.choice([0, back])
            for _ in range(noise.randrange(2, 5)):
                self.send(side, ACK, ack=ack)
            self.send(1 - side, ACK, seq=ack, length=100)
        elif kind == "keep-alive":
            self.send(side, ACK, seq=self.next[side] - 1, length=noise.randrange(2))
            self.send(1 - side, ACK)
        elif kind == "window":
            self.window[side] = noise.choice([0, 0, 500, 64000])
            self.send(side, ACK)
        elif kind == "probe":
            self.send(side, ACK, seq=self.next[side], length=1)
            self.send(1 - side, ACK)
        elif kind == "reopen":
            self.isn = [noise.randrange(2**32), noise.randrange(2**32)]
            self.next = list(self.isn)
            self.shake()
        elif kind == "end":
            self.send(side, noise.choice([FIN | ACK, RST, RST | ACK]))


KINDS = (
    ["data"] * 6
    + ["ack"] * 3
    + [
        "old ack",
        "again",
        "again",
        "hole",
        "repeat",
        "keep-alive",
        "window",
        "probe",
        "end",
        "reopen",
    ]
)


def draw_talks(seed: int, count: int, steps: int) -> list[Talk]:
    """Connections on ports 40000, 40001 …; one in four is seen without its beginning."""
    talks = []
    for number in range(count):
        noise = random.Random(seed * 1000 + number)
        talk = Talk(40000 + number, 1000 * S + number * 1000, noise)
        if noise.random() < 0.75:
            talk.shake()
        for _ in range(noise.randrange(1, steps)):
            talk.step()
        talks.append(talk)
    return talks


def write_pcap(path: Path, frames: list[tuple[int, bytes]]) -> None:
    out = struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
    for ts, frame in sorted(frames, key=lambda pair: pair[0]):
        out += struct.pack("=IIII", ts // S, ts % S, len(frame), len(frame)) + frame
    path.write_bytes(out)


def count_by_tshark(path: Path) -> dict[int, dict[str, int]]:
    """Client's port → what tshark counts; initial_rtt_ns where it tells one."""
    fields = ["tcp.port", *FLAGS.values(), "tcp.analysis.initial_rtt"]
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    command += ["-o", "tcp.calculate_timestamps:TRUE"]
    command += [word for field in fields for word in ("-e", field)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[int, Counter[str]] = {}
    for line in done.stdout.split("\n")[:-1]:
        ports, *values = line.split("|")
        port = max(map(int, ports.split(",")))
        counts = found.setdefault(port, Counter())
        for name, value in zip(FLAGS, values, strict=False):
            counts[name] += value.split(",")[0] in ("1", "True")
        if values[-1] and "initial_rtt_ns" not in counts:
            whole, _, part = values[-1].partition(".")
            counts["initial_rtt_ns"] = int(whole) * S + int(part.ljust(9, "0"))
    return {port: dict(counts) for port, counts in found.items()}
