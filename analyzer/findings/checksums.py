"""Checksums that are wrong, and those that offload leaves unfinished."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import ERROR, INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding

BAD_CHECKSUM = Code(
    "bad-checksum",
    (ERROR,),
    "TCP or UDP checksums are wrong, not merely unfinished.",
    "nstat -az *Csum* at the receiver; ethtool -K DEVICE tx off at the sender",
)
CHECKSUM_OFFLOAD = Code(
    "checksum-offload",
    (INFO,),
    "Checksums are unfinished because of offload, which is normal on veths.",
    "nothing; switch the check off in tcpdump (-K) and Wireshark",
)

_NAMED = 3
"""vantages that are named"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """The corrupt ones, then a word on the unfinished."""
    vantages = inputs.outlook.vantages
    for row in inputs.corrupt:
        protocol = row["protocol"].upper()
        yield BAD_CHECKSUM.finding(
            f"{row['count']} {protocol} packets {row['source']} → {row['destination']} port "
            f"{row['port']} have a wrong checksum, not an unfinished one (first seen at "
            f"{vantages[row['vantage']].name}): the receiver drops them, see nstat -az '*Csum*' "
            f"inside {row['destination']}; ethtool -K DEVICE tx off at the sender if its device "
            "finishes them wrongly"
        )
    if inputs.unfinished:
        frames = sum(inputs.unfinished.values())
        most = sorted(inputs.unfinished, key=lambda at: (-inputs.unfinished[at], at))
        names = ", ".join(vantages[at].name for at in most[:_NAMED])
        more = ", …" if len(most) > _NAMED else ""
        yield CHECKSUM_OFFLOAD.finding(
            f"{frames} frames have TCP or UDP checksums that are unfinished ({names}{more}): "
            "a veth has no device that would finish them, and the receiver knows. No error, "
            "though tcpdump -v and Wireshark may say so: tcpdump -K, "
            "tshark -o tcp.check_checksum:FALSE"
        )


RULE = Rule((BAD_CHECKSUM, CHECKSUM_OFFLOAD), find, place=280)
