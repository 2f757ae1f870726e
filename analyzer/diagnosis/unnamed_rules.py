"""What to say where the packet filter dropped, and no rule that was read can be named. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.diagnosis.reasons import Place
from analyzer.recorders.settings.iptables_rules import Rule
from analyzer.recorders.settings.nftables_rules import look_at

_OF_RULES = "nft_do_chain"
"""the function that follows the rules of nf_tables"""


def no_rule(location: str, place: Place, passing: str) -> str:
    """Nothing that fits counted, and nothing that fits is without a counter.

    passing: what is known of rules that came and went (`diagnosis.passing_rules`); '': nothing.

    ``nft_do_chain`` names the drop of a rule; the hook itself (``nf_hook_slow``) tells of all that
    is registered there: the legacy tables, ebtables, connection tracking, NAT.
    """
    if passing:
        look = "nft -a list ruleset" if _OF_RULES in location else "iptables-legacy-save -c"
        return (
            f"no rule that stood at the capture's start or end: while these were sent {passing}: "
            f"{place.run(look)}"
        )
    if _OF_RULES in location:
        return (
            "a rule of nftables (or iptables-nft) dropped it, and none of those that were read at "
            "the capture's start and end: one that stood for a while only, or that no tool here "
            f"shows: {place.run('nft -a list ruleset')}; {place.run('nft monitor')} tells more"
        )
    return (
        "no rule that fits has counted: connection tracking or NAT refused it (no free port, a "
        f"full table), or a rule that is gone; {place.run('conntrack -S')} counts the former"
    )


def one_of(rules: Sequence[Rule], place: Place) -> str:
    """Nothing counted: what may have dropped, and how to find out."""
    names = ", ".join(rule.told() for rule in rules[:3])
    more = f" and {len(rules) - 3} more" if len(rules) > 3 else ""
    return (
        f"no counter tells which rule; without one, and fitting: {names}{more}: add a counter, or "
        f"{place.run('nft monitor trace')} with meta nftrace set 1; {place.run(look_at(rules[0]))}"
    )
