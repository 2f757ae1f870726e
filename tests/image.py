"""The image that the Docker tests run: one static busybox, made here, so nothing is pulled."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

NAME = "vethscope-test"
TAG = "latest"
BUSYBOX = Path("/bin/busybox")


def ensure_image(client: Any) -> str:
    """The image's name with tag; made where the engine does not have it yet.

    Raises RuntimeError where there is no static busybox.
    """
    wanted = f"{NAME}:{TAG}"
    if not client.images.list(name=wanted):
        client.api.import_image_from_data(build_tar(), repository=NAME, tag=TAG)
    return wanted


def build_tar() -> bytes:
    """A root file system: /bin/busybox, a link for each of its applets, /etc and /tmp."""
    binary = read_busybox()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in ("bin", "etc", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = len(binary), 0o755
        tar.addfile(entry, io.BytesIO(binary))
        for applet in read_applets():
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return out.getvalue()


def read_busybox() -> bytes:
    """The binary. Raises RuntimeError where it is missing or wants shared libraries."""
    binary = BUSYBOX.read_bytes() if BUSYBOX.exists() else b""
    if not binary or b"/ld-linux" in binary:
        raise RuntimeError(f"no static {BUSYBOX}: apt-get install busybox-static")
    return binary


def read_applets() -> list[str]:
    found = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True)
    return [name for name in found.stdout.split() if name != "busybox"]
