"""Build a lab's namespaces: bridges, veth pairs, addresses, routes, NAT, exactly as Docker does.

Nothing outside the namespaces that are handed in is touched.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping

from pyroute2 import IPRoute

from analyzer.engines.lab_plan import LabPlan, PlannedContainer, plan_containers, plan_networks
from analyzer.errors import EnvironmentProblem
from analyzer.net.netns import run_inside
from analyzer.net.programs import find_program
from analyzer.topology.netlink import read_namespace

HOST, OUTSIDE = "host", "outside"
UPLINK, UPLINK_ADDRESS, OUTSIDE_ADDRESS = "uplink0", "198.51.100.1", "198.51.100.2"
"""TEST-NET-2 (RFC 5737): an address that no real host has."""
UPLINK_PREFIX = 24
READY_TIMEOUT_S = 20.0
READY_POLL_S = 0.005
HOST_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    # Duplicate address detection would keep link-local addresses tentative for a second.
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
}
INSIDE_SYSCTLS = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}
"""Docker switches IPv6 off in containers whose networks have none."""


def build_lab(seed: str, plan: LabPlan, fds: Mapping[str, int]) -> list[str]:
    """Fill the empty namespaces ``host``, ``outside`` and one per container name.

    Returns warnings, one line each. On return all links are up and all ports forward. Raises
    EnvironmentProblem where the kernel refuses.
    """
    containers = [c for c in plan_containers(seed, plan) if not c.shares]
    warnings: list[str] = []
    for name, fd in fds.items():
        sysctls = HOST_SYSCTLS if name == HOST else INSIDE_SYSCTLS
        warnings += run_inside(fd, _write_sysctls, sysctls)
    run_inside(fds[HOST], _build_host, seed, plan, containers, fds)
    for container in containers:
        run_inside(fds[container.name], _configure_inside, container)
    refused = run_inside(fds[HOST], _masquerade, seed, plan)
    run_inside(fds[OUTSIDE], _configure_outside, seed, plan, bool(refused))
    _wait_until_ready(fds[HOST])
    return [*dict.fromkeys(warnings), *refused]


def _write_sysctls(values: Mapping[str, str]) -> list[str]:
    """/proc/sys/net shows the namespace of whoever opens the file."""
    refused = []
    for name, value in values.items():
        try:
            with open(f"/proc/sys/{name}", "w") as file:
                file.write(value)
        except FileNotFoundError:
            continue  # a kernel without IPv6
        except OSError as error:
            refused.append(f"lab: cannot set {name.replace('/', '.')}={value}: {error.strerror}")
    return refused


def _build_host(
    seed: str, plan: LabPlan, containers: list[PlannedContainer], fds: Mapping[str, int]
) -> None:
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")
        bridges: dict[str, int] = {}
        for network in plan_networks(seed, plan).values():
            index = _add_link(ip, network.bridge, kind="bridge", address=network.mac)
            prefix = network.subnet.prefixlen
            broadcast = str(network.subnet.broadcast_address)
            ip.addr(
                "add", index=index, address=network.gateway, prefixlen=prefix, broadcast=broadcast
            )
            bridges[network.bridge] = index
        peer = {"ifname": "eth0", "net_ns_fd": fds[OUTSIDE]}
        uplink = _add_link(ip, UPLINK, kind="veth", peer=peer)
        ip.addr("add", index=uplink, address=UPLINK_ADDRESS, prefixlen=UPLINK_PREFIX)
        for container in containers:
            for number, attachment in enumerate(container.attachments):
                peer = {
                    "ifname": f"eth{number}",
                    "address": attachment.mac,
                    "net_ns_fd": fds[container.name],
                }
                port = container.veth(number)
                master = bridges[attachment.bridge]
                ip.link("add", ifname=port, kind="veth", master=master, state="up", peer=peer)


def _add_link(ip: IPRoute, name: str, **values: object) -> int:
    """Add a link that is up; returns its ifindex."""
    ip.link("add", ifname=name, state="up", **values)
    ifindexes: list[int] = ip.link_lookup(ifname=name)
    return ifindexes[0]


def _configure_inside(container: PlannedContainer) -> None:
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")
        for number, attachment in enumerate(container.attachments):
            (index,) = ip.link_lookup(ifname=f"eth{number}")
            ip.link("set", index=index, state="up")
            address, _, prefix = attachment.addresses[0].partition("/")
            ip.addr("add", index=index, address=address, prefixlen=int(prefix))
        # Docker takes the default route from one network only.
        ip.route("add", dst="default", gateway=container.attachments[0].gateway)


def _configure_outside(seed: str, plan: LabPlan, without_nat: bool) -> None:
    """The host outside knows nothing of the containers, unless no NAT hides them from it."""
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")
        (index,) = ip.link_lookup(ifname="eth0")
        ip.link("set", index=index, state="up")
        ip.addr("add", index=index, address=OUTSIDE_ADDRESS, prefixlen=UPLINK_PREFIX)
        for network in plan_networks(seed, plan).values() if without_nat else ():
            ip.route("add", dst=str(network.subnet), gateway=UPLINK_ADDRESS)


def _masquerade(seed: str, plan: LabPlan) -> list[str]:
    """Docker's own rule, and the host's default route; returns why NAT could not be had."""
    with IPRoute() as ip:
        ip.route("add", dst="default", gateway=OUTSIDE_ADDRESS)
    for network in plan_networks(seed, plan).values():
        rule = f"-s {network.subnet} ! -o {network.bridge} -j MASQUERADE"
        iptables = find_program("iptables")
        if not iptables:
            return ["lab: no NAT (iptables is not installed); the outside routes back instead"]
        argv = [iptables, "-w", "-t", "nat", "-A", "POSTROUTING", *rule.split()]
        # The legacy variant locks a file that only root may write; in a namespace of
        # one's own there is nobody to be locked out.
        environment = dict(os.environ, XTABLES_LOCKFILE="/dev/null")
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, check=False, env=environment
            )
        except OSError as error:
            return [f"lab: no NAT ({argv[0]}: {error.strerror}); the outside routes back instead"]
        if done.returncode:
            reason = " ".join(done.stderr.split())[:120]
            return [f"lab: no NAT ({reason}); the outside routes back instead"]
    return []


def _wait_until_ready(host: int) -> None:
    """Until every link is up at both ends and every bridge port forwards."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        links = [link for link in read_namespace(host).links if link.kind == "veth"]
        waiting = [
            link.name
            for link in links
            if not link.running or (link.master is not None and link.port_state != "forwarding")
        ]
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise EnvironmentProblem(
                f"lab: {waiting[0]} is not up after {READY_TIMEOUT_S:.0f} s; try again"
            )
        time.sleep(READY_POLL_S)
