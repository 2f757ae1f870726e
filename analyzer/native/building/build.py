"""Build the library: what has changed is compiled, in several processes, and all is linked.

Objects are kept by a digest of what they are made from in ``build/loops`` beside the package, and
are read by the next build only.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from analyzer.native.building.ingredients import Ingredients
from analyzer.native.building.signatures import Signature, read_signatures
from analyzer.native.library import (
    INTERFACE,
    PACKAGE,
    TABLE,
    TABLE_BYTES,
    digest_of,
    library_path,
)

LOG = logging.getLogger("vethscope")
_LINKERS = ("ld", "ld.lld", "ld.gold", "ld.bfd")
_BASELINE = {"x86_64": "x86-64-v2", "aarch64": "generic"}
"""the processor that code is made for: any server of the last 15 years"""


class CannotBuild(Exception):
    """Why, in words."""


class NoTools(CannotBuild):
    """What builds is not installed: loops will be interpreted."""


class Item(NamedTuple):
    """One object of the library."""

    signature: Signature
    files: tuple[str, ...]
    digest: str

    @property
    def symbol(self) -> str:
        return f"{self.signature.name}.{self.digest}"


def build(into: Path = PACKAGE / "native", keep: Path | None = None) -> str:
    """Build the library into a folder; what was done, in words. Raises CannotBuild.

    keep: the folder of objects.
    """
    find_linker()
    _choose_processor()
    kept = keep or PACKAGE.parent / "build" / "loops"
    kept.mkdir(parents=True, exist_ok=True)
    with open(kept / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one at a time; gone with this process
        return _build(kept, library_path(into))


def _build(kept: Path, library: Path) -> str:
    items = [item for signature in read_signatures() if (item := _item(signature))]
    missing = [item for item in items if not _object_file(kept, item).exists()]
    _compile(missing, kept)
    _link(items, kept, library)
    _tidy(kept, items)
    return f"{len(missing)} of {len(items)} loops compiled"


def _choose_processor() -> None:
    """Before numba is loaded."""
    name = os.environ.setdefault("NUMBA_CPU_NAME", _BASELINE.get(os.uname().machine, "generic"))
    os.environ.setdefault("NUMBA_CPU_FEATURES", "")
    if "numba" in sys.modules and name != sys.modules["numba"].config.CPU_NAME:
        raise CannotBuild("numba was loaded before")


def _item(signature: Signature) -> Item | None:
    """None, and a line that says so: there is no such loop any more."""
    try:
        ingredients = Ingredients(signature.loop, signature.kinds)
    except (AttributeError, ImportError) as error:
        LOG.warning("%s is not built, make signatures: %s", signature.name, error)
        return None
    text = "\n".join((signature.name, signature.text, _versions(), *ingredients.recipe))
    return Item(signature, tuple(sorted(ingredients.files)), digest_of(text.encode()))


@cache
def _versions() -> str:
    """Of all that makes objects of recipes."""
    try:
        import llvmlite.binding as llvm
        from llvmlite import __version__
    except ImportError as error:
        raise NoTools(f"numba is missing: pip install -e '.[dev]' ({error})") from error
    here = Path(__file__).parent
    sources = [here / "numba_side.py", here.parent / "calling.py"]
    digest = blake2b(b"".join(file.read_bytes() for file in sources), digest_size=8)
    processor = [os.environ[f"NUMBA_CPU_{what}"] for what in ("NAME", "FEATURES")]
    return f"{__version__} {llvm.llvm_version_info} {processor} {digest.hexdigest()}"


def _object_file(kept: Path, item: Item) -> Path:
    return kept / f"{item.symbol}.o"


def _compile(items: Sequence[Item], kept: Path) -> None:
    """In as many processes as there are processors; loops of a module share their pieces."""
    if not items:
        return
    modules: dict[str, list[Item]] = {}
    for item in items:
        modules.setdefault(item.signature.name.rpartition(".")[0], []).append(item)
    groups = sorted(modules.values(), key=lambda group: -sum(len(one.files) for one in group))
    import analyzer.native.building.numba_side  # noqa: F401  before processes fork

    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(_compile_group, groups, [kept] * len(groups)))


def _compile_group(items: Iterable[Item], kept: Path) -> None:
    from analyzer.native.building.numba_side import compile_loop

    for item in items:
        made = compile_loop(item.signature.loop, item.signature.kinds, item.symbol)
        file = _object_file(kept, item)
        file.with_suffix(".results").write_text(made.results)
        _write(file, made.content)


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(file)


def run_linker(objects: Sequence[Path], library: Path) -> None:
    """A shared library of objects. Raises CannotBuild."""
    linker = find_linker()
    unfinished = library.with_name(f".{library.name}.{os.getpid()}")
    command = [linker, "-shared", "-s", "-soname", library.name, "-o", str(unfinished)]
    done = subprocess.run(
        [*command, *map(str, objects)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotBuild(f"{linker}: {done.stderr.strip()}")
    unfinished.replace(library)


def find_linker() -> str:
    """Raises NoTools."""
    linker = next(filter(None, map(shutil.which, _LINKERS)), None)
    if linker is None:
        raise NoTools("there is no linker: apt-get install binutils")
    return linker


def _link(items: Sequence[Item], kept: Path, library: Path) -> None:
    objects = [_object_file(kept, item) for item in items]
    table = kept / "table.o"
    text = json.dumps(_table(items, kept)).encode()
    wanted = kept / "table.json"
    is_same = wanted.exists() and wanted.read_bytes() == text and library.exists()
    if is_same:
        return
    from analyzer.native.building.memory import SOURCE
    from analyzer.native.building.numba_side import data_object, text_object

    table.write_bytes(data_object({TABLE: text, TABLE_BYTES: len(text)}))
    memory = kept / "memory.o"
    memory.write_bytes(text_object(SOURCE))
    run_linker([*objects, table, memory], library)
    wanted.write_bytes(text)


def _table(items: Sequence[Item], kept: Path) -> Mapping[str, Any]:
    """See `analyzer.native.library`."""
    own = [*Path(__file__).parent.glob("*.*"), PACKAGE / "native" / "calling.py"]
    files = {str(file.relative_to(PACKAGE.parent)) for file in own}
    files |= {file for item in items for file in item.files}
    loops: dict[str, Any] = {}
    for item in items:
        loop = loops.setdefault(item.signature.name, {"files": item.files, "codes": {}})
        results = _object_file(kept, item).with_suffix(".results").read_text()
        loop["codes"][item.signature.text] = (item.symbol, results)
    return {
        "interface": INTERFACE,
        "processor": os.environ["NUMBA_CPU_NAME"],
        "files": {file: digest_of((PACKAGE.parent / file).read_bytes()) for file in sorted(files)},
        "loops": loops,
    }


def _tidy(kept: Path, items: Sequence[Item]) -> None:
    """Remove objects of what was before."""
    names = {item.symbol for item in items}
    for file in kept.iterdir():
        if file.suffix in (".o", ".results") and "." in file.stem and file.stem not in names:
            file.unlink()
