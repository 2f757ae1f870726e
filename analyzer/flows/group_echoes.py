"""Echoes to groups: a ping of a broadcast or multicast address.

Who answers does so with an address of its own (RFC 1122 3.2.1.3), several may, and nobody has to
(3.2.2.6). The first answer to each request is its reply; the others are no duplicates of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.native.keys import mixed
from analyzer.net.ethernet import GROUP_BIT_U64
from analyzer.net.ip import MULTICAST_V4, MULTICAST_V6

MOST = 1 << 16
"""requests that answers are waited for; of more, the oldest are forgotten"""
_KEY = ("site", "asker_hi", "asker_lo", "id", "seq")
"""what a request and its replies have in common"""

Columns = Mapping[str, npt.NDArray[Any]]


def is_for_group(frames: Columns, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """[rows] whether these frames are for more than one node."""
    high, low = (frames[f"dst_{half}"][rows] for half in ("hi", "lo"))
    version = frames["ip_version"][rows]
    to_group: npt.NDArray[np.bool_] = (frames["eth_dst"][rows] & GROUP_BIT_U64) != 0
    to_group |= (version == 4) & ((low >> np.uint64(28)) & np.uint64(0xF) == MULTICAST_V4)
    to_group |= (version == 6) & (high >> np.uint64(56) == MULTICAST_V6)
    return to_group


class GroupEchoes:
    """The requests to groups of a capture, batch by batch."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.uint64)
        self._targets = np.empty((2, 0), np.uint64)
        self._answered = np.empty(0, np.bool_)

    def take(self, events: pl.DataFrame) -> pl.DataFrame:
        """Echo messages in order of time: the first reply to each request is told as one of the
        group's own address, the others are left out."""
        asks = events["to_group"].to_numpy()
        if not len(self._keys) and not asks.any():
            return events
        keys = mixed(*(events[name].to_numpy() for name in _KEY))
        target = np.stack([events[f"target_{half}"].to_numpy() for half in ("hi", "lo")])
        self._remember(keys[asks], target[:, asks])
        rows, number = self._replies(keys, ~events["asked"].to_numpy())
        first = np.zeros(len(rows), np.bool_)
        first[np.unique(number, return_index=True)[1]] = True
        first &= ~self._answered[number]
        self._answered[number] = True
        target[:, rows] = self._targets[:, number]
        kept = np.ones(len(events), np.bool_)
        kept[rows[~first]] = False
        told = events.with_columns(
            pl.Series("target_hi", target[0]), pl.Series("target_lo", target[1])
        )
        return told.filter(pl.Series(kept))

    def _remember(self, keys: npt.NDArray[np.uint64], target: npt.NDArray[np.uint64]) -> None:
        keys = np.concatenate([self._keys, keys])
        targets = np.concatenate([self._targets, target], axis=1)
        answered = np.zeros(len(keys), np.bool_)
        answered[: len(self._answered)] = self._answered
        # the latest of those with the same number
        latest = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
        latest = np.sort(latest)[-MOST:]
        self._keys, self._targets = keys[latest], targets[:, latest]
        self._answered = answered[latest]

    def _replies(
        self, keys: npt.NDArray[np.uint64], replies: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """(rows of replies to what is remembered, which of it)."""
        order = np.argsort(self._keys)
        place = np.searchsorted(self._keys[order], keys).clip(max=len(order) - 1)
        number = order[place]
        rows = np.flatnonzero((self._keys[number] == keys) & replies)
        return rows, number[rows]
