"""The pcapng format as a reader: the compiled walk, and Python for the blocks in between."""

from __future__ import annotations

import struct

from analyzer.errors import SavefileError
from analyzer.model.vantage import SO_FAR
from analyzer.native.loads import Bytes
from analyzer.savefile import blocks
from analyzer.savefile.clocks import grown, new_clocks, set_clock, stamp_ns
from analyzer.savefile.columns import (
    BAD_CONTENT,
    CONTROL,
    DAMAGE,
    WHOLE,
    Columns,
    Stop,
)
from analyzer.savefile.control import (
    Section,
    is_swapped,
    read_interface,
    read_names,
    read_section,
    read_statistics,
)
from analyzer.savefile.interfaces import SavefileInterface, take_names
from analyzer.savefile.order import order_of
from analyzer.savefile.pcapng_walk import (
    CONTROL_KINDS,
    MIN_BLOCK,
    SectionView,
    check_block,
    walk_blocks,
)

MAGIC = blocks.SECTION_HEADER.to_bytes(4, "big")
"""the same in both byte orders"""


MOST_INTERFACES = 10_000
"""of a file, all sections together: what is beyond is not read"""
MOST_TOLD = 50_000
"""blocks of statistics and of names, besides ten for each interface"""


class PcapngReader:
    """Walks one file of this format and gathers what it says about itself."""

    format = "pcapng"

    def __init__(self) -> None:
        self.start = 0
        self.sections = 0
        self.stray_statistics = 0
        """of an interface that was not described before: no frame depends on them"""
        self.interfaces: list[SavefileInterface] = []
        self.names: dict[str, str] = {}
        self.own: list[bytes] = []
        """contents of the blocks of vethscope's own kind, in file order"""
        self._told = 0
        """blocks of statistics and of names so far"""
        self._section: Section | None = None
        self._first_section: Section | None = None
        self._first = 0
        self._clocks = new_clocks()

    @property
    def comment(self) -> str:
        """Of the first section."""
        return self._first_section.comment if self._first_section else ""

    @property
    def application(self) -> str:
        """Of the first section."""
        return self._first_section.application if self._first_section else ""

    @property
    def _swapped(self) -> bool:
        return bool(self._section and self._section.swapped)

    def walk(self, data: Bytes, position: int, columns: Columns, row: int) -> Stop:
        """Fill ``columns`` from ``row`` on with the packets from ``position`` on."""
        while True:
            section = SectionView(self._swapped, self._first, len(self.interfaces))
            position, row, status = walk_blocks(data, position, section, self._clocks, columns, row)
            if status != CONTROL:
                return Stop(position, row, status, DAMAGE.get(status, ""))
            # they often stand together, and the walk is not called for each
            while status == CONTROL:
                try:
                    length, status = self._take(data, position)
                except SavefileError as error:
                    return Stop(position, row, BAD_CONTENT, str(error))
                if status != WHOLE:
                    return Stop(position, row, status, DAMAGE.get(status, ""))
                position += length
                status = CONTROL if self._is_control(data, position) else WHOLE

    def _is_control(self, data: Bytes, position: int) -> bool:
        start = bytes(data[position : position + MIN_BLOCK])
        order = order_of(self._swapped)
        return (
            len(start) == MIN_BLOCK and struct.unpack_from(f"{order}I", start)[0] in CONTROL_KINDS
        )

    def _take(self, data: Bytes, position: int) -> tuple[int, int]:
        """Read the control block there; its (length, status) as of `check_block`."""
        start = bytes(data[position : position + MIN_BLOCK])
        swapped: bool | None = self._swapped
        if start.startswith(MAGIC):
            swapped = is_swapped(start)
            if swapped is None:
                raise SavefileError("a section header without byte-order magic")
        length, status = check_block(data, position, bool(swapped))
        if status == WHOLE:
            self._understand(bytes(data[position : position + length]), bool(swapped))
        return length, status

    def _understand(self, block: bytes, swapped: bool) -> None:
        kind = struct.unpack_from(f"{order_of(swapped)}I", block)[0]
        self._bound(kind)
        if kind == blocks.SECTION_HEADER:
            self._section = read_section(block, swapped)
            self.sections += 1
            self._first_section = self._first_section or self._section
            self._first = len(self.interfaces)
        elif kind == blocks.INTERFACE_DESCRIPTION:
            self._add(read_interface(block, swapped, len(self.interfaces)))
        elif kind == blocks.NAME_RESOLUTION:
            take_names(self.names, read_names(block, swapped))
        elif kind == blocks.OWN:
            self.own.append(block[8:-4])
        else:
            self._add_statistics(block, swapped)

    def _bound(self, kind: int) -> None:
        """Blocks beside frames cost much more than frames. Raises SavefileError for too many."""
        if kind == blocks.INTERFACE_DESCRIPTION and len(self.interfaces) >= MOST_INTERFACES:
            raise SavefileError(f"more than {MOST_INTERFACES:,} interfaces")
        if kind in (blocks.INTERFACE_STATISTICS, blocks.NAME_RESOLUTION):
            self._told += 1
            if self._told > MOST_TOLD + 10 * len(self.interfaces):
                raise SavefileError("too many blocks of statistics and of names")

    def _add(self, interface: SavefileInterface) -> None:
        if interface.index == len(self._clocks.multiply):
            self._clocks = grown(self._clocks)
        set_clock(self._clocks, interface)
        self.interfaces.append(interface)

    def _add_statistics(self, block: bytes, swapped: bool) -> None:
        read = read_statistics(block, swapped)
        index = self._first + read.interface
        if index >= len(self.interfaces):
            self.stray_statistics += 1
            return
        statistics: dict[str, int | str] = dict(read.counters)
        for name, (high, low) in read.stamps.items():
            statistics[name] = int(stamp_ns(high, low, index, self._clocks))
        if read.comment:
            statistics["comment"] = read.comment
        if f'"{SO_FAR}"' in read.comment:
            self.interfaces[index].so_far = statistics
        else:
            self.interfaces[index].statistics = statistics


def pcapng_reader(start: bytes) -> PcapngReader | None:
    """The reader for a file that starts so; None where that is no section header.

    Raises SavefileError where the header is cut short or has no byte-order magic.
    """
    if not start.startswith(MAGIC):
        return None
    if len(start) < MIN_BLOCK:
        raise SavefileError("cut short inside the header of a pcapng file", offset=len(start))
    if is_swapped(start) is None:
        raise SavefileError("starts like pcapng, but without its byte-order magic")
    return PcapngReader()
