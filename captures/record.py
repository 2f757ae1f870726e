"""Record the captures in this folder anew, on the Docker Engine that answers (as root).

    python captures/record.py

Makes containers tomcat01 and tomcat02 from a local image (first argument, else busybox),
takes each session with vethscope itself, and removes the containers again. The golden texts
in tests/golden are to be renewed afterwards: pytest tests/test_captures.py --update-golden
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
VETHSCOPE = [sys.executable, "-m", "analyzer"]


def sh(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def ping(file: str, source: str, destination: str, *options: str) -> None:
    """One session; no answer (exit 1) is what some of them are about."""
    words = ["ping", source, destination, "-w", str(HERE / file), "-q", *options]
    done = subprocess.run([*VETHSCOPE, *words], stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{file}: exit {done.returncode}")


@contextmanager
def containers(image: str) -> Iterator[None]:
    names = ("tomcat01", "tomcat02")
    try:
        for name in names:
            sh("docker", "run", "-d", "--name", name, image, "/bin/sleep", "600")
        yield
    finally:
        sh("docker", "rm", "-f", *names)


@contextmanager
def dropping(address: str) -> Iterator[None]:
    rule = ("DOCKER-USER", "-s", address, "-j", "DROP")
    sh("iptables", "-I", *rule)
    try:
        yield
    finally:
        sh("iptables", "-D", *rule)


def main(image: str) -> None:
    with containers(image):
        ping("tomcat-ping.pcapng", "tomcat01", "tomcat02", "-c", "10", "-i", "0.1")
        ping("host-to-container.pcapng", "host", "tomcat01", "-c", "5", "-i", "0.1")
        ping("arp-unanswered.pcapng", "tomcat01", "172.17.0.77", "-c", "3", "-i", "0.5", "-W", "2")
        with dropping("172.17.0.2"):
            ping("iptables-drop.pcapng", "tomcat01", "tomcat02", "-c", "5", "-i", "0.1")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "busybox")
