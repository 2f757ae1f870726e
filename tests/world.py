"""A small world with known truth: vantages of one host and frames that crossed them.

`World.send` writes down where a packet was seen, as the kernel would show it: bridge copies
with the ingress stamp, frames of the host's namespace in one ring, each container's in its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from analyzer.correlate.correlate import correlate
from analyzer.correlate.loss import Watch
from analyzer.model.frames import DECODED
from analyzer.model.journeys import Journeys
from analyzer.model.vantage import Role, Vantage

HOST_NS = 1
BROADCAST = (1 << 48) - 1
BRIDGE_MAC = 0x0242000000FF
MICRO = 1_000


def mac_of(number: int) -> int:
    return 0x0242AC110000 + number + 1


def mac_text(value: int) -> str:
    return ":".join(f"{value >> s & 0xFF:02x}" for s in range(40, -8, -8))


@dataclass
class World:
    """``containers`` on docker0, c0, c1 …; vantage names as in the product."""

    containers: int = 2
    inside: bool = True
    base_netns: int = 0
    qdisc: str = "noqueue"
    rows: list[dict[str, int]] = field(default_factory=list)
    vantages: list[Vantage] = field(default_factory=list)

    def __post_init__(self) -> None:
        host = self.base_netns + HOST_NS
        self.vantages.append(
            Vantage(
                "docker0",
                "docker0",
                Role.BRIDGE,
                host,
                3,
                "bridge",
                mac_text(BRIDGE_MAC),
                ("172.17.0.1/16",),
                promiscuous=True,
                bridge="docker0",
                ring=self.base_netns,
            ),
        )
        for n in range(self.containers):
            inside, port = self.base_netns + 100 + n, 10 + 2 * n
            name = f"c{n}"
            self.vantages.append(
                Vantage(
                    f"veth{n}",
                    f"veth{n}",
                    Role.HOST_VETH,
                    host,
                    port,
                    "veth",
                    f"66:00:00:00:{n >> 8:02x}:{n & 255:02x}",
                    container=name,
                    peer=f"{name}:eth0",
                    peer_mac=mac_text(mac_of(n)),
                    peer_addresses=(f"172.17.{n + 2 >> 8}.{n + 2 & 255}/16",),
                    peer_netns=inside,
                    peer_ifindex=9,
                    bridge="docker0",
                    master_ifindex=3,
                    qdisc=self.qdisc,
                    ring=self.base_netns,
                ),
            )
            if self.inside:
                self.vantages.append(
                    Vantage(
                        f"{name}:eth0",
                        "eth0",
                        Role.CONTAINER,
                        inside,
                        9,
                        "veth",
                        mac_text(mac_of(n)),
                        (f"172.17.{n + 2 >> 8}.{n + 2 & 255}/16",),
                        container=name,
                        peer=f"veth{n}",
                        peer_netns=host,
                        peer_ifindex=port,
                        bridge="docker0",
                        qdisc="noqueue",
                        ring=self.base_netns + n + 1,
                    ),
                )

    def at(self, name: str) -> int:
        return next(i for i, v in enumerate(self.vantages) if v.name == name)

    def see(self, name: str, egress: bool, ts_ns: int, **columns: int) -> None:
        """One frame at one vantage; nothing where the vantage is not captured."""
        if any(v.name == name for v in self.vantages):
            flags = 2 if egress else 1
            self.rows.append({"vantage": self.at(name), "flags": flags, "ts_ns": ts_ns, **columns})

    def send(
        self,
        source: int,
        target: int,
        at_us: float,
        key: int,
        *,
        upto: int = 5,
        hop_us: tuple[float, float, float] = (5, 80, 2),
    ) -> None:
        """A unicast from c<source> to c<target>; lost after ``upto`` of its five sightings."""
        t = int(at_us * MICRO)
        enter, leave = t + int(hop_us[0] * MICRO), t + int(sum(hop_us[:2]) * MICRO)
        arrive = leave + int(hop_us[2] * MICRO)
        frame = {
            "l2key": key,
            "eth_src": mac_of(source),
            "eth_dst": mac_of(target),
            "truth": len(self.rows),
        }
        steps = [
            (f"c{source}:eth0", True, t),
            (f"veth{source}", False, enter),
            (f"veth{target}", True, leave),
            ("docker0", False, enter),
            (f"c{target}:eth0", False, arrive),
        ]
        seen = steps if upto == 5 else [s for s in steps if s[2] <= steps[upto - 1][2]]
        if upto == 2:
            seen = [steps[0], steps[1], steps[3]]
        for name, egress, ts in seen:
            self.see(name, egress, ts, **frame)

    def flood(self, source: int, at_us: float, key: int) -> None:
        """A broadcast: in at one port, out of all others, and up to the host."""
        t = int(at_us * MICRO)
        frame = {
            "l2key": key,
            "eth_src": mac_of(source),
            "eth_dst": BROADCAST,
            "truth": len(self.rows),
        }
        self.see(f"c{source}:eth0", True, t, **frame)
        self.see(f"veth{source}", False, t + 5 * MICRO, **frame)
        for n in (n for n in range(self.containers) if n != source):
            self.see(f"veth{n}", True, t + (40 + n) * MICRO, **frame)
            self.see(f"c{n}:eth0", False, t + (42 + n) * MICRO, **frame)
        self.see("docker0", False, t + 5 * MICRO, **frame)

    def frames(self) -> dict[str, np.ndarray]:
        """The columns; rows of one ring in the order they were seen, rings merged by time."""
        high: dict[int, int] = {}
        keyed = []
        if self.qdisc != "noqueue":  # the egress tap fires when the queue lets the frame go
            self.rows.sort(key=lambda row: row["ts_ns"])
        for row in self.rows:
            ring = self.vantages[row["vantage"]].ring
            high[ring] = max(high.get(ring, 0), row["ts_ns"])
            keyed.append((high[ring], row))
        rows = [row for _, row in sorted(keyed, key=lambda pair: pair[0])]
        kinds = {
            **DECODED,
            "ts_ns": "int64",
            "vantage": "int32",
            "flags": "uint32",
            "caplen": "uint32",
            "wirelen": "uint32",
            "truth": "int64",
        }
        return {n: np.array([r.get(n, 0) for r in rows], k) for n, k in kinds.items()}

    def correlate(self, **options: object) -> tuple[dict[str, np.ndarray], Journeys]:
        frames = self.frames()
        count = len(self.vantages)
        watch = Watch(
            np.zeros(count, np.int64), np.full(count, 1 << 62, np.int64), np.ones(count, np.bool_)
        )
        return frames, correlate(frames, self.vantages, options.pop("watch", watch), **options)

    def name(self, vantage: int) -> str:
        return self.vantages[vantage].name


def assert_no_false_match(frames: dict[str, np.ndarray], journeys: Journeys) -> None:
    """Every edge ties two frames of the same true packet."""
    child = np.flatnonzero(journeys.parent >= 0)
    assert (frames["truth"][child] == frames["truth"][journeys.parent[child]]).all()
