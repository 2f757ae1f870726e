"""Containers as the Docker Engine tells them. Only asks, never changes.

The MAC of a container is what the engine says in ``NetworkSettings.Networks`` and never
derived from its address: since Engine 28 the two have nothing to do with each other.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from analyzer.closing import Closing
from analyzer.engines.base import HOST_NETNS
from analyzer.engines.docker_events import decode_event, listen_to_docker
from analyzer.errors import EnvironmentProblem
from analyzer.model.evidence import KernelEvent
from analyzer.model.topology import Attachment, Container

DEFAULT_SOCKET = "/var/run/docker.sock"
TIMEOUT_S = 10
"""Longer than a busy engine needs to inspect, shorter than a person waits for a hung one."""
_UNJOINED = "ep-"
"""begins an endpoint's own id, which is told until a container has joined it"""
DEFAULT_BRIDGE, BRIDGE_NAME = (
    "com.docker.network.bridge.default_bridge",
    "com.docker.network.bridge.name",
)


class DockerEngine(Closing):
    """The engine of DOCKER_HOST, or of the default socket. A context manager.

    Raises EnvironmentProblem, in one line: no socket, no permission, no answer, another machine.
    """

    name = "docker"

    def __init__(self, base_url: str = "") -> None:
        self.warnings: list[str] = []
        self.base_url = base_url or os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}"
        self.host_netns_path = _engine_netns(self.base_url)
        self._client = _connect(self.base_url)
        try:
            _check_here(self._client, self.base_url)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._client.close()

    def containers(self) -> list[Container]:
        """All containers by name. Stopped ones have ``running=False`` and no namespace.

        Raises EnvironmentProblem where the engine does not answer any more.
        """
        self.warnings = []
        api = self._client.api
        try:
            bridges = {n["Name"]: _bridge_device(n) for n in api.networks()}
            listed = api.containers(all=True)
            inspected = [i for entry in listed if (i := self._inspect(entry)) is not None]
        except (DockerException, requests.RequestException) as error:
            raise _no_answer(self.base_url, error) from error
        names = {i["Id"]: _name(i) for i in inspected}
        containers = [self._container(i, bridges, names) for i in inspected]
        return sorted((c for c in containers if c is not None), key=lambda c: c.name)

    def starting(self, bridge: str) -> list[Container] | None:
        """From the endpoints of the bridge's network, which the engine lists some hundred
        milliseconds before the container runs. Raises EnvironmentProblem without an answer."""
        api = self._client.api
        try:
            networks = [n for n in api.networks() if _bridge_device(n) == bridge]
            inspected = [api.inspect_network(n["Id"]) for n in networks]
        except (DockerException, requests.RequestException) as error:
            raise _no_answer(self.base_url, error) from error
        if not networks:
            return None
        return [
            _starting(identifier, endpoint, network, bridge)
            for network in inspected
            for identifier, endpoint in (network.get("Containers") or {}).items()
            if not identifier.startswith(_UNJOINED)
        ]

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """In a thread of its own; once more when the engine has gone away: whoever looks next is
        told so."""
        return listen_to_docker(self._client, lambda _: changed())

    def hear(self, heard: Callable[[KernelEvent], None]) -> Callable[[], None]:
        """What becomes of containers and their networks, by the engine's own events."""

        def tell(event: Mapping[str, Any] | None) -> None:
            if event is not None and (told := decode_event(event)) is not None:
                heard(told)

        try:
            return listen_to_docker(self._client, tell)
        except (DockerException, requests.RequestException) as error:
            raise _no_answer(self.base_url, error) from error

    def _inspect(self, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        """The whole story of one container; None (and a warning) if it is gone meanwhile."""
        try:
            inspected: dict[str, Any] = self._client.api.inspect_container(entry["Id"])
            return inspected
        except (NotFound, APIError) as error:
            name = (entry.get("Names") or [entry["Id"][:12]])[0].lstrip("/")
            self.warnings.append(f"container {name}: ended while it was being read ({error})")
            return None

    def _container(
        self, inspected: Mapping[str, Any], bridges: Mapping[str, str], names: Mapping[str, str]
    ) -> Container | None:
        pid = inspected["State"]["Pid"]
        path, netns = f"/proc/{pid}/ns/net", 0
        if pid:
            try:
                netns = os.stat(path).st_ino
            except PermissionError:
                netns = 0  # it runs, and we may not look: discovery says so once it tries
            except OSError:
                self.warnings.append(
                    f"container {_name(inspected)}: its process {pid} is not to be seen here"
                    " (it ended, or the engine's processes are in another pid namespace)"
                )
                return None
        return Container(
            name=_name(inspected),
            id=inspected["Id"],
            pid=pid,
            netns=netns,
            networks=_attachments(inspected["NetworkSettings"].get("Networks") or {}, bridges),
            shares=_shares(inspected["HostConfig"].get("NetworkMode", ""), names),
            netns_path=path if pid else "",
            running=bool(pid),
            paused=bool(inspected["State"].get("Paused")),
            published=_published(inspected["NetworkSettings"].get("Ports") or {}),
        )


def _connect(base_url: str) -> docker.DockerClient:
    """A client that has negotiated its API version (Engine 29 refuses below 1.44)."""
    try:
        environment = dict(os.environ, DOCKER_HOST=base_url)
        return docker.DockerClient.from_env(
            version="auto", timeout=TIMEOUT_S, environment=environment
        )
    except (DockerException, requests.RequestException) as error:
        raise _no_answer(base_url, error) from error


def _no_answer(base_url: str, error: BaseException) -> EnvironmentProblem:
    reason = _reason(error)
    if isinstance(reason, PermissionError):
        return EnvironmentProblem(
            f"no rights on the Docker Engine at {base_url}; run as root or join the group docker"
        )
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return EnvironmentProblem(
        f"the Docker Engine at {base_url} does not answer: {' '.join(text.split())[:160]};"
        " is it running?"
    )


def _reason(error: BaseException) -> BaseException:
    """What the kernel said, under the wrappings of SDK, requests and urllib3; else the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return cause
        cause = cause.__cause__ or cause.__context__
    return error


def _check_here(client: docker.DockerClient, base_url: str) -> None:
    """An engine behind TCP or SSH may be on another machine, whose pids mean others here."""
    if urlsplit(base_url).scheme == "unix":
        return
    name = client.info().get("Name", "")
    if name != socket.gethostname():
        raise EnvironmentProblem(
            f"the Docker Engine at {base_url} is on another machine ({name}); run vethscope there"
        )


def _engine_netns(base_url: str) -> str:
    """The namespace that dockerd itself is in has its bridges; with rootless Docker, not ours.

    Who listens on a socket is told by SO_PEERCRED (unix(7)). Raises EnvironmentProblem where
    nobody does.
    """
    parts = urlsplit(base_url)
    if parts.scheme != "unix":
        return HOST_NETNS
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(TIMEOUT_S)
        try:
            probe.connect(parts.path)
        except FileNotFoundError as error:
            raise EnvironmentProblem(
                f"no Docker Engine: {parts.path} does not exist; start it, or set DOCKER_HOST"
            ) from error
        except OSError as error:
            raise _no_answer(base_url, error) from error
        raw = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    path = f"/proc/{struct.unpack('3i', raw)[0]}/ns/net"
    try:
        return path if os.stat(path).st_ino != os.stat(HOST_NETNS).st_ino else HOST_NETNS
    except OSError:
        return HOST_NETNS


def _name(inspected: Mapping[str, Any]) -> str:
    return str(inspected["Name"]).lstrip("/")


def _bridge_device(network: Mapping[str, Any]) -> str:
    """The bridge of a network: by its option, or br-<12 of the id> (libnetwork's bridge driver)."""
    if network.get("Driver") != "bridge":
        return ""
    options = network.get("Options") or {}
    default = "docker0" if options.get(DEFAULT_BRIDGE) == "true" else f"br-{network['Id'][:12]}"
    return str(options.get(BRIDGE_NAME) or default)


def _starting(
    identifier: str, endpoint: Mapping[str, str], network: Mapping[str, Any], bridge: str
) -> Container:
    addresses = (endpoint.get("IPv4Address"), endpoint.get("IPv6Address"))
    attachment = Attachment(
        network=network["Name"],
        mac=endpoint.get("MacAddress", "").lower(),
        addresses=tuple(address for address in addresses if address),
        bridge=bridge,
    )
    name = endpoint.get("Name") or identifier[:12]
    return Container(name, identifier, 0, 0, (attachment,), running=False)


def _attachments(
    networks: Mapping[str, Mapping[str, Any]], bridges: Mapping[str, str]
) -> tuple[Attachment, ...]:
    """By name of network; ``host`` and ``none`` are no networks but the lack of one."""
    return tuple(
        Attachment(
            network=name,
            mac=(attachment.get("MacAddress") or "").lower(),
            addresses=_addresses(attachment),
            gateway=attachment.get("Gateway") or attachment.get("IPv6Gateway") or "",
            bridge=bridges.get(name, ""),
        )
        for name, attachment in sorted(networks.items())
        if name not in ("host", "none")
    )


def _addresses(network: Mapping[str, Any]) -> tuple[str, ...]:
    """With prefix length; of one that is not running those that it was given by its user."""
    pairs = (("IPAddress", "IPPrefixLen"), ("GlobalIPv6Address", "GlobalIPv6PrefixLen"))
    in_use = tuple(f"{network[ip]}/{network[prefix]}" for ip, prefix in pairs if network.get(ip))
    given = network.get("IPAMConfig") or {}
    return in_use or tuple(given[n] for n in ("IPv4Address", "IPv6Address") if given.get(n))


def _published(ports: Mapping[str, Any]) -> tuple[tuple[str, int, str, int], ...]:
    """Of ``{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}``; unpublished ones are null."""
    return tuple(
        (protocol, int(inside), one.get("HostIp", ""), int(one["HostPort"]))
        for port, bindings in sorted(ports.items())
        for inside, _, protocol in [port.partition("/")]
        for one in bindings or ()
    )


def _shares(mode: str, names: Mapping[str, str]) -> str:
    """Container.shares, from HostConfig.NetworkMode: ``container:<id>``, ``host``, ``none``."""
    if mode.startswith("container:"):
        other = mode.removeprefix("container:")
        return names.get(other, other[:12])
    return mode if mode in ("host", "none") else ""
