"""stdout and stderr as a shell may hand them over: closed, on a full disk, a pipe that nobody reads, or ASCII alone.

None of that may cost the work: what cannot be printed is dropped and told once, and files are written all the same.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
import unicodedata
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: What stands for a character that the encoding of a stream does not have, where its letters do not say it.
PLAIN = {
    "±": "+-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-",
}


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return PLAIN.get(character) or letters or "?"


#: Columns of a terminal; of fewer, such as the 0 that some shells set, nothing can be laid out.
NARROWEST = 4

codecs.register_error("lde-bench", _replace)


class Forgiving(io.FileIO):
    """A file descriptor that takes everything; `fault` is the first error over what it could not write."""

    fault: OSError | None = None

    def write(self, data: ReadableBuffer) -> int:
        """The number of bytes taken: all of them once there is a fault."""
        if self.fault is None:
            try:
                # None: a descriptor that another program made non-blocking takes nothing at the moment.
                while (taken := super().write(data)) is None:
                    select.select([], [self], [])
                return taken
            except OSError as error:
                self.fault = error
        return memoryview(data).nbytes


def take_over() -> Forgiving | None:
    """Put streams whose prints cannot fail in the place of the process's own; that of stdout, None if it is another's.

    A stream that was closed when the process started, as some schedulers have it, drops what is printed; a width of the
    terminal that cannot be is forgotten.
    """
    _open_standard_files()
    if os.environ.get("COLUMNS", "").strip().isdecimal() and int(os.environ["COLUMNS"]) < NARROWEST:
        del os.environ["COLUMNS"]
    stdout = None
    if sys.stdout is sys.__stdout__:
        sys.stdout, stdout = _forgiving(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr, _ = _forgiving(sys.stderr, 2)
    return stdout


def _open_standard_files() -> None:
    """Open the descriptors that are closed: else the next file opened gets such a number, and what is printed."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(number)


def _forgiving(stream: TextIO | None, number: int) -> tuple[TextIO, Forgiving]:
    raw = Forgiving(number, "w", closefd=False)
    if not isinstance(stream, io.TextIOWrapper):  # None where it was closed
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8"), raw
    stream.flush()
    at_once = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, "lde-bench", line_buffering=at_once), raw
