"""Packet filter rules whose counters moved while capturing: the chain and the rule that dropped.

``iptables-save -c`` tells every rule with its counters, whichever of the two backends it writes
to. It is read at the capture's start and end, in each namespace that packets pass; of the rules
that drop (and the policies of chains) those are kept whose counter grew.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from analyzer.net.netlink import NETLINK_NETFILTER, NetlinkSocket, netfilter_body
from analyzer.net.programs import read_program
from analyzer.topology.procfs import read_small

SAVE = {"iptables": "iptables-save", "ip6tables": "ip6tables-save"}
LEGACY_SAVE = {"iptables": "iptables-legacy-save", "ip6tables": "ip6tables-legacy-save"}
SAVE_PROGRAMS = tuple((one, "-c") for one in (*SAVE.values(), *LEGACY_SAVE.values()))
"""the command lines that print what the two backends have"""
_IN_USE = {"iptables": "ip_tables_names", "ip6tables": "ip6_tables_names"}
_TIMEOUT_S = 5.0
_GET_TABLES = 10 << 8 | 1
"""NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE"""
_RULE = re.compile(r"\[(\d+):\d+\] -A (\S+) (.*)")
_POLICY = re.compile(r":(\S+) (\S+) \[(\d+):\d+\]")
_ENDS = ("DROP", "REJECT")
BUILT_IN = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})


class Rule(Struct, frozen=True):
    """A rule that drops, or a chain's policy to."""

    tool: str
    """iptables, ip6tables, iptables-legacy, ip6tables-legacy or nft"""
    table: str
    chain: str
    number: int
    """in its chain from 1 on, as ``iptables -nvL --line-numbers`` counts, of nft its handle; 0: the
    policy"""
    text: str
    """as iptables-save prints it, without ``-A CHAIN``; of a policy its name"""
    packets: int
    """by its counter; of a rule that moved: by how much"""
    hook: str = ""
    """nftables: where a base chain is called from"""
    counted: bool = True
    """False: it has no counter, so nobody knows what it dropped"""

    def told(self) -> str:
        """``iptables DOCKER-USER rule 1 (-s 172.17.0.2/32 -j DROP)``."""
        if self.tool == "nft":
            handle = f", handle {self.number}" if self.number else ""
            hook = f" (hook {self.hook})" if self.hook else ""
            return f"nft {self.table} {self.chain}{hook} ({self.text}{handle})"
        where = self.tool + (f" -t {self.table}" if self.table != "filter" else "")
        if not self.number:
            return f"{where} {self.chain} policy {self.text}"
        return f"{where} {self.chain} rule {self.number} ({self.text})"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def parse_rules(text: str, tool: str) -> list[Rule]:
    """What ``iptables-save -c`` printed."""
    rules, table = [], ""
    place: Counter[str] = Counter()
    for line in text.splitlines():
        if line.startswith("*"):
            table, place = line[1:].strip(), Counter()
        elif policy := _POLICY.match(line):
            if policy[2] in _ENDS:
                rules.append(Rule(tool, table, policy[1], 0, policy[2], int(policy[3])))
        elif rule := _RULE.match(line):
            place[rule[2]] += 1
            if _target(rule[3]) in _ENDS:
                rules.append(Rule(tool, table, rule[2], place[rule[2]], rule[3], int(rule[1])))
    return rules


def split_saved(text: str) -> Iterator[tuple[str, str]]:
    """(table, command that would make it) of each rule and policy, without counters."""
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif rule := _RULE.match(line):
            yield table, f"-A {rule[2]} {rule[3]}"
        elif (policy := _POLICY.match(line)) and policy[1] in BUILT_IN:
            yield table, f"-P {policy[1]} {policy[2]}"


def find_moved(before: Iterable[Rule], after: Iterable[Rule]) -> list[Rule]:
    """Rules whose counter grew, with the growth; equal rules of a chain are told by their order."""
    count = {key: rule.packets for key, rule in _numbered(before)}
    moved = []
    for key, rule in _numbered(after):
        grown = rule.packets - count.get(key, 0)
        if grown < 0:  # replaced, or its counters reset
            grown = rule.packets
        if grown > 0:
            moved.append(replace(rule, packets=grown))
    return moved


def split_words(text: str) -> list[str]:
    """Of a rule, as a shell splits them. Raises ValueError where a quotation has no end."""
    return shlex.split(text)


def _target(text: str) -> str:
    """``-s 172.17.0.2/32 -j REJECT --reject-with …`` → REJECT."""
    if not any(end in text for end in _ENDS):
        return ""  # most rules: splitting them as a shell does takes its time
    words = split_words(text)
    return next((b for a, b in pairwise(words) if a in ("-j", "-g")), "")


def _numbered(rules: Iterable[Rule]) -> list[tuple[tuple[str, str, str, str, int], Rule]]:
    seen: Counter[tuple[str, str, str, str]] = Counter()
    numbered = []
    for rule in rules:
        key = (rule.tool, rule.table, rule.chain, rule.text)
        numbered.append(((*key, seen[key]), rule))
        seen[key] += 1
    return numbered


def has_tables() -> bool:
    """Whether this namespace has nf_tables at all: most containers have none, and asking by
    netlink spares them two processes each. True where it cannot be asked."""
    try:
        with NetlinkSocket(NETLINK_NETFILTER) as netlink:
            netlink.socket.settimeout(_TIMEOUT_S)
            return bool(netlink.dump(_GET_TABLES, netfilter_body()))
    except OSError:
        return True


def legacy_in_use(tool: str) -> bool:
    """Asking the legacy backend would load its tables: only where it has some."""
    try:
        return bool(read_small(f"/proc/thread-self/net/{_IN_USE[tool]}").strip())
    except OSError:
        return False


def run_tool(program: str, *words: str) -> str:
    """What a program of the packet filter prints; '' where it is not there or fails."""
    return read_program(program, *words, timeout_s=_TIMEOUT_S)
