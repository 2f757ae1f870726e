"""Blocks of vethscope's own kind with any bytes in them: left out, with one warning."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as some
from msgspec.structs import replace
from rich.console import Console

import analyzer
from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.cli import cli
from analyzer.errors import VethscopeError
from analyzer.model.evidence import KernelEvent, LinkState, NamespaceEvidence, SocketState
from analyzer.model.nat_entries import ROW as NAT_ROW
from analyzer.model.proxy import Proxy
from analyzer.recorders.conntrack.proxies import encode_proxies
from analyzer.recorders.conntrack.record import Heard, encode_entries
from analyzer.recorders.drops.record import ROW as DROP_ROW
from analyzer.recorders.drops.record import Drops, encode_drops
from analyzer.recorders.evidence.record import encode_events, encode_moment
from analyzer.recorders.own_blocks import malformed_kind
from analyzer.recorders.settings.facts import Facts, LinkFact, encode_facts
from analyzer.recorders.settings.iptables_rules import Rule
from analyzer.report.html.page import render_html
from analyzer.report.text.report import render_text
from analyzer.savefile import blocks

CAPTURE = Path(__file__).parents[2] / "captures" / "iptables-drop.pcapng"
HOST = 4026531833
_START = NamespaceEvidence(
    HOST, 0, True, 1, {"TcpExtListenDrops": 3}, (LinkState(5, "docker0", "bridge"),)
)
_RULE = Rule("iptables", "filter", "FORWARD", 1, "-s 172.17.0.2/32 -j DROP", 4)
_EVENT = KernelEvent(5, HOST, "link", "changed", "docker0", "down", 5)


def _drops() -> bytes:
    rows = np.zeros(2, DROP_ROW)
    rows["len_bytes"], rows["protocol"] = 84, 0x800
    names = {"devices": ["docker0"], "locations": ["nft_do_chain+0x3e8"], "reasons": ["NETFILTER"]}
    others = {("NO_SOCKET", "udp_rcv", 0x800): 3}
    return encode_drops(Drops(rows, alone=others, clock={"name": "mono"}, **names))


OWN: dict[str, bytes] = {
    "translations": encode_entries(Heard(HOST, np.zeros(2, NAT_ROW)))[0],
    "docker-proxy": encode_proxies([Proxy("tcp", "0.0.0.0", 8080, "172.17.0.2", 80)]),
    "drops": _drops(),
    "settings": encode_facts(
        Facts({(HOST, 5): LinkFact("docker0")}, {HOST: {"a.b": "1"}}, moved={HOST: [_RULE]})
    ),
    "evidence": encode_moment(
        replace(_START, sockets=(SocketState("tcp", "0.0.0.0", 80, 0, 9, 4, 3, 12),))
    ),
    "evidence at the end": encode_moment(replace(_START, at_start=False, ts_ns=9)),
    "events": encode_events([_EVENT], 2, {"docker": "no engine"})[0],
}
EDITS = some.lists(some.tuples(some.integers(0, 1 << 12), some.binary(max_size=3)), max_size=4)


def edited(data: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    """The data with some of its bytes exchanged."""
    for at, piece in edits:
        at %= len(data)
        data = data[:at] + piece + data[at + len(piece) :]
    return data


def written(path: Path, own: list[bytes]) -> str:
    """A capture with further blocks of our own."""
    path.write_bytes(CAPTURE.read_bytes() + b"".join(map(blocks.own, own)))
    return str(path)


def told(path: str) -> list[str]:
    """The report's warning of what was left out; all of the report can be made."""
    report, errors = report_files([path], AnalysisOptions(packets=True))
    assert not errors
    assert report.capture.frames > 0
    json.dumps(report.to_json(), ensure_ascii=False, allow_nan=False).encode()
    render_html(report).encode()
    render_text(report, Console(file=io.StringIO()))
    return [one.text for one in report.findings if one.code == "malformed-notes"]


def test_blocks_as_they_are_written_are_well(tmp_path: Path) -> None:
    assert not [kind for kind, block in OWN.items() if malformed_kind(block)]
    assert told(written(tmp_path / "well.pcapng", list(OWN.values()))) == []


@pytest.mark.parametrize("kind", list(OWN)[:5])
def test_a_block_cut_short_is_left_out(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path / "cut.pcapng", [OWN[kind][:40], *OWN.values()])
    (warning,) = told(path)
    assert warning.endswith(f"left out: {kind} (1)")


DEEP = b"[" * 100_000
WRONG: dict[str, Any] = {
    "infinite": OWN["translations"].replace(b'"overruns":0', b'"overruns":1e999'),
    "longer than it is": OWN["drops"][:18] + struct.pack("<I", 1 << 30) + OWN["drops"][22:],
    "an open quotation": OWN["settings"].replace(b"-j DROP", b"-j 'DROP"),
    "nested": b"vethscope/proxies/1\n" + DEEP,
    "a list": b"vethscope/evidence/1\n[]",
}


@pytest.mark.parametrize("name", WRONG)
def test_no_command_fails(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "wrong.pcapng", [WRONG[name]])
    assert len(told(path)) == 1
    assert len(analyzer.read(path).frames) > 0
    out = tmp_path / "out"
    for words in (
        ["report", "--json", path],
        ["verify", path],
        ["show", path],
        ["export", path, "--parquet", f"{out}.parquet"],
        ["export", path, "--csv", f"{out}.csv"],
        ["export", path, "--ndjson", f"{out}.ndjson"],
        ["export", path, "--pcap", f"{out}.pcap"],
        ["export", path, "--pcapng", f"{out}.pcapng"],
    ):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            cli.main(words, standalone_mode=False)


@drawn(100)
@given(kind=some.sampled_from(list(OWN)), edits=EDITS)
def test_any_bytes_are_borne(
    kind: str, edits: list[tuple[int, bytes]], tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("hostile") / "any.pcapng"
    with contextlib.suppress(VethscopeError):
        told(written(path, [edited(OWN[kind], edits), *OWN.values()]))


@drawn(2_000)
@given(kind=some.sampled_from(list(OWN)), edits=EDITS)
def test_a_damaged_block_is_told_or_well(kind: str, edits: list[tuple[int, bytes]]) -> None:
    assert malformed_kind(edited(OWN[kind], edits)) in ("", kind.split(" ")[0], "evidence")


def test_a_counter_beyond_its_type_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "counter.pcapng"
    statistics = blocks.interface_statistics(0, 1, received=1 << 63, dropped=(1 << 64) - 1)
    path.write_bytes(
        blocks.section_header() + blocks.interface_description("veth0", snaplen=0) + statistics
    )
    report, _ = report_files([str(path)])
    assert [(row.received, row.dropped) for row in report.vantages] == [(None, None)]
    vantages = analyzer.read(path).tables["vantages"]
    assert vantages["dropped"].to_list() == [None]
