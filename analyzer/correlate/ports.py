"""Where each MAC lives: which captured port leads to it, or which vantage bears it itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.stages import BRIDGE, PORT, STATION, Layout
from analyzer.model.vantage import Role, Vantage
from analyzer.native.compiled import compiled
from analyzer.native.keys import KeyNumbers, mix, mixed
from analyzer.net.ethernet import mac_value

_MOST_LEARNED = 50_000
"""MACs that the capture itself shows at ports: whoever sends frames can forge them"""


class Ports:
    """By the pairs, then the bridges' own tables, then by what the capture itself showed."""

    def __init__(self) -> None:
        self._seen = KeyNumbers()
        self._learned: dict[tuple[int, int], int] = {}
        self._leading: dict[tuple[int, int], int] = {}
        self._bearers: dict[tuple[int, int], list[int]] = {}
        self._known = KeyNumbers()
        """of the keys of ``_leading``"""
        self._leads = np.full(1, -1, np.int64)
        """by their numbers, and -1 at the end"""

    def learn(
        self,
        layout: Layout,
        stage: npt.NDArray[np.int32],
        vantage: npt.NDArray[np.int32],
        eth_src: npt.NDArray[np.uint64],
    ) -> None:
        """Take note of the source MACs that came in at ports, as the bridge itself does."""
        keys, rows = np.empty(len(stage), np.uint64), np.empty(len(stage), np.int64)
        count = _entries(stage, vantage, eth_src, layout.kind, keys, rows)
        for row in rows[self._seen.take(keys[:count])[1]]:
            at = int(vantage[row])
            self._learned[int(layout.segment[at]), int(eth_src[row])] = at
        if len(self._learned) > _MOST_LEARNED:
            latest = list(self._learned.items())[-(_MOST_LEARNED // 2) :]
            self._learned, self._seen = dict(latest), KeyNumbers()

    def resolve(
        self, layout: Layout, vantages: Sequence[Vantage], latest: Mapping[str, Sequence[Any]]
    ) -> None:
        """Put together what is known now; ``latest`` as for `fdb_ports`."""
        self._bearers = {}
        leading = dict(self._learned)
        leading.update(fdb_ports(vantages, layout, latest))
        for v in range(layout.count):
            key = (int(layout.segment[v]), int(layout.mac[v]))
            if layout.kind[v] == STATION and layout.peer[v] >= 0:
                leading[key] = int(layout.peer[v])
                self._bearers.setdefault(key, []).append(leading[key])
            elif layout.kind[v] == STATION:
                leading.setdefault(key, v)
            elif layout.kind[v] == BRIDGE:
                leading[key] = v
        if leading != self._leading:
            self._leading, self._known = leading, KeyNumbers()
            segment = np.array([segment for segment, _ in leading], np.int32)
            self._known.take(mixed(np.array([mac for _, mac in leading], np.uint64), segment))
            self._leads = np.array([*leading.values(), -1], np.int64)

    def leading_to(
        self, segment: npt.NDArray[np.int32], mac: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.int64]:
        """[p] vantage that leads to each (segment, MAC); -1 where unknown."""
        return self._leads.take(self._known.find(mixed(mac, segment)))

    def leading_then(
        self,
        segment: npt.NDArray[np.int32],
        mac: npt.NDArray[np.uint64],
        ts_ns: npt.NDArray[np.int64],
        start_ns: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """The same at a time: who had a MAC before the last one bore it. start_ns: [v]."""
        leading = self.leading_to(segment, mac)
        early = np.flatnonzero((leading >= 0) & (ts_ns < start_ns.take(leading, mode="clip")))
        if not len(early) or all(len(ports) < 2 for ports in self._bearers.values()):
            return leading
        keys = [(int(segment[row]), int(mac[row])) for row in early]
        for key in set(keys):
            ports = np.array(sorted(self._bearers.get(key, ()), key=lambda v: int(start_ns[v])))
            if len(ports) > 1:
                rows = early[[at for at, one in enumerate(keys) if one == key]]
                place = np.searchsorted(start_ns[ports], ts_ns[rows], side="right") - 1
                leading[rows[place >= 0]] = ports[place[place >= 0]]
        return leading


@compiled
def _entries(stage: Any, vantage: Any, eth_src: Any, kind: Any, keys: Any, rows: Any) -> Any:
    """Fill ``keys`` and ``rows`` with frames that came in at ports, runs skipped; how many."""
    count = 0
    before_mac, before_v = np.uint64(0), np.int32(-1)
    for row in range(len(stage)):
        v = vantage[row]
        enters = stage[row] == 1 and kind[v] == PORT
        if enters and (eth_src[row] != before_mac or v != before_v):
            before_mac, before_v = eth_src[row], v
            keys[count], rows[count] = mix(eth_src[row], np.uint64(v)), row
            count += 1
    return count


def fdb_ports(
    vantages: Sequence[Vantage],
    layout: Layout,
    latest: Mapping[str, Sequence[tuple[str, int]]],
) -> dict[tuple[int, int], int]:
    """(segment, MAC value) → port vantage, from the bridges' tables; the latest wins."""
    index = {v.key: i for i, v in enumerate(vantages) if v.ifindex}
    ports: dict[tuple[int, int], int] = {}
    for i, vantage in enumerate(vantages):
        if vantage.role is not Role.BRIDGE:
            continue
        for mac, port in (*vantage.fdb, *latest.get(vantage.name, ())):
            at = index.get((vantage.space, port))
            if at is not None:
                ports[(int(layout.segment[i]), mac_value(mac))] = at
    return ports
