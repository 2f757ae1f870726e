"""Claims of an address: a handful is kept whoever forges how many, and the rest is counted."""

from __future__ import annotations

import polars as pl

from analyzer.flows import claims as bounds
from analyzer.flows.claims import HANDFUL, Claims

OWNER, PLACE = 0xFF, (0, 0, 7)


def said(macs: list[int], at_ns: int, address: int = 7) -> pl.DataFrame:
    """A reply of each of these MACs, one after the other, that the address is theirs."""
    return pl.DataFrame(
        {
            "segment": 0,
            "hi": pl.Series([0] * len(macs), dtype=pl.UInt64),
            "lo": pl.Series([address] * len(macs), dtype=pl.UInt64),
            "mac": pl.Series(macs, dtype=pl.UInt64),
            "ts": [at_ns + n for n in range(len(macs))],
            "vantage": 0,
            "reply": True,
            "unasked": True,
            "announced": False,
        }
    )


def test_the_owner_stays_among_forgers() -> None:
    claims = Claims()
    for batch in range(20):
        claims.take(said([OWNER, *range(1000 * batch + 1000, 1000 * batch + 2000)], batch * 10_000))
    (kept,) = claims.by_place().values()
    assert len(kept) == HANDFUL
    assert {one.mac: one.replies for one in kept}[OWNER] == 20
    assert kept[-1].mac == 20_999
    assert claims.others() == {PLACE: 20_001 - HANDFUL}


def test_few_are_kept_as_they_are() -> None:
    claims = Claims()
    claims.take(said([OWNER, 1, 2], 5))
    claims.take(said([2], 100))
    (kept,) = claims.by_place().values()
    assert [(one.mac, one.replies, one.last_ns) for one in kept] == [
        (OWNER, 1, 5),
        (1, 1, 6),
        (2, 2, 100),
    ]
    assert claims.others() == {}


def test_of_very_many_addresses_the_latest_are_kept(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(bounds, "MOST", 10)
    claims = Claims()
    for address in range(50):
        claims.take(said([1], address, address))
    assert [lo for _, _, lo in claims.by_place()] == list(range(40, 50))
