"""Choose the vantages of a capture from a topology. Pure.

TARGET is the name of a container, a prefix of its id, the name of a network, or ``all``. A
container stands for its interfaces inside, the host ends of its veth pairs, and the bridges of
these. Names are matched exactly; what comes close is offered in the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

from analyzer.errors import UsageProblem
from analyzer.model.topology import Container, Interface, Topology
from analyzer.model.vantage import Role, Vantage
from analyzer.topology.describe import describe_vantage
from analyzer.topology.relations import (
    bridge_of,
    interfaces_of,
    is_host,
    lower_of,
    network_of,
    other_end,
    speaker_behind,
    vantage_name,
)

ALL = "all"
_LISTED = 8
"""So many names are told in an error; more would not be read."""


def select_vantages(
    topology: Topology,
    targets: Sequence[str] = (),
    interfaces: Sequence[str] = (),
    networks: Sequence[str] = (),
    *,
    inside: bool = True,
    uplink: bool = False,
) -> list[Vantage]:
    """The vantages, completely described, in the order in which a reader follows a packet.

    Each container in the order of ``targets``: inside, then host veths; then bridges, then
    uplinks, then the single ``interfaces`` (``docker0``, ``veth3d64d10``, ``tomcat01:eth0``).
    ``networks`` alone stand for all their containers; together with ``targets`` they narrow
    those down to their interfaces in these networks. With nothing given it is ``all``.
    ``inside=False`` leaves out what is in containers (but not what ``interfaces`` names),
    ``uplink`` adds the default route's interface. A container of the host's network that is named
    stands for the uplinks, see `host_network_warnings`.

    Raises UsageProblem: unknown, ambiguous or stopped container, unknown network or interface,
    a container without a network, or nothing left to capture on.
    """
    if not (targets or interfaces or networks):
        targets = (ALL,)
    wanted = _wanted(topology, targets, networks, inside)
    chosen = list(dict.fromkeys(i for w in wanted for i in _of_container(topology, *w)))
    if ALL in targets and not networks:
        chosen += _other_ports(topology, chosen)
    bridges = _bridges(topology, chosen)
    if ALL in targets and not chosen:
        bridges = [i for i in interfaces_of(topology, topology.host_netns) if i.kind == "bridge"]
        chosen = [port for bridge in bridges for port in topology.ports(bridge.key)]
    on_host = ALL not in targets and any(c.netns == topology.host_netns for c, _ in wanted)
    uplinks = [topology.by_key[k] for k in topology.uplinks] if uplink or on_host else []
    single = [find_interface(topology, name) for name in interfaces]
    chosen = [i for i in chosen if inside or is_host(topology, i)]
    ordered = dict.fromkeys([*chosen, *bridges, *uplinks, *single])
    if not ordered:
        raise UsageProblem("nothing to capture on: no running container, no bridge; see topology")
    return [describe_vantage(topology, i) for i in ordered]


def find_container(topology: Topology, word: str) -> Container:
    """The running container of that name or id prefix.

    Raises UsageProblem: unknown (with what comes close), ambiguous, or not running.
    """
    name = word.lstrip("/")
    matching = [c for c in topology.containers if c.name == name]
    if not matching and name:
        matching = [c for c in topology.containers if c.id.startswith(name)]
    if len(matching) > 1:
        names = ", ".join(f"{c.name} ({c.id[:12]})" for c in matching[:_LISTED])
        raise UsageProblem(f"{word} is ambiguous: {names}; give more of the id, or the name")
    if not matching:
        _unknown("container", word, [c.name for c in topology.containers])
    if not matching[0].running:
        raise UsageProblem(f"container {matching[0].name} is not running: start it first")
    return matching[0]


def find_interface(topology: Topology, word: str) -> Interface:
    """The interface of that vantage name; on the host first. Raises UsageProblem."""
    by_name = {vantage_name(topology, i): i for i in topology.interfaces}
    if word in by_name:
        return by_name[word]
    container, colon, device = word.rpartition(":")
    if colon:  # by another container of the same namespace, or by a prefix of the id
        netns = find_container(topology, container).netns
        for interface in topology.interfaces:
            if interface.netns == netns and interface.name == device:
                return interface
    _unknown("interface", word, list(by_name))


def host_network_warnings(topology: Topology, vantages: Sequence[Vantage]) -> list[str]:
    """A line for each container in the host's own network, where uplinks are captured for it."""
    if not any(v.role is Role.UPLINK for v in vantages):
        return []
    return [
        f"container {c.name} uses the host's network: its traffic is on the host's interfaces,"
        " not to be told from the host's own"
        for c in topology.containers
        if c.running and c.netns == topology.host_netns
    ]


def _wanted(
    topology: Topology, targets: Sequence[str], networks: Sequence[str], inside: bool
) -> list[tuple[Container, set[str] | None]]:
    """The running containers meant, with the networks to which they are narrowed (None: all)."""
    for name in networks:
        if name not in _networks(topology):
            _unknown("network with containers", name, sorted(_networks(topology)))
    only = set(networks) or None
    wanted: list[tuple[Container, set[str] | None]] = []
    for word in targets:
        if word == ALL:
            wanted += [(c, only) for c in topology.containers if c.running]
        elif _is_network(topology, word):
            wanted += [(c, {word}) for c in _members(topology, word)]
        else:
            container = find_container(topology, word)
            _check_visible(topology, container, only, inside)
            wanted.append((container, only))
    if not targets:
        wanted = [(c, only) for name in networks for c in _members(topology, name)]
    return wanted


def _is_network(topology: Topology, word: str) -> bool:
    """A container of the same name goes first."""
    return word in _networks(topology) and all(c.name != word for c in topology.containers)


def _check_visible(
    topology: Topology, container: Container, networks: set[str] | None, inside: bool
) -> None:
    if container.netns not in topology.netns_paths:
        if inside:
            raise UsageProblem(
                f"cannot look into container {container.name}: run as root, "
                "or take the host's side alone (--no-inside)"
            )
        if not _ports_of(topology, container, networks):
            raise UsageProblem(
                f"no port is known to be {container.name}'s: without the right to look inside only "
                "the bridge's FDB tells, once it has spoken; ping from it, or run as root"
            )
        return
    if not interfaces_of(topology, container.netns):
        raise UsageProblem(
            f"container {container.name} has no network interface: connect it to a network first"
        )
    if networks and not any(_is_member(topology, container, n) for n in networks):
        raise UsageProblem(
            f"container {container.name} is not in network {' or '.join(sorted(networks))}"
        )


def _members(topology: Topology, network: str) -> list[Container]:
    """The running containers of a network. Raises UsageProblem where none runs."""
    members = [c for c in topology.containers if c.running and _is_member(topology, c, network)]
    if not members:
        raise UsageProblem(f"network {network} has no running container: start one first")
    return members


def _is_member(topology: Topology, container: Container, network: str) -> bool:
    """In the network by its own attachments, or by those of whose namespace it shares."""
    sharing = topology.sharing(container.netns) or (container,)
    return any(a.network == network for c in sharing for a in c.networks)


def _networks(topology: Topology) -> set[str]:
    return {a.network for c in topology.containers for a in c.networks}


def _of_container(
    topology: Topology, container: Container, networks: set[str] | None
) -> list[Interface]:
    """Its interfaces inside, then their host veths; of the host's network, none."""
    if container.netns == topology.host_netns:
        return []
    if container.netns not in topology.netns_paths:
        return _ports_of(topology, container, networks)
    inside = interfaces_of(topology, container.netns)
    if networks is not None:
        inside = [i for i in inside if network_of(topology, i) in networks]
    ends = [other_end(topology, i) or lower_of(topology, i) for i in inside]
    return inside + [e for e in ends if e is not None and is_host(topology, e)]


def _ports_of(
    topology: Topology, container: Container, networks: set[str] | None
) -> list[Interface]:
    """Host ends behind which a container was heard that may not be looked into."""
    heard = [(i, speaker_behind(topology, i)) for i in interfaces_of(topology, topology.host_netns)]
    return [
        interface
        for interface, speaker in heard
        if speaker and speaker[0] == container
        if networks is None or speaker[1].network in networks
    ]


def _other_ports(topology: Topology, chosen: Sequence[Interface]) -> list[Interface]:
    """Further ports of the bridges: a flooded frame leaves by those of unknown owners too."""
    ports = [p for b in _bridges(topology, chosen) for p in topology.ports(b.key)]
    already = set(chosen)
    return [p for p in ports if p not in already]


def _bridges(topology: Topology, chosen: Sequence[Interface]) -> list[Interface]:
    """The host's bridges that these are, or have, ports of, by ifindex."""
    masters = {bridge_of(topology, i) for i in chosen}
    bridges = [b for b in masters if b is not None and is_host(topology, b)]
    return sorted(bridges, key=lambda b: b.ifindex)


def _unknown(what: str, word: str, choices: Sequence[str]) -> NoReturn:
    close = get_close_matches(word, choices, n=3)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif choices:
        more = ", …" if len(choices) > _LISTED else ""
        hint = f"there are {', '.join(list(choices)[:_LISTED])}{more}"
    else:
        hint = "there are none"
    raise UsageProblem(f"no {what} {word}: {hint}")
