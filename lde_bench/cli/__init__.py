"""The command line. One file = one command; a new file is found by itself.

Nothing heavy is imported before a command computes: `lde-bench --help` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import re
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from lde_bench.cli.app import app
from lde_bench.errors import LdeBenchError

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def one_sentence(error: CycloptsError) -> str:
    """The parser's message, which may be several sentences over several lines, as one without its full stop."""
    message = re.sub(r", \.\.\.$", " and others", " ".join(str(error).split())).rstrip(".")
    return re.sub(r"[.?] ([A-Z])", lambda found: f"; {found[1].lower()}", message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; exit code 0 done, 1 a regression or a failed law, 2 bad usage or input, 3 nothing measured."""
    logging.basicConfig(format="lde-bench: %(message)s", level=logging.WARNING, stream=sys.stderr)
    try:
        return int(app(argv, exit_on_error=False, print_error=False) or 0)
    except CycloptsError as error:
        print(f"lde-bench: {one_sentence(error)} (see lde-bench --help).", file=sys.stderr)
        return 2
    except LdeBenchError as error:
        print(f"lde-bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lde-bench: interrupted; give the same command again to continue.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of stdout has gone, as in `lde-bench list | head`
        sys.stderr.close()
        return 0
