"""The times of answers, by the flow that asked: TCP's and UDP's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.flows.growing import Kept, widened
from analyzer.flows.histograms import Histograms

_NEVER = (1 << 63) - 1


class Times(NamedTuple):
    """What a segment has ended, as the answer to a question; [segments] of each."""

    asker: npt.NDArray[np.int64]
    """the flow that had asked"""
    response_ns: npt.NDArray[np.int64]
    """-1: it answers nothing, or cannot be timed"""
    network_ns: npt.NDArray[np.int64]
    """-1: not known"""
    vantage: npt.NDArray[np.int32]
    """where the response was timed"""


class AnswerTimes:
    """The times of answers, by the flow that asked."""

    def __init__(self) -> None:
        self.response, self.network = Histograms(), Histograms()
        self.largest = np.full((2, 0), -1, np.int64)
        """[response and network, flows] ns"""
        self.least = np.full((2, 0), _NEVER, np.int64)
        self.vantage = np.full((1, 0), -1, np.int64)
        """[1, flows] where they were timed last"""

    def add(self, times: Times, flows: int) -> None:
        """Take in those that are; there are so many flows by now."""
        self.largest = widened(self.largest, flows, -1)
        self.least = widened(self.least, flows, _NEVER)
        self.vantage = widened(self.vantage, flows, -1)
        timed = np.flatnonzero(times.response_ns >= 0)
        if not len(timed):
            return
        asker = times.asker[timed]
        self.vantage[0, asker] = times.vantage[timed]
        pairs = ((self.response, times.response_ns), (self.network, times.network_ns))
        for row, (histograms, all_ns) in enumerate(pairs):
            ns = all_ns[timed]
            histograms.add(asker, ns)
            np.maximum.at(self.largest[row], asker, ns)
            np.minimum.at(self.least[row], asker, np.where(ns < 0, _NEVER, ns))

    def keep(self, kept: Kept) -> None:
        """Only these flows."""
        self.response = self.response.regrouped(kept.new_flow)
        self.network = self.network.regrouped(kept.new_flow)
        tables = (self.largest, self.least, self.vantage)
        self.largest, self.least, self.vantage = (table[:, kept.flows] for table in tables)


def no_times(count: int) -> Times:
    """For a loop to fill."""
    return Times(
        np.full(count, -1, np.int64),
        np.full(count, -1, np.int64),
        np.full(count, -1, np.int64),
        np.full(count, -1, np.int32),
    )
