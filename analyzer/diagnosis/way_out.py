"""Drops on the way out of an interface other than that at which the packet was seen last. Pure.

The kernel's event tells by which interface a frame came in, not by which it was to leave.
"""

from __future__ import annotations

from msgspec.structs import replace

from analyzer.diagnosis.reasons import Place
from analyzer.diagnosis.settings import Scene
from analyzer.model.vantage import Vantage

_REASONS = ("TC_EGRESS", "QDISC_", "FQ_", "CAKE_")


def is_on_the_way_out(reason: str) -> bool:
    """Whether the kernel drops for this reason where a frame leaves."""
    return reason.startswith(_REASONS)


def port_of(mac: str, last: Vantage, scene: Scene) -> Vantage | None:
    """The port of the same bridge behind which a MAC lives; None where it is not one for sure."""
    ports = [
        vantage
        for vantage in scene.vantages
        if vantage.space == last.space
        and vantage.master_ifindex == last.master_ifindex != 0
        and vantage.peer_mac == mac
        and vantage.key != last.key
    ]
    return ports[0] if len(ports) == 1 else None


def way_out(place: Place, last: Vantage, out: Vantage | None) -> tuple[Place, str]:
    """(where to look, where it was in words); out: the port that it was to leave by."""
    after = f"in bridge {last.bridge}" if last.master_ifindex else f"behind {last.name}"
    device = out.interface if out else "DEVICE"
    name = out.name if out else "another interface"
    return replace(place, device=device), f"{after}, on the way out of {name}"
