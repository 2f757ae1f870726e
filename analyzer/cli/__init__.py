"""The command line: parse → one call into `analyzer.app` → render. Nothing else is decided here.

Commands are imported when they are asked for, and what they need when they run: ``--help``
and completion stay instant.
"""

from __future__ import annotations

import gc
import importlib
import io
import logging
import os
import resource
import sys
from collections.abc import Iterable

import click

from analyzer.cli.streams import fail, log_to_stderr, show_usage_error, tame_interpreter
from analyzer.errors import EnvironmentProblem, VethscopeError
from analyzer.net.environment import use_safe_environment
from analyzer.version import __version__

COMMANDS = (
    "demo",
    "ping",
    "capture",
    "report",
    "verify",
    "topology",
    "show",
    "export",
    "lab",
    "doctor",
)


_ANALYSING = ("demo", "ping", "report", "verify", "show", "export")
"""they read captures; the others do without Polars"""
_LEAST_BYTES = 1 << 30
"""of address space: for Polars, its threads, and a small capture"""
_BYTES_A_BYTE, _MOST_FOR_FILES = 12, 2 << 30
"""more for each byte of captures, and at most: files are read in pieces. Measured with floods of
SYNs and of DNS names; Polars aborts where it gets none, and we could not say so any more"""


class LazyGroup(click.Group):
    """Finds each command in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"analyzer.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if not {"-h", "--help"}.intersection(rest):
            _heed_memory_limit(name or "", rest)
        return name, command, rest


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try: vethscope demo",
)
@click.version_option(__version__, prog_name="vethscope")
def cli() -> None:
    """mtr for the veth layer: container traffic at every interface it crosses.

    Captures docker0, the host veths and the containers' own eth0 at the same time,
    recognises the same packet at each of them, and tells what each hop cost, where a
    packet died, and whether bridged traffic really goes through docker0.
    """


def main() -> None:
    """Entry of the ``vethscope`` command: errors become one line and an exit code."""
    # Nothing here multiplies matrices, and numpy would start threads for it, with all our rights.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    use_safe_environment()
    gc.set_threshold(50_000, 20, 100)  # imports make 200,000 objects, none of which is garbage
    _speak_whatever()
    log_to_stderr(logging.WARNING)
    tame_interpreter()
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        show_usage_error(error)
        code = error.exit_code
    except click.Abort:
        code = 130
    except VethscopeError as error:
        fail(str(error))
        code = error.exit_code
    except MemoryError:
        fail("there is not enough memory (see ulimit -v, and the limit of the control group)")
        code = 1
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # the reader (head, less) has gone; python would complain once more while flushing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    gc.freeze()  # the interpreter's last collections would look at all objects, for 0.1 to 0.3 s
    sys.exit(code if isinstance(code, int) else 0)


def _heed_memory_limit(command: str, words: Iterable[str]) -> None:
    """One line where address space is limited so far that Polars cannot be loaded, or cannot work:
    it would end with a traceback, or abort. Raises EnvironmentProblem.

    Its allocator (jemalloc) starts no thread of its own then: it would say so on stderr, thousands
    of times, when that is refused.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return
    os.environ["_RJEM_MALLOC_CONF"] = "background_thread:false"
    files = sum(os.path.getsize(word) for word in words if os.path.isfile(word))
    least = _LEAST_BYTES + min(_BYTES_A_BYTE * files, _MOST_FOR_FILES)
    if limit < least and command in _ANALYSING:
        raise EnvironmentProblem(
            f"{command} takes address space of {least >> 20:,} MiB here, and may have "
            f"{limit >> 20:,}: see ulimit -v"
        )


def _speak_whatever() -> None:
    """What a terminal's encoding lacks, or a name's bytes have none of, is escaped, not fatal.

    As JSON writes it, so that the escapes are right within JSON too.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
