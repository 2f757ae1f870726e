"""Rules of native nftables, which iptables-save does not show: what may drop, and what counted.

``nft -a list ruleset`` prints them with their handles. A rule counts only where it has a
``counter``, and a chain's policy never: those are candidates, and called no more than that.
Without the tool they are unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from analyzer.recorders.settings.iptables_rules import (
    LEGACY_SAVE,
    SAVE,
    SAVE_PROGRAMS,
    Rule,
    has_tables,
    legacy_in_use,
    parse_rules,
    run_tool,
)
from analyzer.recorders.settings.matching import NFT

POLICY = "policy drop"
_TABLE = re.compile(r"table (\w+) (\S+) \{")
_CHAIN = re.compile(r"chain (\S+) \{")
_HOOK = re.compile(r"type \w+ hook (\w+) .*?;(?: policy (\w+);)?")
_HANDLE = re.compile(r"\s*# handle (\d+)$")
_COUNTER = re.compile(r"counter packets (\d+) bytes \d+")
_QUOTED = re.compile(r'"[^"]*"')
_ENDS = re.compile(r"(?:^|\s)(?:drop|reject\b.*)$|:\s*drop\b")
_LIST = ("-a", "list", "ruleset")
_IPTABLES = {"ip": "iptables", "ip6": "ip6tables"}


PROGRAMS = (*SAVE_PROGRAMS, (NFT, *_LIST))
"""the command lines that `print_rulesets` runs"""


def read_all_rules() -> list[Rule]:
    """Whatever may drop in the calling thread's namespace, by iptables and by nftables."""
    return rules_of(print_rulesets(filtered=has_tables()))


def print_rulesets(*, filtered: bool) -> dict[str, str]:
    """What the tools print of the calling thread's namespace, by their names.

    filtered: it has nf_tables; the legacy backend is asked where it has tables.
    """
    tools = [*SAVE.values(), NFT] if filtered else []
    tools += [LEGACY_SAVE[tool] for tool in SAVE if legacy_in_use(tool)]
    return {tool: run_tool(tool, *words) for tool, *words in PROGRAMS if tool in tools}


def rules_of(printed: Mapping[str, str]) -> list[Rule]:
    """The rules that may drop, of what the tools printed."""
    rules: list[Rule] = []
    shown: set[tuple[str, str]] = set()
    for tool, program in SAVE.items():
        text = printed.get(program, "")
        rules += parse_rules(text, tool)
        rules += parse_rules(printed.get(LEGACY_SAVE[tool], ""), f"{tool}-legacy")
        shown |= {(tool, line[1:].strip()) for line in text.splitlines() if line[:1] == "*"}
    native = parse_ruleset(printed.get(NFT, ""))
    return [*rules, *(rule for rule in native if not _is_shown(rule, shown))]


def _is_shown(rule: Rule, shown: set[tuple[str, str]]) -> bool:
    """Whether iptables-save tells of this table."""
    family, _, table = rule.table.partition(" ")
    return (_IPTABLES.get(family, ""), table) in shown


def parse_ruleset(text: str) -> list[Rule]:
    """What ``nft -a list ruleset`` printed."""
    rules, table, chain, hook = [], "", "", ""
    for line in _whole_lines(text):
        if start := _TABLE.match(line):
            table, chain = f"{start[1]} {start[2]}", ""
        elif start := _CHAIN.match(line):
            chain, hook = start[1], ""
        elif line == "}":
            chain = ""
        elif chain and (base := _HOOK.match(line)):
            hook = base[1]
            if base[2] == "drop":
                rules.append(Rule(NFT, table, chain, 0, POLICY, 0, hook, counted=False))
        elif chain and (rule := _rule(line)):
            rules.append(replace(rule, table=table, chain=chain, hook=hook))
    return rules


def _whole_lines(text: str) -> Iterator[str]:
    """Lines without their indent; the elements of a rule's set stand on several."""
    waiting = ""
    for line in text.splitlines():
        waiting = f"{waiting} {line.strip()}".strip()
        plain = _QUOTED.sub("", waiting)
        opens = _TABLE.match(waiting) or re.match(r"(chain|set|map|flowtable)\b", waiting)
        if opens or plain == "}" or plain.count("{") <= plain.count("}"):
            yield waiting
            waiting = ""


def _rule(line: str) -> Rule | None:
    """A rule that drops; None for another one."""
    handle = _HANDLE.search(line)
    text = _HANDLE.sub("", line)
    bare = _QUOTED.sub("", text).replace("comment", "").strip()
    if not _ENDS.search(bare):
        return None
    counter = _COUNTER.search(text)
    return Rule(
        NFT,
        "",
        "",
        int(handle[1]) if handle else 0,
        _COUNTER.sub("counter", text),
        int(counter[1]) if counter else 0,
        counted=counter is not None,
    )


def look_at(rule: Rule) -> str:
    """The command that shows the rule with its counter."""
    if rule.tool == NFT:
        return f"nft -a list chain {rule.table} {rule.chain}"
    table = f" -t {rule.table}" if rule.table != "filter" else ""
    return f"{rule.tool}{table} -nvL {rule.chain} --line-numbers"
