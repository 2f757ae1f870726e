"""Journeys of known truth, as frames: what correlation makes of them is scored.

Containers on a bridge send UDP, TCP and fragments to each other. Every packet's sightings are
drawn: where it was lost, when each tap saw it, which bytes each vantage kept. The frames go through
the decoder and the correlator in chunks, as those of a file do, and every link is compared with
the truth.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from truth_bytes import FRAGMENTS, GSO, ROOM, UDP, bytes_of
from world import World

from analyzer.correlate.correlate import Correlator
from analyzer.correlate.loss import Watch
from analyzer.decode.frames import decode_frames
from analyzer.decode.identity import key_bytes_for
from analyzer.model.frames import FrameChunk
from analyzer.model.journeys import Status
from analyzer.model.vantage import Vantage

S = 1_000_000_000
START_NS = 1_000 * S
_FOREVER = 1 << 62
_BLOCK = 20_000
"""packets that are drawn at once, however large the chunks are"""
SENT, ENTERED, COPIED, LEFT, ARRIVED = range(5)
"""the sightings of a packet: at both ends of the sender's pair, docker0, both of the receiver's"""
DELIVERED = ARRIVED
_VETH_US, _BRIDGE_US = 3.0, 30.0


class Scenario(Struct, frozen=True):
    """What happens to the packets. Shares and chances are from 0 to 1."""

    packets: int = 1000
    containers: int = 3
    spacing_us: float = 50.0
    """between packets on the average; less than a bridge hop takes: they overtake each other"""
    jitter: float = 0.5
    """sigma of the lognormal hop delays; 0: all alike"""
    loss: float = 0.0
    """chance of being lost, at each of the three hops"""
    twice: float = 0.0
    """chance of a packet being sent a second time, bit for bit the same, soon after"""
    identical: float = 0.0
    """share of packets out of a pool of ten that repeat for ever, with IP id 0"""
    zero_id: float = 0.0
    """share of packets with IP id 0; their payload differs"""
    kinds: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    """shares of UDP, TCP, TCP that is cut into segments in the bridge, fragmented UDP"""
    missing: tuple[str, ...] = ()
    """vantages that were not captured"""
    snaplens: tuple[int, ...] = (0,)
    """of the vantages in turn; 0: no limit"""
    flush_us: float = 0.0
    """how much later the containers' rings are written to the file than the host's"""
    own_stamps: bool = False
    """docker0's copies bear their own stamp, as of TCP frames without a receive stamp"""
    seed: int = 1


class Score(Struct):
    """Links of frames to the one they came from, and packets called lost."""

    links: int = 0
    """there are, between frames that were captured"""
    certain: int = 0
    likely: int = 0
    """right ones"""
    false_certain: int = 0
    false_likely: int = 0
    lost: int = 0
    """packets that were lost"""
    said_lost: int = 0
    falsely_lost: int = 0
    """packets said to be lost that were not, or somewhere else"""

    @property
    def recall(self) -> float:
        return (self.certain + self.likely) / self.links if self.links else 1.0

    def add(self, other: Score) -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def score(scenario: Scenario, chunk_frames: int = 1 << 16) -> Score:
    """Let the scenario happen and count what correlation made of it."""
    bed = _Bed(scenario)
    correlator, total, carried = Correlator(), Score(), None
    count = len(bed.vantages)
    watch = Watch(np.zeros(count, np.int64), np.full(count, _FOREVER), np.ones(count, np.bool_))
    for frames, final in bed.chunks(chunk_frames):
        if carried is not None:
            frames = {n: np.concatenate([carried[n], frames[n]]) for n in frames}
        now = int(np.median(frames["ts_ns"][-101:])) if len(frames["ts_ns"]) else 0
        journeys, links = correlator.correlate(frames, bed.vantages, watch)
        carried = None
        if not final:
            open_ = correlator.close(frames, journeys, links, now, False)
            carried = {n: column[open_] for n, column in frames.items()}
        total.add(_compare(frames, journeys))
    total.links, total.lost = bed.links, bed.lost
    return total


def _compare(frames, journeys) -> Score:
    """The links and losses of the packets of one batch."""
    child = np.flatnonzero((journeys.parent >= 0) & (journeys.packet >= 0))
    parent, likely = journeys.parent[child], journeys.likely[child]
    right = frames["truth"][child] == frames["truth"][parent]
    pieces = frames["piece"][child], frames["piece"][parent]
    right &= (pieces[0] == pieces[1]) | (pieces[1] < 0)
    last = journeys.last[journeys.status == Status.LOST]
    # a frame cut into segments is one packet: it is lost where one of them is
    truly = frames["fate"][last] == frames["sight"][last]
    return Score(
        certain=int((right & ~likely).sum()),
        likely=int((right & likely).sum()),
        false_certain=int((~right & ~likely).sum()),
        false_likely=int((~right & likely).sum()),
        said_lost=len(last),
        falsely_lost=int((~truly).sum()),
    )


class _Bed:
    """The frames of a scenario, chunk by chunk."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        world = World(containers=scenario.containers)
        self._all = world.vantages
        kept = [v for v in world.vantages if v.name not in scenario.missing]
        self.vantages: list[Vantage] = kept
        index = {v.name: i for i, v in enumerate(kept)}
        ends = range(scenario.containers)
        self._inside = np.array([index.get(f"c{n}:eth0", -1) for n in ends], np.int32)
        self._port = np.array([index.get(f"veth{n}", -1) for n in ends], np.int32)
        self._bridge = index.get("docker0", -1)
        cycle = [scenario.snaplens[i % len(scenario.snaplens)] for i in range(len(kept))]
        self._snaplen = np.array([s or ROOM for s in cycle], np.int64)
        self._key_bytes = key_bytes_for(cycle)
        self._random = np.random.default_rng(scenario.seed)
        self._late: dict[str, np.ndarray] | None = None
        self._number = 0
        self._made = 0
        self.links = 0
        self.lost = 0

    def chunks(self, most: int) -> Iterator[tuple[dict[str, np.ndarray], bool]]:
        """(decoded frames with truth, piece, fate and sight; whether these are the last)."""
        first, packets = 0, self.scenario.packets
        while first < packets:
            count = min(_BLOCK, packets - first)
            sights = self._sightings(first, count)
            first += count
            frames = self._frames(self._in_order(sights, first >= packets))
            for start in range(0, len(frames["truth"]), most):
                piece = {n: column[start : start + most] for n, column in frames.items()}
                yield piece, first >= packets and start + most >= len(frames["truth"])

    def _in_order(self, sights: dict[str, np.ndarray], final: bool) -> dict[str, np.ndarray]:
        """In the order of the file; what comes after the next packets begin waits for them."""
        if self._late is not None:
            sights = {n: np.concatenate([self._late[n], sights[n]]) for n in sights}
        order = np.argsort(sights["order"], kind="stable")
        sights = {n: column[order] for n, column in sights.items()}
        until = _FOREVER if final else self._next_ns
        now = sights["order"] < until
        self._late = {n: column[~now] for n, column in sights.items()}
        return {n: column[now] for n, column in sights.items()}

    def _packets(self, first: int, count: int) -> dict[str, np.ndarray]:
        """What is sent: [count] and those sent twice, in order of time."""
        plan, draw = self.scenario, self._random
        sent = START_NS + int(first * plan.spacing_us * 1000)
        gaps = draw.exponential(plan.spacing_us * 1000, count)
        at = sent + np.cumsum(gaps * count / max(gaps.sum() / plan.spacing_us / 1000, 1)).astype(
            np.int64
        )
        self._next_ns = START_NS + int((first + count) * plan.spacing_us * 1000)
        number = np.arange(first, first + count)
        identical = draw.random(count) < plan.identical
        kind = draw.choice(4, count, p=np.array(plan.kinds) / sum(plan.kinds))
        kind[identical] = UDP
        source = draw.integers(0, plan.containers, count)
        packets = {
            "at": at,
            "kind": kind,
            "source": source,
            "target": (source + draw.integers(1, plan.containers, count)) % plan.containers,
            "content": np.where(identical, draw.integers(0, 10, count), number + 1000),
            "ident": np.where(
                identical | (draw.random(count) < plan.zero_id), 0, number % 65535 + 1
            ),
        }
        again = (draw.random(count) < plan.twice) & (kind == UDP)
        copies = {n: column[again] for n, column in packets.items()}
        copies["at"] = copies["at"] + draw.integers(500, 400_000, again.sum())
        both = {n: np.concatenate([packets[n], copies[n]]) for n in packets}
        if plan.kinds[FRAGMENTS]:
            both = _with_fragments(both)
        order = np.argsort(both["at"], kind="stable")
        return {n: column[order] for n, column in both.items()}

    def _sightings(self, first: int, count: int) -> dict[str, np.ndarray]:
        """Every sighting that is captured, in no order; counts links and losses of the truth."""
        packets = self._packets(first, count)
        n = len(packets["at"])
        truth = np.arange(self._made, self._made + n)
        self._made += n
        cut = packets["kind"] == GSO
        pieces = np.concatenate([np.zeros(n, np.int64), np.ones(cut.sum()), np.full(cut.sum(), 2)])
        rows = np.concatenate([np.arange(n), np.flatnonzero(cut), np.flatnonzero(cut)]).astype(int)
        fate = self._fates(len(rows))
        whole = fate[:n]
        for piece in (1, 2):  # before the cut a packet is one
            here = np.flatnonzero(pieces == piece)
            early = whole[rows[here]] <= ENTERED
            fate[here] = np.where(early | (fate[here] <= ENTERED), whole[rows[here]], fate[here])
        torn = np.bincount(rows[(fate == ENTERED) & (pieces > 0)], minlength=n) > 0
        fate_before = np.where(torn, np.minimum(whole, ENTERED), whole)[rows]
        stamps = self._stamps(packets["at"], rows, pieces)
        parts = []
        for sight in range(5):
            seen = (fate >= sight) | ((sight == COPIED) & (fate == ENTERED))
            if sight <= COPIED:
                seen &= pieces == 0
            parts.append(
                self._sight(
                    sight,
                    packets,
                    rows,
                    pieces,
                    fate_before if sight <= COPIED else fate,
                    stamps,
                    truth,
                    seen,
                )
            )
        found = {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}
        self._count_truth(found, fate, rows)
        return found

    def _fates(self, count: int) -> np.ndarray:
        """The last sighting of each, COPIED never being it."""
        draw = self._random.random((3, count)) < self.scenario.loss
        fate = np.full(count, DELIVERED)
        for hop, last in ((2, LEFT), (1, ENTERED), (0, SENT)):
            fate[draw[hop]] = last
        return fate

    def _stamps(self, at: np.ndarray, rows: np.ndarray, pieces: np.ndarray) -> list[np.ndarray]:
        """By sighting: when each tap saw it. Segments leave one after the other."""
        draw, sigma = self._random, self.scenario.jitter

        def delay(mean_us: float, count: int) -> np.ndarray:
            return (mean_us * 1000 * draw.lognormal(0, sigma, count)).astype(np.int64) + 1

        entered = (at + delay(_VETH_US, len(at)))[rows]
        left = entered + delay(_BRIDGE_US, len(rows)) + pieces.astype(np.int64) * 700
        return [at[rows], entered, entered, left, left + delay(_VETH_US, len(rows))]

    def _sight(
        self,
        sight: int,
        packets: dict[str, np.ndarray],
        rows: np.ndarray,
        pieces: np.ndarray,
        fate: np.ndarray,
        stamps: list[np.ndarray],
        truth: np.ndarray,
        seen: np.ndarray,
    ) -> dict[str, np.ndarray]:
        end = packets["source"] if sight in (SENT, ENTERED) else packets["target"]
        place = self._inside if sight in (SENT, ARRIVED) else self._port
        vantage = place[end[rows]] if sight != COPIED else np.full(len(rows), self._bridge)
        kept = np.flatnonzero(seen & (vantage >= 0))
        which = rows[kept]
        ts = stamps[sight][kept]
        order = np.where(sight == COPIED, stamps[LEFT][kept] + 200, ts)
        if sight in (SENT, ARRIVED):
            order = order + int(self.scenario.flush_us * 1000)
        if sight == COPIED and self.scenario.own_stamps:
            ts = order
        uncut = (packets["kind"][which] != GSO) | (sight <= COPIED)
        return {
            **{
                name: packets[name][which]
                for name in ("kind", "source", "target", "content", "ident")
            },
            "fate": self._seen_last(fate[kept], packets, which),
            "vantage": vantage[kept].astype(np.int32),
            "flags": np.full(len(kept), 2 if sight in (SENT, LEFT) else 1, np.uint32),
            "ts": ts.astype(np.int64),
            "order": order.astype(np.int64),
            "truth": truth[which],
            "piece": np.where(uncut, -1, pieces[kept]).astype(np.int64),
            "sight": np.full(len(kept), sight),
        }

    def _seen_last(
        self, fate: np.ndarray, packets: dict[str, np.ndarray], which: np.ndarray
    ) -> np.ndarray:
        """The last sighting that was captured, docker0's copy aside."""
        source, target = packets["source"][which], packets["target"][which]
        places = (
            (SENT, self._inside[source]),
            (ENTERED, self._port[source]),
            (LEFT, self._port[target]),
            (ARRIVED, self._inside[target]),
        )
        found = np.full(len(fate), -1)
        for sight, place in places:
            found[(place >= 0) & (fate >= sight)] = sight
        return found

    def _count_truth(
        self, found: dict[str, np.ndarray], fate: np.ndarray, rows: np.ndarray
    ) -> None:
        """Links: every sighting but a packet's first. Packets lost: pieces count as one."""
        self.links += len(found["truth"]) - len(np.unique(found["truth"]))
        self.lost += len(np.unique(rows[fate < DELIVERED]))

    def _frames(self, sights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The sightings as decoded frames."""
        data, wirelen = bytes_of(sights)
        n = len(wirelen)
        caplen = np.minimum(np.minimum(wirelen, self._snaplen[sights["vantage"]]), ROOM)
        chunk = FrameChunk(
            data.reshape(-1),
            np.arange(n, dtype=np.int64) * ROOM,
            caplen.astype(np.uint32),
            wirelen.astype(np.uint32),
            sights["ts"],
            sights["vantage"],
            sights["flags"],
        )
        linktypes = np.ones(max(len(self.vantages), 1), np.int32)
        columns = decode_frames(chunk, linktypes, self._key_bytes)
        number = np.arange(self._number, self._number + n)
        self._number += n
        kept = {
            name: sights[name] for name in ("vantage", "flags", "truth", "piece", "sight", "fate")
        }
        return {
            **columns,
            **kept,
            "ts_ns": sights["ts"],
            "number": number,
            "wirelen": chunk.wirelen,
            "caplen": chunk.caplen,
        }


def _with_fragments(packets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each fragmented datagram as two packets; kind FRAGMENTS + 1 is the second one."""
    second = {n: column[packets["kind"] == FRAGMENTS] for n, column in packets.items()}
    second["kind"] = second["kind"] + 1
    second["at"] = second["at"] + 1200
    return {n: np.concatenate([packets[n], second[n]]) for n in packets}


def scenario(**changes: object) -> Scenario:
    """The usual one with changes."""
    return replace(Scenario(), **changes)
