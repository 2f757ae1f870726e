"""Conversations by who is the client, from columns by direction."""

from __future__ import annotations

import polars as pl

from analyzer.flows.transport_packets import SIDE

_NO_SYN = 2
"""rank of a packet that is neither SYN nor SYN-ACK"""
_OPENING = ("connect_ns", "syn_retries", "challenge_acks")


def by_role(table: pl.DataFrame) -> pl.DataFrame:
    """Columns ``…_0`` and ``…_1``, by direction, as ``client_…`` and ``server_…``."""
    from_low = pl.col("forward") == (pl.col("rank") == 1)
    sided = [name.removesuffix("_0") for name in table.columns if name.endswith("_0")]
    sides = (
        pl.when(from_low).then(f"{name}_{low}").otherwise(f"{name}_{high}").alias(f"{role}_{name}")
        for role, low, high in (("client", 0, 1), ("server", 1, 0))
        for name in sided
    )
    totals = ("connections", "answered", "initial_rtt_ns", "handshake_rtt_ns", *_OPENING)
    added = ("packets", "bytes", "lost", "fragments", "duplicates")
    both = (pl.sum_horizontal(f"{n}_0", f"{n}_1").alias(n) for n in added)
    begun = (pl.col("rank") < _NO_SYN).alias("begun")
    return table.select(
        "conversation",
        "protocol",
        begun,
        *_side("client"),
        *_side("server"),
        *both,
        *sides,
        *totals,
    )


def _side(role: str) -> list[pl.Expr]:
    """The client's or the server's columns: source and destination, turned for a SYN-ACK."""
    own, other = (("source", "src"), ("destination", "dst"))
    if role == "server":
        own, other = other, own
    turned = pl.when(pl.col("rank") == 1)
    return [
        turned.then(other[0]).otherwise(own[0]).alias(role),
        *(
            turned.then(f"{other[1]}_{part}").otherwise(f"{own[1]}_{part}").alias(f"{role}_{part}")
            for part in SIDE
        ),
    ]
