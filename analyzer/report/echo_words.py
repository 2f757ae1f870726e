"""Echoes in words: where one turned round, and whether it is known that none was lost."""

from __future__ import annotations

from analyzer.formatting.numbers import NONE, format_count
from analyzer.formatting.pieces import Piece
from analyzer.model.echo_rows import IcmpRow
from analyzer.model.report import Report


def losses_known(report: Report) -> bool:
    """Whether the topology tells where packets have to come to; else none can be missed."""
    return not all(row.inferred for row in report.vantages)


def lost_piece(report: Report, row: IcmpRow) -> Piece:
    """``2 lost``; of a file that could not show that none was, ``– lost``."""
    if row.lost or losses_known(report):
        return Piece(f"{format_count(row.lost)} lost", "bad" if row.lost else "ok")
    return Piece(f"{NONE} lost")


def turnaround_words(row: IcmpRow) -> str:
    """``turnaround in tomcat02``, or behind which vantage all that lies that was not captured."""
    if row.turnaround_inside:
        return f"turnaround in {row.destination}"
    return f"turnaround beyond {row.turnaround_at}"


def rtt_note(report: Report) -> str:
    """Where the round trips of all these echoes were timed, as far as that is known."""
    bearers = {
        (vantage.name, address.partition("/")[0])
        for vantage in report.vantages
        for address in vantage.addresses
    }
    timed = [row for row in report.icmp if row.rtt_p50_ns is not None]
    if not timed:
        return ""
    if all((row.measured_at, row.source_ip) in bearers for row in timed):
        return "RTT at the asker's interface"
    return "RTT where the requests were first seen"
