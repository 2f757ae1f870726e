"""Who a packet is from and for: names by MAC within a segment, then by address within a site.

The MAC that the engine told comes first, because addresses repeat (two networks with one
subnet) and can be anything in a forged frame. An address names an endpoint only where the
MAC belongs to the host, which routes for others, or to nobody that we know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.vantage import Role, Vantage
from analyzer.native.compiled import compiled
from analyzer.native.keys import KeyNumbers, mix
from analyzer.net.ethernet import GROUP_BIT, mac_text, mac_value
from analyzer.net.ip import MAPPED, address_text, address_value

HOST = "host"
BROADCAST = "broadcast"
_BROADCAST_MAC = (1 << 48) - 1
_DOCKER_PREFIX = 0x0242AC11


def _is_link_scoped(hi: int, lo: int) -> bool:
    """Unspecified or link-local: an address that no router passes on (RFC 4291, RFC 3927)."""
    v4_link_local = lo >> 16 == (MAPPED | 169 << 24 | 254 << 16) >> 16
    return hi >> 54 == 0xFE80 >> 6 or (hi == 0 and (lo in (0, MAPPED) or v4_link_local))


def inferred_address(mac: int) -> str:
    """The address that Docker before 28 derived a MAC from (02:42:ac:11:xx:yy), or ''."""
    return f"172.17.{mac >> 8 & 0xFF}.{mac & 0xFF}" if mac >> 16 == _DOCKER_PREFIX else ""


class Endpoints:
    """Names for (segment, MAC, address), from the vantages of a file."""

    def __init__(
        self,
        vantages: Sequence[Vantage],
        segment: npt.NDArray[np.int32],
        site: npt.NDArray[np.int32],
        names: Mapping[str, str],
    ) -> None:
        """segment, site: [v], as in `Journeys`. names: address → name, where a file tells."""
        self.inferred: set[int] = set()
        """MACs that stand for an address only because of Docker's old scheme"""
        self.texts: list[str] = []
        """names by their numbers"""
        self._text_numbers: dict[str, int] = {}
        self._keys = KeyNumbers()
        self._name_of_key = np.empty(0, np.int32)
        self.learn(vantages, segment, site, names)

    def learn(
        self,
        vantages: Sequence[Vantage],
        segment: npt.NDArray[np.int32],
        site: npt.NDArray[np.int32],
        names: Mapping[str, str],
    ) -> None:
        """Take what is known of the vantages now; endpoints named before keep their names."""
        self._site_of: dict[int, int] = {}
        self._by_mac: dict[tuple[int, int], str] = {}
        self._by_address: dict[tuple[int, tuple[int, int]], set[str]] = {}
        self._names = {address_value(a): n for a, n in names.items() if _is_address(a)}
        for i, vantage in enumerate(vantages):
            self._site_of[int(segment[i])] = int(site[i])
            self._learn(vantage, int(segment[i]), int(site[i]))

    def _learn(self, vantage: Vantage, segment: int, site: int) -> None:
        if not vantage.ifindex:
            return
        owner = vantage.container if vantage.role is Role.CONTAINER else HOST
        self._add(segment, site, owner, vantage.mac, vantage.addresses)
        if vantage.container and vantage.role is Role.HOST_VETH:
            self._add(segment, site, vantage.container, vantage.peer_mac, vantage.peer_addresses)

    def _add(self, segment: int, site: int, owner: str, mac: str, addresses: Sequence[str]) -> None:
        if mac:
            self._by_mac[(segment, mac_value(mac))] = owner
        for address in filter(_is_address, addresses):
            self._by_address.setdefault((site, address_value(address)), set()).add(owner)

    def name(self, segment: int, mac: int, version: int, hi: int, lo: int) -> str:
        """The name of one endpoint: container, ``host``, else its address, else its MAC."""
        if mac == _BROADCAST_MAC:
            return BROADCAST
        owner = "" if mac & GROUP_BIT else self._by_mac.get((segment, mac), "")
        if not version:
            return owner or self._infer(mac) or mac_text(mac)
        if owner and owner != HOST:
            return owner
        if owner and _is_link_scoped(hi, lo):
            return owner
        site = self._site_of.get(segment, -1)
        owners = self._by_address.get((site, (hi, lo)), set())
        if len(owners) == 1:
            return next(iter(owners))
        mapped = version == 6 and hi == 0 and lo >> 32 == 0xFFFF
        prefix = "::ffff:" if mapped else ""
        return self._names.get((hi, lo)) or prefix + address_text(hi, lo)

    def _infer(self, mac: int) -> str:
        address = inferred_address(mac)
        if address:
            self.inferred.add(mac)
        return address

    def column(
        self,
        segment: npt.NDArray[np.int32],
        mac: npt.NDArray[np.uint64],
        version: npt.NDArray[np.uint8],
        hi: npt.NDArray[np.uint64],
        lo: npt.NDArray[np.uint64],
    ) -> pl.Series:
        """[p] names."""
        numbers = self.numbers(segment, mac, version, hi, lo)
        return pl.Series(self.texts, dtype=pl.String).gather(numbers)

    def numbers(
        self,
        segment: npt.NDArray[np.int32],
        mac: npt.NDArray[np.uint64],
        version: npt.NDArray[np.uint8],
        hi: npt.NDArray[np.uint64],
        lo: npt.NDArray[np.uint64],
    ) -> npt.NDArray[np.int32]:
        """[p] places in ``texts``; each distinct endpoint is resolved once."""
        columns = (segment, mac, version, hi, lo)
        rows = np.arange(len(mac), dtype=np.int32)
        keys = np.empty(len(mac), np.uint64)
        _fill_keys(rows, rows, segment, columns[1:], keys)
        return self._named(keys, lambda new: tuple(column[new] for column in columns))

    def _named(
        self,
        keys: npt.NDArray[np.uint64],
        columns_of: Callable[[npt.NDArray[np.int64]], tuple[npt.NDArray[Any], ...]],
    ) -> npt.NDArray[np.int32]:
        """The numbers; columns_of: segment, MAC, version and address of rows with new keys."""
        numbers, fresh = self._keys.take(keys)
        if len(fresh):
            rows = zip(*(column.tolist() for column in columns_of(fresh)), strict=True)
            text_numbers = [self._text_number(self.name(*row)) for row in rows]
            self._name_of_key = np.concatenate(
                [self._name_of_key, np.array(text_numbers, np.int32)]
            )
        return self._name_of_key.take(numbers)

    def numbers_of(
        self,
        frames: Mapping[str, npt.NDArray[Any]],
        segment: npt.NDArray[np.int32],
        rows: npt.NDArray[np.int32],
        side: str,
    ) -> npt.NDArray[np.int32]:
        """As `numbers`, of the ``src`` or ``dst`` of some frames; segment: of each vantage."""
        keys = np.empty(len(rows), np.uint64)
        columns = tuple(
            frames[name] for name in (f"eth_{side}", "ip_version", f"{side}_hi", f"{side}_lo")
        )
        _fill_keys(rows, frames["vantage"], segment, columns, keys)
        return self._named(
            keys,
            lambda new: (segment[frames["vantage"][rows[new]]], *(c[rows[new]] for c in columns)),
        )

    def _text_number(self, text: str) -> int:
        if text not in self._text_numbers:
            self._text_numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._text_numbers[text]


@compiled
def _fill_keys(rows: Any, vantage: Any, segment: Any, columns: Any, keys: Any) -> None:
    """One key an endpoint: of its segment, MAC, IP version and address."""
    mac, version, hi, lo = columns
    for k in range(len(rows)):
        i = rows[k]
        where = np.uint64(segment[vantage[i]]) << np.uint64(8) | np.uint64(version[i])
        keys[k] = mix(mix(mac[i], where), mix(hi[i], lo[i]))


def _is_address(text: str) -> bool:
    try:
        address_value(text)
    except ValueError:
        return False
    return True
