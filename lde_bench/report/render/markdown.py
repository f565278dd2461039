"""Blocks as GitHub Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lde_bench.report.document import (
    Block,
    Document,
    Grid,
    Heading,
    Inline,
    Items,
    Lead,
    Line,
    Link,
    Listing,
    Notes,
    Paragraph,
    Picture,
    Strong,
    inlines,
)


def to_markdown(blocks: Iterable[Block], pictures: str = "") -> str:
    """The blocks with a blank line between them; pictures are looked for in the folder `pictures`, relative to the
    text.
    """
    return "\n\n".join(_block(block, pictures) for block in blocks) + "\n"


def document_to_markdown(document: Document, pictures: str = "") -> str:
    """A document under its title."""
    return f"# {escape(document.title)}\n\n{to_markdown(document.blocks, pictures)}"


def escape(text: str) -> str:
    """`text` with everything that GitHub Markdown would read as markup escaped."""
    return "".join("\\" + letter if letter in r"\|*_`<>[]~&$" else letter for letter in text)


def _one_line(text: str) -> str:
    # Spaces at the edges separate one inline from the next and are kept.
    return escape(re.sub(r"\s+", " ", text))


def _inline(inline: Inline) -> str:
    match inline:
        case Link(label, href):
            return f"[{_one_line(label)}]({href})"
        case Strong(text):
            return f"**{_one_line(text)}**"
    return _one_line(inline)


def _line(line: Line) -> str:
    return "".join(map(_inline, inlines(line)))


def _block(block: Block, folder: str) -> str:
    match block:
        case Heading(level, text, anchor):
            target = f'<a id="{anchor}"></a>\n\n' if anchor else ""
            return f"{target}{'#' * level} {_one_line(text)}"
        case Lead(lines):
            return "\n".join([f"**{escape(lines[0])}**", "", *(f"{escape(line)}  " for line in lines[1:])])
        case Paragraph(line):
            return _line(line)
        case Items() | Notes():
            ordered = isinstance(block, Items) and block.ordered
            return "\n".join(
                f"{f'{number}.' if ordered else '-'} {_line(line)}" for number, line in enumerate(block.lines, 1)
            )
        case Grid(headers, rows):
            cells = [[_line(cell) for cell in row] for row in [headers, *rows]]
            rule = "".join("|:--" if block.is_left(column) else "|--:" for column in range(len(headers))) + "|"
            return (f"**{escape(block.title)}**\n\n" if block.title else "") + _grid(cells, rule)
        case Listing(text):
            longest = max(map(len, re.findall("`+", text)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}\n{text.rstrip()}\n{fence}"
    caption = f"*Figure.* {_line(block.caption)}"
    if len(block.pictures) == 1:
        return f"{_picture(block.pictures[0][0], folder)}\n\n{caption}"
    # Two rows of a table for each four pictures: words above, pictures below.
    sheets: list[list[str]] = []
    for start in range(0, len(block.pictures), 4):
        four = [*block.pictures[start : start + 4]]
        blank = [""] * (4 - len(four))
        sheets.append([_one_line(words) for _, words in four] + blank)
        sheets.append([_picture(picture, folder) for picture, _ in four] + blank)
    return f"{_grid(sheets, '|:--' * 4 + '|')}\n\n{caption}"


def _grid(cells: Sequence[Sequence[str]], rule: str) -> str:
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], rule, *lines[1:]])


def _picture(picture: Picture, folder: str) -> str:
    return f"![{_one_line(picture.alt)}]({folder}/{picture.file})"
