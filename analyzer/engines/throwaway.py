"""Two throw-away containers on a real Docker Engine, for the demo.

They need no program but one that waits: the echo is ours. The image is made on the spot from
Debian's busybox-static where it is installed (nothing is pulled), else ``busybox`` is used or
pulled. Containers are removed afterwards, and so is an image that was made.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import DockerException, ImageNotFound

from analyzer.engines.docker import DockerEngine
from analyzer.errors import EnvironmentProblem

NAMES = ("tomcat01", "tomcat02")
PULLED = "busybox:latest"
STATIC = ("/bin/busybox", "/usr/bin/busybox")
LIFETIME_S = 600
"""a container that nobody removes (SIGKILL) ends by itself, and is removed by the engine then"""
_COMMAND = ["/bin/busybox", "sleep", str(LIFETIME_S)]


@contextmanager
def throwaway_containers() -> Iterator[tuple[DockerEngine, list[str]]]:
    """The engine and the names of two running containers. Raises EnvironmentProblem."""
    with DockerEngine() as engine, _client(engine.base_url) as client:
        image, made = _image(client)
        started: list[Any] = []
        try:
            for name in _free_names(client):
                started.append(_start(client, image, name))
            yield engine, [container.name for container in started]
        finally:
            for container in started:
                with contextlib.suppress(DockerException):
                    container.remove(force=True)
            if made:
                with contextlib.suppress(DockerException):
                    client.images.remove(image, force=True)


@contextmanager
def _client(base_url: str) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=base_url, version="auto")
    try:
        yield client
    except (DockerException, requests.RequestException) as error:
        reason = str(error).splitlines()[0]
        raise EnvironmentProblem(
            f"the Docker Engine made no container: {reason}; try --engine lab"
        ) from error
    finally:
        client.close()


def _free_names(client: docker.DockerClient) -> list[str]:
    """tomcat01 and tomcat02, with a suffix where somebody has them already."""
    taken = {container.name for container in client.containers.list(all=True)}
    if taken.isdisjoint(NAMES):
        return list(NAMES)
    suffix = secrets.token_hex(2)
    return [f"{name}-demo-{suffix}" for name in NAMES]


def _start(client: docker.DockerClient, image: str, name: str) -> Any:
    return client.containers.run(
        image, _COMMAND, name=name, detach=True, auto_remove=True, network_mode="bridge"
    )


def _image(client: docker.DockerClient) -> tuple[str, bool]:
    """(image, whether it was made here)."""
    with contextlib.suppress(ImageNotFound):
        client.images.get(PULLED)
        return PULLED, False
    static = next((path for path in STATIC if _is_static(Path(path))), None)
    if static is None:
        client.images.pull(PULLED)
        return PULLED, False
    tag = f"vethscope-demo:{secrets.token_hex(4)}"
    client.api.import_image_from_data(_archive(static), *_repository(tag))
    return tag, True


def _repository(tag: str) -> tuple[str, str]:
    repository, _, version = tag.partition(":")
    return repository, version


def _is_static(path: Path) -> bool:
    """Whether a program needs no loader: its ELF file names none (PT_INTERP)."""
    return (
        path.is_file()
        and b"/ld-linux" not in path.read_bytes()
        and b"ld-musl" not in path.read_bytes()
    )


def _archive(program: str) -> bytes:
    """A root file system with one program, as tar."""
    content = Path(program).read_bytes()
    entry = tarfile.TarInfo("bin/busybox")
    entry.size, entry.mode = len(content), 0o755
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
