"""Checksums that are wrong, and those that offload leaves unfinished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from analyzer.findings.rule import ERROR, INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding

BAD_CHECKSUM = Code(
    "bad-checksum",
    (ERROR, INFO),
    "TCP or UDP checksums are wrong, not merely unfinished; an information only where what they "
    "carry was acknowledged all the same.",
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
        severity, meaning = _meaning(row, inputs)
        yield BAD_CHECKSUM.finding(
            f"{row['count']} {row['protocol'].upper()} packets {row['source']} → "
            f"{row['destination']} port {row['port']} have a wrong checksum, not an unfinished one "
            f"(first seen at {vantages[row['vantage']].name}{_share(inputs)}): {meaning}",
            severity,
        )
    if inputs.unfinished:
        frames = sum(inputs.unfinished.values())
        most = sorted(inputs.unfinished, key=lambda at: (-inputs.unfinished[at], at))
        names = ", ".join(vantages[at].name for at in most[:_NAMED])
        more = ", …" if len(most) > _NAMED else ""
        why = (
            "a veth has no device that would finish them, and the receiver knows"
            if any(vantage.ifindex for vantage in vantages)
            else "the sender's device finishes them behind the place of the capture"
        )
        yield CHECKSUM_OFFLOAD.finding(
            f"{frames} frames have TCP or UDP checksums that are unfinished ({names}{more}): "
            f"{why}. No error, though tcpdump -v and Wireshark may say so: tcpdump -K, "
            "tshark -o tcp.check_checksum:FALSE"
        )


def _share(inputs: FindingInputs) -> str:
    return (
        f"; wrong in {inputs.wrong_checksums} of {inputs.checked} frames checked"
        if inputs.checked
        else ""
    )


def _meaning(row: Mapping[str, Any], inputs: FindingInputs) -> tuple[str, str]:
    """(severity, what it comes to), as far as the acknowledgments tell."""
    acknowledged = row.get("acknowledged")
    if acknowledged and not _was_repeated(row, inputs):
        return INFO, (
            "what they carry was acknowledged all the same, so they were right where they were "
            "received: the capture was rewritten, or a device behind it finishes them"
        )
    if acknowledged is None and row["protocol"] == "tcp":
        return INFO, "they carry no data, so that nothing tells whether the receiver took them"
    return ERROR, (
        f"the receiver drops them, see nstat -az '*Csum*' inside {row['destination']}; "
        "ethtool -K DEVICE tx off at the sender if its device finishes them wrongly"
    )


def _was_repeated(row: Mapping[str, Any], inputs: FindingInputs) -> bool:
    """Whether data went more than once between the two: then the first may have been dropped."""
    ends = {row["source"], row["destination"]}
    return any(
        one.retransmissions and {one.client, one.server} == ends
        for one in inputs.flows.get("tcp", ())
    )


RULE = Rule((BAD_CHECKSUM, CHECKSUM_OFFLOAD), find, place=280)
