"""Rules of the legacy packet filter (x_tables) that are others at the end than at the start. Pure.

The kernel tells nobody of changes there, as nf_tables does; so both ends are compared. That a table
had other entries meanwhile `analyzer.recorders.evidence.legacy_tables` tells, not which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from analyzer.model.evidence import NamespaceEvidence, Span
from analyzer.recorders.settings.iptables_rules import split_saved

_LEGACY = "-legacy-save"


def changed_legacy_rules(span: Span) -> Mapping[str, tuple[list[str], list[str]]]:
    """Tool → rules that are new, and those that are gone, as ``-t nat -A PREROUTING …``; nothing
    where it did not tell all of them at both ends."""
    ends = (span.start, span.end)
    if any("rulesets" in m.absent or any(r.cut for r in m.rulesets) for m in ends):
        return {}
    start, end = map(_rules, ends)
    return {
        tool: (
            list((end[tool] - start[tool]).elements()),
            list((start[tool] - end[tool]).elements()),
        )
        for tool in start
        if tool in end
    }


def _rules(moment: NamespaceEvidence) -> dict[str, Counter[str]]:
    return {
        one.tool: Counter(f"-t {table} {rule}" for table, rule in split_saved(one.text))
        for one in moment.rulesets
        if one.tool.endswith(_LEGACY)
    }
