"""What stands out in the traffic, told from the partials: for captures of any length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from analyzer.analysis.partials import Partials
from analyzer.analysis.reading import Reading
from analyzer.findings.asymmetric_paths import find_asymmetric_paths, find_other_addresses
from analyzer.findings.dns_failures import find_dns_trouble
from analyzer.findings.of_flows import MOST
from analyzer.findings.unanswered import find_unanswered
from analyzer.flows.arp_claims import ArpClaimVerdicts
from analyzer.model.batch import Outlook
from analyzer.model.report import ArpRow, DnsRow, Finding


@dataclass(frozen=True, slots=True)
class FindingInputs:
    """What the partials have come to, as tables and rows."""

    outcomes: pl.DataFrame
    talks: pl.DataFrame
    arp: Sequence[ArpRow]
    nd: Sequence[ArpRow]
    dns: Sequence[DnsRow]
    outlook: Outlook


def collect_findings(
    partials: Partials, reading: Reading, known: FindingInputs, claims: ArpClaimVerdicts
) -> list[Finding]:
    """The findings, by kind; of many with one code only the first."""
    outlook = known.outlook
    found = [
        *claims.findings,
        *find_unanswered(known.arp, known.nd, outlook, reading.census, reading.engine),
        *find_dns_trouble(known.dns, reading.census, reading.engine),
        *partials.resets.findings(outlook, reading.census.published or {}),
        *partials.handshakes.findings(outlook.vantages),
        *partials.checksums.findings(outlook),
        *find_asymmetric_paths(known.outcomes, outlook.vantages),
        *find_other_addresses(known.talks),
    ]
    return list(limited(found))


def limited(findings: Iterable[Finding], most: int = MOST) -> Iterator[Finding]:
    """Those that are told, and a line for the others of each code."""
    counts: Counter[tuple[str, str]] = Counter()
    for finding in findings:
        kind = (finding.severity, finding.code)
        counts[kind] += 1
        if counts[kind] <= most:
            yield finding
    for (severity, code), count in counts.items():
        if count > most:
            yield Finding(severity, code, f"and {count - most} more of this kind")
