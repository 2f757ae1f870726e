"""Namespaces as they would be read, for tests without a kernel."""

from __future__ import annotations

from analyzer.model.topology import Attachment, Container, FdbEntry, Topology
from analyzer.topology.netlink import LinkFacts, NamespaceFacts
from analyzer.topology.resolve import resolve_interfaces

HOST, ONE, TWO, POD = 100, 201, 202, 203
ID = {"tomcat01": "ab12" * 16, "tomcat02": "ab34" * 16, "side": "cd56" * 16}


def veth(ifindex: int, name: str, link: int | None, nsid: int | None, **more: object) -> LinkFacts:
    mac = more.pop("mac", f"02:00:00:00:00:{ifindex:02x}")
    return LinkFacts(ifindex, name, "veth", link=link, link_nsid=nsid, mac=mac, up=True, **more)  # type: ignore[arg-type]


def bridge(ifindex: int, name: str, *addresses: str) -> LinkFacts:
    mac = f"02:42:00:00:00:{ifindex:02x}"
    return LinkFacts(ifindex, name, "bridge", mac, addresses, up=True)


def facts() -> list[NamespaceFacts]:
    """tomcat01 on docker0 and br-net2, tomcat02 on docker0; all eth0 with ifindex 2."""
    lo = LinkFacts(1, "lo", addresses=("127.0.0.1/8",), up=True)
    host = NamespaceFacts(
        HOST,
        (
            lo,
            LinkFacts(2, "eth0", mac="52:54:00:00:00:01", addresses=("192.0.2.9/24",), up=True),
            bridge(3, "docker0", "172.17.0.1/16"),
            bridge(4, "br-net2", "172.18.0.1/16"),
            veth(11, "vethaaa", 2, 0, master=3, port_state="forwarding"),
            veth(12, "vethbbb", 3, 0, master=4, port_state="forwarding"),
            veth(13, "vethccc", 2, 1, master=3, port_state="forwarding"),
            veth(14, "vethlost", 9, 7, master=3, port_state="forwarding"),
        ),
        (
            FdbEntry(HOST, 3, 11, "02:42:ac:11:00:02"),
            FdbEntry(HOST, 3, 13, "02:42:ac:11:00:03"),
            FdbEntry(HOST, 3, 11, "02:00:00:00:00:0b", local=True),
            FdbEntry(HOST, 4, 12, "02:42:ac:12:00:02"),
        ),
        (2,),
        ((0, ONE), (1, TWO)),
    )
    eth0 = veth(2, "eth0", 11, 0, mac="02:42:ac:11:00:02", addresses=("172.17.0.2/16",))
    eth1 = veth(3, "eth1", 12, 0, mac="02:42:ac:12:00:02", addresses=("172.18.0.2/16",))
    one = NamespaceFacts(ONE, (lo, eth0, eth1), nsids=((0, HOST),))
    other = veth(2, "eth0", 13, 5, mac="0e:99:88:77:66:55", addresses=("172.17.0.3/16",))
    two = NamespaceFacts(TWO, (lo, other), nsids=((5, HOST),))
    return [host, one, two, NamespaceFacts(POD, (lo,))]


def topology() -> Topology:
    read = facts()
    docker = Attachment("bridge", "02:42:ac:11:00:02", ("172.17.0.2/16",), bridge="docker0")
    net2 = Attachment("net2", "02:42:ac:12:00:02", ("172.18.0.2/16",), bridge="br-net2")
    random = Attachment("bridge", "0e:99:88:77:66:55", ("172.17.0.3/16",), bridge="docker0")
    return Topology(
        HOST,
        resolve_interfaces(read),
        (
            Container("hosty", "ef" * 32, 9, HOST, shares="host"),
            Container("lonely", "99" * 32, 8, POD, shares="none"),
            Container("side", ID["side"], 3, ONE, shares="tomcat01"),
            Container("stopped", "77" * 32, 0, 0, (Attachment("bridge"),), running=False),
            Container("tomcat01", ID["tomcat01"], 1, ONE, (docker, net2)),
            Container("tomcat02", ID["tomcat02"], 2, TWO, (random,)),
        ),
        tuple(entry for one in read for entry in one.fdb),
        {"net.ipv4.ip_forward": "1"},
        {HOST: "/h", ONE: "/1", TWO: "/2", POD: "/3"},
        engine="docker",
        uplinks=((HOST, 2),),
    )
