"""What a person sees: on stderr lines of chatter, on stdout plain tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence


def say(message: str) -> None:
    """One line of chatter, on stderr."""
    print(message, file=sys.stderr, flush=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """A table on stdout: fitted to a terminal, elsewhere at its full width with no cell folded; `right` aligns so."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 1_000_000, highlight=False).print(table)


def duration(seconds: float) -> str:
    """`40 s`, `7 min`, `3.5 h`, `12 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"
