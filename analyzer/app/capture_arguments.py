"""``capture``'s words: targets first, then a filter in pcap-filter syntax.

A word is a target as long as it names a container or network (or is ``all``) or does not look
like a filter. A filter begins with a word of its grammar, or is one word with a space in it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

_GRAMMAR = frozenset(
    {
        *(
            "ether",
            "fddi",
            "tr",
            "wlan",
            "ip",
            "ip6",
            "arp",
            "rarp",
            "decnet",
            "tcp",
            "udp",
            "sctp",
        ),
        *("icmp", "icmp6", "igmp", "igrp", "pim", "ah", "esp", "vrrp", "carp", "vlan", "mpls"),
        *("pppoed", "pppoes", "geneve", "vxlan", "gre", "src", "dst", "host", "net", "port"),
        *("portrange", "gateway", "less", "greater", "proto", "protochain", "broadcast"),
        *("multicast", "not", "inbound", "outbound", "ifindex", "ifname", "iso", "clnp", "esis"),
        *("isis", "lat", "moprc", "mopdl", "llc", "type", "subtype", "dir", "len"),
    }
)
"""words that a pcap-filter(7) expression can begin with"""


def looks_like_filter(word: str) -> bool:
    """Whether a filter may begin with this word."""
    return word in _GRAMMAR or " " in word or word[:1] in "(!" or "[" in word


def split_words(words: Sequence[str], names: Collection[str]) -> tuple[list[str], str]:
    """(targets, filter). ``names``: the names that win over the grammar's words."""
    for at, word in enumerate(words):
        if word not in names and looks_like_filter(word):
            return list(words[:at]), " ".join(words[at:])
    return list(words), ""
