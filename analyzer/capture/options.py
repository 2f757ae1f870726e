"""What a capture is asked to do, checked once: one object from the command line to the ring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct, field

from analyzer.capture.encode import Bytes
from analyzer.capture.payload import CUT_BYTES, Payload
from analyzer.capture.ring_settings import RingSettings, available_bytes
from analyzer.capture.series import Rotation
from analyzer.errors import UsageProblem
from analyzer.model.topology import Key
from analyzer.model.vantage import Vantage

OnBatch: TypeAlias = Callable[[Bytes, Sequence[Vantage]], None]
"""gets the EPBs just written, valid during the call only, and the vantages by interface id"""

MAX_SNAPLEN = 262144
"""as tcpdump and libpcap have it: more than any frame"""
MIN_SNAPLEN = 16
"""a MAC header, rounded up"""


class Limits(Struct, frozen=True):
    """When a capture ends by itself; None: no such limit."""

    max_packets: int | None = None
    """frames, over all vantages, in the order of the file"""
    max_seconds: float | None = None
    max_kilobytes: int | None = None
    """1,000 bytes of the file each; the closing statistics come on top"""
    max_files: int | None = None
    """of a rotation; the capture ends when so many are full"""

    def check(self) -> None:
        """Raises UsageProblem with the value that cannot be."""
        named = (
            ("packets", self.max_packets),
            ("duration", self.max_seconds),
            ("filesize", self.max_kilobytes),
            ("files", self.max_files),
        )
        for name, value in named:
            if value is not None and value <= 0:
                raise UsageProblem(f"{name} limit {value}: must be more than 0")


class Hooks(Struct, frozen=True):
    """What is called while a capture runs, in its own thread."""

    on_batch: OnBatch | None = None
    file_end: Callable[[], bytes] = bytes
    """gives blocks to put before a file's statistics when the next one is begun"""


class CaptureOptions(Struct, frozen=True):
    """Defaults capture everything, whole, until stopped."""

    snaplen: int = MAX_SNAPLEN
    """bytes kept of a frame"""
    payload: Payload = Payload.AUTO
    """where it is kept"""
    bridge_netfilter: bool = True
    """bridges may translate what they forward, or take it for sure that they do not"""
    filter: str = ""
    """pcap-filter(7) syntax; empty: every frame"""
    promiscuous: bool = True
    """have bridges pass bridged unicast up; without it they show only what is for the host"""
    limits: Limits = Limits()
    rotation: Rotation | None = None
    """when a new file is begun; None: never"""
    newcomers: Key | None = None
    """(netns inode, greatest ifindex that is known there): hear interfaces of this namespace with
    a greater one too, until `CaptureSession.add` or `CaptureSession.ignore` says what they are"""
    comment: str = ""
    """of the section: JSON of schema ``vethscope/capture/1`` (engine, sysctls …)"""
    names: Mapping[str, str] = field(default_factory=dict)
    """address → container name, for the Name Resolution Block"""
    ring: RingSettings = field(default_factory=lambda: RingSettings.fitting(available_bytes()))

    @property
    def cut_bytes(self) -> int:
        """To how many bytes frames may be cut by ``payload``; 0: none is."""
        return CUT_BYTES if self.payload is not Payload.ALL and self.snaplen > CUT_BYTES else 0

    def check(self) -> None:
        """Raises UsageProblem with the value that cannot be."""
        if not MIN_SNAPLEN <= self.snaplen <= MAX_SNAPLEN:
            raise UsageProblem(
                f"snaplen {self.snaplen}: must be {MIN_SNAPLEN} to {MAX_SNAPLEN} bytes"
            )
        self.limits.check()
        self.ring.check()
        if self.rotation:
            self.rotation.check()
        elif self.limits.max_files:
            raise UsageProblem(
                "-a files:N counts the files of -b: add -b filesize:KB or duration:S"
            )
