"""The ways that packets take from one container to another: by which they pass a bridge by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from msgspec import Struct

from analyzer.model.vantage import Role, Vantage

BRIDGED, ROUTED, TUNNELLED, HOST, OTHER_BRIDGE, BESIDE, MIXED = (
    "bridged",
    "routed",
    "tunnelled",
    "host",
    "other-bridge",
    "beside",
    "mixed",
)
"""ways of delivered packets: see `Verdict`"""


class Scene(Struct, frozen=True, dict=True):
    """What the verdict has to know besides the packets."""

    bridge: str
    vantages: Sequence[Vantage]
    fdb: Mapping[str, Sequence[tuple[str, int]]]
    """bridge vantage name → (MAC, port ifindex), start and end of the capture together"""
    complete: bool
    """no ring dropped anything"""

    @cached_property
    def host_names(self) -> frozenset[str]:
        """What an end in the host's namespace is called."""
        devices = (v for v in self.vantages if v.role in (Role.BRIDGE, Role.HOST, Role.UPLINK))
        addresses = {address.partition("/")[0] for v in devices for address in v.addresses}
        return frozenset(addresses | {"host"})

    @cached_property
    def has_topology(self) -> bool:
        """The file tells which interface is what."""
        return any(vantage.ifindex for vantage in self.vantages)

    @cached_property
    def device(self) -> Vantage | None:
        """The bridge's own vantage, where it was captured."""
        bridges = (v for v in self.vantages if v.role is Role.BRIDGE)
        return next((v for v in bridges if v.interface == self.bridge), None)


def another_way(row: dict[str, Any], scene: Scene) -> tuple[str, str]:
    """How delivered packets passed the claim by, as a way and a sentence; '' where none did."""
    bridge, total = scene.bridge, row["delivered"]
    if count := row["tunnelled"]:
        way = TUNNELLED if count == total else MIXED
        return way, f"{count} of {total} packets went through a VXLAN tunnel to another bridge"
    if count := row["routed"]:
        way = ROUTED if count == total else MIXED
        return way, f"{count} of {total} packets were routed{_routers(row, scene)}"
    if row["bridge_out"] or row["delivered_up"]:
        return _by_the_host(row, scene)
    used = {scene.vantages[v].bridge for v in row["in_port"] if v >= 0}
    used |= {scene.vantages[o["out_port"]].bridge for o in row["out"] if o["out_port"] >= 0}
    if used and bridge not in used:
        return OTHER_BRIDGE, f"bridged through {', '.join(sorted(used))}, another bridge"
    kinds = {scene.vantages[v].kind for v in (*row["first_vantage"], *row["last_vantage"])}
    if kinds & {"macvlan", "ipvlan"}:
        return BESIDE, f"{'/'.join(sorted(kinds & {'macvlan', 'ipvlan'}))} passes {bridge} by"
    ends = [scene.vantages[v] for v in (*row["first_vantage"], *row["last_vantage"])]
    if not used and ends and all(v.peer and not v.bridge for v in ends):
        pair = " ↔ ".join(sorted({v.name for v in ends}))
        return BESIDE, f"the pair {pair} hangs on no bridge"
    return "", ""


def _routers(row: dict[str, Any], scene: Scene) -> str:
    """Through whom, where that is known: by whose port it came into the bridge the last time."""
    last = {scene.vantages[v].container for v in row["in_port"] if v >= 0}
    names = sorted(last - {"", row["source"]})
    if row["delivered_up"] or row["bridge_out"]:
        names.append("the host")
    through = f" through {' and '.join(names)}" if names else ""
    return f"{through} (hop limit one less)"


def _by_the_host(row: dict[str, Any], scene: Scene) -> tuple[str, str]:
    """Of packets that a bridge's own device took up or gave out."""
    device = _own_device(row, scene)
    if not {row["source"], row["destination"]} & scene.host_names:
        return ROUTED, (
            f"{device} hands it to the host's stack, or has it from there: the host routes "
            "it, nothing is bridged port to port"
        )
    return HOST, (
        "the host itself is one end (host, or a container in its network): it speaks "
        f"through {device} as its own interface, nothing is bridged port to port"
    )


def _own_device(row: dict[str, Any], scene: Scene) -> str:
    ends = [scene.vantages[v] for v in (*row["first_vantage"], *row["last_vantage"])]
    return next((v.name for v in ends if v.role is Role.BRIDGE), "its bridge")
