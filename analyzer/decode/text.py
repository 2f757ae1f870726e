"""Addresses as text: each different one is written once, however many rows hold it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import numpy.typing as npt
import polars as pl

_MAPPED = 0xFFFF
"""upper 32 of the lower 64 bits of ::ffff:a.b.c.d"""


def mac_text(value: int) -> str:
    """0x0242ac110002 → ``02:42:ac:11:00:02``."""
    return (value & 0xFFFFFFFFFFFF).to_bytes(6, "big").hex(":")


def address_text(high: int, low: int) -> str:
    """The two halves of a 128-bit address; IPv4, which is kept as ::ffff:a.b.c.d, as IPv4.

    IPv6 as RFC 5952 writes it.
    """
    if high == 0 and low >> 32 == _MAPPED:
        return str(IPv4Address(low & 0xFFFFFFFF))
    return str(IPv6Address(high << 64 | low))


def ipv4_text(value: int) -> str:
    """0xac110002 → ``172.17.0.2``."""
    return str(IPv4Address(value))


def mac_texts(values: npt.NDArray[np.uint64]) -> pl.Series:
    """[n] numbers of 48 bits → [n] strings."""
    return _texts(pl.DataFrame({"value": values}), mac_text)


def ipv4_texts(values: npt.NDArray[np.uint32]) -> pl.Series:
    """[n] IPv4 addresses in host order (``arp_spa``) → [n] strings."""
    return _texts(pl.DataFrame({"value": values}), ipv4_text)


def address_texts(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> pl.Series:
    """[n] halves of addresses (``src_hi``, ``src_lo``) → [n] strings."""
    return _texts(pl.DataFrame({"high": high, "low": low}), address_text)


def _texts(values: pl.DataFrame, text: Callable[..., str]) -> pl.Series:
    different = values.unique()
    named = different.with_columns(
        pl.Series("text", [text(*row) for row in different.iter_rows()], pl.String)
    )
    return values.join(named, on=values.columns, how="left", maintain_order="left")["text"]
