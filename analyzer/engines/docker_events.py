"""What the Docker Engine tells of its containers and networks as it happens."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import docker
import requests
from docker.errors import DockerException

from analyzer.model.evidence import KernelEvent
from analyzer.net.capabilities import keep_nothing

CLOSE_TIMEOUT_S = 2.0
TOLD = {
    "container": {"create", "start", "pause", "unpause", "die", "stop", "kill", "oom", "restart"},
    "network": {"connect", "disconnect"},
}
"""what bears on traffic"""


def listen_to_docker(
    client: docker.DockerClient, heard: Callable[[Mapping[str, Any] | None], None]
) -> Callable[[], None]:
    """Call ``heard`` with each event, in a thread of its own; with None when the engine has gone.

    The thread has no rights but to read what comes. Returns how to end it.
    """
    events = client.events(decode=True, filters={"type": ["container", "network"]})

    bare = threading.Event()

    def listen() -> None:
        with contextlib.suppress(OSError):
            keep_nothing()
        bare.set()
        try:
            for event in events:
                heard(event)
        except (DockerException, requests.RequestException, OSError, ValueError):
            heard(None)

    thread = threading.Thread(target=listen, name="docker-events", daemon=True)
    thread.start()
    bare.wait()

    def end() -> None:
        events.close()
        thread.join(CLOSE_TIMEOUT_S)

    return end


def decode_event(event: Mapping[str, Any]) -> KernelEvent | None:
    """None for what does not bear on traffic, or is told in another way than we know."""
    kind, action = str(event.get("Type", "")), str(event.get("Action", ""))
    if action not in TOLD.get(kind, ()):
        return None
    actor = event.get("Actor") or {}
    labels = actor.get("Attributes") or {}
    name = str(labels.get("name", "")) or str(actor.get("ID", ""))[:12]
    detail = ""
    if kind == "network":
        detail = f"container {str(labels.get('container', ''))[:12]}"
    elif action == "die":
        detail = f"exit code {labels.get('exitCode', '?')}"
    ts_ns = event.get("timeNano")
    return KernelEvent(ts_ns if type(ts_ns) is int else 0, 0, kind, action, name, detail)
