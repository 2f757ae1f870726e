"""Containers that start while a capture runs, on a real engine and in bare namespaces.

Ground truth is a packet socket of the test's own, not bound to any interface: what it saw on a
newcomer's veth, from its first frame on, has to be in the file, byte for byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from frames_of import vantages_and_frames
from running import capturing, run

Make = Callable[..., Any]


@contextlib.contextmanager
def all_frames() -> Iterator[dict[int, list[bytes]]]:
    """ifindex → frames, of everything that this namespace hears meanwhile."""
    seen: dict[int, list[bytes]] = {}
    ends = threading.Event()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as heard:
        heard.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE

        def listen() -> None:
            while not ends.is_set():
                if select.select([heard], [], [], 0.05)[0]:
                    frame, (name, *_) = heard.recvfrom(1 << 17)
                    seen.setdefault(name, []).append(frame)

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield seen
        finally:
            ends.set()
            listener.join()


def address_of(one: Any) -> str:
    one.reload()
    networks = one.attrs["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


@pytest.mark.docker
@pytest.mark.root
def test_a_container_that_starts_is_there_from_its_first_frame(
    container: Make, tmp_path: Path
) -> None:
    old = container("old")
    file = tmp_path / "x.pcapng"
    with all_frames() as truth, capturing("all", "-w", str(file), "--json") as capture:
        new = container("new")
        capture.wait_for(f"{new.name} is captured from now on: {new.name}:eth0, veth")
        done = old.exec_run(["ping", "-c", "3", "-i", "0.2", address_of(new)])
        assert done.exit_code == 0
        new.remove(force=True)
        told = capture.end()
    vantages, frames = vantages_and_frames(file)
    (veth,) = [v for v in vantages if v.container == new.name and v.role == "host-veth"]
    (inside,) = [v for v in vantages if v.name == f"{new.name}:eth0"]
    assert (veth.peer, veth.bridge, inside.peer) == (inside.name, "docker0", veth.name)
    assert truth[veth.interface]
    assert frames[vantages.index(veth)] == truth[veth.interface]
    assert len(frames[vantages.index(inside)]) >= 6
    by_name = {one["name"]: one for one in told["vantages"]}
    assert by_name[veth.name]["ended_ns"]
    assert by_name[inside.name]["ended_ns"]
    assert by_name["docker0"]["ended_ns"] is None
    assert told["received"] == told["frames"] == sum(map(len, frames))
    report = json.loads(run("report", str(file), "--json"))
    (echo,) = [r for r in report["icmp"] if r["destination"] == new.name]
    assert (echo["source"], echo["answered"], echo["lost"]) == (old.name, 3, 0)
    verdicts = {(v["source"], v["destination"]): v["result"] for v in report["verdicts"]}
    assert verdicts[old.name, new.name] == "proved"


@pytest.mark.docker
@pytest.mark.root
def test_only_the_wanted_join(container: Make, docker_engine: Any, tmp_path: Path) -> None:
    """A network's new members join, and a named container that starts again; others do not."""
    name = f"vs{os.getpid()}-net"
    network = docker_engine.networks.create(name, driver="bridge")
    try:
        first, other = container("first", network=name), container("other")
        file = tmp_path / "x.pcapng"
        with capturing("--network", name, "-w", str(file), "--json") as capture:
            container("foreign")
            second = container("second", network=name)
            capture.wait_for(f"{second.name} is captured from now on")
            capture.end()
        assert {v.container for v in vantages_and_frames(file)[0]} == {"", first.name, second.name}
        with capturing(other.name, "-w", str(file), "--json") as capture:
            container("another")
            other.restart(timeout=0)
            capture.wait_for(f"{other.name} is captured from now on")
            capture.end()
        vantages, _ = vantages_and_frames(file)
        assert {v.container for v in vantages} == {"", other.name}
        assert [v.name for v in vantages].count(f"{other.name}:eth0") == 2
    finally:
        for one in docker_engine.containers.list(all=True, filters={"network": name}):
            one.remove(force=True)
        network.remove()


class Proxy:
    """The engine's socket under another path, which can go away and come back."""

    def __init__(self, path: Path, target: str) -> None:
        self.path, self.target = path, target
        self.methods: set[str] = set()
        """of the requests that passed"""
        self.open()

    def open(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(16)
        self._plugs: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self.target)
            self._plugs += [near, far]
            for pair in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._pass, args=pair))
                self._threads[-1].start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if found := re.match(rb"([A-Z]+) /\S* HTTP/", data):
                    self.methods.add(found[1].decode())
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for plug in (self._listener, *self._plugs):
            with contextlib.suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for plug in (self._listener, *self._plugs):
            plug.close()
        self.path.unlink(missing_ok=True)


@pytest.mark.docker
@pytest.mark.root
def test_an_engine_that_goes_away_ends_nothing(container: Make, tmp_path: Path) -> None:
    """Its socket is gone: the capture goes on, newcomers have no name; it comes back: they do."""
    import engine

    old = container("old")
    file, plug = tmp_path / "x.pcapng", tmp_path / "engine.sock"
    proxy = Proxy(plug, engine.socket_path())
    try:
        with capturing("all", "-w", str(file), "--json", DOCKER_HOST=f"unix://{plug}") as capture:
            proxy.close()
            nameless = container("nameless")
            capture.wait_for("does not answer")
            capture.wait_for("nobody says whose it is")
            proxy.open()
            named = container("named")
            capture.wait_for(f"{named.name} is captured from now on")
            done = old.exec_run(["ping", "-c", "2", "-i", "0.2", address_of(nameless)])
            assert done.exit_code == 0
            capture.end()
    finally:
        proxy.close()
    assert proxy.methods == {"GET"}
    vantages, frames = vantages_and_frames(file)
    assert f"{named.name}:eth0" in {v.name for v in vantages}
    (alone,) = [n for n, v in enumerate(vantages) if v.role == "host-veth" and not v.container]
    assert sum(frame[12:14] == b"\x08\x00" for frame in frames[alone]) == 4


CHURN = r"""
set -e
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip link set lo up
ip link add br9 type bridge
ip address add 10.9.0.1/16 dev br9
ip link set br9 up
"$PYTHON" -m analyzer capture all --engine netns -w "$FILE" --json >"$FILE.json" 2>"$FILE.err" &
capture=$!
until grep -q 'capturing on' "$FILE.err"; do kill -0 $capture; sleep 0.05; done
for n in $(seq "$COUNT"); do
    ip netns add "c$n"
    ip link add "v$n" type veth peer name eth0 netns "c$n"
    ip link set "v$n" master br9 up
    ip -n "c$n" address add "10.9.1.$n/16" dev eth0
    ip -n "c$n" link set eth0 up
    ip netns exec "c$n" ping -q -c 1 10.9.0.1 >/dev/null
    until grep -q "^c$n is captured" "$FILE.err"; do kill -0 $capture; sleep 0.01; done
    ip link del "v$n"
    ip netns del "c$n"
done
kill -INT $capture
wait $capture
"""


@pytest.mark.root
def test_forty_that_come_and_go_are_each_in_the_file_whole(tmp_path: Path) -> None:
    """In namespaces of its own, where the first process is the test's and nobody else is."""
    file, count = tmp_path / "x.pcapng", 40
    subprocess.run(
        [
            "unshare",
            "--net",
            "--pid",
            "--mount",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "bash",
            "-c",
            CHURN,
        ],
        env={**os.environ, "PYTHON": sys.executable, "FILE": str(file), "COUNT": str(count)},
        check=True,
        timeout=110,
    )
    vantages, frames = vantages_and_frames(file)
    assert [v.name for v in vantages[:1]] == ["br9"]
    for n in range(1, count + 1):
        (veth,) = [at for at, v in enumerate(vantages) if v.name == f"v{n}"]
        assert vantages[veth].container == f"c{n}"
        echoes = [f for f in frames[veth] if f[12:14] == b"\x08\x00" and f[23] == 1]
        assert [f[34] for f in echoes] == [8, 0], n
        assert f"c{n}:eth0" in {v.name for v in vantages}
    told = json.loads(Path(f"{file}.json").read_text())
    assert (told["dropped"], told["received"]) == (0, told["frames"])
    assert sum(one["ended_ns"] is not None for one in told["vantages"]) == 2 * count
