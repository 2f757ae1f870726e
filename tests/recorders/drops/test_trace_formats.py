"""What tracefs says of itself, parsed."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzer.recorders.drops.formats import parse_format, parse_page_header
from analyzer.recorders.drops.tracefs import Tracefs

FORMAT = """name: kfree_skb
ID: 1617
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;

\tfield:void * skbaddr;\toffset:8;\tsize:8;\tsigned:0;
\tfield:__data_loc char[] name;\toffset:20;\tsize:4;\tsigned:0;
\tfield:char comm[16];\toffset:24;\tsize:16;\tsigned:0;
\tfield:enum skb_drop_reason reason;\toffset:40;\tsize:4;\tsigned:0;

print fmt: "reason: %s", __print_symbolic(REC->reason, { 2, "NOT_SPECIFIED" }, { 0x3, "NO_SOCKET" })
"""
PAGE = """\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;
"""


def test_fields_and_reasons_are_found_by_name() -> None:
    found = parse_format(FORMAT)
    assert found.id == 1617
    assert [found.offset(n) for n in ("skbaddr", "name", "comm", "reason")] == [8, 20, 24, 40]
    assert found.offset("rx_sk") == -1
    assert found.symbols == {2: "NOT_SPECIFIED", 3: "NO_SOCKET"}


def test_the_page_header() -> None:
    assert parse_page_header(PAGE) == (8, 16)


@pytest.mark.parametrize("parse", [parse_format, parse_page_header])
def test_what_is_none_is_refused(parse) -> None:
    with pytest.raises(ValueError, match="no "):
        parse("nothing of it")


@pytest.mark.root
def test_the_running_kernels_own() -> None:
    with Tracefs() as tracefs:
        found = parse_format(Path(tracefs.root, "events/skb/kfree_skb/format").read_text())
        header = parse_page_header(Path(tracefs.root, "events/header_page").read_text())
    assert min(found.offset(n) for n in ("skbaddr", "location", "protocol")) >= 8
    assert "NETFILTER_DROP" in found.symbols.values()
    assert header[1] >= 16
