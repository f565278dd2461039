"""Blocks as text: fitted to a terminal, elsewhere at its full natural width with nothing cut or folded."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from lde_bench.report.document import (
    Block,
    Figure,
    Grid,
    Heading,
    Items,
    Lead,
    Line,
    Listing,
    Notes,
    Paragraph,
    inlines,
)
from lde_bench.report.numbers import DASH


def to_text(blocks: Iterable[Block]) -> str:
    """The blocks at their full natural width, without colour: no cell, header or name is cut or folded, ever."""
    return "\n".join(line for lines, _ in _laid_out(blocks, _plain_grid) for line in lines) + "\n"


def print_blocks(blocks: Sequence[Block], stream: TextIO | None = None) -> None:
    """Print to `stream`, stdout if left out: folded to its width on a terminal, with titles and the best row in bold;
    else as `to_text`.
    """
    stream = sys.stdout if stream is None else stream
    if not stream.isatty():
        stream.write(_encodable(to_text(blocks), stream.encoding))
        return
    console = Console(file=stream, highlight=False)

    def grid(block: Grid) -> list[str]:
        with console.capture() as captured:
            console.print(_rich(block))
        return [line.rstrip() for line in captured.get().splitlines()]

    for lines, bold in _laid_out(blocks, grid):
        for line in lines:
            if bold:
                console.print(Text(line, style="bold"), soft_wrap=True)
            else:
                stream.write(f"{line}\n")


def _laid_out(blocks: Iterable[Block], grid: Callable[[Grid], list[str]]) -> list[tuple[list[str], bool]]:
    """Lines of each block, those between blocks too, and whether they stand out."""
    out: list[tuple[list[str], bool]] = []
    before: Block | None = None
    for block in blocks:
        # Items belong to the words above them.
        if before is not None and not (isinstance(block, Items) and isinstance(before, Paragraph)):
            out.append(([""], False))
        match block:
            case Heading(_, text) | Paragraph(text):
                out.append(([words(text)], isinstance(block, Heading)))
            case Lead(lines):
                out.append((list(lines), True))
            case Items(lines, ordered):
                marks = [f"{number}. " if ordered else "" for number in range(1, len(lines) + 1)]
                out.append(([f"  {mark}{words(line)}" for mark, line in zip(marks, lines, strict=True)], False))
            case Notes(lines):
                out.append(([words(line) for line in lines], False))
            case Grid():
                if block.title:
                    out.append(([block.title, ""], True))
                out.append((grid(block), False))
            case Listing(text):
                out.append((text.rstrip().splitlines(), False))
            case Figure():
                out.append(([f"[{words(block.caption)}]"], False))
        before = block
    return out


def words(line: Line) -> str:
    """A line without its marks; a link gives its label."""
    return "".join(part if isinstance(part, str) else getattr(part, "text", "") or part.label for part in inlines(line))  # type: ignore[union-attr]


def _rich(grid: Grid) -> RichTable:
    rendered = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    # On a narrow terminal the numbers fold first, so that names of ordinary length stay whole.
    name_width = min(24, max((len(words(row[0])) for row in grid.rows), default=0))
    for number, header in enumerate(grid.headers):
        rendered.add_column(
            Text(header),
            overflow="fold",
            justify="left" if grid.is_left(number) else "right",
            min_width=name_width if number == 0 else None,
        )
    for number, row in enumerate(grid.rows):
        style = "bold" if number == grid.best else ""
        rendered.add_row(*(Text(words(cell), style=style) for cell in row))
    return rendered


def _plain_grid(grid: Grid) -> list[str]:
    buffer = io.StringIO()
    # Text of any length fits: the width is a limit, not a size, and COLUMNS is not asked.
    console = Console(file=buffer, width=1_000_000, no_color=True, force_terminal=False, _environ={})
    console.print(_rich(grid))
    return [line.rstrip() for line in buffer.getvalue().splitlines()]


def _encodable(text: str, encoding: str | None) -> str:
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        text = text.translate({ord("±"): "+-", ord(DASH): "-", ord("─"): "-"})
        return text.encode("ascii", "replace").decode()
    return text
