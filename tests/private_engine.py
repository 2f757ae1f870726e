"""A Docker Engine in a network namespace of its own, which a test may stop and start as it likes.

Its docker0, its rules and its containers' veths are all in that namespace, so nothing of it is
on the machine's own interfaces; a command behind `enter` runs where its docker0 is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import engine
import image

from analyzer.net.netns import new_netns


class PrivateEngine:
    """``start`` and ``stop`` its dockerd; ``client`` while it runs."""

    def __init__(self, folder: Path, netns: int, words: Sequence[str]) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/sock"
        self.enter = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{netns}"]
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        # After SIGKILL its containerd is dead too; dockerd takes it for alive until it is reaped.
        (self.folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    *self.enter,
                    "dockerd",
                    *self._words,
                    "--data-root",
                    f"{self.folder}/data",
                    "--exec-root",
                    f"{self.folder}/exec",
                    "--pidfile",
                    f"{self.folder}/pid",
                    "--host",
                    self.host,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        process = self._process
        assert engine.wait_until(lambda: engine.answers(self.host) or process.poll() is not None)
        assert process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Returns when it has ended."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=engine.WAIT_S)
            self._process = None

    @contextmanager
    def client(self) -> Iterator[Any]:
        import docker

        made = docker.DockerClient(base_url=self.host, version="auto", timeout=60)
        try:
            yield made
        finally:
            made.close()

    def netns_path(self, name: str) -> str:
        """Of a container that runs."""
        with self.client() as client:
            return f"/proc/{client.containers.get(name).attrs['State']['Pid']}/ns/net"

    def run(self, name: str, **options: Any) -> None:
        """A container that sleeps for ever."""
        with self.client() as client:
            client.containers.run(
                image.ensure_image(client),
                ["/bin/sleep", "infinity"],
                name=name,
                detach=True,
                stop_signal="SIGKILL",
                **options,
            )


@contextmanager
def private_engine(*words: str) -> Iterator[PrivateEngine]:
    """It runs; at the end its containers are removed, it is stopped, and its folder is gone.

    ``words`` are further options of dockerd(8).
    """
    folder, netns = Path(tempfile.mkdtemp(prefix="vs-engine-")), new_netns()
    made = PrivateEngine(folder, netns, words)
    try:
        made.start()
        try:
            yield made
        finally:
            if made._process is None:
                made.start()
            with made.client() as client:
                for one in client.containers.list(all=True):
                    one.remove(force=True)
    finally:
        made.stop()
        _kill_rest(folder)
        os.close(netns)
        engine.unmount_below(folder)
        shutil.rmtree(folder)


def _kill_rest(folder: Path) -> None:
    """Shims and their containers, where dockerd could not end them."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if str(folder).encode() not in Path("/proc", pid, "cmdline").read_bytes():
                continue
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for one in (*children, pid):
                os.kill(int(one), signal.SIGKILL)
