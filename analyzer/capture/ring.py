"""One TPACKET_V3 ring: an AF_PACKET socket with memory shared with the kernel.

The socket is not bound to an interface, so it hears its whole namespace in the kernel's
order; a filter picks the vantages. The kernel fills a block after the other and hands a
block over when it is full or ``retire_ms`` old; it is ours until `Ring.release`. See
Documentation/networking/packet_mmap.rst and linux/if_packet.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

import numpy as np
import numpy.typing as npt

from analyzer.capture import encode
from analyzer.capture.arena import Arena
from analyzer.capture.bpf import NOTHING, Program
from analyzer.capture.inside import open_inside
from analyzer.capture.ring_settings import RingSettings
from analyzer.capture.stamping import ask_for_stamps
from analyzer.errors import CaptureError, EnvironmentProblem

_libc = ctypes.CDLL(None, use_errno=True)

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _RESERVE = 1, 5, 6, 10, 12
_TPACKET_V3 = 2
_MR_PROMISC = 1
_SO_ATTACH_FILTER = 26
_SIOCGIFNAME, _SIOCGIFHWADDR = 0x8910, 0x8927
_STATUS_USER, _STATUS_LOSING = 1, 1 << 2
_RESERVED_BYTES = 2
"""so that the 14 bytes of the MAC header start at a multiple of four, and words can be copied"""
_FRAME_BYTES = 2048
"""the kernel wants one and does not use it in V3: frames lie close together"""


class Ring:
    """A ring that hears nothing until `start`, and then what the attached filter lets pass.

    Without `attach` that is nothing.
    """

    def __init__(
        self, path: str, inode: int, settings: RingSettings, arena: Arena | None = None
    ) -> None:
        """Open the ring inside the namespace at ``path``, which must be the one named ``inode``.

        arena: where to map it; without one, or without room in it, it has one of its own.
        Raises EnvironmentProblem (rights, descriptors, memory), UsageProblem where the
        namespace is gone.
        """
        self.netns = inode
        self.settings = settings
        self.received = 0
        """frames that passed the filter, those dropped included, since `start`"""
        self.dropped = 0
        """of these, frames for which the ring had no room"""
        self.cursor: npt.NDArray[np.int64] = np.zeros(encode.CURSOR, np.int64)
        """where the walk stands; see `analyzer.capture.encode`"""
        self._socket = open_inside(path, inode, _new_socket)
        ask_for_stamps(self._socket)
        self.attach(NOTHING)
        try:
            self._make_ring()
            self.arena, self.offset = self._map_into(arena)
        except OSError as error:
            self._socket.close()
            raise EnvironmentProblem(
                f"no ring of {settings.block_count} × {settings.block_size} bytes in network "
                f"namespace {inode}: {error.strerror}; free memory or use a smaller ring"
            ) from error
        self.memory = self.arena.part(self.offset, settings.size)
        self.listens = False
        """whether `start` was called"""
        self._lost_after: list[list[int]] = []
        """[blocks to walk before, frames that were dropped there]"""

    def _make_ring(self) -> None:
        settings, option = self.settings, self._socket.setsockopt
        option(_SOL_PACKET, _VERSION, _TPACKET_V3)
        option(_SOL_PACKET, _RESERVE, _RESERVED_BYTES)
        request = (settings.block_size, settings.block_count, _FRAME_BYTES)
        frames = settings.size // _FRAME_BYTES
        whole = struct.pack("=7I", *request, frames, settings.retire_ms, 0, 0)
        # The kernel waits here (synchronize_net), and socket.setsockopt() keeps the GIL meanwhile.
        if _libc.setsockopt(self.fileno(), _SOL_PACKET, _RX_RING, whole, len(whole)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def _map_into(self, arena: Arena | None) -> tuple[Arena, int]:
        """The arena and where in it the ring is."""
        size = self.settings.size
        offset = arena.map(self.fileno(), size) if arena else None
        if arena and offset is not None:
            return arena, offset
        own = Arena(size)
        offset = own.map(self.fileno(), size)
        assert offset is not None
        return own, offset

    def move_cursor(self, to: npt.NDArray[np.int64]) -> None:
        """Have the cursor kept in ``to`` from now on, among those of other rings."""
        to[:] = self.cursor
        self.cursor = to

    def fileno(self) -> int:
        return self._socket.fileno()

    def attach(self, program: Program) -> None:
        """Set or replace the filter; no frame is lost between the two. Raises CaptureError."""
        rows = b"".join(struct.pack("=HBBI", *row) for row in program)
        buffer = ctypes.create_string_buffer(rows, len(rows))
        request = struct.pack("@HP", len(program), ctypes.addressof(buffer))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, request)
        except OSError as error:
            raise CaptureError(
                f"the kernel refuses a filter of {len(program)} instructions: {error.strerror}; "
                "capture fewer interfaces, or raise sysctl net.core.optmem_max"
            ) from error

    def start(self) -> None:
        """Begin to hear: a packet socket with protocol 0 does not (packet(7)). Again: nothing."""
        if self.listens:
            return
        # socket.bind() wants the name of an interface; index 0, all of them, has none.
        protocol = struct.pack("!H", _ETH_P_ALL)
        address = struct.pack("@H2siHBB8s", socket.AF_PACKET, protocol, 0, 0, 0, 0, b"")
        if _libc.bind(self._socket.fileno(), address, len(address)) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise CaptureError(
                f"packet socket in network namespace {self.netns}: {reason}; try again"
            )
        self.listens = True

    def be_promiscuous(self, ifindex: int) -> bool:
        """Have a bridge pass bridged unicast up to us; ends with the socket. False: refused."""
        member = struct.pack("@iHH8s", ifindex, _MR_PROMISC, 0, b"")
        try:
            self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)
        except OSError:
            return False
        return True

    def interface_name(self, ifindex: int) -> str | None:
        """The present name of an interface of this namespace; None where there is none."""
        try:
            answer = self._ask(_SIOCGIFNAME, struct.pack("@16si20x", b"", ifindex))
        except OSError:
            return None
        return os.fsdecode(answer[:16].split(b"\0")[0])

    def hardware_type(self, name: str) -> int:
        """ARPHRD_ type of linux/if_arp.h. Raises OSError where the interface is gone."""
        answer = self._ask(_SIOCGIFHWADDR, struct.pack("@16s24x", os.fsencode(name)))
        return int.from_bytes(answer[16:18], "little" if np.little_endian else "big")

    def _ask(self, request: int, argument: bytes) -> bytes:
        return fcntl.ioctl(self._socket.fileno(), request, argument)

    @property
    def _block(self) -> int:
        return int(self.cursor[encode.BLOCK])

    @property
    def minds_blocks(self) -> bool:
        """Whether drops wait to be told: `has_block` and `release` have to see each block then."""
        return bool(self._lost_after)

    def has_block(self) -> bool:
        """Whether a block, whole or in part, waits to be walked."""
        if self.cursor[encode.LEFT]:
            return True
        start = self._block * self.settings.block_size
        # No barrier is needed: on x86 loads stay in order, and elsewhere the poll before orders.
        status = self._status(self._block)
        if not status & _STATUS_USER:
            return False
        if status & _STATUS_LOSING:
            self.count()
        self._tell_drops()
        _, count, first, length = self.memory.words[(start >> 2) + 2 : (start >> 2) + 6].tolist()
        self.cursor[encode.AT] = start + first
        self.cursor[encode.LEFT] = count
        self.cursor[encode.END] = start + min(length, self.settings.block_size)
        return True

    def waits(self, blocks: int) -> bool:
        """Whether so many blocks, whole or in part, wait to be walked. Safe in threads."""
        words, size = self.memory.words, self.settings.block_size >> 2
        last = (self._block + blocks - 1) % self.settings.block_count * size + 2
        return last < len(words) and bool(words[last] & _STATUS_USER)

    def _status(self, block: int) -> int:
        return int(self.memory.words[(block * self.settings.block_size >> 2) + 2])

    def _before_mark(self) -> int:
        """How many blocks that wait were full before the drops.

        Drops come when all blocks are full; the next block that is begun bears the mark, unless
        the counters were read before it was full (prb_close_block in net/packet/af_packet.c).
        """
        blocks = self.settings.block_count
        for ahead in range(blocks):
            status = self._status((self._block + ahead) % blocks)
            if not status & _STATUS_USER or status & _STATUS_LOSING:
                return ahead
        return blocks

    def _tell_drops(self) -> None:
        """Have the next frame bear the count of what was dropped just before it."""
        while self._lost_after and self._lost_after[0][0] <= 0:
            self.cursor[encode.DROPS] += self._lost_after.pop(0)[1]

    def release(self) -> None:
        """Give the walked block back to the kernel."""
        for entry in self._lost_after:
            entry[0] -= 1
        self.memory.words[(self._block * self.settings.block_size >> 2) + 2] = 0
        self.cursor[encode.BLOCK] = (self._block + 1) % self.settings.block_count

    def count(self) -> None:
        """Add the kernel's counters, which each reading resets, to the totals (32 bits each)."""
        counters = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12)
        received, dropped, _ = struct.unpack("=3I", counters)
        self.received += received
        self.dropped += dropped
        if dropped:
            self._lost_after.append([self._before_mark(), dropped])

    @property
    def drained(self) -> bool:
        """Whether all frames that the kernel has counted (`count`) were walked."""
        return bool(self.cursor[encode.WALKED] >= self.received - self.dropped)

    def close(self) -> None:
        """Give socket and memory back; an open socket keeps a dead container's namespace."""
        self.memory = encode.views(np.zeros(0, np.uint8))
        self.arena.unmap(self.offset, self.settings.size)
        self._socket.close()


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
