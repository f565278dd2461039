"""The tables among blocks as LaTeX, for the booktabs package."""

from __future__ import annotations

from collections.abc import Sequence

from lde_bench.report.document import Block, Grid, Items, Lead, Notes
from lde_bench.report.numbers import DASH
from lde_bench.report.render.text import words

_ESCAPES = str.maketrans(
    {
        **{letter: "\\" + letter for letter in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        DASH: "--",
    }
)


def to_latex(blocks: Sequence[Block]) -> str:
    """A `table` environment for each grid, its caption made of the lead and the notes; lists, such as that of what has
    no row, are comments above. Everything that came from a record is escaped.
    """
    lead = next((block.lines for block in blocks if isinstance(block, Lead)), [])
    lines: list[str] = []
    for number, block in enumerate(blocks):
        if isinstance(block, Grid):
            following = blocks[number + 1 :]
            end = next((place for place, each in enumerate(following) if isinstance(each, Grid)), len(following))
            notes = [words(note) for each in following[:end] if isinstance(each, Notes) for note in each.lines]
            above = [*lead[:1], block.title] if block.title else [*lead]
            lines += _table(block, ". ".join([*above, *(note.removesuffix(".") for note in notes)]) + ".")
    comments = [
        f"% {' '.join(words(line).split())}" for block in blocks if isinstance(block, Items) for line in block.lines
    ]
    return "\n".join([*comments, *lines]) + "\n"


def _table(grid: Grid, caption: str) -> list[str]:
    columns = "".join("l" if grid.is_left(column) else "r" for column in range(len(grid.headers)))
    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption.translate(_ESCAPES)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(header.translate(_ESCAPES) for header in grid.headers) + r" \\",
        r"\midrule",
        *(" & ".join(words(cell).translate(_ESCAPES) for cell in row) + r" \\" for row in grid.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
