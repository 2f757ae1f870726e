"""Giving up capabilities: for good, and for the thread that does it alone."""

from __future__ import annotations

import subprocess
from threading import Thread

from analyzer.net.capabilities import Capability, held, keep_only


def test_bits_have_the_names_of_the_kernel() -> None:
    assert str(Capability.NET_ADMIN) == "CAP_NET_ADMIN"
    listed = subprocess.run(["setpriv", "--list-caps"], capture_output=True, text=True, check=True)
    names = listed.stdout.upper().split()
    assert [names[capability] for capability in Capability] == [one.name for one in Capability]


def test_a_thread_keeps_only_what_is_wanted_and_others_keep_theirs() -> None:
    before, after = held(), []

    def give_up() -> None:
        keep_only([Capability.NET_RAW])
        after.append(held())
        keep_only(list(Capability))
        after.append(held())

    thread = Thread(target=give_up)
    thread.start()
    thread.join()
    assert after == [before & {Capability.NET_RAW}] * 2
    assert held() == before
