"""A report as data, and its two renderings with the same content: one HTML page and Markdown.

A line of text is a string or a tuple of strings, links and strong words; everything that comes from a record is
escaped by the renderings, never by who writes the document.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lde_bench.report.sheet import escape_markdown


@dataclass(frozen=True)
class Link:
    """A link to an address or to a file, relative to the report."""

    label: str
    href: str


@dataclass(frozen=True)
class Strong:
    """Words that stand out."""

    text: str


Inline: TypeAlias = str | Link | Strong
Line: TypeAlias = Inline | tuple[Inline, ...]


@dataclass(frozen=True)
class Heading:
    """`level` 2 begins a section, 3 a part of it; `anchor` is unique on the page."""

    level: Literal[2, 3]
    text: str
    anchor: str


@dataclass(frozen=True)
class Paragraph:
    line: Line


@dataclass(frozen=True)
class Items:
    """A list, numbered where `ordered`."""

    lines: Sequence[Line]
    ordered: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of lines; the first `left` columns are words, the others numbers."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Line]]
    left: int = 1


@dataclass(frozen=True)
class Listing:
    """Text to be kept as it is, such as BibTeX."""

    text: str


@dataclass(frozen=True)
class Picture:
    """An image, `kind` svg or png; `name` is unique on the page and the stem of its file beside the Markdown."""

    name: str
    kind: Literal["svg", "png"]
    data: bytes
    alt: str

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.name}.{self.kind}"

    @property
    def inline_svg(self) -> str:
        """The `<svg>` element alone, with ids that no other picture of the page has."""
        text = self.data.decode()
        text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
        text = re.sub(r'\bid="([^"]+)"', rf'id="{self.name}-\1"', text)
        return re.sub(r'(url\(|href=")#', rf"\g<1>#{self.name}-", text)

    @property
    def data_uri(self) -> str:
        """The image as an address that holds it."""
        return f"data:image/png;base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Figure:
    """One picture, or several of one scale side by side, each under its own words; with a caption.

    `width` is that of each of several, in screen pixels, where it is not that of a sheet of patches.
    """

    pictures: Sequence[tuple[Picture, str]]
    caption: Line
    width: int | None = None


Block: TypeAlias = Heading | Paragraph | Items | Grid | Listing | Figure


@dataclass(frozen=True)
class Document:
    """A title and what follows it."""

    title: str
    blocks: Sequence[Block]

    def pictures(self) -> Iterator[Picture]:
        """Every picture in order."""
        for block in self.blocks:
            if isinstance(block, Figure):
                yield from (picture for picture, _ in block.pictures)


def to_html(document: Document) -> str:
    """One page that needs no other file, no network and no script."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lde_bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inlines"] = _inlines
    environment.tests["link"] = lambda value: isinstance(value, Link)
    environment.tests["strong"] = lambda value: isinstance(value, Strong)
    return environment.get_template("report.html").render(
        document=document, kind=lambda block: type(block).__name__.lower()
    )


def to_markdown(document: Document, folder: str) -> str:
    """GitHub Markdown; pictures are looked for in `folder`, relative to the text."""
    parts = [f"# {escape_markdown(document.title)}"]
    parts += [_markdown_block(block, folder) for block in document.blocks]
    return "\n\n".join(parts) + "\n"


def _inlines(line: Line) -> tuple[Inline, ...]:
    return line if isinstance(line, tuple) else (line,)


def _markdown_line(line: Line) -> str:
    return "".join(map(_markdown_inline, _inlines(line)))


def _markdown_inline(inline: Inline) -> str:
    match inline:
        case Link(label, href):
            return f"[{_one_line(label)}]({href})"
        case Strong(text):
            return f"**{_one_line(text)}**"
    return _one_line(inline)


def _one_line(text: str) -> str:
    # Spaces at the edges separate one inline from the next and are kept.
    return escape_markdown(re.sub(r"\s+", " ", text))


def _markdown_block(block: Block, folder: str) -> str:
    match block:
        case Heading(level, text, anchor):
            return f'<a id="{anchor}"></a>\n\n{"#" * level} {_one_line(text)}'
        case Paragraph(line):
            return _markdown_line(line)
        case Items(lines, ordered):
            return "\n".join(
                f"{f'{number}.' if ordered else '-'} {_markdown_line(line)}" for number, line in enumerate(lines, 1)
            )
        case Grid(headers, rows, left):
            cells = [[_markdown_line(cell) for cell in row] for row in [headers, *rows]]
            return _markdown_grid(cells, "|:--" * left + "|--:" * (len(headers) - left) + "|")
        case Listing(text):
            longest = max(map(len, re.findall("`+", text)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}\n{text.rstrip()}\n{fence}"
    caption = f"*Figure.* {_markdown_line(block.caption)}"
    if len(block.pictures) == 1:
        return f"{_markdown_picture(block.pictures[0][0], folder)}\n\n{caption}"
    # Two rows of a table for each four pictures: words above, pictures below.
    sheets: list[list[str]] = []
    for start in range(0, len(block.pictures), 4):
        four = [*block.pictures[start : start + 4]]
        blank = [""] * (4 - len(four))
        sheets.append([_one_line(words) for _, words in four] + blank)
        sheets.append([_markdown_picture(picture, folder) for picture, _ in four] + blank)
    return f"{_markdown_grid(sheets, '|:--' * 4 + '|')}\n\n{caption}"


def _markdown_grid(cells: Sequence[Sequence[str]], rule: str) -> str:
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], rule, *lines[1:]])


def _markdown_picture(picture: Picture, folder: str) -> str:
    return f"![{_one_line(picture.alt)}]({folder}/{picture.file})"
