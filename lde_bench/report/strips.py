"""Pictures of images in rows: each row a strip under one label, in groups that stand under one heading."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lde_bench.errors import InputError
from lde_bench.report.figures import drawn
from lde_bench.report.rows import Row
from lde_bench.runs.store import RunPaths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

#: Inches: of a whole figure, of the room for labels, of a line of text.
WIDTH, LABELS, LINE = 7.2, 1.35, 0.17

#: Letters that fit into the room for labels.
LETTERS = 17

#: Of an image, how much white stands beside it, and between two groups.
SPACE, GAP = 1 / 32, 1 / 4


@dataclass(frozen=True, eq=False)
class Strip:
    """A row of pictures uint8 [n, H, W] or [n, H, W, 3]; one `below` the row before it belongs to that row."""

    label: str
    pictures: np.ndarray
    below: bool = False


def draw_strips(strips: Sequence[Strip], headings: Sequence[tuple[str, int]]) -> Figure:
    """The figure of these strips, all of as many pictures of one size.

    Args:
        strips: from top to bottom.
        headings: what stands over each group of columns, and how many columns it has.
    """
    from matplotlib.figure import Figure

    groups = [columns for _, columns in headings]
    rows = [_joined(strip.pictures, groups) for strip in strips]
    height, width = rows[0].shape[:2]
    inches = (WIDTH - LABELS) * height / width  # of a strip
    between = [0.0, *(0.02 if strip.below else 0.1 for strip in strips[1:])]
    top = LINE * (1 + max(text.count("\n") for text, _ in headings)) + 0.12
    whole = top + len(rows) * inches + sum(between) + 0.04
    figure = Figure(figsize=(WIDTH, whole))
    y = whole - top
    for strip, row, space in zip(strips, rows, between, strict=True):
        y -= inches + space
        axes = figure.add_axes((LABELS / WIDTH, y / whole, 1 - LABELS / WIDTH, inches / whole))
        axes.imshow(row, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
        axes.set_axis_off()
        style = {"fontsize": 7, "color": "0.4"} if strip.below else {"fontsize": 8.5}
        label = drawn(_broken(strip.label))
        figure.text((LABELS - 0.08) / WIDTH, (y + inches / 2) / whole, label, ha="right", va="center", **style)
    side = strips[0].pictures.shape[2]
    left = 0.0
    for text, columns in headings:
        wide = columns * side * (1 + SPACE)
        middle = (LABELS + (WIDTH - LABELS) * (left + wide / 2) / width) / WIDTH
        figure.text(middle, 1 - (top - 0.04) / whole, drawn(text), ha="center", va="bottom", fontsize=8.5)
        left += wide + GAP * side
    return figure


def _broken(label: str) -> str:
    """A label on lines that fit beside the pictures: names of rows break where they are put together."""
    return label if len(label) <= LETTERS else re.sub(r"([,:])| (?=[K(])", r"\1\n", label)


def _joined(pictures: np.ndarray, groups: Sequence[int]) -> np.ndarray:
    """The pictures side by side on white: uint8 [H, width] or [H, width, 3]."""
    height, side = pictures.shape[1:3]
    space, gap = max(1, round(SPACE * side)), round(GAP * side)
    white = np.full((height, gap, *pictures.shape[3:]), 255, dtype=np.uint8)
    parts: list[np.ndarray] = []
    start = 0
    for columns in groups:
        parts += [white] if parts else []
        for picture in pictures[start : start + columns]:
            parts += [picture, white[:, :space]]
        start += columns
    return np.concatenate(parts, 1)


def unrolled(rows: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Rows of bytes [n, C * H * W], as trials keep them, as pictures uint8 [n, H, W] or [n, H, W, 3]."""
    images = rows.reshape(-1, *image_shape)
    return images[:, 0] if image_shape[0] == 1 else images.transpose(0, 2, 3, 1)


def first_picture(row: Row, places: Mapping[str, RunPaths]) -> dict[str, np.ndarray] | None:
    """What the picture of a row is drawn from: the arrays beside the first of its records that has some."""
    for run_id in row.run_ids:
        if run_id not in places:
            continue
        try:
            arrays = places[run_id].load_picture()
        except InputError as error:
            log.warning("The picture does without %s", error)
            continue
        if arrays is not None:
            return arrays
    return None
