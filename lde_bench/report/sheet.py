"""A table in words, before it meets a medium, and its rendering as text, Markdown and LaTeX."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

DASH = "\N{EN DASH}"


def decimal(value: float | None, digits: int = 2) -> str:
    """A number with so many digits behind the point; a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}f}"


_EMPTY = "(no trial finished)"


@dataclass(frozen=True)
class Panel:
    """A ruled grid of words, the first column left, and the notes under it; row number `best` stands out."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    title: str = ""
    best: int | None = None


@dataclass(frozen=True)
class Sheet:
    """The lines above, the panels, and what has no row and why; the first panel is the table itself."""

    heading: Sequence[str]
    panels: Sequence[Panel]
    failures: Sequence[str] = ()


class Printable(Protocol):
    """What has a sheet."""

    def sheet(self) -> Sheet: ...


def _rich(panel: Panel) -> RichTable:
    rendered = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    # On a narrow terminal the numbers fold first, so that names of ordinary length stay whole.
    name_width = min(24, max((len(row[0]) for row in panel.rows), default=0))
    for number, header in enumerate(panel.headers):
        if number == 0:
            rendered.add_column(Text(header), overflow="fold", min_width=name_width)
        else:
            rendered.add_column(Text(header), overflow="fold", justify="right")
    for number, row in enumerate(panel.rows):
        style = "bold" if number == panel.best else ""
        rendered.add_row(*(Text(cell, style=style) for cell in row))
    return rendered


def to_text(table: Printable) -> str:
    """The table at its full natural width, without colour: no cell, header or name is cut or folded, ever."""
    sheet = table.sheet()
    lines = [*sheet.heading, ""]
    for number, panel in enumerate(sheet.panels):
        lines += [*_above(panel), *(_plain_grid(panel) if panel.rows else [_EMPTY]), *_below(sheet, number)]
    return "\n".join(lines) + "\n"


def _plain_grid(panel: Panel) -> list[str]:
    buffer = io.StringIO()
    # Text of any length fits: the width is a limit, not a size, and COLUMNS is not asked.
    console = Console(file=buffer, width=1_000_000, no_color=True, force_terminal=False, _environ={})
    console.print(_rich(panel))
    return [line.rstrip() for line in buffer.getvalue().splitlines()]


def _above(panel: Panel) -> list[str]:
    return ["", panel.title, ""] if panel.title else []


def _below(sheet: Sheet, number: int) -> list[str]:
    """What stands under a panel, line by line."""
    lines = [] if number else [f"  {line}" for line in sheet.failures]
    return ["", *(["Without a row:", *lines, ""] if lines else []), *sheet.panels[number].notes]


def print_tables(tables: Sequence[Printable], stream: TextIO) -> None:
    """Print to `stream`: folded to its width, the best row in bold, on a terminal; else as `to_text`."""
    console = Console(file=stream, highlight=False)
    for number, table in enumerate(tables):
        if number:
            stream.write("\n")
        sheet = table.sheet()
        if stream.isatty() and sheet.panels[0].rows:
            console.print(Text("\n".join(sheet.heading), style="bold"), soft_wrap=True)
            console.print()
            for place, panel in enumerate(sheet.panels):
                if panel.title:
                    console.print(Text("\n".join(_above(panel)), style="bold"), soft_wrap=True)
                console.print(_rich(panel))
                console.print(Text("\n".join(_below(sheet, place))), soft_wrap=True)
        else:
            stream.write(_encodable(to_text(table), stream.encoding))


def _encodable(text: str, encoding: str | None) -> str:
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        text = text.translate({ord("±"): "+-", ord(DASH): "-", ord("─"): "-"})
        return text.encode("ascii", "replace").decode()
    return text


def to_markdown(table: Printable) -> str:
    """GitHub Markdown: heading, table, failures, notes."""
    sheet = table.sheet()
    lines = [
        f"**{escape_markdown(sheet.heading[0])}**",
        "",
        *(f"{escape_markdown(line)}  " for line in sheet.heading[1:]),
    ]
    for number, panel in enumerate(sheet.panels):
        lines += ["", *([f"**{escape_markdown(panel.title)}**", ""] if panel.title else [])]
        if panel.rows:
            lines += [_markdown_row(panel.headers), "|:--" + "|--:" * (len(panel.headers) - 1) + "|"]
            lines += [_markdown_row(row) for row in panel.rows]
        else:
            lines.append(_EMPTY)
        if sheet.failures and number == 0:
            lines += ["", "Without a row:", ""]
            lines += [f"- {escape_markdown(line)}" for line in sheet.failures]
        lines += ["", *(f"- {escape_markdown(note)}" for note in panel.notes)]
    return "\n".join(lines) + "\n"


def escape_markdown(text: str) -> str:
    """`text` with everything that GitHub Markdown would read as markup escaped."""
    return "".join("\\" + letter if letter in r"\|*_`<>[]" else letter for letter in text)


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(escape_markdown(text) for text in texts) + " |"


_LATEX = str.maketrans(
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


def to_latex(table: Printable) -> str:
    """`table` environments for the booktabs package; everything that came from a record is escaped."""
    sheet = table.sheet()
    lines = [f"% Without a row: {line}" for line in sheet.failures]
    for panel in sheet.panels:
        above = [sheet.heading[0], panel.title] if panel.title else sheet.heading
        caption = ". ".join([*above, *(note.removesuffix(".") for note in panel.notes)]) + "."
        lines += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption.translate(_LATEX)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(panel.headers) - 1)}}}",
            r"\toprule",
            " & ".join(column.translate(_LATEX) for column in panel.headers) + r" \\",
            r"\midrule",
            *(" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in panel.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"
