"""That a MAC is at another port of its bridge than before: by learning, by hand, or by a spoofer.

A bridge tells of each entry that it learns and forgets, and most of that is no news. What was in
the tables when listening began is given by `know`.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from analyzer.model.evidence import KernelEvent
from analyzer.model.kernel_state import FdbState
from analyzer.recorders.evidence.bridging import decode_fdb

MOST_REMEMBERED = 1 << 14
_Key = tuple[int, int, str, int]
"""namespace, bridge, MAC, VLAN"""


class FdbMoves(Struct):
    """Notifications in, moves out; of a MAC that has moved, all that is told from then on."""

    _ports: dict[_Key, int] = field(default_factory=dict)
    """where each was last"""
    _moved: set[_Key] = field(default_factory=set)

    def know(self, netns: int, entries: Iterable[FdbState]) -> None:
        """What a namespace's bridges have in their tables."""
        for one in entries:
            if one.bridge:
                self._ports[_key(netns, one)] = one.ifindex

    def change(self, is_there: bool, body: bytes, netns: int) -> KernelEvent | None:
        """Of one message of the family AF_BRIDGE."""
        one = decode_fdb(body)
        if one is None or not one.bridge:
            return None
        key = _key(netns, one)
        if not is_there:
            return self._event("gone", key, one.ifindex) if key in self._moved else None
        if len(self._ports) >= MOST_REMEMBERED:
            self._ports.clear()
        before = self._ports.get(key, one.ifindex)
        self._ports[key] = one.ifindex
        if before == one.ifindex and key not in self._moved:
            return None
        self._moved.add(key)
        return self._event("changed", key, one.ifindex, f"from port {before}")

    @staticmethod
    def _event(action: str, key: _Key, port: int, detail: str = "") -> KernelEvent:
        return KernelEvent(0, key[0], "fdb", action, key[2], detail, port, bridge=key[1])


def _key(netns: int, one: FdbState) -> _Key:
    return netns, one.bridge, one.mac, one.vlan
