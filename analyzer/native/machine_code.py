"""Machine code on the disk: kept where Python keeps its bytecode, loaded without numba.

numba and its registries take longer to load than all the rest of a short command, and only to find
that everything is compiled already. So the objects that it makes are kept as files of our own and
linked by llvmlite alone. A file's name carries a digest of all that its code was made from: the
sources, numba, this Python, this processor. Beside the sources where they can be written, else in
the user's cache folder.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any, NamedTuple

_SHARED = ("native", "net", "model")
"""packages whose constants and pieces any loop may use"""
_EXTENSIONS = {"NRT_": "numba.core.runtime._nrt_python", "numba_": "numba._helperlib"}
"""prefix of a symbol → the module of numba's that has it; each loads without numba"""
_OF_PYTHON = ("Py", "_Py")
_OF_C = ("mem", "log", "floor", "ceil", "sqrt")
_linked: list[Any] = []
"""engines: code lives as long as they do"""


class Code(NamedTuple):
    """One compiled function."""

    symbol: str
    result: str
    """characters of the dtypes that it returns, see `analyzer.native.calling.caller`"""
    externals: list[str]
    """symbols that it needs from outside"""
    content: bytes
    """of the ELF object"""


def is_portable(externals: Iterable[str]) -> bool:
    """Whether `link` finds all these symbols in a process without numba."""
    return all(name.startswith((*_EXTENSIONS, *_OF_PYTHON, *_OF_C)) for name in externals)


def link(code: Code) -> int:
    """The address of the function. Raises ImportError where what it needs is not there."""
    binding, machine = _llvm()
    for prefix in {p for p in _EXTENSIONS for name in code.externals if name.startswith(p)}:
        _offer(prefix)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine())
    engine.add_object_file(binding.ObjectFileRef.from_data(code.content))
    engine.finalize_object()
    _linked.append(engine)
    address: int = engine.get_function_address(code.symbol)
    return address


@cache
def _llvm() -> tuple[Any, Any]:
    """(llvmlite.binding, a maker of what an engine needs to know of this machine)."""
    import llvmlite.binding as binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    return binding, lambda: target.create_target_machine(reloc="static", codemodel="jitdefault")


@cache
def _offer(prefix: str) -> None:
    """Make the functions of one of numba's modules known to the linker."""
    module = _extension(_EXTENSIONS[prefix])
    if prefix == "NRT_":
        module.memsys_use_cpython_allocator()
    for name, address in module.c_helpers.items():
        _llvm()[0].add_symbol(name if name.startswith("_") else prefix + name, address)


def _extension(name: str) -> Any:
    """A module of numba's in C, without the package around it; numba finds it loaded later."""
    if name not in sys.modules:
        folder = Path(_numba(), *name.split(".")[1:-1])
        spec = PathFinder.find_spec(name, [str(folder)])
        if spec is None or spec.loader is None:
            raise ImportError(f"numba has no {name}")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


@cache
def _numba() -> str:
    """Where numba is."""
    spec = find_spec("numba")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("numba is not installed")
    return spec.submodule_search_locations[0]


class Store:
    """The codes of one function, by the kinds of its arguments."""

    def __init__(self, source: Path, name: str) -> None:
        """source: the file that the function stands in."""
        self._folder = source.parent
        self._stem = f"{source.stem}.{name}.{sys.implementation.cache_tag}"

    def read(self, kinds: str) -> Code | None:
        """What was kept for arguments of these kinds."""
        for folder in self._folders():
            with suppress(OSError, ValueError, LookupError, TypeError):
                head, _, content = (folder / self._file(kinds)).read_bytes().partition(b"\n")
                told = json.loads(head)
                if told.pop("digest") == _short(content):
                    return Code(**told, content=content)
        return None

    def write(self, kinds: str, code: Code) -> None:
        """Keep it in the first folder that can be written, in place of what older sources made."""
        told = code._asdict() | {"digest": _short(code.content)}
        content = told.pop("content")
        for folder in self._folders():
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                _write(folder / self._file(kinds), json.dumps(told).encode() + b"\n" + content)
                self._tidy(folder)
                return

    def _tidy(self, folder: Path) -> None:
        for old in folder.glob(f"{self._stem}-*.o"):
            if not old.name.startswith(f"{self._stem}-{_digest(self._folder)}"):
                old.unlink(missing_ok=True)

    def _file(self, kinds: str) -> str:
        return f"{self._stem}-{_digest(self._folder)}-{_short(kinds.encode())}.o"

    def _folders(self) -> list[Path]:
        """Where codes may lie. In the user's own folder only what is the user's is trusted."""
        beside = self._folder / "__pycache__"
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        own = Path(root, "vethscope", _short(bytes(self._folder)))
        return [beside, own] if not own.exists() or own.stat().st_uid == os.geteuid() else [beside]


@cache
def _digest(folder: Path) -> str:
    """Of all that the machine code of a folder's functions is made from."""
    binding, package = _llvm()[0], Path(__file__).parents[1]
    shared = [file for name in _SHARED for file in sorted((package / name).glob("*.py"))]
    files = [Path(_numba(), "_version.py"), *shared, *sorted(folder.glob("*.py"))]
    machine = binding.get_host_cpu_name() + binding.get_host_cpu_features().flatten()
    content = b"".join(file.read_bytes() for file in files)
    return _short(content + machine.encode())


def _short(content: bytes) -> str:
    return blake2b(content, digest_size=6).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """The whole file or nothing of it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)
            raise
