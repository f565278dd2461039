"""Lines of chatter for a person, on stderr, and how they tell durations."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds between two lines about one thing, where there is no terminal.
LINE_SECONDS = 30.0


def say(message: str) -> None:
    """One line of chatter, on stderr."""
    print(message, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """`40 s`, `7 min`, `3.5 h`, `12 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """How far something long is, on stderr: a bar on a terminal, else a line now and then, with the time left.

    Gives a function of the number of items done and of all; what the first call tells was done before.
    """
    if sys.stderr.isatty():
        with bar(what) as moved:
            yield moved
        return
    started = last = time.monotonic()
    first: int | None = None

    def told(done: int, total: int) -> None:
        nonlocal first, last
        now = time.monotonic()
        first = done if first is None else first
        if now - last < LINE_SECONDS or done == first:
            return
        last = now
        left = (now - started) / (done - first) * (total - done)
        say(f"{what}: {done:,} of {total:,}, {duration(left)} left")

    yield told


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, called with how many are done, and of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
