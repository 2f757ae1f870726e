"""Numbers of ARP, DNS, DHCP, ICMP and TCP, and their words, against Scapy's tables."""

from __future__ import annotations

from scapy.layers.dhcp import DHCPTypes
from scapy.layers.dns import dnsqtypes
from scapy.layers.inet import TCP, icmptypes
from scapy.layers.inet6 import icmp6types
from scapy.layers.l2 import ARP

from analyzer.net import arp, dhcp, icmp, tcp_flags
from analyzer.net.dns_names import RCODES, TYPES, rcode_name, type_name
from analyzer.net.icmp import error_name


def test_dns_types_are_those_of_scapy() -> None:
    others = {number: name for number, name in TYPES.items() if number != 255}
    assert others == {number: dnsqtypes[number] for number in others}
    assert (type_name(48), type_name(999)) == ("DNSKEY", "TYPE999")


def test_dns_response_codes() -> None:
    assert RCODES[3] == rcode_name(3) == "NXDOMAIN"
    assert rcode_name(9) == "RCODE9"


def test_dhcp_types_are_those_of_scapy() -> None:
    assert {number: DHCPTypes[number] for number in range(1, 9)} == dhcp.TYPES


def test_icmp_types_are_those_of_scapy() -> None:
    for number in icmp.ERRORS:
        word = error_name(4, number, 0).replace("TTL exceeded", "time exceeded")
        assert icmptypes[number].replace("-", " ").split()[-1] in (*word.split(), "unreach")
    assert (icmptypes[icmp.ECHO_REQUEST], icmptypes[icmp.ECHO_REPLY]) == (
        "echo-request",
        "echo-reply",
    )


def test_icmpv6_types_are_those_of_scapy() -> None:
    for (protocol, number), word in icmp.QUERY_NAMES.items():
        names = icmptypes if protocol == icmp.ICMP else icmp6types
        assert names[number].lower().replace("-", " ") == word
    for number, word in icmp.NEIGHBOUR_NAMES.items():
        assert word.replace("neighbour", "neighbor") in icmp6types[number].lower()
    assert "packet too big" in icmp6types[icmp.PACKET_TOO_BIG].lower()
    assert "mld" in icmp6types[icmp.MLD_QUERY].lower()


def test_an_error_is_told_in_words_or_by_its_numbers() -> None:
    assert error_name(4, icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED) == "fragmentation needed"
    assert error_name(6, icmp.UNREACHABLE_V6, 4) == "port unreachable"
    assert error_name(4, icmp.TIME_EXCEEDED, 0) == "TTL exceeded"
    assert error_name(4, icmp.TIME_EXCEEDED, 1) == "reassembly time exceeded"
    assert error_name(4, icmp.UNREACHABLE, 77) == "unreachable, code 77"
    assert error_name(6, 77, 1) == "type 77 code 1"


def test_each_request_has_its_reply() -> None:
    for request, reply in zip(icmp.ECHO_REQUESTS, icmp.ECHO_REPLIES, strict=True):
        assert icmp.REPLY_OF[request] == reply
    assert {*icmp.REPLY_OF, *icmp.REPLY_OF.values()} == {*icmp.QUERIES, *icmp.QUERIES_V6}


def test_tcp_flags_are_those_of_scapy() -> None:
    letters = {"F": tcp_flags.FIN, "S": tcp_flags.SYN, "R": tcp_flags.RST, "P": tcp_flags.PSH}
    for letter, flag in {**letters, "A": tcp_flags.ACK, "SA": tcp_flags.SYN_ACK}.items():
        assert int(TCP(flags=letter).flags) == flag


def test_arp_operations_are_those_of_scapy() -> None:
    words = ARP().get_field("op").i2s
    assert (words[arp.REQUEST], words[arp.REPLY]) == ("who-has", "is-at")
