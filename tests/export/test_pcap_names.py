"""Names of the files that are made from names of vantages."""

from __future__ import annotations

import os
from pathlib import Path

from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

from analyzer.export.pcap import file_names


def test_names_stay_readable() -> None:
    names = ["tomcat01:eth0", "../x", "\x1b]0;x\x07", "", "a-2", "a", "A"]
    assert file_names(names) == [
        "tomcat01-eth0.pcap",
        "x.pcap",
        "0-x.pcap",
        "vantage.pcap",
        "a-2.pcap",
        "a.pcap",
        "A-3.pcap",
    ]


def test_long_names_fit_and_never_meet(tmp_path: Path) -> None:
    files = file_names(["n" * 300, "n" * 300 + "x", "N" * 4000])
    for file in files:
        (tmp_path / file).touch()
    assert len(list(tmp_path.iterdir())) == 3


@drawn(100)
@given(st.lists(st.text(max_size=300), max_size=8))
def test_any_names_become_files_of_this_folder(names: list[str]) -> None:
    files = file_names(names)
    assert len({file.lower() for file in files}) == len(names)
    for file in files:
        assert os.path.basename(file) == file
        assert file.isascii()
        assert file.isprintable()
        assert not file.startswith((".", "-"))
        assert len(file) < 255
