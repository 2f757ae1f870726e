"""Containers told from cgroup paths, on trees that look like /proc; and the real one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from analyzer.engines.netns import NetnsEngine, container_id
from analyzer.net.netns import new_netns, run_inside

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    "line",
    [
        f"12:pids:/docker/{A}",
        f"0::/system.slice/docker-{A}.scope",
        f"0::/machine.slice/libpod-{A}.scope/container",
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope",
        f"0::/kubepods/besteffort/pod0a1b2c3d-1111-2222-3333-444455556666/{A}",
        f"0::/kubepods.slice/kubepods-pod0a1b.slice/cri-containerd-{A}.scope",
        f"0::/kubepods.slice/kubepods-burstable.slice/crio-{A}.scope",
        f"4:memory:/default/{A}",
        f"0::/docker/{B}/docker/{A}",
        f"0::/docker/{B}/{A}",
    ],
)
def test_id_in_cgroup_path(line: str) -> None:
    assert container_id(f"1:name=systemd:/\n{line}\n") == A


def test_ecs_task_id() -> None:
    ecs = "0123456789abcdef0123456789abcdef-1234567890"
    assert container_id(f"9:cpu:/ecs/task/{ecs}\n") == ecs


@pytest.mark.parametrize(
    "line",
    [
        "0::/user.slice/session-3.scope",
        f"0::/machine.slice/libpod-conmon-{A}.scope",
        f"0::/kubepods.slice/crio-conmon-{A}.scope",
        f"0::/system.slice/{A[:63]}.scope",
        "",
    ],
)
def test_no_id(line: str) -> None:
    assert container_id(line) == ""


class Tree:
    """A /proc and a /run/netns whose namespaces are plain files: hard links share an inode."""

    def __init__(self, root: Path) -> None:
        self.proc, self.named, self.spaces = root / "proc", root / "netns", root / "spaces"
        for directory in (self.proc, self.named, self.spaces):
            directory.mkdir()

    def process(self, pid: int, space: str, cgroup: str = "", comm: str = "init") -> None:
        directory = self.proc / str(pid)
        (directory / "ns").mkdir(parents=True)
        (self.spaces / space).touch()
        os.link(self.spaces / space, directory / "ns" / "net")
        (directory / "cgroup").write_text(f"0::{cgroup or '/'}\n")
        (directory / "comm").write_text(f"{comm}\n")

    def name(self, name: str, space: str) -> None:
        (self.spaces / space).touch()
        os.link(self.spaces / space, self.named / name)

    def engine(self) -> NetnsEngine:
        return NetnsEngine(str(self.proc), str(self.named))

    def inode(self, space: str) -> int:
        return (self.spaces / space).stat().st_ino


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    made.process(1, "host")
    return made


def test_pod_owner_is_the_lowest_pid(tree: Tree) -> None:
    tree.process(300, "pod", f"/kubepods/podx/{B}")
    tree.process(200, "pod", f"/kubepods/podx/{A}", "pause")
    tree.process(201, "pod", f"/kubepods/podx/{A}")
    found = {c.name: c for c in tree.engine().containers()}
    assert set(found) == {A[:12], B[:12]}
    assert (found[A[:12]].pid, found[A[:12]].shares, found[A[:12]].id) == (200, "", A)
    assert found[B[:12]].shares == A[:12]
    assert {c.netns for c in found.values()} == {tree.inode("pod")}
    assert found[A[:12]].netns_path == f"{tree.proc}/200/ns/net"


def test_container_of_the_hosts_network(tree: Tree) -> None:
    tree.process(50, "host", f"/docker/{A}")
    (found,) = tree.engine().containers()
    assert (found.shares, found.netns) == ("host", tree.inode("host"))


def test_names_of_run_netns_and_of_bare_processes(tree: Tree) -> None:
    tree.name("blue", "blue")
    tree.process(70, "blue", comm="sleep")
    tree.name("empty", "empty")
    tree.process(80, "lone", comm="nginx")
    tree.process(81, "lone", comm="worker")
    tree.name("cni-1", "pod")
    tree.process(90, "pod", f"/docker/{A}")
    found = {c.name: (c.pid, c.netns_path) for c in tree.engine().containers()}
    assert found == {
        "blue": (70, f"{tree.named}/blue"),
        "empty": (0, f"{tree.named}/empty"),
        "nginx:80": (80, f"{tree.proc}/80/ns/net"),
        A[:12]: (90, f"{tree.proc}/90/ns/net"),
    }


def test_process_that_ends_while_it_is_read_is_passed_over(tree: Tree) -> None:
    (tree.proc / "99" / "ns").mkdir(parents=True)
    assert tree.engine().containers() == []


@pytest.mark.root
def test_real_process_in_a_namespace_of_its_own() -> None:
    fd = new_netns()
    inode = os.fstat(fd).st_ino
    process = run_inside(fd, subprocess.Popen, ["sleep", "1000"])
    os.close(fd)
    try:
        with NetnsEngine() as engine:
            (found,) = [c for c in engine.containers() if c.netns == inode]
        assert (found.pid, found.name) == (process.pid, f"sleep:{process.pid}")
    finally:
        process.kill()
        process.wait()
