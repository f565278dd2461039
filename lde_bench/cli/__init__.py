"""The command line. One file = one command; a new file is found by itself.

Nothing heavy is imported before a command computes: `lde-bench --help` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from cyclopts import CycloptsError

from lde_bench.cli.app import app
from lde_bench.cli.running import Job
from lde_bench.cli.streams import take_over
from lde_bench.errors import LdeBenchError
from lde_bench.files import FULL
from lde_bench.memory import is_out_of_memory

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def one_sentence(error: CycloptsError) -> str:
    """The parser's message, which may be several sentences over several lines, as one without its full stop."""
    message = re.sub(r", \.\.\.$", " and others", " ".join(str(error).split())).rstrip(".")
    return re.sub(r"[.?] ([A-Z])", lambda found: f"; {found[1].lower()}", message)


class Terminated(KeyboardInterrupt):
    """SIGTERM: somebody else's Ctrl-C, such as a scheduler's whose time is up."""


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the command as Ctrl-C does, so that nothing is left half-written; a second one ends it."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say what a signal does
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; exit code 0 done, 1 a regression or a failed law, 2 bad usage or input, 3 nothing measured, 130
    or 143 stopped by Ctrl-C or SIGTERM.
    """
    stdout = take_over()
    # A notebook's kernel hands its own backend down, which is not installed here: figures are drawn without one.
    os.environ["MPLBACKEND"] = "agg"
    logging.basicConfig(format="lde-bench: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of a read-only home, where nothing is lost
    with _stopped_by_sigterm():
        code = _run(argv)
    sys.stdout.flush()
    # The reader of a pipe may go when it has seen enough, as in `lde-bench list | head`.
    if stdout is None or stdout.fault is None or isinstance(stdout.fault, BrokenPipeError):
        return code
    reason = stdout.fault.strerror
    print(
        f"lde-bench: stdout cannot be written ({reason}), so what was printed is lost; send it elsewhere.",
        file=sys.stderr,
    )
    return code or 2


def _run(argv: Sequence[str] | None) -> int:
    try:
        asked = app(argv, exit_on_error=False, print_error=False)
        return asked.run(sys.argv[1:] if argv is None else argv) if isinstance(asked, Job) else int(asked or 0)
    except CycloptsError as error:
        print(f"lde-bench: {one_sentence(error)} (see lde-bench --help).", file=sys.stderr)
        return 2
    except LdeBenchError as error:
        print(f"lde-bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stopped:
        word, number = ("ended", signal.SIGTERM) if isinstance(stopped, Terminated) else ("interrupted", signal.SIGINT)
        print(f"lde-bench: {word}; give the same command again, which goes on from what was kept.", file=sys.stderr)
        return 128 + number
    except OSError as error:
        if error.filename is None:  # of no path, such as a library that cannot be loaded
            raise
        remedy = "free some space" if error.errno in FULL else "check the path and its rights"
        print(f"lde-bench: {error.filename}: the system refuses ({error.strerror}); {remedy}.", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(
            "lde-bench: there is not enough memory for this; ask for fewer components, rows or samples.",
            file=sys.stderr,
        )
        return 2
