"""The JSON of ``topology --json``, as the documentation promises it."""

from __future__ import annotations

import json

from topology_samples import HOST, ID, ONE, topology

from analyzer.topology.json_form import to_json


def test_keys_that_are_relied_on() -> None:
    told = json.loads(json.dumps(to_json(topology())))
    assert told["schema"] == "vethscope/topology/1"
    assert told["sysctls"] == {"net.ipv4.ip_forward": "1"}
    docker0, net2 = told["bridges"]
    assert (docker0["name"], docker0["ifindex"], docker0["mac"], docker0["addresses"]) == (
        "docker0",
        3,
        "02:42:00:00:00:03",
        ["172.17.0.1/16"],
    )
    assert docker0["ports"] == ["vethaaa", "vethccc", "vethlost"]
    assert net2["ports"] == ["vethbbb"]
    assert {"mac": "02:42:ac:11:00:03", "port": "vethccc", "vlan": 0, "local": False} in docker0[
        "fdb"
    ]


def test_containers_and_veths_name_each_other() -> None:
    told = to_json(topology())
    containers = {c["name"]: c for c in told["containers"]}
    one = containers["tomcat01"]
    assert (one["id"], one["pid"], one["netns"]) == (ID["tomcat01"], 1, ONE)
    eth0, eth1 = one["interfaces"]
    assert (eth0["name"], eth0["peer"], eth0["peer_ifindex"]) == ("eth0", "vethaaa", 11)
    assert (eth0["network"], eth0["bridge"], eth0["mac"]) == (
        "bridge",
        "docker0",
        "02:42:ac:11:00:02",
    )
    assert (eth1["network"], eth1["bridge"]) == ("net2", "br-net2")
    veths = {v["name"]: v for v in told["veths"]}
    assert (veths["vethccc"]["container"], veths["vethccc"]["peer_ifindex"]) == ("tomcat02", 2)
    assert (veths["vethlost"]["container"], veths["vethlost"]["peer_ifindex"]) == ("", None)


def test_no_interfaces_for_who_has_none_of_its_own() -> None:
    containers = {c["name"]: c for c in to_json(topology())["containers"]}
    assert containers["hosty"]["netns"] == HOST
    for name in ("hosty", "lonely", "stopped"):
        assert containers[name]["interfaces"] == []
    assert (containers["stopped"]["running"], containers["side"]["shares"]) == (False, "tomcat01")
