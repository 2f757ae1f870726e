"""Names of EtherTypes (IANA, IEEE 802 Numbers)."""

from __future__ import annotations

NAMES = {
    0x8847: "mpls",
    0x8848: "mpls",
    0x8863: "pppoe",
    0x8864: "pppoe",
    0x888E: "eapol",
    0x88CC: "lldp",
}
"""EtherTypes of what is not read any further, and is told by name"""
