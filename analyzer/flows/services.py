"""Services: how long a server takes to answer, beside what the network takes, and how its
connections fare.

The server's time is from the end of a request, as it came in, to the first byte of the answer, as
it went out, at the server's own interface; or at the vantage nearest to it, which is told. The
network's is the rest of what the client waits: the request's way and the way of the answer's first
byte. Which turns of a connection can be timed is `analyzer.flows.turns`' matter. Connections in
which both sides may speak at any time (SSH, HTTP/2, WebSocket, inside of TLS) are counted and not
timed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct

from analyzer.decode.speech import LIKE_HTTP2, SPEECH_NAMES
from analyzer.flows.answer_times import AnswerTimes
from analyzer.flows.kind import FlowContext, FlowKind, SheetForm
from analyzer.flows.transport import Conversations
from analyzer.flows.transport_rows import conversations
from analyzer.formatting.numbers import format_count, format_ns
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.ranks import percentile
from analyzer.model.vantage import Vantage
from analyzer.net.ip import address_text
from analyzer.net.ports import FIRST_EPHEMERAL

_SHARES = ("p50_ns", "p99_ns", "max_ns")
_SERVICE = ["protocol", "server", "server_hi", "server_lo", "server_port"]


class ServiceRow(Struct):
    """One port of one server, all its clients together."""

    protocol: str
    """tcp, udp"""
    server: str
    server_ip: str
    port: int
    """of the server"""
    clients: int
    """addresses that it was asked from"""
    connections: int | None
    """begun with a SYN that was seen; null: not TCP"""
    refused: int | None
    """of these, answered with RST"""
    requests: int
    """TCP: turns of the clients; UDP: datagrams. Those of connections that cannot be timed are left
    out"""
    timed: int
    """requests of which the answer is known without doubt, and timed"""
    unanswered: int | None
    """of UDP's requests, but for those right before the capture's end; null: not UDP, or the
    capture filter may have left answers out"""
    retransmissions: int | None
    """of both sides; null: not TCP"""
    handshake_p99_ns: int | None
    """over its conversations: the first SYN to the SYN-ACK, where the client was seen"""
    response_p50_ns: int | None
    """the end of a request in → the first byte of the answer out; within 1 %"""
    response_p99_ns: int | None
    response_max_ns: int | None
    network_p50_ns: int | None
    """the request's way there and the way back of the answer's first byte; within 1 %; null: only
    one place of the way was seen"""
    network_p99_ns: int | None
    network_max_ns: int | None
    measured_at: str
    """the vantage at which the server's time was taken"""
    measured_inside: bool
    """whether that has the server's own address: else the time is that of all that lies beyond"""
    not_timed: str
    """protocols of connections that cannot be timed: TLS, SSH, HTTP/2, WebSocket"""
    tls_hello_p50_ns: int | None = None
    """of TLS: the end of a ClientHello in → the first byte of the ServerHello out; within 1 %"""
    tls_hello_p99_ns: int | None = None
    tls_hello_max_ns: int | None = None


def service_rows(talks: Conversations, context: FlowContext) -> list[ServiceRow]:
    """The report's rows, in order of appearance."""
    table = talks.turns(context.end_ns)
    if table.is_empty():
        return []
    table = _asked(_by_ports(table))
    groups = table.group_by(_SERVICE, maintain_order=True).agg(
        pl.struct("client_hi", "client_lo").n_unique().alias("clients"),
        pl.col("connections", "refused", "retransmissions", "requests", "timed").sum(),
        pl.col("unanswered").sum(),
        pl.col("connect_ns").drop_nulls(),
        pl.col("speech").unique(maintain_order=True),
        pl.col("flow").filter(pl.col("clean")),
        pl.col("flow").filter(~pl.col("clean")).alias("other_flow"),
    )
    answers = talks.answer_times
    times = {name: _times(answers[name], _flows(groups, "flow", name)) for name in ("tcp", "udp")}
    hellos = _times(answers["tls"], _flows(groups, "other_flow", "tcp"))
    rows = groups.with_row_index("service").iter_rows(named=True)
    return [_row(row, (times[row["protocol"]], hellos), context) for row in rows]


def _flows(groups: pl.DataFrame, name: str, protocol: str) -> list[list[int]]:
    """[services] the numbers of their flows; none of another protocol's."""
    pairs = groups.select("protocol", name).iter_rows()
    return [flows if kind == protocol else [] for kind, flows in pairs]


def _by_ports(table: pl.DataFrame) -> pl.DataFrame:
    """Of conversations of which the opening was not seen, ports tell who the server is; those of
    TCP where they do not are left out."""
    client_low, server_low = (
        pl.col(f"{one}_port") < FIRST_EPHEMERAL for one in ("client", "server")
    )
    turned = (~pl.col("begun") & client_low & ~server_low).alias("turned")
    told = pl.col("begun") | (client_low != server_low) | (pl.col("protocol") == "udp")
    sides = []
    for name in table.columns:
        role, _, rest = name.partition("_")
        if role in ("client", "server"):
            other = {"client": "server", "server": "client"}[role]
            theirs = f"{other}_{rest}" if rest else other
            sides.append(pl.when(turned).then(theirs).otherwise(name).alias(name))
    return table.filter(told).with_columns(sides)


def _asked(table: pl.DataFrame) -> pl.DataFrame:
    """Conversations of question and answer, with what a service's row counts of each."""
    tcp = pl.col("protocol") == "tcp"
    guess = pl.col("begun") & (pl.col("client_speech") == LIKE_HTTP2)
    speech = pl.when(guess).then(0).otherwise("client_speech")
    refused = (
        (pl.col("client_syns") > 0) & (pl.col("answered") == 0) & (pl.col("server_resets") > 0)
    )
    answered = pl.col("client_answers")
    one_sided = (pl.col("server_asked") == 0) & (2 * answered >= pl.col("client_asked"))
    talks = tcp & ((pl.col("connections") > 0) | (pl.col("client_requests") > 0))
    return table.with_columns(
        speech.alias("speech"),
        (speech == 0).alias("clean"),
        pl.col("client_flow").alias("flow"),
        pl.when(refused).then("connections").otherwise(0).alias("refused"),
        (pl.col("client_retransmissions") + pl.col("server_retransmissions")).alias(
            "retransmissions"
        ),
        pl.when(~tcp)
        .then("client_asked")
        .when(speech == 0)
        .then("client_requests")
        .otherwise(0)
        .alias("requests"),
        pl.when(~tcp)
        .then("client_answers_timed")
        .when(speech == 0)
        .then("client_timed")
        .otherwise(0)
        .alias("timed"),
        pl.col("client_unanswered").alias("unanswered"),
    ).filter(pl.when(tcp).then(talks).otherwise((answered > 0) & one_sided))


def _times(times: AnswerTimes, of_services: Sequence[Sequence[int]]) -> pl.DataFrame:
    """[services] response_p50_ns … network_max_ns, and vantage (-1: none). of_services: their
    flows."""
    count, of_flow = len(of_services), np.full(times.largest.shape[1], -1, np.int64)
    for service, flows in enumerate(of_services):
        of_flow[flows] = service
    columns: dict[str, Any] = {"vantage": _vantages(times, of_flow, count)}
    pairs = (("response", times.response), ("network", times.network))
    ours = of_flow >= 0
    for row, (name, histograms) in enumerate(pairs):
        largest, least = np.full(count, -1, np.int64), np.full(count, (1 << 63) - 1, np.int64)
        np.maximum.at(largest, of_flow[ours], times.largest[row, ours])
        np.minimum.at(least, of_flow[ours], times.least[row, ours])
        merged = histograms.regrouped(of_flow)
        for share in (50, 99):
            middles = merged.quantiles(count, share / 100)
            columns[f"{name}_p{share}_ns"] = middles.clip(pl.Series(least), pl.Series(largest))
        columns[f"{name}_max_ns"] = pl.Series(largest).set(pl.Series(largest < 0), None)
    return pl.DataFrame(columns)


def _vantages(
    times: AnswerTimes, of_flow: npt.NDArray[np.int64], services: int
) -> npt.NDArray[np.int64]:
    """[services] where they were timed, -1: nowhere."""
    vantage = np.full(services, -1, np.int64)
    timed = (of_flow >= 0) & (times.vantage[0] >= 0)
    vantage[of_flow[timed]] = times.vantage[0, timed]
    return vantage


def _row(
    row: dict[str, Any], times: tuple[pl.DataFrame, pl.DataFrame], context: FlowContext
) -> ServiceRow:
    """times: of answers, and of ServerHellos."""
    tcp = row["protocol"] == "tcp"
    told, hello = (one.row(row["service"], named=True) for one in times)
    address = address_text(row["server_hi"], row["server_lo"])
    unheard = context.one_sided or not context.shows_answers
    place = told["vantage"] if told["vantage"] >= 0 or not tcp else hello["vantage"]
    at = context.vantages[place] if place >= 0 else None
    names = dict.fromkeys(SPEECH_NAMES[code] for code in row["speech"] if code)
    return ServiceRow(
        protocol=row["protocol"],
        server=row["server"],
        server_ip=address,
        port=row["server_port"],
        clients=row["clients"],
        connections=row["connections"] if tcp else None,
        refused=row["refused"] if tcp else None,
        requests=row["requests"],
        timed=row["timed"],
        unanswered=None if tcp or unheard else row["unanswered"],
        retransmissions=row["retransmissions"] if tcp else None,
        handshake_p99_ns=percentile(row["connect_ns"], 0.99),
        **{name: told[name] for name in told if name.endswith("_ns")},
        **{f"tls_hello_{name}": hello[f"response_{name}"] for name in _SHARES if tcp},
        measured_at=at.name if at else "",
        measured_inside=at is not None and _has(at, address),
        not_timed=", ".join(names),
    )


def _has(vantage: Vantage, address: str) -> bool:
    """Whether the address is the vantage's own."""
    own: Sequence[str] = [one.partition("/")[0] for one in vantage.addresses]
    return address in own


def _cells(row: ServiceRow) -> Iterable[Piece]:
    yield Piece(f"{row.server}:{row.port}" + ("" if row.protocol == "tcp" else "/udp"))
    yield _shares(row)
    yield count_piece(row.requests)
    yield Piece(format_ns(row.response_p99_ns))
    yield Piece(format_ns(row.response_max_ns))


def _shares(row: ServiceRow) -> Piece:
    """``network 40 µs, application 93 ms``."""
    parts = []
    if row.network_p50_ns is not None:
        parts.append(f"network {format_ns(row.network_p50_ns)}")
    if row.response_p50_ns is not None:
        whose = "application" if row.measured_inside else f"beyond {row.measured_at}"
        parts.append(f"{whose} {format_ns(row.response_p50_ns)}")
    if row.tls_hello_p50_ns is not None:
        parts.append(f"TLS hello {format_ns(row.tls_hello_p50_ns)}")
    if row.not_timed:
        parts.append(f"not timed: {row.not_timed}")
    faults = [f"{format_count(row.refused)} refused"] if row.refused else []
    if row.retransmissions:
        faults.append(f"{format_count(row.retransmissions)} retransmitted")
    if row.unanswered:
        faults.append(f"{format_count(row.unanswered)} unanswered")
    return Piece(", ".join(parts + faults), "warn" if faults else "")


KINDS = (
    FlowKind(
        name="services",
        row=ServiceRow,
        about="a port of a server: how long its answers take, beside the network's share",
        aggregator=conversations,
        rows=service_rows,
        sheet=SheetForm(
            place=0,
            title="Services",
            note="p50 of a request; p99 and max of the server's own time",
            words=("", "who takes how long"),
            numbers=("req", "p99", "max"),
            cells=_cells,
            noun="service",
            size=lambda row: row.requests,
        ),
    ),
)
