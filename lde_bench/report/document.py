"""The document model: a table, a report and a protocol are blocks, and each medium has one renderer of blocks
(`lde_bench.report.render`).

A line of text is a string or a tuple of strings, links and strong words; everything that comes from a record is
escaped by the renderers, never by who writes the document.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias


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


def inlines(line: Line) -> tuple[Inline, ...]:
    """The parts of a line."""
    return line if isinstance(line, tuple) else (line,)


@dataclass(frozen=True)
class Heading:
    """`level` 2 begins a section, 3 a part of it; `anchor` is unique on the page, empty where nothing points here."""

    level: Literal[2, 3]
    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Lead:
    """The lines above a table that say what it is of; the first is its name."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Paragraph:
    """A line of running text."""

    line: Line


@dataclass(frozen=True)
class Items:
    """A list, numbered where `ordered`."""

    lines: Sequence[Line]
    ordered: bool = False


@dataclass(frozen=True)
class Notes:
    """What a reader of the table above must know, a line a note."""

    lines: Sequence[Line]


@dataclass(frozen=True)
class Grid:
    """A table of lines.

    The first `left` columns, and those named in `words`, are words and stand left; the others are numbers. Row number
    `best` stands out on a terminal. The last `footer` rows tell of the others and stay below them, however a reader
    sorts the table.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[Line]]
    left: int = 1
    title: str = ""
    best: int | None = None
    words: Collection[str] = ()
    footer: int = 0

    @property
    def body(self) -> Sequence[Sequence[Line]]:
        """The rows that a reader may sort."""
        return self.rows[: len(self.rows) - self.footer]

    @property
    def closing(self) -> Sequence[Sequence[Line]]:
        """The rows that stay below."""
        return self.rows[len(self.rows) - self.footer :]

    def is_left(self, column: int) -> bool:
        """Whether a column holds words."""
        return column < self.left or self.headers[column] in self.words


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


Block: TypeAlias = Heading | Lead | Paragraph | Items | Notes | Grid | Listing | Figure


@dataclass(frozen=True)
class Document:
    """A title and what follows it."""

    title: str
    blocks: Sequence[Block]


def pictures(blocks: Iterable[Block]) -> Iterator[Picture]:
    """Every picture of a document in order."""
    for block in blocks:
        if isinstance(block, Figure):
            yield from (picture for picture, _ in block.pictures)
