"""What the interfaces and namespaces on the way were set to, at the capture's start and end.

Much of what makes a bridge or a stack swallow a packet leaves no event: a port that is disabled
or isolated, a hairpin that is off, an echo that is ignored. It is read from netlink and /proc
and kept in the file, together with the packet filter's rules that moved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import asdict

from analyzer.errors import VethscopeError
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.fields import field_annotations
from analyzer.model.kernel_state import LinkState, PortState
from analyzer.model.topology import Key
from analyzer.model.untrusted import MALFORMED, number, parse_json, text
from analyzer.model.vantage import Vantage
from analyzer.net.netns import visit
from analyzer.net.rtnetlink import RtnetlinkSocket
from analyzer.recorders.settings.iptables_rules import Rule, find_moved, split_words
from analyzer.recorders.settings.matching import NFT
from analyzer.recorders.settings.nftables_rules import read_all_rules, rules_of
from analyzer.topology.netlink import LinkFacts, read_links
from analyzer.topology.procfs import read_sysctls

MAGIC = b"vethscope/facts/1\n"
SYSCTLS = (
    "net.ipv4.icmp_echo_ignore_all",
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.rp_filter",
    "net.bridge.bridge-nf-call-iptables",
)
_AT_ONCE = 2
_NEEDED = {"namespace", "rtnetlink", "links", "settings", "rulesets"}
"""sources without which facts are read by themselves"""


class LinkFact(Struct, frozen=True):
    """One interface."""

    name: str = ""
    up: bool = True
    running: bool = True
    mtu: int = 0
    state: str = ""
    """of a bridge port: forwarding, disabled …"""
    hairpin: bool = False
    isolated: bool = False


class Facts(Struct):
    """Of one moment; ``moved`` only at the end."""

    # of the captured interfaces, and of all ports of bridges beside them
    links: dict[Key, LinkFact] = field(default_factory=dict)
    sysctls: dict[int, dict[str, str]] = field(default_factory=dict)
    """namespace inode → dotted name → value"""
    rules: dict[int, list[Rule]] = field(default_factory=dict)
    """namespace inode → dropping rules with their counters"""
    moved: dict[int, list[Rule]] = field(default_factory=dict)
    """namespace inode → those that dropped something since the start"""
    uncounted: dict[int, list[Rule]] = field(default_factory=dict)
    """namespace inode → those that may have, but have no counter"""


def read_facts(
    vantages: Iterable[Vantage], paths: Mapping[int, str], known: Facts | None = None
) -> Facts:
    """Of the captured interfaces' namespaces; one that is gone or closed to us is left out.

    known: facts of namespaces that need not be read; the rest is added to them.
    """
    facts = known or Facts()
    wanted = {v.key for v in vantages}
    inodes = sorted({i for i, _ in wanted if i in paths and i not in facts.sysctls})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        readings = pool.map(_visit, inodes, [paths[inode] for inode in inodes])
        for inode, (links, sysctls, rules) in zip(inodes, readings, strict=True):
            facts.links |= {
                (inode, i): link for i, link in links.items() if link.state or (inode, i) in wanted
            }
            facts.sysctls[inode], facts.rules[inode] = sysctls, rules
    return facts


def facts_of(moments: Iterable[NamespaceEvidence], vantages: Iterable[Vantage]) -> Facts:
    """The same of what was read of the namespaces for another purpose, as far as it is whole."""
    facts, wanted = Facts(), {v.key for v in vantages}
    for one in moments:
        cut = one.truncated or any(text.cut for text in one.rulesets)
        if not cut and not one.absent.keys() & _NEEDED:
            ports = {port.ifindex: port for port in one.ports}
            for link in one.links:
                key = one.netns, link.ifindex
                if key in wanted or link.ifindex in ports:
                    facts.links[key] = _state(link, ports.get(link.ifindex, PortState()))
            told = {setting.name: setting.value for setting in one.settings}
            facts.sysctls[one.netns] = {n: told[n] for n in SYSCTLS if n in told}
            facts.rules[one.netns] = rules_of({text.tool: text.text for text in one.rulesets})
    return facts


def _state(link: LinkState, port: PortState) -> LinkFact:
    flags = link.up, link.running
    return LinkFact(link.name, *flags, link.mtu, port.state, port.hairpin, port.isolated)


def compare(start: Facts, end: Facts) -> Facts:
    """The facts of the end, with what moved since the start."""
    for inode, rules in end.rules.items():
        if moved := find_moved(start.rules.get(inode, ()), rules):
            end.moved[inode] = moved
        if uncounted := [rule for rule in rules if not rule.counted]:
            end.uncounted[inode] = uncounted
    return end


def encode_facts(facts: Facts) -> bytes:
    """The data of one block; the rules that did not move are no matter for the file."""
    content = {
        "links": [[*key, asdict(link)] for key, link in facts.links.items()],
        "sysctls": {str(inode): values for inode, values in facts.sysctls.items()},
        "moved": _rules_to_json(facts.moved),
        "uncounted": _rules_to_json(facts.uncounted),
    }
    return MAGIC + json.dumps(content, separators=(",", ":")).encode()


def decode_facts(blocks: Sequence[bytes]) -> list[Facts]:
    """In order of the file: start, end; what is none of ours is passed over."""
    return [facts for block in blocks if (facts := _whole(block)) is not None]


def _whole(block: bytes) -> Facts | None:
    try:
        return decode_block(block) if block.startswith(MAGIC) else None
    except MALFORMED:
        return None


def decode_block(block: bytes) -> Facts:
    """What one block of this kind tells. Raises one of MALFORMED where it is damaged."""
    content = parse_json(block[len(MAGIC) :].rstrip(b"\0"))
    return Facts(
        links={
            (number(netns), number(ifindex)): _checked(LinkFact(**link))
            for netns, ifindex, link in content["links"]
        },
        sysctls={
            int(inode): {text(name): text(value) for name, value in values.items()}
            for inode, values in content["sysctls"].items()
        },
        moved=_rules_from_json(content["moved"]),
        uncounted=_rules_from_json(content.get("uncounted", {})),
    )


def _rules_to_json(rules: Mapping[int, Sequence[Rule]]) -> dict[str, list[dict[str, Any]]]:
    return {str(inode): [rule.to_json() for rule in some] for inode, some in rules.items()}


def _rules_from_json(content: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[int, list[Rule]]:
    rules = {int(inode): [_checked(Rule(**r)) for r in some] for inode, some in content.items()}
    for rule in chain.from_iterable(rules.values()):
        if rule.tool != NFT:
            split_words(rule.text)
    return rules


_Reading = tuple[dict[int, LinkFact], dict[str, str], list[Rule]]
_Row = TypeVar("_Row", LinkFact, Rule)


def _checked(row: _Row) -> _Row:
    """Raises ValueError where a field is not of its kind: a file may say anything."""
    checks: dict[str, Callable[[Any], Any]] = {"int": number, "str": text, "bool": _boolean}
    for name, annotation in field_annotations(type(row)).items():
        checks[annotation](getattr(row, name))
    return row


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r:.40} is neither true nor false")
    return value


def _visit(inode: int, path: str) -> _Reading:
    """In a thread that does nothing else."""
    try:
        return visit(path, inode, _read)
    except (OSError, VethscopeError):
        return {}, {}, []


def _read() -> _Reading:
    """Of the calling thread's namespace."""
    with RtnetlinkSocket() as netlink:
        links = {link.ifindex: _link(link) for link in read_links(netlink)}
    return links, read_sysctls(SYSCTLS), read_all_rules()


def _link(link: LinkFacts) -> LinkFact:
    return LinkFact(
        link.name,
        link.up,
        link.running,
        link.mtu,
        link.port_state,
        link.hairpin,
        link.isolated,
    )
