"""Start and stop a Docker Engine of our own, and leave the machine as it was before.

``python3 tests/engine.py answers`` exits 0 where an engine answers already.
``python3 tests/engine.py start DIR`` runs dockerd with everything it writes in DIR, and returns
when it answers; ``stop DIR`` ends that one, takes back what it did to iptables, the bridge and
the sysctls, and removes DIR. Standard library only: it runs before the project is installed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

WAIT_S = 60
SYSCTLS = ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables")
SAVES = {"iptables-save": "iptables", "ip6tables-save": "ip6tables"}


def socket_path(host: str = "") -> str:
    """Where the engine listens: DOCKER_HOST where it is a unix socket, else the usual place."""
    host = host or os.environ.get("DOCKER_HOST", "")
    return host.removeprefix("unix://") if host.startswith("unix://") else "/var/run/docker.sock"


def answers(host: str = "") -> bool:
    """Whether an engine says OK to ``GET /_ping``; that of ``host``, a URL of a unix socket."""
    with socket.socket(socket.AF_UNIX) as plug:
        plug.settimeout(5)
        try:
            plug.connect(socket_path(host))
            plug.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in plug.recv(4096)
        except OSError:
            return False


def start(folder: Path) -> None:
    """Run dockerd in ``folder``. Exits with one line where it does not come up."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "before.json").write_text(json.dumps(read_state()))
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [
                "dockerd",
                *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
                *("--pidfile", f"{folder}/pid", "--host", f"unix://{socket_path()}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    if (
        not wait_until(lambda: answers() or process.poll() is not None)
        or process.poll() is not None
    ):
        last = (folder / "log").read_text(errors="replace").splitlines()[-1:]
        stop(folder)
        sys.exit(f"dockerd did not start: {''.join(last)}")


def stop(folder: Path) -> None:
    """End the dockerd of ``folder`` and undo what it did to the machine."""
    before = json.loads((folder / "before.json").read_text())
    pid = read_pid(folder)
    if pid:
        os.kill(pid, signal.SIGTERM)
        if not wait_until(lambda: read_pid(folder) == 0):
            os.kill(pid, signal.SIGKILL)
    unmount_below(folder)
    restore_state(before)
    shutil.rmtree(folder)


def read_pid(folder: Path) -> int:
    """The pid of this folder's dockerd; 0 where it is gone. A zombie is gone."""
    try:
        pid = int((folder / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return pid if str(folder).encode() in command else 0


def wait_until(done: Callable[[], bool]) -> bool:
    """Poll; False where it took longer than WAIT_S."""
    end = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def unmount_below(folder: Path) -> None:
    """Unmount what containers left mounted, the deepest first."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):
        if mount.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", mount], check=False)


def read_state() -> dict[str, list[str]]:
    """What an engine changes on its machine: rules, links, sysctls; each as lines."""
    state = {save: read_rules(save) for save in SAVES}
    state["links"] = sorted(os.listdir("/sys/class/net"))
    state["sysctls"] = [
        f"{name}={path.read_text().strip()}"
        for name in SYSCTLS
        if (path := Path("/proc/sys/net", name)).exists()
    ]
    return state


def read_rules(save: str) -> list[str]:
    """``TABLE LINE`` for every chain and rule, without counters; empty without the tool."""
    if not shutil.which(save):
        return []
    found = subprocess.run([save], check=False, capture_output=True, text=True).stdout
    lines, table = [], ""
    for line in found.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            lines.append(f"{table} {line.split(' [')[0]}")
        elif line.startswith("-A"):
            lines.append(f"{table} {line}")
    return lines


def restore_state(before: dict[str, list[str]]) -> None:
    """Take back only what is new since ``before``: another program's changes stay."""
    for save, tool in SAVES.items():
        for command in undo_rules(before[save], read_rules(save)):
            subprocess.run([tool, "-w", *shlex.split(command)], check=False)
    for name in set(os.listdir("/sys/class/net")) - set(before["links"]):
        if name == "docker0":
            subprocess.run(["ip", "link", "delete", name], check=False)
    for name, _, value in (line.partition("=") for line in before["sysctls"]):
        Path("/proc/sys/net", name).write_text(value)


def undo_rules(before: list[str], after: list[str]) -> list[str]:
    """The arguments of iptables that lead from ``after`` back to ``before``.

    Only chains that an engine makes (DOCKER…) and rules that touch them or its own bridge
    are taken back, rules first, then chains, then the policy of FORWARD.
    """
    new = [line.partition(" ")[::2] for line in after if line not in before]
    rules = [(table, rule) for table, rule in new if rule.startswith("-A")]
    chains = [(table, rule[1:].split()[0]) for table, rule in new if rule.startswith(":DOCKER")]
    ours = [r for r in rules if "DOCKER" in r[1] or "docker0" in r[1] or "172.17.0.0/16" in r[1]]
    policies = [line for line in before if line.startswith("filter :FORWARD ")]
    return [
        *(f"-t {table} -D {rule[3:]}" for table, rule in ours),
        *(f"-t {table} -F {chain}" for table, chain in chains),
        *(f"-t {table} -X {chain}" for table, chain in chains),
        *(f"-P FORWARD {line.split()[2]}" for line in policies if line not in after),
        *(["-P FORWARD ACCEPT"] if not policies and "filter :FORWARD DROP" in after else []),
    ]


def main(arguments: list[str]) -> None:
    match arguments:
        case ["answers"]:
            sys.exit(0 if answers() else 1)
        case ["start", folder]:
            start(Path(folder))
        case ["stop", folder]:
            stop(Path(folder))
        case _:
            sys.exit("usage: engine.py answers | start DIR | stop DIR")


if __name__ == "__main__":
    main(sys.argv[1:])
