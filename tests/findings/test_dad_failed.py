"""An IPv6 address that is not used."""

from __future__ import annotations

from evidence_samples import PID, moments, seen, texts

from analyzer.findings.dad_failed import find
from analyzer.model.kernel_state import AddressState


def test_an_address_that_is_not_used() -> None:
    failed = AddressState(5, "fd00::2/64", "dadfailed tentative")
    fine = AddressState(5, "fd00::3/64", "tentative")
    assert texts(find, seen(moments({}, {"addresses": (failed, fine)}))) == [
        "dad-failed fd00::2/64 at eth0 of tomcat01 is not used: duplicate address detection has "
        "failed, for another node has it or the check came back to its sender (hairpin): nsenter "
        f"-n -t {PID} ip -6 addr show dadfailed"
    ]
