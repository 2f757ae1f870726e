"""Addresses as text: each different one is written once, however many rows hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.net.ethernet import mac_text
from analyzer.net.ip import address_text, ipv4_text


def mac_texts(values: npt.NDArray[np.uint64]) -> pl.Series:
    """[n] numbers of 48 bits → [n] strings."""
    return _texts(pl.DataFrame({"value": values}), mac_text)


def ipv4_texts(values: npt.NDArray[np.uint32]) -> pl.Series:
    """[n] IPv4 addresses in host order (``arp_spa``) → [n] strings."""
    return _texts(pl.DataFrame({"value": values}), ipv4_text)


def ipv4_column(values: npt.NDArray[Any]) -> pl.Series:
    """[n] the same of the lowest 32 bits, of values that are mostly different: without Python."""
    bits = pl.DataFrame({"bits": (values & 0xFFFF_FFFF).astype(np.uint32)})
    octets = (pl.col("bits") // (1 << shift) % 256 for shift in (24, 16, 8, 0))
    return bits.select(text=pl.format("{}.{}.{}.{}", *octets))["text"]


def address_texts(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> pl.Series:
    """[n] halves of addresses (``src_hi``, ``src_lo``) → [n] strings."""
    return _texts(pl.DataFrame({"high": high, "low": low}), address_text)


def _texts(values: pl.DataFrame, text: Callable[..., str]) -> pl.Series:
    different = values.unique()
    named = different.with_columns(
        pl.Series("text", [text(*row) for row in different.iter_rows()], pl.String)
    )
    return values.join(named, on=values.columns, how="left", maintain_order="left")["text"]
