"""Link a compiled object into this process, with llvmlite alone.

numba and its registries take longer to load than all the rest of a short command. The objects that
it made need only a few symbols of it, and those are in modules that load without the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any, NamedTuple

_EXTENSIONS = {"NRT_": "numba.core.runtime._nrt_python", "numba_": "numba._helperlib"}
"""prefix of a symbol → the module of numba's that has it; each loads without numba"""
_OF_PYTHON = ("Py", "_Py")
_OF_C = ("mem", "log", "floor", "ceil", "sqrt")
_linked: list[Any] = []
"""engines: code lives as long as they do"""


def processor() -> str:
    """Name and features of this machine's processor, as LLVM tells them."""
    binding = _llvm()[0]
    name: str = binding.get_host_cpu_name() + binding.get_host_cpu_features().flatten()
    return name


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
        folder = Path(numba_folder(), *name.split(".")[1:-1])
        spec = PathFinder.find_spec(name, [str(folder)])
        if spec is None or spec.loader is None:
            raise ImportError(f"numba has no {name}")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


@cache
def numba_folder() -> str:
    """Where numba is installed. Raises ImportError."""
    spec = find_spec("numba")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("numba is not installed")
    return spec.submodule_search_locations[0]
