"""Ask the engine whose the newcomers are, in a thread of its own.

A busy engine takes a second to answer, and what the kernel tells of a newcomer cannot wait so
long: by then a short container is gone. So what is asked is put here, and answers are looked up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from analyzer.engines.base import Engine
from analyzer.errors import EnvironmentProblem
from analyzer.model.topology import Container

_PAUSE_S = 0.03
"""between two questions, and at least as long as the last answer took"""
_LISTING_S = 0.5
"""an engine that knows a network's endpoints is not asked for all its containers before"""
_REST = 5
"""after the engine was asked for all its containers, it is left alone for so many times as long"""
_ENDING_S = 1.0
"""an engine that does not answer does not hold up the end any longer"""


class Question(Struct, frozen=True):
    """Whose is the port of a bridge that appeared?"""

    bridge: str
    since_s: float
    """when it appeared, on the monotonic clock: what the engine told before is of others"""
    inode: int
    """of the namespace in which its other end is"""
    path: str
    placed_s: float
    """since when that is known"""
    macs: frozenset[str]
    """of the interfaces there"""


class _Told(Struct, frozen=True):
    """An answer of the engine."""

    begun_s: float
    """when it was asked"""
    containers: list[Container]
    whole: bool = True
    """whether more need not be asked for: the engine knows this network's containers early"""


class Naming:
    """From `start` until `stop`."""

    def __init__(
        self, engine: Engine, answered: Callable[[], None], trouble: Callable[[str], None]
    ) -> None:
        """answered: called when it is worth looking. trouble: told what the engine could not do.
        Both from another thread."""
        self._engine, self._answered, self._trouble = engine, answered, trouble
        self._open: Mapping[int, Question] = {}
        self._endpoints: dict[str, _Told] = {}
        """bridge → those of its network, as they were told last"""
        self._listed = _Told(0.0, [])
        """all containers, as they were told last"""
        self._list_from_s = 0.0
        self._asked = threading.Event()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="naming", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ends = True
        self._asked.set()
        self._thread.join(_ENDING_S)

    def ask(self, questions: Mapping[int, Question]) -> None:
        """These are open from now on, by any number; those that were are not any more."""
        self._open = dict(questions)
        if questions:
            self._asked.set()

    def owners(self, question: Question) -> list[Container]:
        """The containers in the namespace, the owner first; empty: it is not known (yet)."""
        known = self._endpoints.get(question.bridge)
        if known and known.begun_s >= question.since_s:
            for one in known.containers:
                if one.networks[0].mac in question.macs:
                    inode, path = question.inode, question.path
                    return [replace(one, netns=inode, netns_path=path, running=True)]
        if self._listed.begun_s >= question.since_s:
            return [one for one in self._listed.containers if one.netns == question.inode]
        return []

    def heard_of(self, bridge: str) -> list[Container]:
        """Whom the engine told of last in the bridge's network."""
        known = self._endpoints.get(bridge)
        return [replace(one, running=True) for one in known.containers] if known else []

    def _run(self) -> None:
        while not self._ends:
            self._asked.wait()
            self._asked.clear()
            begun_s = time.monotonic()
            try:
                self._answer(list(self._open.values()), begun_s)
            except (EnvironmentProblem, OSError) as error:
                if not self._ends:
                    self._trouble(f"newcomers are not named: {error}")
            if self._ends:
                return
            self._answered()
            time.sleep(max(_PAUSE_S, min(time.monotonic() - begun_s, _LISTING_S)))

    def _answer(self, questions: list[Question], now_s: float) -> None:
        for bridge in {one.bridge for one in questions}:
            starting = self._engine.starting(bridge)
            self._endpoints[bridge] = _Told(now_s, starting or [], starting is not None)
        left = [one for one in questions if not self.owners(one)]
        if any(self._wants_listing(one, now_s) for one in left) and now_s >= self._list_from_s:
            begun_s = time.monotonic()
            self._listed = _Told(begun_s, self._engine.containers())
            ended_s = time.monotonic()
            self._list_from_s = ended_s + _REST * (ended_s - begun_s)

    def _wants_listing(self, question: Question, now_s: float) -> bool:
        """Where the network's endpoints do not tell, or not in time."""
        late = now_s - question.placed_s > _LISTING_S
        return late or not self._endpoints[question.bridge].whole
