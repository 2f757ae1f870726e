"""Have each ring keep the payload where it is kept, by who is heard at present.

See `analyzer.capture.payload`. A ring's filter tells how many bytes it takes of a frame; a filter
is replaced while the ring runs (SO_ATTACH_FILTER is atomic for a frame).
"""

from __future__ import annotations

from analyzer.capture import bpf_payload
from analyzer.capture.bpf_payload import Lengths
from analyzer.capture.options import CaptureOptions
from analyzer.capture.payload import NOWHERE, BridgePorts, Cuts, Payload, cut_where
from analyzer.capture.pressure import Pressure
from analyzer.capture.roster import Roster
from analyzer.capture.source import Source
from analyzer.model.topology import Key


class Keeping:
    """Tells the sources of a roster how much to keep."""

    def __init__(self, roster: Roster, options: CaptureOptions, pressure: Pressure) -> None:
        self._roster, self._options, self._pressure = roster, options, pressure

    def settle(self) -> None:
        """Interfaces have come, gone, or joined or left a bridge."""
        if not self._options.cut_bytes:
            return
        self._pressure.attend(self._roster.open_sources)
        cuts = self._cuts()
        for source in self._roster.open_sources:
            source.cut(self._lengths(source, cuts))

    def release(self) -> None:
        """Keep whole frames everywhere: rings will stop to hear one after the other."""
        for source in self._roster.open_sources:
            source.cut(None)

    def _cuts(self) -> Cuts:
        """Where frames are cut because another vantage has them whole."""
        options, program = self._options, self._roster.program
        if options.payload is Payload.HEADERS or program is None:
            return NOWHERE
        if not bpf_payload.by_bytes(program):
            return NOWHERE
        over_bridges = not options.filter.strip() or not options.bridge_netfilter
        return cut_where(self._roster.heard(), self._bridges(), over_bridges=over_bridges)

    def _bridges(self) -> dict[Key, BridgePorts]:
        watches = self._roster.watches.items()
        told = ((inode, watch.bridges().items()) for inode, watch in watches)
        return {(inode, ifindex): ports for inode, some in told for ifindex, ports in some}

    def _lengths(self, source: Source, cuts: Cuts) -> Lengths:
        ingress, egress = (
            tuple(sorted(i for i in source.live if (source.ring.netns, i) in side)) for side in cuts
        )
        everywhere = self._options.payload is Payload.HEADERS
        lengths = self._options.snaplen, self._options.cut_bytes
        return Lengths(*lengths, ingress, egress, everywhere=everywhere)
