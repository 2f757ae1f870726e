"""Evidence beside a capture: read at both ends, of namespaces that join later as well."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from analyzer.engines.lab import Lab
from analyzer.model.evidence import Evidence
from analyzer.model.vantage import Role, Vantage
from analyzer.net.netns import netns_inode, new_netns, run_inside
from analyzer.net.rtnetlink import RtnetlinkSocket
from analyzer.recorders.evidence.record import decode_evidence
from analyzer.savefile.ahead import step_through
from analyzer.tap.evidence import EvidenceLog, namespaces_of
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.netlink import LinkFacts, read_links
from analyzer.topology.vantages import select_vantages

pytestmark = pytest.mark.root


class Session:
    """What a log needs of a capture: vantages, and a file."""

    def __init__(self) -> None:
        self.vantages: list[Vantage] = []
        self.parts: list[bytes] = []

    def keep(self, take: Callable[[], bytes]) -> None:
        self.parts.append(take())


def read(file: bytes) -> Evidence:
    """Cut at each block's head: type and length before, length behind."""
    blocks, at = [], 0
    while at < len(file):
        size = int.from_bytes(file[at + 4 : at + 8], "little")
        blocks.append(file[at + 8 : at + size - 4])
        at += size
    return decode_evidence(blocks)


@pytest.fixture
def spaces() -> Iterator[list[int]]:
    """A host's namespace, and two that are joined to it by a veth pair each."""
    with ExitStack() as stack:
        fds = [new_netns() for _ in range(3)]
        for fd in fds:
            stack.callback(os.close, fd)
        for number, fd in enumerate(fds[1:]):
            target = f"/proc/{os.getpid()}/fd/{fd}"
            words = f"ip link add veth{number} type veth peer eth0 netns {target}".split()
            run_inside(fds[0], subprocess.check_call, words)
        run_inside(fds[0], links_here)  # the kernel numbers namespaces when it tells of the pairs
        yield fds


def links_here() -> list[LinkFacts]:
    """Of the calling thread's namespace."""
    with RtnetlinkSocket() as netlink:
        return read_links(netlink)


def path(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def test_a_namespace_that_joins_later_has_both_ends(spaces: list[int]) -> None:
    host, first, later = map(netns_inode, spaces)
    session = Session()
    roles = {host: Role.BRIDGE, first: Role.CONTAINER}
    session.vantages = [Vantage("-", "-", role, netns) for netns, role in roles.items()]
    log = EvidenceLog({host: path(spaces[0]), first: path(spaces[1])}, host)
    log.open(session)
    log.welcome(session, {later: path(spaces[2])}, ())
    session.vantages.append(Vantage("-", "-", Role.CONTAINER, later))
    run_inside(
        spaces[2], subprocess.check_call, ["ip", "addr", "add", "192.0.2.2/24", "dev", "eth0"]
    )
    rest = log.close(session)
    evidence = read(b"".join([*session.parts, rest]))
    assert [span.start.netns for span in evidence.spans()] == [host, first, later]
    assert [(e.netns, e.subject) for e in evidence.events if e.what == "address"] == [
        (later, "192.0.2.2/24")
    ]
    assert evidence.absent == {}


def test_the_hosts_namespace_is_read_first() -> None:
    roles = {5: Role.CONTAINER, 9: Role.HOST_VETH, 2: Role.CONTAINER, 7: Role.CONTAINER}
    vantages = [Vantage("-", "-", role, netns) for netns, role in roles.items()]
    assert next(iter(namespaces_of(vantages, {9: "a", 5: "b", 2: "c"}))) == 9
    assert 7 not in namespaces_of(vantages, {9: "a", 5: "b", 2: "c"})


@pytest.mark.parametrize("wanted", [True, False])
def test_a_capture_has_it_in_its_file(tmp_path: Path, wanted: bool) -> None:
    file = tmp_path / "x.pcapng"
    with Lab(2) as lab:
        topology = discover(lab)
        vantages = select_vantages(topology, targets=["tomcat01"])
        with Tap(topology, vantages, str(file), TapOptions(evidence=wanted)):
            pass
    evidence = decode_evidence(step_through(file).own)
    spans = [span.start.netns for span in evidence.spans()]
    assert len(spans) == len({v.netns for v in vantages if wanted})
