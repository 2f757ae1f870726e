"""Beside a capture: what connection tracking tells of translations, in the namespaces that route.

Where the kernel does not let us, the capture goes on without, and a warning says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from analyzer.capture.session import CaptureSession
from analyzer.errors import EnvironmentProblem
from analyzer.model.proxy import Proxy
from analyzer.model.vantage import Role, Vantage
from analyzer.recorders.conntrack.proxies import encode_proxies, read_proxies
from analyzer.recorders.conntrack.watch import ConntrackWatch
from analyzer.savefile.blocks import own

_ROUTING = (Role.BRIDGE, Role.HOST_VETH, Role.UPLINK, Role.HOST)


class Tracking:
    """Begins with `open`, once the session is; `close` gives the blocks that remain."""

    def __init__(self, paths: Mapping[int, str], protocols: Collection[int] = ()) -> None:
        """paths: namespace inode → a path that setns can open. protocols: as of ConntrackWatch."""
        self._session: CaptureSession
        self._paths = paths
        self._protocols = protocols
        self._watches: list[ConntrackWatch] = []
        self._spaces: list[int] = []
        self._proxies: dict[Proxy, None] = {}
        """seen at the start or at the end"""
        self._last = b""
        """what was told at the end: files that are filled only then tell it, too"""
        self.warnings: list[str] = []

    def open(self, session: CaptureSession) -> None:
        self._session = session
        vantages = session.vantages
        self._spaces = sorted(
            {v.netns for v in vantages if v.role in _ROUTING} & self._paths.keys()
        )
        self._look_at_proxies()
        for netns in self._spaces:
            watch = ConntrackWatch(netns, captured_networks(vantages), self._protocols, self._tell)
            try:
                watch.open(self._paths[netns])
            except EnvironmentProblem as error:
                reason = f"addresses behind NAT are guessed from the packets: {error}"
                self.warnings = [reason]
            else:
                self._watches.append(watch)
        self._tell()

    def close(self) -> bytes:
        """Listen no more; everything once more, for the file's end."""
        for watch in self._watches:
            watch.stop()
        self._look_at_proxies()
        self._last = self.whole()
        for watch in self._watches:
            watch.close()
        self._watches, self._spaces = [], []
        return self._last

    def _tell(self) -> None:
        if self._watches:
            self._session.keep(lambda: self._blocks(w.take() for w in self._watches))

    def whole(self) -> bytes:
        """Everything once more: what a file ends with when the next one is begun."""
        if not self._watches and self._last:
            return self._last
        proxies = own(encode_proxies(list(self._proxies))) if self._proxies else b""
        return proxies + self._blocks(watch.whole() for watch in self._watches)

    def _look_at_proxies(self) -> None:
        for netns in self._spaces:
            self._proxies |= dict.fromkeys(read_proxies(netns))

    @staticmethod
    def _blocks(data: Iterable[list[bytes]]) -> bytes:
        return b"".join(own(one) for several in data for one in several)


def captured_networks(vantages: Sequence[Vantage]) -> list[str]:
    """The containers' networks as far as they are captured; none where no container is."""
    bridges = (v.addresses for v in vantages if v.role is Role.BRIDGE)
    inside = (
        v.addresses if v.role is Role.CONTAINER else v.peer_addresses
        for v in vantages
        if v.role in (Role.CONTAINER, Role.HOST_VETH)
    )
    addresses = (address for several in (*bridges, *inside) for address in several)
    return list(dict.fromkeys(a for a in addresses if not a.startswith("fe80:")))
