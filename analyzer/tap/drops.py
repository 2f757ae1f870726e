"""Beside a capture: the settings that explain losses, and with ``--drops`` the kernel's drops.

Where the kernel does not let us, the capture goes on without, and a warning says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analyzer.capture.session import CaptureSession
from analyzer.errors import EnvironmentProblem
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.vantage import Role, Vantage
from analyzer.recorders.drops.watch import DropWatch
from analyzer.recorders.settings.facts import (
    Facts,
    compare,
    encode_facts,
    facts_of,
    read_facts,
)
from analyzer.savefile.blocks import own


class Dropping:
    """Begins with `open`, once the session is; `stop` and `close` give the blocks
    that remain."""

    def __init__(self, paths: Mapping[int, str], *, drops: bool = True) -> None:
        """paths: namespace inode → a path that setns can open. drops: not the settings alone."""
        self._drops = drops
        self._paths = paths
        self._session: CaptureSession
        self._start: Facts
        self._watch: DropWatch | None = None
        self.warnings: list[str] = []

    def open(self, session: CaptureSession) -> None:
        self._session = session
        vantages = session.vantages
        self._start = read_facts(vantages, self._paths)
        session.keep(lambda: own(encode_facts(self._start)))
        if not self._drops:
            return
        watch = DropWatch(
            host_interfaces(vantages),
            sorted({v.bridge for v in vantages} - {""}),
            lambda: session.keep(self._take),
        )
        try:
            self._watch = watch.open()
        except EnvironmentProblem as error:
            self.warnings.append(f"no kernel drop reasons: {error}")

    def stop(self) -> bytes:
        """End the recording of drops; what it still had."""
        rest = b""
        if self._watch:
            self._watch.stop()
            rest = self._take()
            self._watch.close()
            if self._watch.failure:
                self.warnings.append(self._watch.failure)
            self._watch = None
        return rest

    def close(self, ends: Sequence[NamespaceEvidence] = ()) -> bytes:
        """The facts of the end; ends: what was read of the namespaces by now, which is enough."""
        vantages = self._session.vantages
        known = facts_of((one for one in ends if one.netns in self._paths), vantages)
        end = read_facts(vantages, self._paths, known)
        return own(encode_facts(compare(self._start, end)))

    def abandon(self) -> None:
        """Leave nothing behind, after a failure of the capture."""
        if self._watch:
            self._watch.close()
            self._watch = None

    def _take(self) -> bytes:
        return b"".join(own(data) for data in self._watch.take()) if self._watch else b""


def host_interfaces(vantages: Sequence[Vantage]) -> list[str]:
    """Names of what is captured in the host's namespaces, bridges too."""
    return sorted({v.interface for v in vantages if v.role is not Role.CONTAINER})
