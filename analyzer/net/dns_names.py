"""DNS types and response codes by their names (IANA, Domain Name System Parameters)."""

from __future__ import annotations

TYPES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    35: "NAPTR",
    43: "DS",
    46: "RRSIG",
    47: "NSEC",
    48: "DNSKEY",
    64: "SVCB",
    65: "HTTPS",
    255: "ANY",
}
RCODES = {
    0: "NOERROR",
    1: "FORMERR",
    2: "SERVFAIL",
    3: "NXDOMAIN",
    4: "NOTIMP",
    5: "REFUSED",
}


def type_name(number: int) -> str:
    """``AAAA``; ``TYPE999`` for one without a name here (RFC 3597)."""
    return TYPES.get(number, f"TYPE{number}")


def rcode_name(number: int) -> str:
    """``NXDOMAIN``; ``RCODE9`` for one without a name here."""
    return RCODES.get(number, f"RCODE{number}")
