"""TCP and UDP conversations as rows of the report, and how the report shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from analyzer.correlate.loss import GRACE_NS
from analyzer.decode.rows import has_transport
from analyzer.decode.speech import speech
from analyzer.decode.tcp_options import tcp_options
from analyzer.flows.conversation_statistics import OPTIONS
from analyzer.flows.datagram_turns import DNS_IDS
from analyzer.flows.frame_notes import FrameReader
from analyzer.flows.kind import AggregatorInputs, FlowContext, FlowKind, SheetForm
from analyzer.flows.left_out import largest_talks, left_out
from analyzer.flows.tcp_state import COUNTS
from analyzer.flows.transport import ConversationNotes, Conversations
from analyzer.formatting.numbers import format_bytes, format_ns, format_plural
from analyzer.formatting.pieces import Piece, count_piece, state_piece
from analyzer.model.batch import Columns
from analyzer.model.flow_rows import TcpRow, UdpRow
from analyzer.model.frames import FrameChunk
from analyzer.model.vantage import Vantage
from analyzer.net.ip import TCP, address_text
from analyzer.net.tcp_flags import SYN

Places = Mapping[int, list[str]]
"""`Conversations.lost_between`"""
_ENDS = ("client", "server")


def name_udp(
    table: pl.DataFrame, lost: Places, short: Mapping[int, int] | None = None
) -> list[UdpRow]:
    """The report's rows, addresses as text.

    short: flow → datagrams of which some fragments were lost.
    """
    return [
        UdpRow(
            **_ends(row, lost),
            fragments=row["fragments"],
            duplicate_fragments=row["duplicates"],
        )
        for row in (_with_parts(row, short or {}) for row in _of(table, "udp"))
    ]


def name_unheaded(row: Mapping[str, Any]) -> UdpRow:
    """Datagrams between two addresses whose ports nobody saw: see `Fragments.unheaded`."""
    numbers = ("packets", "bytes", "fragments", "duplicate_fragments")
    sides = ("packets", "bytes", "lost", "min_ns", "mean_ns", "max_ns", "p50_ns", "p99_ns")
    unknown: dict[str, Any] = {f"{end}_{name}": None for end in _ENDS for name in ("port", *sides)}
    counts: dict[str, Any] = {f"{end}_{name}": 0 for end in _ENDS for name in sides[:3]}
    counts |= {f"client_{name}": row[name] for name in numbers[:2]}
    return UdpRow(
        client=row["source"],
        server=row["destination"],
        client_ip=address_text(row["src_hi"], row["src_lo"]),
        server_ip=address_text(row["dst_hi"], row["dst_lo"]),
        lost=0,
        lost_between=[],
        **unknown | counts | {name: row[name] for name in numbers},
    )


def name_tcp(
    table: pl.DataFrame, lost: Places, parts: Mapping[int, int], vantages: Sequence[Vantage]
) -> list[TcpRow]:
    """The report's rows, addresses as text. Counts are of both directions together.

    parts: flow → segments that were lost of frames that came in part.
    """
    return [
        TcpRow(
            **_ends(row, lost),
            **{
                f"{end}_{name}": row[f"{end}_{name}"]
                for end in ("client", "server")
                for name in (*OPTIONS, "window_max_bytes")
            },
            **{
                name: row[f"client_{name}"] + row[f"server_{name}"]
                for name in COUNTS
                if name not in ("syns", "fins")
            },
            connections=row["connections"],
            state=_state(row),
            handshake_rtt_ns=row["handshake_rtt_ns"],
            initial_rtt_ns=row["initial_rtt_ns"],
            connect_ns=row["connect_ns"],
            syn_retries=row["syn_retries"],
            challenge_acks=row["challenge_acks"],
            copies=row["client_copies"] + row["server_copies"],
            zero_window_ns=max(row["client_zero_window_ns"], row["server_zero_window_ns"]),
            **_repeated(row, vantages),
        )
        for row in (_with_parts(row, parts) for row in _of(table, "tcp"))
    ]


def _with_parts(row: dict[str, Any], parts: Mapping[int, int]) -> dict[str, Any]:
    more = {end: parts.get(row[f"{end}_flow"], 0) for end in _ENDS} if parts else {}
    if not any(more.values()):
        return row
    sides = {f"{end}_lost": row[f"{end}_lost"] + count for end, count in more.items()}
    return {**row, **sides, "lost": row["lost"] + sum(more.values())}


def _repeated(row: Mapping[str, Any], vantages: Sequence[Vantage]) -> dict[str, Any]:
    """Of the side that came to a halt: nothing where none did."""
    side = max(("client", "server"), key=lambda one: row[f"{one}_repeated"])
    if not row[f"{side}_repeated"]:
        return {}
    same = ("repeated", "repeated_bytes", "repeated_ns", "passed_bytes")
    told = {name: row[f"{side}_{name}"] for name in same}
    return {**told, "repeated_by": side, "repeated_at": vantages[row[f"{side}_repeated_at"]].name}


def _of(table: pl.DataFrame, protocol: str) -> Iterator[dict[str, Any]]:
    return table.filter(pl.col("protocol") == protocol).iter_rows(named=True)


def _ends(row: Mapping[str, Any], lost: Places) -> dict[str, Any]:
    """What TCP and UDP rows have in common."""
    same = ("client", "server", "client_port", "server_port", "packets", "bytes", "lost")
    sides = ("packets", "bytes", "lost", "min_ns", "mean_ns", "max_ns", "p50_ns", "p99_ns")
    return {
        "lost_between": lost.get(row["conversation"], []),
        "client_ip": address_text(row["client_hi"], row["client_lo"]),
        "server_ip": address_text(row["server_hi"], row["server_lo"]),
        **{name: row[name] for name in same},
        **{f"{end}_{name}": row[f"{end}_{name}"] for end in ("client", "server") for name in sides},
    }


def _state(row: Mapping[str, Any]) -> str:
    """What became of the conversation's connections, as far as was seen."""
    asked, answered = row["client_syns"], row["answered"]
    if asked and not answered:
        if row["server_resets"]:
            return "refused"
        went_on = row["client_packets"] > asked + row["client_resets"]
        return "open" if row["server_packets"] or went_on else "unanswered"
    if row["client_resets"] > row["challenge_acks"] or row["server_resets"]:
        return "reset"
    return "closed" if row["client_fins"] and row["server_fins"] else "open"


def read_syn_options(chunk: FrameChunk, frames: Columns) -> pl.DataFrame:
    """row and the options of SYNs."""
    syn = (frames["tcp_flags"] & SYN != 0) & (frames["l4_offset"] != 0)
    rows = np.flatnonzero(syn)
    if not len(rows):
        return pl.DataFrame()
    return tcp_options(chunk, frames, rows).select("row", *OPTIONS)


_READER = FrameReader("options of SYNs", read_syn_options)
_SPEECH = FrameReader("how TCP's sides talk", speech, lambda frames: has_transport(frames, TCP))


def conversations(inputs: AggregatorInputs) -> Conversations:
    """TCP and UDP are counted by one aggregator."""
    read = inputs.readers.notes
    return Conversations(ConversationNotes(read(_READER), read(_SPEECH), read(DNS_IDS)))


def _tcp_rows(talks: Conversations, context: FlowContext) -> list[TcpRow]:
    parts = talks.lost_parts(context.trusted).group_by("flow").agg(pl.col("segments").sum())
    lost = talks.lost_between(context.vantages, context.trusted)
    table, _ = largest_talks(talks.table(), "tcp", context.top)
    rows = name_tcp(table, lost, dict(parts.iter_rows()), context.vantages)
    for row in rows:
        if row.state == "unanswered" and not (
            context.shows_answers and context.hears(row.client_ip)
        ):
            row.state = "unknown"
    return rows


def _udp_rows(talks: Conversations, context: FlowContext) -> list[UdpRow]:
    table, _ = largest_talks(talks.table(), "udp", context.top)
    outlook = context.outlook
    short = talks.short(outlook.end_ns - GRACE_NS) if outlook.complete else {}
    rows = name_udp(table, talks.lost_between(context.vantages, context.trusted), short)
    return rows + [name_unheaded(row) for row in talks.unheaded()]


def _pair(row: TcpRow | UdpRow) -> Piece:
    if row.client_port is None:
        return Piece(f"{row.client} → {row.server}, ports not seen")
    return Piece(f"{row.client}:{row.client_port} → {row.server}:{row.server_port}")


def _state_piece(row: TcpRow) -> Piece:
    """With the time that a connection took whose SYNs had to be repeated."""
    if not row.syn_retries:
        return state_piece(row.state)
    tries = format_plural(row.syn_retries, "SYN") + " repeated"
    took = "" if row.connect_ns is None else f", connected after {format_ns(row.connect_ns)}"
    return Piece(f"{row.state}{took}, {tries}", "warn")


def _tcp_cells(row: TcpRow) -> Iterable[Piece]:
    yield _pair(row)
    yield _state_piece(row)
    yield count_piece(row.packets)
    yield Piece(format_bytes(row.client_bytes))
    yield Piece(format_bytes(row.server_bytes))
    yield count_piece(row.lost, "bad")
    yield count_piece(row.retransmissions, "warn")
    yield count_piece(row.out_of_order, "warn")
    yield Piece(format_ns(row.handshake_rtt_ns))


def _udp_cells(row: UdpRow) -> Iterable[Piece]:
    fragments = _fragment_words(row)
    yield Piece(f"{_pair(row).text}{fragments}")
    yield count_piece(row.packets)
    yield Piece(format_bytes(row.client_bytes))
    yield Piece(format_bytes(row.server_bytes))
    yield count_piece(row.lost, "bad")


def _fragment_words(row: UdpRow) -> str:
    """``, in 3 fragments, 1 once more``."""
    if not row.fragments:
        return ""
    again = f", {row.duplicate_fragments} once more" if row.duplicate_fragments else ""
    return f", in {format_plural(row.fragments, 'fragment')}{again}"


KINDS = (
    FlowKind(
        name="tcp",
        row=TcpRow,
        about="a TCP conversation: both directions between two addresses and ports",
        aggregator=conversations,
        rows=_tcp_rows,
        left_out=partial(left_out, "tcp"),
        sheet=SheetForm(
            place=1,
            title="TCP",
            note="client → server; RTT of the handshake",
            words=("", "state"),
            numbers=("pkts", "sent", "got", "lost", "retr", "ooo", "RTT"),
            cells=_tcp_cells,
            noun="conversation",
            size=lambda row: row.packets,
        ),
    ),
    FlowKind(
        name="udp",
        row=UdpRow,
        about="a UDP conversation: both directions between two addresses and ports",
        aggregator=conversations,
        rows=_udp_rows,
        left_out=partial(left_out, "udp"),
        sheet=SheetForm(
            place=2,
            title="UDP",
            note="client → server",
            words=("",),
            numbers=("pkts", "sent", "got", "lost"),
            cells=_udp_cells,
            noun="conversation",
            size=lambda row: row.packets,
        ),
    ),
)
