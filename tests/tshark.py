"""What Wireshark says of a file, and whether we say the same of every frame."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import analyzer
from analyzer.model.frames import MARK_FRAGMENT, MARK_MALFORMED, MARK_TRUNCATED

FIELDS = [
    "frame.time_epoch",
    "frame.len",
    "frame.cap_len",
    "frame.interface_name",
    "eth.src",
    "eth.dst",
    "eth.type",
    "vlan.etype",
    "vlan.id",
    "ieee8021ad.id",
    "llc.type",
    "arp.opcode",
    "arp.src.hw_mac",
    "arp.src.proto_ipv4",
    "arp.dst.hw_mac",
    "arp.dst.proto_ipv4",
    "ip.src",
    "ip.dst",
    "ip.ttl",
    "ip.id",
    "ip.proto",
    "ip.len",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.hlim",
    "ipv6.nxt",
    "ipv6.plen",
    "ipv6.fraghdr.ident",
    "ipv6.fraghdr.offset",
    "icmp.type",
    "icmp.code",
    "icmp.ident",
    "icmp.seq",
    "icmpv6.type",
    "icmpv6.code",
    "icmpv6.echo.identifier",
    "icmpv6.echo.sequence_number",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.flags",
    "tcp.window_size_value",
    "tcp.len",
    "udp.srcport",
    "udp.dstport",
    "udp.length",
]

# Our column ← tshark's field, where the outer IP packet carries that protocol.
IPV4 = {"src": "ip.src", "dst": "ip.dst", "ttl": "ip.ttl", "ip_id": "ip.id", "ip_len": "ip.len"}
IPV6 = {"src": "ipv6.src", "dst": "ipv6.dst", "ttl": "ipv6.hlim"}
ARP = {
    "arp_op": "arp.opcode",
    "arp_sha": "arp.src.hw_mac",
    "arp_spa": "arp.src.proto_ipv4",
    "arp_tha": "arp.dst.hw_mac",
    "arp_tpa": "arp.dst.proto_ipv4",
}
TRANSPORT: dict[int, dict[str, str]] = {
    1: {
        "icmp_type": "icmp.type",
        "icmp_code": "icmp.code",
        "icmp_id": "icmp.ident",
        "icmp_seq": "icmp.seq",
    },
    58: {
        "icmp_type": "icmpv6.type",
        "icmp_code": "icmpv6.code",
        "icmp_id": "icmpv6.echo.identifier",
        "icmp_seq": "icmpv6.echo.sequence_number",
    },
    6: {
        "src_port": "tcp.srcport",
        "dst_port": "tcp.dstport",
        "tcp_seq": "tcp.seq_raw",
        "tcp_ack": "tcp.ack_raw",
        "tcp_flags": "tcp.flags",
        "tcp_window": "tcp.window_size_value",
        "payload_len": "tcp.len",
    },
    17: {"src_port": "udp.srcport", "dst_port": "udp.dstport"},
}


def fields(path: Path | str) -> list[dict[str, str]]:
    """A dictionary a frame: field → its first value, as text; vlan.etype: its last."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=/t"]
    command += ["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"]
    command += [word for name in FIELDS for word in ("-e", name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # 2: the file is cut or damaged, its readable prefix was printed
    assert done.returncode in (0, 2), done.stderr
    lines = done.stdout.split("\n")[:-1]
    rows = [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in lines]
    for row in rows:
        for name, value in row.items():
            row[name] = value.split(",")[-1 if name == "vlan.etype" else 0]
    return rows


def count(path: Path | str) -> int:
    """Number of packets as capinfos counts them; -1 where it takes the file for something else.

    Wireshark tells dialects of pcap apart by guessing at the first records.
    """
    done = subprocess.run(
        ["capinfos", "-T", "-r", "-c", str(path)], capture_output=True, text=True, check=False
    )
    columns = done.stdout.split("\t")
    return int(columns[1]) if len(columns) > 1 else -1


def assert_agrees(path: Path | str) -> int:
    """Compare every frame of the file with tshark's view of it; returns their number.

    Where a frame is cut or contradicts itself, what both know of it has to agree; everywhere
    else also what they do not have.
    """
    try:
        table = analyzer.read_frames(path)
    except analyzer.SavefileError as error:
        table = error.frames
    theirs = fields(path)
    assert len(table) == len(theirs)
    for ours, row in zip(table.iter_rows(named=True), theirs, strict=True):
        differing = {
            name: (ours[name], wanted)
            for name, wanted in _expected(row, ours).items()
            if not _same(name, ours, wanted)
        }
        assert not differing, f"frame {ours['frame']}: (ours, tshark's) {differing}"
    return len(table)


def _expected(row: Mapping[str, str], ours: Mapping[str, Any]) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "ts_ns": _time(row["frame.time_epoch"]),
        "wirelen": int(row["frame.len"]),
        "caplen": int(row["frame.cap_len"]),
        **{name: _value(row[field]) for name, field in ARP.items()},
    }
    if row["frame.interface_name"] not in ("", "unknown"):
        wanted["vantage"] = row["frame.interface_name"]
    if row["eth.dst"]:
        wanted |= {"eth_src": row["eth.src"], "eth_dst": row["eth.dst"]}
        wanted["ethertype"] = _value(row["llc.type"] or row["vlan.etype"] or row["eth.type"])
        wanted["vlan"] = _value(row["ieee8021ad.id"] or row["vlan.id"])
    if ours["ip_version"] == 4 or row["ip.src"]:
        wanted |= {name: _value(row[field]) for name, field in IPV4.items()}
        wanted["fragment_offset"] = int(row["ip.frag_offset"] or 0) * 8 % 0x10000
        wanted["protocol"] = _value(row["ip.proto"])
    elif ours["ip_version"] == 6 or row["ipv6.src"]:
        wanted |= {name: _value(row[field]) for name, field in IPV6.items()}
        wanted["ip_id"] = _value(row["ipv6.fraghdr.ident"]) or 0
        wanted["fragment_offset"] = 8 * (_value(row["ipv6.fraghdr.offset"]) or 0)
        if row["ipv6.nxt"] in map(str, TRANSPORT):
            wanted["protocol"] = int(row["ipv6.nxt"])
    return wanted | _expected_transport(row, ours)


def _expected_transport(row: Mapping[str, str], ours: Mapping[str, Any]) -> dict[str, Any]:
    if ours["marks"] & MARK_FRAGMENT:
        return dict.fromkeys(("src_port", "dst_port", "icmp_type", "tcp_seq"))
    chosen = TRANSPORT.get(ours["protocol"], {})
    wanted = {name: _value(row[field]) for name, field in chosen.items()}
    if ours["protocol"] == 17 and row["udp.length"] and not ours["marks"]:
        wanted["payload_len"] = int(row["udp.length"]) - 8
    if "tcp_flags" in wanted and wanted["tcp_flags"] is not None:
        wanted["tcp_flags"] &= 0xFF
    return wanted


def _same(name: str, ours: Mapping[str, Any], wanted: Any) -> bool:
    value = ours[name]
    if value == wanted:
        return True
    damaged = ours["marks"] & (MARK_TRUNCATED | MARK_MALFORMED)
    return bool(damaged) and (value is None or wanted is None)


def _value(text: str) -> Any:
    if not text:
        return None
    if text in ("True", "False"):
        return int(text == "True")
    try:
        return int(text, 0)
    except ValueError:
        return text


def _time(text: str) -> int:
    """Nanoseconds; a Simple Packet Block has no stamp, which is 0 to us."""
    seconds, _, fraction = (text or "0").partition(".")
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)
