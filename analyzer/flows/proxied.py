"""Connections that docker-proxy hands on: two of them, tied by the proxy, and no journey.

One ends at the host, at a port that a proxy listens at; soon after it the host opens another one
to the container that the proxy is for. They are tied where in the time that a proxy takes there
is no other one of either kind, and both carried the same number of bytes: certainly. Where there
are several they are tied in order, and where bytes differ as well: likely.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct

from analyzer.flows.kind import AggregatorInputs, FlowContext, FlowKind
from analyzer.model.batch import Batch
from analyzer.model.flow_rows import ProxyRow, TransportRow
from analyzer.model.journeys import Evidence
from analyzer.model.proxy import Proxy
from analyzer.native.keys import KeyNumbers, mixed
from analyzer.net.ip import TCP, UDP, address_text
from analyzer.net.tcp_flags import SYN, SYN_ACK

PROXY_NS = 1_000_000_000
"""a proxy has opened the second connection by then"""
_MOST = 5
_PARTS = ("src_hi", "src_lo", "dst_hi", "dst_lo", "src_port", "dst_port")
_UP, _DOWN = int(Evidence.DELIVERED_UP), int(Evidence.BRIDGE_OUT)
_NOT_UP = int(Evidence.ROUTED | Evidence.BRIDGE_OUT)
_NOT_DOWN = int(Evidence.ROUTED | Evidence.DELIVERED_UP | Evidence.PORT_IN)


class _Begun(Struct, frozen=True, order=True):
    """The first packet of a connection."""

    ts_ns: int
    source: str
    destination: str
    source_ip: str
    source_port: int
    destination_ip: str
    destination_port: int


class Proxied:
    """First packets of connections that end at the host, or come from it; of all batches."""

    def __init__(self) -> None:
        self._numbers = KeyNumbers()
        self._rows: list[pl.DataFrame] = []

    def add(self, batch: Batch) -> None:
        """Keep those of one batch."""
        packets, frames = batch.packets, batch.frames
        evidence = packets["evidence"].to_numpy()
        up = ((evidence & _UP) != 0) & ((evidence & _NOT_UP) == 0)
        up |= evidence == int(Evidence.STATION_IN)
        down = ((evidence & _DOWN) != 0) & ((evidence & _NOT_DOWN) == 0)
        first = packets["first_frame"].to_numpy()
        protocol = frames["protocol"][first]
        opens = (protocol == UDP) | (
            (protocol == TCP) & (frames["tcp_flags"][first] & SYN_ACK == SYN)
        )
        chosen = np.flatnonzero((up | down) & opens)
        if not len(chosen):
            return
        rows = first[chosen]
        columns = [frames[name][rows] for name in _PARTS]
        keys = mixed(down[chosen], protocol[chosen], *columns, frames["tcp_seq"][rows])
        fresh = self._numbers.take(keys)[1]
        names = pl.col("source", "destination").cast(pl.String)
        self._rows.append(
            packets[chosen]
            .select("ts_ns", names)
            .with_columns(
                pl.Series("protocol", protocol[chosen]),
                pl.Series("down", down[chosen]),
                *(pl.Series(n, c) for n, c in zip(_PARTS, columns, strict=True)),
            )[fresh]
        )

    def rows(self, proxies: Sequence[Proxy], talks: Sequence[TransportRow]) -> list[ProxyRow]:
        """A row a connection that a proxy handed on. talks: TCP and UDP conversations."""
        if not (self._rows and proxies):
            return []
        begun = pl.concat(self._rows)
        carried = {
            (t.client_ip, t.client_port, t.server_ip, t.server_port): (
                t.client_bytes,
                t.server_bytes,
            )
            for t in talks
        }
        rows = [row for proxy in proxies for row in _of_proxy(proxy, begun, carried)]
        return sorted(rows, key=lambda row: row.ts_ns)


def _of_proxy(
    proxy: Proxy, begun: pl.DataFrame, carried: Mapping[Any, tuple[int, int]]
) -> Iterator[ProxyRow]:
    of_protocol = begun.filter(protocol=TCP if proxy.protocol == "tcp" else UDP)
    up = [
        one
        for one in _those(of_protocol.filter(~pl.col("down"), dst_port=proxy.host_port))
        if _listens(proxy, one.destination_ip)
    ]
    down = [
        one
        for one in _those(of_protocol.filter("down", dst_port=proxy.container_port))
        if one.destination_ip == proxy.container_ip
    ]
    times = [one.ts_ns for one in up], [one.ts_ns for one in down]
    free = 0
    for first in up:
        free = max(free, bisect_right(times[1], first.ts_ns))
        if free == len(down):
            return
        second = down[free]
        if second.ts_ns > first.ts_ns + PROXY_NS:
            continue
        free += 1
        others = bisect_right(times[1], first.ts_ns + PROXY_NS) - bisect_right(
            times[1], first.ts_ns
        )
        rivals = bisect_left(times[0], second.ts_ns) - bisect_left(
            times[0], second.ts_ns - PROXY_NS
        )
        bytes_ = carried.get(_ends(first)), carried.get(_ends(second))
        same = bytes_[0] == bytes_[1] and sum(bytes_[0] or ()) > 0
        yield _row(proxy, first, second, others == rivals == 1 and same)


def _listens(proxy: Proxy, address: str) -> bool:
    """At that address; of each IP version Docker starts a proxy of its own."""
    everywhere = "::" if ":" in address else "0.0.0.0"
    return proxy.host_ip in (address, everywhere)


def _those(rows: pl.DataFrame) -> list[_Begun]:
    return sorted(
        _Begun(
            row["ts_ns"],
            row["source"],
            row["destination"],
            address_text(row["src_hi"], row["src_lo"]),
            row["src_port"],
            address_text(row["dst_hi"], row["dst_lo"]),
            row["dst_port"],
        )
        for row in rows.iter_rows(named=True)
    )


def _ends(one: _Begun) -> tuple[str, int, str, int]:
    return (one.source_ip, one.source_port, one.destination_ip, one.destination_port)


def _row(proxy: Proxy, first: _Begun, second: _Begun, certain: bool) -> ProxyRow:
    return ProxyRow(
        protocol=proxy.protocol,
        client=first.source,
        server=second.destination,
        client_ip=first.source_ip,
        client_port=first.source_port,
        host_ip=first.destination_ip,
        host_port=first.destination_port,
        proxy_ip=second.source_ip,
        proxy_port=second.source_port,
        server_ip=second.destination_ip,
        server_port=second.destination_port,
        ts_ns=first.ts_ns,
        delay_ns=second.ts_ns - first.ts_ns,
        certain=certain,
    )


def _aggregator(inputs: AggregatorInputs) -> Proxied:
    return Proxied()


def _rows(proxied: Proxied, context: FlowContext) -> list[ProxyRow]:
    talks = [*context.rows_of("tcp"), *context.rows_of("udp")]
    return proxied.rows(context.proxies, talks)


KINDS = (
    FlowKind(
        name="proxied",
        row=ProxyRow,
        about="two connections that docker-proxy ties: to the host, and on to the container",
        aggregator=_aggregator,
        rows=_rows,
    ),
)
