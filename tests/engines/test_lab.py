"""The lab on the real kernel: Docker's picture, alone in its namespaces, gone without residue."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from analyzer.engines import open_engine
from analyzer.engines.lab import Lab, lab_names, take_down_lab
from analyzer.errors import UsageProblem
from analyzer.net.netns import netns_inode
from analyzer.topology.discover import discover
from analyzer.topology.relations import bridge_of, container_of

pytestmark = pytest.mark.root
DEADLINE_S = 15.0


def until(condition: Callable[[], bool]) -> bool:
    """Poll: namespaces are taken down by the kernel in its own time."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def host_links() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def pings(lab: Lab, source: str, address: str) -> bool:
    argv = ["ping", "-n", "-c", "1", "-W", "2", address]
    return lab.run(source, argv, check=False).returncode == 0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(2) as made:
        yield made


def test_looks_as_docker_makes_it(lab: Lab) -> None:
    (eth0,) = [
        link
        for link in json.loads(lab.run("tomcat01", ["ip", "-j", "addr"]).stdout)
        if link["ifname"] != "lo"
    ]
    assert eth0["ifname"] == "eth0"
    assert eth0["address"] == "02:42:ac:11:00:02"
    assert [(a["local"], a["prefixlen"]) for a in eth0["addr_info"]] == [("172.17.0.2", 16)]
    (route,) = json.loads(lab.run("tomcat01", ["ip", "-j", "route", "show", "default"]).stdout)
    assert route["gateway"] == "172.17.0.1"
    rules = lab.run("host", ["iptables", "-t", "nat", "-S", "POSTROUTING"]).stdout
    assert "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE" in rules
    assert lab.run("host", ["cat", "/proc/sys/net/ipv4/ip_forward"]).stdout == "1\n"
    assert lab.warnings == []


def test_is_ready_at_once_for_the_neighbour_the_gateway_and_the_outside(lab: Lab) -> None:
    assert pings(lab, "tomcat01", "172.17.0.3")
    assert pings(lab, "tomcat02", "172.17.0.1")
    assert pings(lab, "tomcat01", "198.51.100.2")


def test_outside_sees_the_translated_address_and_has_no_way_back(lab: Lab) -> None:
    routes = lab.run("outside", ["ip", "route"]).stdout
    assert "172.17" not in routes
    assert not pings(lab, "outside", "172.17.0.2")


def test_first_namespaces_are_untouched(lab: Lab) -> None:
    assert not [name for name in host_links() if name.startswith("uplink0")]
    assert netns_inode(lab.host_netns_path) != netns_inode("/proc/self/ns/net")


def test_engine_tells_what_the_kernel_has(lab: Lab) -> None:
    topology = discover(lab)
    assert topology.warnings == ()
    assert [c.name for c in topology.containers] == ["tomcat01", "tomcat02"]
    for container in topology.containers:
        (eth0,) = [i for i in topology.interfaces if i.netns == container.netns and i.name != "lo"]
        assert (container.networks[0].mac, container.networks[0].addresses) == (
            eth0.mac,
            eth0.addresses,
        )
    ports = [i for i in topology.interfaces if i.master_ifindex]
    assert {i.port_state for i in ports} == {"forwarding"}


def test_two_labs_with_the_same_subnets_do_not_meet() -> None:
    with Lab(2) as one, Lab(3) as other:
        assert pings(other, "tomcat01", "172.17.0.4")
        assert not pings(one, "tomcat01", "172.17.0.4")
        assert {c.id for c in one.containers()}.isdisjoint({c.id for c in other.containers()})


def test_mac_networks_members_and_shared_namespace() -> None:
    with Lab(
        3,
        macs={"tomcat02": "0e:11:22:33:44:55"},
        networks={"net2": "172.18.0.0/16"},
        members={"tomcat01": ("bridge", "net2"), "tomcat03": ("net2",)},
        shares={"side": "tomcat01"},
    ) as lab:
        topology = discover(lab)
        names = {c.name: c for c in topology.containers}
        assert names["side"].netns == names["tomcat01"].netns
        assert names["side"].shares == "tomcat01"
        assert topology.owner(names["side"].netns) is names["tomcat01"]
        found = {
            (owner.name, i.name): (i.mac, bridge.name)
            for i in topology.interfaces
            if i.name.startswith("eth")
            and (owner := container_of(topology, i))
            and (bridge := bridge_of(topology, i))
        }
        second = names["tomcat03"].networks[0].bridge
        assert second.startswith("br-")
        assert len(second) == 15
        assert found == {
            ("tomcat01", "eth0"): ("02:42:ac:11:00:02", "docker0"),
            ("tomcat01", "eth1"): ("02:42:ac:12:00:02", second),
            ("tomcat02", "eth0"): ("0e:11:22:33:44:55", "docker0"),
            ("tomcat03", "eth0"): ("02:42:ac:12:00:03", second),
        }
        assert pings(lab, "tomcat01", "172.18.0.3")


def test_hundred_containers_are_built_and_discovered_in_seconds() -> None:
    start = time.monotonic()
    with Lab(100) as lab:
        built = time.monotonic()
        topology = discover(lab)
        done = time.monotonic()
    assert built - start < 20
    assert done - built < 2
    pairs = [i for i in topology.interfaces if i.name == "eth0" and container_of(topology, i)]
    assert len({i.peer for i in pairs}) == 100
    assert all(topology.by_key[i.peer].peer == i.key for i in pairs if i.peer)


CHILD = """
import sys
from analyzer.engines.lab import Lab
lab = Lab(2)
lab.start("tomcat01", ["ping", "-i", "0.2", "172.17.0.3"], stdout=-3)
print(*[lab.host_netns_path, *(c.netns for c in lab.containers())], flush=True)
sys.stdin.read()
"""


def namespaces_in_use() -> set[int]:
    """Inodes of all namespaces that a process is in, or holds open."""
    found = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            found.add(os.stat(f"/proc/{pid}/ns/net").st_ino)
            found |= {
                os.stat(f"/proc/{pid}/fd/{fd}").st_ino for fd in os.listdir(f"/proc/{pid}/fd")
            }
        except OSError:
            continue
    return found


def test_sigkill_leaves_nothing() -> None:
    before = host_links()
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout:
        assert select.select([process.stdout], [], [], DEADLINE_S)[0]
        path, *containers = process.stdout.readline().split()
        inodes = {netns_inode(path), *map(int, containers)}
        assert inodes <= namespaces_in_use()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert until(lambda: inodes.isdisjoint(namespaces_in_use()))
    assert host_links() == before


def test_close_ends_what_was_started() -> None:
    with Lab(1) as lab:
        process = lab.start("tomcat01", ["sleep", "1000"])
        inode = lab.containers()[0].netns
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL
    assert inode not in namespaces_in_use()


UNPRIVILEGED = """
import ctypes, os
import encodings.idna, analyzer.engines.lab, analyzer.topology.discover
from analyzer.net.netns import become_root_in_user_namespace
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, or /proc/self stays root's
become_root_in_user_namespace()
from analyzer.engines.lab import Lab
from analyzer.errors import EnvironmentProblem
with Lab(2) as lab:
    assert len(analyzer.topology.discover.discover(lab).containers) == 2
    for address in ("172.17.0.3", "198.51.100.2"):
        lab.run("tomcat01", ["ping", "-n", "-c", "1", "-W", "2", address])
try:
    Lab(1, "denied")
except EnvironmentProblem as error:
    print(error)
"""


def test_without_root_in_a_user_namespace() -> None:
    if subprocess.run(["unshare", "-Urn", "true"], capture_output=True, check=False).returncode:
        reason = "this machine allows no user namespaces"
        (pytest.fail if os.environ.get("VETHSCOPE_REQUIRE") else pytest.skip)(reason)
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "a named lab needs root" in done.stdout
    assert "denied" not in lab_names()


@pytest.fixture
def named() -> Iterator[str]:
    name = f"t{os.getpid()}"
    Lab(2, name).close()
    yield name
    if name in lab_names():
        take_down_lab(name)


def test_named_lab_outlives_its_builder_and_ip_netns_knows_it(named: str) -> None:
    argv = ["ip", "netns", "exec", f"{named}.tomcat01", "ping", "-c1", "-W2", "172.17.0.3"]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
    with open_engine(f"lab:{named}") as engine:
        topology = discover(engine)
    assert [c.name for c in topology.containers] == ["tomcat01", "tomcat02"]
    assert {c.networks[0].mac for c in topology.containers} <= {i.mac for i in topology.interfaces}


def test_named_lab_notices_a_container_that_was_taken_away(named: str) -> None:
    with Lab.attach(named) as lab:
        subprocess.run(["ip", "netns", "delete", f"{named}.tomcat02"], check=True)
        assert [c.name for c in lab.containers()] == ["tomcat01"]


def test_named_lab_is_taken_down_whole(named: str) -> None:
    assert take_down_lab(named) == 4
    assert not [f for f in os.listdir("/run/netns") if f.startswith(f"{named}.")]
    with pytest.raises(UsageProblem, match="is not up"):
        take_down_lab(named)


def test_named_lab_twice_bad_name_and_unknown_name(named: str) -> None:
    with pytest.raises(UsageProblem, match="is up already"):
        Lab(1, named)
    with pytest.raises(UsageProblem, match="letters, digits"):
        Lab(1, "a/b")
    with pytest.raises(UsageProblem, match=f"{named}x is not up.*up: .*{named}"):
        open_engine(f"lab:{named}x")


def test_unknown_member_is_told_with_those_there_are(lab: Lab) -> None:
    with pytest.raises(UsageProblem, match="no tomcat99: it has host, outside, tomcat01"):
        lab.netns_fd("tomcat99")
