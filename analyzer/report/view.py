"""What both renderers show, in the same order and the same words; how it looks is theirs.

Nothing is measured here: rows of the report are selected, paired (there and back) and worded.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from analyzer.formatting.numbers import (
    format_count,
    format_ns,
    format_plural,
    format_time,
    format_us_exact,
)
from analyzer.formatting.pieces import Piece
from analyzer.model.echo_rows import Echo, IcmpRow
from analyzer.model.report import Fact, HopRow, LossRow, PacketRow, Report, Verdict
from analyzer.report.echo_words import lost_piece

MARKS = {True: "✓", False: "✗", None: "?"}
RESULT_MARKS = {"proved": "✓", "refuted": "✗", "undecided": "?"}
RESULT_LEVELS = {"proved": "ok", "refuted": "bad", "undecided": "warn"}
WAYS = {
    "routed": "routed, not bridged",
    "tunnelled": "tunnelled, not bridged",
    "host": "the host is one end, nothing is bridged",
    "other-bridge": "another bridge",
    "beside": "no bridge on the way",
    "mixed": "not all of it bridged",
}
"""in words: ways that are none through the claim's bridge, and no fault"""
FACT_LEVELS = {True: "ok", False: "bad", None: "warn"}
SEVERITY_LEVELS = {"info": "", "warning": "warn", "error": "bad"}
SEVERITY_MARKS = {"info": "i", "warning": "!", "error": "✗"}
FULL_VERDICTS = 4
"""so many proved verdicts are shown with their evidence; the rest in a line each"""

NOTE_PERCENTILES = "Percentiles do not add up. The hops of one echo do, to the nanosecond:"


class HopSection(Struct):
    """The hops of one pair and protocol, both ways."""

    protocol: str
    source: str
    destination: str
    there: list[HopRow] = field(default_factory=list)
    back: list[HopRow] = field(default_factory=list)
    echoes: bool = False
    """whether they are (also) those of echoes"""
    icmp: IcmpRow | None = None
    """their conversation, where it is the only one of the pair: its RTT is that of all of them"""


def main_conversation(report: Report) -> IcmpRow | None:
    """The echoes that the report begins with: vethscope's own, else the most, else the first."""
    return max(report.icmp, key=lambda row: (row.own, row.sent), default=None)


def headline(report: Report) -> list[Piece]:
    """The one line that says how it went."""
    row = main_conversation(report)
    if row is None:
        return [*_frames(report), *_other_losses(report, None)]
    pieces = [
        Piece(f"{row.source} → {row.destination}", "name"),
        Piece(
            f"{format_plural(row.sent, 'echo')}, {format_count(row.answered)} answered, ",
            "ok" if row.answered == row.sent else "",
        ),
        lost_piece(report, row),
    ]
    if row.process and row.process.received < row.answered:
        pieces.append(Piece(f", {format_count(row.process.received)} reached the process", "bad"))
    if row.unmatched:
        pieces.append(Piece(f", {format_count(row.unmatched)} undecided", "warn"))
    if row.duplicates:
        pieces.append(Piece(f", {format_plural(row.duplicates, 'duplicate')}", "warn"))
    if row.rtt_p50_ns is not None:
        pieces.append(Piece(f" · RTT p50 {format_ns(row.rtt_p50_ns)}"))
    if len(report.icmp) > 1:
        count = len(report.icmp) - 1 + report.more_rows("icmp")
        more = format_plural(count, "more conversation")
        pieces.append(Piece(f" · {more} below"))
    return [*pieces, *_other_losses(report, row)]


def _frames(report: Report) -> list[Piece]:
    capture = report.capture
    seen = format_plural(len(report.vantages), "vantage")
    talks = [
        format_plural(len(rows) + report.more_rows(name.lower()), f"{name} conversation")
        for name, rows in (("TCP", report.tcp), ("UDP", report.udp))
        if rows
    ]
    protocols = " · " + ", ".join(talks) if talks else ""
    return [
        Piece(f"{format_plural(capture.frames, 'frame')} at {seen}, no ICMP echo"),
        Piece(protocols),
    ]


def _other_losses(report: Report, row: IcmpRow | None) -> list[Piece]:
    """What was lost of other traffic than these echoes."""
    ends = {row.source, row.destination} if row else set()
    others = [
        loss.packets
        for loss in report.losses
        if not (loss.protocol.startswith("icmp") and {loss.source, loss.destination} == ends)
    ]
    what = "other packet" if row else "packet"
    return [Piece(f" · {format_plural(sum(others), what)} lost", "bad")] if others else []


def conversations(report: Report, protocol: str, source: str, destination: str) -> list[IcmpRow]:
    """The echo conversations of a pair; none for other protocols."""
    ours = (r for r in report.icmp if (r.source, r.destination) == (source, destination))
    return list(ours) if protocol.startswith("icmp") else []


def hop_sections(report: Report) -> list[HopSection]:
    """The hop rows paired there and back; an echo's asker comes first."""
    sections: dict[tuple[str, str, str], HopSection] = {}
    for row in report.hops:
        there = (row.protocol, row.source, row.destination)
        back = (row.protocol, row.destination, row.source)
        if back in sections and back != there:
            sections[back].back.append(row)
            continue
        section = sections.setdefault(there, HopSection(*there))
        section.there.append(row)
    echoes: dict[tuple[str, str], list[IcmpRow]] = {}
    for one in report.icmp:
        echoes.setdefault((one.source, one.destination), []).append(one)
    for section in sections.values():
        ends = (section.source, section.destination)
        is_icmp = section.protocol.startswith("icmp")
        asked = echoes.get(ends, []) if is_icmp else []
        answered = echoes.get(ends[::-1], []) if is_icmp else []
        if answered and not asked:
            section.source, section.destination = section.destination, section.source
            section.there, section.back = section.back, section.there
        section.echoes = bool(asked or answered)
        section.icmp = (asked + answered)[0] if len(asked + answered) == 1 else None
    main = main_conversation(report)
    return sorted(sections.values(), key=lambda section: _interest(section, main))


def _interest(section: HopSection, main: IcmpRow | None) -> tuple[bool, bool, bool, bool, int]:
    """Sort key: the main conversation, losses, echoes, no group (multicast), many packets."""
    rows = [*section.there, *section.back]
    ends = (section.source, section.destination)
    return (
        not (section.echoes and main and ends == (main.source, main.destination)),
        not any(row.lost for row in rows),
        not section.echoes,
        _is_group(section.destination),
        -sum(row.packets + row.lost for row in rows),
    )


def _is_group(destination: str) -> bool:
    """Whether an endpoint is named by a broadcast or multicast address."""
    first = destination.partition(".")[0]
    return (
        destination == "broadcast"
        or destination.startswith("ff")
        or (first.isdecimal() and 224 <= int(first) <= 239 and destination.count(".") == 3)
    )


def adds_up(echo: Echo) -> bool:
    """Whether every piece of the echo was seen, so that they are its RTT to the nanosecond."""
    pieces = [hop.delay_ns for hop in (*echo.request_hops, *echo.reply_hops)]
    known = [delay_ns for delay_ns in pieces if delay_ns is not None]
    if echo.rtt_ns is None or len(known) < len(pieces):
        return False
    return echo.rtt_ns == sum(known) + (echo.turnaround_ns or 0)


def example_echo(row: IcmpRow | None) -> Echo | None:
    """The first echo that adds up."""
    return next(filter(adds_up, row.echoes), None) if row else None


def echo_terms(echo: Echo) -> str:
    """``5.512 + 84.103 + 1.807 + turnaround 14.063 + …``, in microseconds with all digits."""
    there = [format_us_exact(hop.delay_ns) for hop in echo.request_hops]
    back = [format_us_exact(hop.delay_ns) for hop in echo.reply_hops]
    middle = f"turnaround {format_us_exact(echo.turnaround_ns or 0)}"
    return " + ".join([*there, middle, *back])


def two_views(row: IcmpRow) -> str:
    """The difference between the wire and the pinging process in a sentence; '' if not known."""
    if row.process_rtt_p50_ns is None or row.rtt_p50_ns is None:
        return ""
    where = f" at {row.measured_at}" if row.measured_at else ""
    return (
        f"On the wire{where} a round trip took {format_ns(row.rtt_p50_ns)} (p50); the pinging "
        f"process saw {format_ns(row.process_rtt_p50_ns)}: its system calls, the socket and "
        "its wake-up come on top."
    )


def packet_end(row: PacketRow) -> str:
    """``✗ lost after veth3d64d10: NETFILTER_DROP at nft_do_chain+0x3e8``; '' where it arrived."""
    if row.fate not in ("lost", "dropped"):
        return ""
    where = "behind" if row.fate == "dropped" else "after"
    reason = f": {row.reason}" if row.reason else ""
    return f"✗ {row.fate} {where} {row.last_seen}{reason}"


def loss_lines(row: LossRow) -> list[tuple[str, str]]:
    """(label, text) of what is known of a loss; unknown lines are left out."""
    seen = f"{row.last_seen}  (seen at {', '.join(row.seen)})" if row.seen else row.last_seen
    lines = [
        ("when", _loss_times(row)),
        ("last seen", seen),
        ("expected", row.expected),
        ("reason", row.reason),
        ("advice", row.advice),
    ]
    return [(label, text) for label, text in lines if text]


def _loss_times(row: LossRow) -> str:
    """``2026-01-02 03:04:05.123456 UTC, over 1.50 s, 3 of them certain``."""
    if row.first_ns is None or row.last_ns is None:
        return ""
    over = row.last_ns - row.first_ns
    span = f", over {format_ns(over)}" if over else ""
    sure = "" if row.certain == row.packets else f", {format_count(row.certain)} of them certain"
    return f"{format_time(row.first_ns)}{span}{sure}"


def is_another_way(verdict: Verdict) -> bool:
    """Whether the packets were routed, tunnelled, …: no bridging, and nothing wrong."""
    return verdict.result == "refuted" and verdict.way in WAYS


def verdict_pieces(verdict: Verdict) -> tuple[Piece, str, str]:
    """(mark and result, claim and pair, packets) of a verdict, for one line."""
    pair = f"{verdict.source} → {verdict.destination}"
    packets = format_plural(verdict.packets, "packet")
    if is_another_way(verdict):
        return Piece(f"○ {WAYS[verdict.way]}"), pair, packets
    if verdict.result == "proved" and verdict.delivered < verdict.packets:
        packets = f"{format_count(verdict.delivered)} of {packets}"
    mark = f"{RESULT_MARKS[verdict.result]} {verdict.result}"
    return Piece(mark, RESULT_LEVELS[verdict.result]), f"{verdict.claim}: {pair}", packets


def refuted_line(report: Report) -> str:
    """What the verdicts come to where one is refuted; '' where none is."""
    refuted = [verdict for verdict in report.verdicts if verdict.result == "refuted"]
    if not refuted:
        return ""
    pairs = format_plural(len(report.verdicts) + report.more_rows("verdicts"), "pair")
    return f"refuted  {refuted[0].claim}: {format_count(len(refuted))} of {pairs} went another way"


def known_facts(verdict: Verdict) -> list[Fact]:
    """The evidence; none where none of it is known, as of a file without topology, nor what is not
    met because packets took another way in good order."""
    if is_another_way(verdict) and verdict.way != "mixed":
        return []
    is_known = any(fact.holds is not None for fact in verdict.evidence)
    return list(verdict.evidence) if is_known else []


def verdict_size(verdict: Verdict) -> tuple[bool, int]:
    """What was refuted comes first, then what tells of most packets."""
    return verdict.result == "refuted" and not is_another_way(verdict), verdict.packets


def brief_verdicts(verdicts: Sequence[Verdict]) -> set[int]:
    """Positions of proved verdicts that need no evidence line by line: others show the same."""
    proved = [i for i, verdict in enumerate(verdicts) if verdict.result == "proved"]
    return set(proved[FULL_VERDICTS:])


def footnotes(report: Report) -> list[str]:
    """What has to be known to read the hop table."""
    notes = []
    if any(row.kind == "deliver" for row in report.hops):
        notes.append(
            "deliver: 0 by construction. The bridge's own copy of a frame keeps the stamp that "
            "the frame got at its port, so this hop has no time of its own (TCP frames carry no "
            "such stamp: theirs is the time from tap to tap)."
        )
    if any(row.kind == "span" for row in report.hops):
        notes.append("span: the vantages between were not captured; the delay covers all of them.")
    return notes
