"""``doctor``: what this machine allows, one line each, with the fix."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from analyzer.errors import VethscopeError
from analyzer.net.capabilities import Capability, held
from analyzer.net.programs import FOLDERS, PROGRAMS, find_program
from analyzer.net.root import is_root_of_the_machine

_CAPTURE = (Capability.NET_ADMIN, Capability.NET_RAW)
"""what a capture on the host's interfaces needs"""
_INSIDE = (Capability.SYS_PTRACE, Capability.SYS_ADMIN)
"""what opening another's namespace (proc(5)) and entering it (setns(2)) needs on top"""
_OLDEST_KERNEL = (3, 2)
"""TPACKET_V3 came with Linux 3.2 (packet(7))"""


class Check(Struct, frozen=True):
    """One line of the doctor."""

    name: str
    ok: bool
    finding: str
    fix: str = ""
    needed: bool = False
    """a capture is not possible without it"""

    def line(self) -> str:
        """``ok   rights: …``"""
        mark = "ok  " if self.ok else ("FAIL" if self.needed else "note")
        return f"{mark} {self.name}: {self.finding}" + (f" — {self.fix}" if self.fix else "")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Check]:
    """All checks, in the order in which they matter."""
    checks: tuple[Callable[[], Check], ...] = (
        _kernel,
        _rights,
        _isolation,
        _user_namespaces,
        _docker,
        _libpcap,
        _tshark,
        _iptables,
        _loops,
        _tracefs,
        _prequeue,
        _bridge_netfilter,
    )
    return [check() for check in checks]


def _kernel() -> Check:
    release = platform.release()
    version = tuple(int(n) for n in release.split("-")[0].split(".")[:2] if n.isdigit())
    ok = version >= _OLDEST_KERNEL
    return Check(
        "kernel",
        ok,
        f"Linux {release}",
        "" if ok else "AF_PACKET TPACKET_V3 needs Linux 3.2",
        needed=True,
    )


def _rights() -> Check:
    capabilities = held()
    missing = [one for one in (*_CAPTURE, *_INSIDE) if one not in capabilities]
    names = ", ".join(map(str, missing))
    if not missing:
        return Check("rights", True, "may capture, also inside containers", needed=True)
    if not set(missing) & set(_CAPTURE):
        fix = (
            f"run as root, or with {' and '.join(map(str, missing))} too; "
            "the host's side works without: capture --no-inside"
        )
        return Check("rights", False, f"{names} missing: no look inside containers", fix)
    fix = "run as root (sudo vethscope …); demo works without"
    return Check("rights", False, f"{names} missing", fix, needed=True)


def _user_namespaces() -> Check:
    """Whether the lab works for someone who is not root."""
    if Capability.SYS_ADMIN in held():
        return Check("lab", True, "as root in namespaces of its own")
    command = [find_program("unshare"), "-Urn", "/bin/true"]
    allowed = command[0] is not None and (
        subprocess.run(command, capture_output=True, check=False).returncode == 0  # type: ignore[arg-type]
    )
    fix = (
        "sysctl kernel.unprivileged_userns_clone=1 "
        "(Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0)"
    )
    return Check(
        "lab",
        allowed,
        f"user namespaces {'allowed' if allowed else 'not allowed'}",
        "" if allowed else fix,
    )


def _docker() -> Check:
    from analyzer.engines import open_engine

    try:
        with open_engine("docker") as engine:
            running = [c for c in engine.containers() if c.running]
    except VethscopeError as error:
        return Check("docker", False, str(error))
    return Check("docker", True, f"answers, {len(running)} containers running")


def _libpcap() -> Check:
    from ctypes.util import find_library

    library = find_library("pcap")
    return Check(
        "libpcap",
        bool(library),
        library or "not found",
        "" if library else "apt-get install libpcap0.8: capture filters need it",
    )


def _tool(name: str) -> Check:
    (tool,) = (program for program in PROGRAMS if program.name == name)
    if path := find_program(name):
        return Check(name, True, path)
    found = next((f"{one}/{name}" for one in FOLDERS if os.path.exists(f"{one}/{name}")), "")
    if found:
        fix = "root runs only what nobody else can write: look at it and the folders above it"
        return Check(name, False, f"{found} is not run: others than root could change it", fix)
    return Check(
        name,
        False,
        f"not found in {', '.join(FOLDERS)}",
        f"apt-get install {tool.package}: {tool.purpose}",
    )


def _tshark() -> Check:
    return _tool("tshark")


def _iptables() -> Check:
    return _tool("iptables")


def _isolation() -> Check:
    """Python takes code from PYTHON* and the user's packages before our first line runs."""
    if sys.flags.isolated or not (os.geteuid() == 0 and is_root_of_the_machine()):
        return Check("start", True, "by python -I" if sys.flags.isolated else "as a user")
    return Check(
        "start",
        False,
        "Python may take code from PYTHONPATH and a user's packages",
        'run it with "python -I" in its first line, as make setup installs it',
    )


def _loops() -> Check:
    """Whether there is machine code of the loops, of the sources that are there."""
    from analyzer.native.library import REMEDY, built_for, what_is_wrong

    wrong = what_is_wrong()
    found = f"{wrong}: loops are interpreted" if wrong else f"built ahead, for {built_for()}"
    return Check("compiled loops", not wrong, found, REMEDY if wrong else "")


def _tracefs() -> Check:
    from analyzer.recorders.drops.tracefs import Tracefs

    try:
        with Tracefs() as tracefs:
            ok = Path(tracefs.root, "events/skb/kfree_skb/format").exists()
    except (VethscopeError, OSError):
        return Check("tracefs", False, "cannot be used", "--drops needs root and a tracing kernel")
    fix = "" if ok else "--drops needs a kernel with tracepoints (CONFIG_TRACEPOINTS)"
    return Check("tracefs", ok, "can be used" if ok else "has no event skb:kfree_skb", fix)


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:
        return ""


def _prequeue() -> Check:
    value = _sysctl("net.core.netdev_tstamp_prequeue")
    meaning = {
        "1": "receive stamps are taken at enqueue: the bridge hop includes the softirq's wait",
        "0": "receive stamps are taken in the softirq: the veth hop includes its wait",
    }
    return Check(
        "net.core.netdev_tstamp_prequeue", True, f"{value or 'unknown'}: {meaning.get(value, '')}"
    )


def _bridge_netfilter() -> Check:
    value = _sysctl("net.bridge.bridge-nf-call-iptables")
    meaning = {
        "1": "iptables also sees (and may drop) bridged frames",
        "0": "iptables does not see bridged frames",
        "": "br_netfilter is not loaded: iptables does not see bridged frames",
    }
    return Check(
        "net.bridge.bridge-nf-call-iptables",
        True,
        f"{value or 'absent'}: {meaning.get(value, value)}",
    )
