"""Who a packet is from and for: by the interface it passes, then by MAC, then by address.

A frame that leaves a container's own interface is that container's, whatever it bears: the port
that it entered by tells who sent it. Elsewhere, a MAC names who bears it within a segment, and an
address who has it within a site, at that time: engines give both to the next container as soon as
one has ended (`analyzer.model.tenures`). The MAC comes first, because addresses repeat (two
networks with one subnet) and can be anything in a forged frame. An address names an endpoint
only where the MAC belongs to the host, which routes for others, or to nobody that we know; or
where a container is to pass it on: it is in none of its networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.text import ipv4_column
from analyzer.flows.doors import INWARD, OUTWARD, find_doors, passing
from analyzer.flows.endpoint_keys import EndpointColumns, fill_keys, is_address, is_link_scoped
from analyzer.flows.live_numbers import LiveNumbers
from analyzer.model.tenures import FOREVER_NS, Life, Tenures
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ethernet import GROUP_BIT, mac_text, mac_value
from analyzer.net.ip import address_text, address_value

HOST = "host"
BROADCAST = "broadcast"
_BROADCAST_MAC = (1 << 48) - 1
_DOCKER_PREFIX = 0x0242AC11


def inferred_address(mac: int) -> str:
    """The address that Docker before 28 derived a MAC from (02:42:ac:11:xx:yy), or ''."""
    return f"172.17.{mac >> 8 & 0xFF}.{mac & 0xFF}" if mac >> 16 == _DOCKER_PREFIX else ""


UNTOLD = "unknown"
"""of a frame whose link layer tells no address (a cooked capture's receiver)"""


class Sighting(NamedTuple):
    """One endpoint of one frame, as it was seen."""

    segment: int
    mac: int
    version: int = 0
    """of IP; 0 without an address"""
    hi: int = 0
    lo: int = 0
    ns: int = FOREVER_NS
    """when"""
    door: str = ""
    """the container whose own interface the frame passed, out of it (of a sender) or into it (of a
    receiver)"""
    sends: bool = False
    """it is the frame's sender, and not its receiver"""


class Endpoints:
    """Names for sightings, from the vantages of a file."""

    def __init__(self) -> None:
        """It knows nobody before `learn`."""
        self.inferred: set[int] = set()
        """MACs that stand for an address only because of Docker's old scheme"""
        self.texts: list[str] = []
        """names by their numbers"""
        self._text_numbers: dict[str, int] = {}
        self._hashes = np.empty(0, np.uint64)
        """of the texts"""
        self._keys = LiveNumbers()
        self._name_of_key = np.empty(0, np.int32)
        self.learn((), np.empty(0, np.int32), np.empty(0, np.int32), {})

    def learn(
        self,
        vantages: Sequence[Vantage],
        segment: npt.NDArray[np.int32],
        site: npt.NDArray[np.int32],
        names: Mapping[str, str],
        lives: Sequence[Life] = (),
    ) -> None:
        """Take what is known of the vantages now; endpoints named before keep their names.

        segment, site: [v], as in `Journeys`. names: address → name, where a file tells. lives: [v]
        when each interface was there; without, all of the time.
        """
        self._segment = segment
        self._site_of = dict(zip(segment.tolist(), site.tolist(), strict=True))
        self._macs, self._addresses = Tenures(), Tenures()
        self._links: dict[str, list[IPv4Network | IPv6Network]] = {}
        self._names = {address_value(a): n for a, n in names.items() if is_address(a)}
        for at, life in zip(range(len(vantages)), lives or [Life()] * len(vantages), strict=True):
            self._learn(vantages[at], int(segment[at]), int(site[at]), life)
        addresses = [*(address for _, address in self._addresses), *self._names]
        self._known_lows = np.array([low for _, low in addresses], np.uint64)
        self._known_macs = np.array([_BROADCAST_MAC, *(mac for _, mac in self._macs)], np.uint64)
        self._doors = find_doors(vantages)
        self._changes = np.union1d(self._macs.all_changes(), self._addresses.all_changes())

    def _learn(self, vantage: Vantage, segment: int, site: int, life: Life) -> None:
        if not vantage.ifindex:
            return
        owner = vantage.container if vantage.role is Role.CONTAINER else HOST
        bears = [(owner, vantage.mac, vantage.addresses)]
        if vantage.container and vantage.role is Role.HOST_VETH:
            bears.append((vantage.container, vantage.peer_mac, vantage.peer_addresses))
        for who, mac, addresses in bears:
            if mac:
                self._macs.add((segment, mac_value(mac)), who, life)
            for address in filter(is_address, addresses):
                self._addresses.add((site, address_value(address)), who, life)
                self._links.setdefault(who, []).append(ip_interface(address).network)

    def name(self, seen: Sighting) -> str:
        """The name of one endpoint: container, ``host``, else its address, else its MAC."""
        if seen.mac == _BROADCAST_MAC:
            return BROADCAST
        owner = self._owner(seen)
        if not seen.version:
            return owner or self._infer(seen.mac) or (mac_text(seen.mac) if seen.mac else UNTOLD)
        if owner and owner != HOST and (seen.sends or not self._is_beyond(owner, seen)):
            return owner
        if owner and is_link_scoped(seen.hi, seen.lo):
            return owner
        address = (seen.hi, seen.lo)
        key = (self._site_of.get(seen.segment, -1), address)
        owners = self._addresses.at(key, seen.ns) if key in self._addresses else set()
        if seen.door and owners:
            return seen.door
        if len(owners) == 1:
            return next(iter(owners))
        told = "" if owners else self._names.get(address)
        return told or _prefix(seen) + address_text(*address)

    def _owner(self, seen: Sighting) -> str:
        """Whose interface it is: that of the door, where the MAC is anybody's that is known."""
        if seen.mac & GROUP_BIT:
            return ""
        borne = seen.segment, seen.mac
        if borne not in self._macs:
            return ""
        owners = self._macs.at(borne, seen.ns)
        if seen.door and owners:
            return seen.door
        return next(iter(owners)) if len(owners) == 1 else ""

    def _is_beyond(self, owner: str, seen: Sighting) -> bool:
        """Whether a container routes for the address, which can be no address of its own: nobody
        known has it, and it is in none of the container's networks."""
        address = (seen.hi, seen.lo)
        if (seen.hi == 0 and seen.lo >> 32 != 0xFFFF) or is_link_scoped(*address):
            return False
        if self._addresses.at((self._site_of.get(seen.segment, -1), address), seen.ns):
            return False
        text = ip_address(address_text(*address))
        links = [link for link in self._links.get(owner, ()) if link.version == text.version]
        return bool(links) and not any(text in link for link in links)

    def _infer(self, mac: int) -> str:
        address = inferred_address(mac)
        if address:
            self.inferred.add(mac)
        return address

    def borne_since(
        self,
        segment: npt.NDArray[np.int32],
        mac: npt.NDArray[np.uint64],
        ns: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """[n] since when each MAC has had the bearer that it had then; 0 where it never changed."""
        since = np.zeros(len(mac), np.int64)
        for key in self._macs.contested():
            rows = np.flatnonzero((segment == key[0]) & (mac == np.uint64(key[1])))
            since[rows] = _latest(self._macs.handed_on(key), ns[rows])
        return since

    def had_since(
        self,
        site: npt.NDArray[np.int32],
        address: tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]],
        ns: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """[n] since when each address has had the owner that it had then, as `borne_since`."""
        since = np.zeros(len(ns), np.int64)
        for key in self._addresses.contested():
            hi, lo = (np.uint64(half) for half in key[1])
            here = (site == key[0]) & (address[0] == hi) & (address[1] == lo)
            rows = np.flatnonzero(here)
            since[rows] = _latest(self._addresses.handed_on(key), ns[rows])
        return since

    def forget(self) -> None:
        """Give up the names that were used least recently, where there are very many: names get
        other numbers."""
        kept = self._keys.shed()
        if kept is None:
            return
        self.hashes(np.empty(0, np.int32))
        numbers, name_of_key = np.unique(self._name_of_key[kept], return_inverse=True)
        self._name_of_key = name_of_key.astype(np.int32)
        self.texts = [self.texts[number] for number in numbers]
        self._text_numbers = {text: number for number, text in enumerate(self.texts)}
        self._hashes = self._hashes[numbers]

    def hashes(self, numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
        """[n] what tells names apart for ever, by their numbers."""
        if len(self._hashes) < len(self.texts):
            more = np.array([*map(hash, self.texts[len(self._hashes) :])], np.int64)
            self._hashes = np.concatenate([self._hashes, more.view(np.uint64)])
        return self._hashes.take(numbers)

    def column(self, frames: Mapping[str, npt.NDArray[Any]], side: str) -> pl.Series:
        """[n] names of the ``src`` or ``dst`` of all frames."""
        self.forget()
        rows = np.arange(len(frames["vantage"]), dtype=np.int32)
        numbers = self.numbers_of(frames, rows, side)
        return pl.Series(self.texts, dtype=pl.String).gather(numbers)

    def numbers_of(
        self, frames: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int32], side: str
    ) -> npt.NDArray[np.int32]:
        """[len(rows)] places in ``texts``, of the ``src`` or ``dst`` of some frames; valid until
        `forget`.

        Each distinct endpoint is resolved once: of a segment, or at a door, between two changes.
        """
        columns = EndpointColumns(
            *(frames[name] for name in ("vantage", "ts_ns", f"eth_{side}", "ip_version")),
            *(frames[f"{side}_{half}"] for half in ("hi", "lo")),
        )
        door = passing(frames, rows, self._doors, OUTWARD if side == "src" else INWARD)
        keys = np.empty(len(rows), np.uint64)
        fill_keys(rows, columns, self._segment, (door, side == "src"), self._changes, keys)
        numbers, fresh = self._keys.take(keys)
        if len(fresh):
            names = self._new_names(fresh, rows, columns, (door, side == "src"))
            self._name_of_key = np.concatenate([self._name_of_key, self._number_texts(names)])
        return self._name_of_key.take(numbers)

    def _new_names(
        self,
        fresh: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int32],
        columns: EndpointColumns,
        passes: tuple[npt.NDArray[np.int32], bool],
    ) -> list[str]:
        """[fresh] names. An IPv4 address that nobody known has is told without asking further."""
        at = rows[fresh]
        strange = (columns.version[at] == 4) & (columns.hi[at] == 0)
        strange &= ~np.isin(columns.lo[at], self._known_lows)
        strange &= ~np.isin(columns.mac[at], self._known_macs)
        names = np.empty(len(fresh), object)
        names[strange] = ipv4_column(columns.lo[at[strange]]).to_list()
        told = self._sightings(fresh[~strange], rows, columns, passes)
        names[~strange] = [self.name(seen) for seen in told]
        listed: list[str] = names.tolist()
        return listed

    def _sightings(
        self,
        fresh: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int32],
        columns: EndpointColumns,
        passes: tuple[npt.NDArray[np.int32], bool],
    ) -> list[Sighting]:
        at, (door, sends) = rows[fresh], passes
        values = (columns.mac, columns.version, columns.hi, columns.lo, columns.ts_ns)
        segments = self._segment[columns.vantage[at]].tolist()
        told = zip(segments, *(c[at].tolist() for c in values), door[fresh].tolist(), strict=True)
        return [Sighting._make((*seen, self._doors.owners[no], sends)) for *seen, no in told]

    def _number_texts(self, names: list[str]) -> npt.NDArray[np.int32]:
        """[names] their places in ``texts``; new ones come last."""
        numbers = self._text_numbers
        places = [numbers.setdefault(name, len(numbers)) for name in names]
        self.texts += islice(numbers, len(self.texts), None)
        return np.array(places, np.int32)


def _latest(changes: npt.NDArray[np.int64], ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[n] the last change until each time; changes: in order, the first is 0."""
    return changes[np.maximum(np.searchsorted(changes, ns, side="right") - 1, 0)]


def _prefix(seen: Sighting) -> str:
    """An IPv4 address that an IPv6 packet bears (::ffff:1.2.3.4) stays one of IPv6."""
    mapped = seen.version == 6 and seen.hi == 0 and seen.lo >> 32 == 0xFFFF
    return "::ffff:" if mapped else ""
