"""Addresses to names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analyzer.recorders.drops import symbols as symbols_module
from analyzer.recorders.drops.symbols import Symbols, read_symbols

TEXT = b"""ffffffff81000000 T _text
ffffffff81000100 t early
ffffffff81000100 T same_place
ffffffff81000080 D data
ffffffff81000200 T nft_do_chain\t[nf_tables]
ffffffffa0000000 t in_module\t[veth]
"""


def test_the_function_before_the_address() -> None:
    symbols = Symbols(TEXT)
    assert symbols.known
    assert symbols.name(0xFFFFFFFF81000000) == "_text+0x0"
    assert symbols.name(0xFFFFFFFF810000FF) == "_text+0xff"
    assert symbols.name(0xFFFFFFFF810003E8) == "nft_do_chain+0x1e8"
    assert symbols.name(0xFFFFFFFFA0000010) == "in_module+0x10"


def test_what_is_in_no_function_is_unknown() -> None:
    symbols = Symbols(TEXT)
    assert symbols.name(0x1000) == ""
    assert symbols.name(0xFFFFFFFF90000000) == ""


def test_hidden_addresses_are_unknown() -> None:
    """kernel.kptr_restrict"""
    hidden = Symbols(b"0000000000000000 T _text\n0000000000000000 T nft_do_chain\n")
    assert not hidden.known
    assert hidden.name(0xFFFFFFFF81000000) == ""
    assert Symbols(b"").name(1) == ""


def test_the_list_is_read_again_only_where_it_differs(tmp_path: Path, monkeypatch: Any) -> None:
    listed, modules = tmp_path / "kallsyms", tmp_path / "modules"
    monkeypatch.setattr(symbols_module, "_DECIDE", (str(modules),))
    listed.write_bytes(TEXT)
    first = read_symbols(str(listed))
    assert read_symbols(str(listed)) is first
    modules.write_text("veth 12288 0 - Live 0xffffffffa0000000\n")
    listed.write_bytes(TEXT + b"ffffffffa0001000 t of_it\t[veth]\n")
    assert read_symbols(str(listed)).name(0xFFFFFFFFA0001000) == "of_it+0x0"
    assert not read_symbols(str(tmp_path / "missing")).known
