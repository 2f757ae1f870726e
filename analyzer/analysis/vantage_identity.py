"""Which vantage an interface of a file is.

Several files are one capture, so what has the same (netns, ifindex) is one vantage, whichever
file it comes from. But the kernel uses a namespace's inode number again: in a long capture two
containers may have the same one, and the same ifindex inside. They are told apart by the
container and by the other end of the pair, whose ifindex on the host is not used again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec.structs import replace

from analyzer.analysis.notes import described_vantage, device_of, foreign_vantage
from analyzer.decode.cooked import cooked_headers
from analyzer.model.batch import Columns
from analyzer.model.frames import FrameChunk
from analyzer.model.untrusted import MALFORMED
from analyzer.model.vantage import Role, Vantage
from analyzer.net.link_types import LINUX_SLL2
from analyzer.savefile.interfaces import SavefileInterface
from analyzer.savefile.read import Savefile


class VantageIdentities:
    """The vantages of a capture, in order of appearance."""

    def __init__(self, vantages: list[Vantage]) -> None:
        """vantages: grows, and its elements are replaced where more becomes known of them."""
        self.vantages = vantages
        self._index: dict[tuple[object, ...], list[int]] = {}
        self._spaces: dict[int, list[tuple[str, set[int]]]] = {}
        """netns → its generations: container id, ifindexes"""
        self._read: dict[tuple[int, int], tuple[tuple[str, str], Vantage]] = {}
        self.malformed: set[tuple[int, int]] = set()
        """(file, interface) that vethscope described, in a way that cannot be"""

    def place(self, interface: SavefileInterface, file_number: int, path: str) -> int:
        """The number of the vantage of a file's interface; the next one where it is new."""
        vantage = self._told(interface, file_number, path)
        key: tuple[object, ...] = (vantage.netns, vantage.ifindex)
        if not vantage.ifindex:
            key = ("of a file", file_number, interface.index)
        same = self._index.setdefault(key, [])
        for at in same:
            if not vantage.ifindex or _may_be(self.vantages[at], vantage):
                self._note_cut(at, vantage.cut_bytes)
                return at
        same.append(len(self.vantages))
        self.vantages.append(self._with_generations(vantage))
        return same[-1]

    def _note_cut(self, at: int, cut_bytes: int) -> None:
        """In one file frames may have been cut, and in another not."""
        here = self.vantages[at]
        if cut_bytes and not 0 < here.cut_bytes <= cut_bytes:
            self.vantages[at] = replace(here, cut_bytes=cut_bytes)

    def place_devices(
        self, chunk: FrameChunk, frames: Columns, savefile: Savefile, file_number: int
    ) -> list[int]:
        """Of frames with cooked headers, fill in the direction and the vantage of the device that
        each was seen at; all these vantages, new ones in their order."""
        headers = cooked_headers(chunk, frames["linktype"])
        frames["flags"][:] = headers.flags
        cooked = np.flatnonzero(frames["linktype"] == LINUX_SLL2)
        places = chunk.interface[cooked].astype(np.int64) << 32 | headers.ifindex[cooked]
        found = []
        for place in np.unique(places).tolist():
            interface, ifindex = savefile.interfaces[place >> 32], place & 0xFFFFFFFF
            found.append(self.place_device(interface, file_number, savefile.path, ifindex))
            frames["vantage"][cooked[places == place]] = found[-1]
        return found

    def place_device(
        self, interface: SavefileInterface, file_number: int, path: str, ifindex: int
    ) -> int:
        """The number of the vantage of a device in a capture of all interfaces."""
        key = ("of a file", file_number, interface.index, ifindex)
        same = self._index.setdefault(key, [])
        if not same:
            same.append(len(self.vantages))
            self.vantages.append(device_of(interface, file_number, path, ifindex))
        return same[0]

    def _told(self, interface: SavefileInterface, file_number: int, path: str) -> Vantage:
        """As the file tells of it, read once: each chunk asks for all interfaces."""
        key, says = (file_number, interface.index), (interface.name, interface.comment)
        if key not in self._read or self._read[key][0] != says:
            told = self._described(interface, file_number) or foreign_vantage(interface, path)
            self._read[key] = says, told
        return self._read[key][1]

    def _described(self, interface: SavefileInterface, file_number: int) -> Vantage | None:
        try:
            return described_vantage(interface, file_number)
        except MALFORMED:
            self.malformed.add((file_number, interface.index))
            return None

    def _with_generations(self, vantage: Vantage) -> Vantage:
        if not vantage.ifindex:
            return vantage
        if vantage.role is Role.CONTAINER:
            vantage = replace(vantage, generation=self._generation(vantage))
        for at in self._ends(vantage):
            end = self.vantages[at]
            self.vantages[at] = replace(end, peer_generation=vantage.generation)
            vantage = replace(vantage, peer_generation=end.generation)
        return vantage

    def _generation(self, vantage: Vantage) -> int:
        """Which of the namespaces with this inode number the vantage is in."""
        spaces = self._spaces.setdefault(vantage.netns, [])
        for number, (owner, indexes) in reversed(list(enumerate(spaces))):
            if owner == vantage.container_id and vantage.ifindex not in indexes:
                indexes.add(vantage.ifindex)
                return number
        spaces.append((vantage.container_id, {vantage.ifindex}))
        return len(spaces) - 1

    def _ends(self, vantage: Vantage) -> Iterator[int]:
        """The other end of the vantage's pair: each names the other."""
        for at in self._index.get((vantage.peer_netns, vantage.peer_ifindex), ()):
            end = self.vantages[at]
            if (end.peer_netns, end.peer_ifindex) == (vantage.netns, vantage.ifindex):
                yield at


def _may_be(one: Vantage, other: Vantage) -> bool:
    """Whether two descriptions with the same numbers can be of one interface."""
    if one.role is not Role.CONTAINER:
        return one.interface == other.interface
    if one.container_id and other.container_id and one.container_id != other.container_id:
        return False
    if not (one.peer_ifindex and other.peer_ifindex):
        return True
    return (one.peer_netns, one.peer_ifindex) == (other.peer_netns, other.peer_ifindex)
