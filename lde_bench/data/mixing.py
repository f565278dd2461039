"""Two datasets of images as one: training images in turn from each, as in Figure 5 of the paper (Yoo, Lee, Kwak 2020,
arXiv 1902.04294).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lde_bench.arrays import PixelRows, Rows
from lde_bench.data.base import SPLITS, Dataset
from lde_bench.errors import InputError


class PixelsInTurn:
    """Row 2i from one set of pixels, row 2i + 1 from another, uint8 [n, D]; a shorter one begins again.

    Args:
        one: [n1, D].
        other: [n2, D].
        rows: n.
    """

    def __init__(self, one: PixelRows, other: PixelRows, rows: int) -> None:
        self.parts = one, other
        self.shape = rows, one.shape[1]

    def __getitem__(self, index: Any) -> np.ndarray:
        which = np.arange(self.shape[0])[index]
        rows = np.empty((len(which), self.shape[1]), np.uint8)
        for turn, part in enumerate(self.parts):
            mine = which % 2 == turn
            rows[mine] = part.pixels(which[mine] // 2 % len(part))
        return rows


def mixed(a: Dataset, b: Dataset) -> Dataset:
    """One dataset of two: training row 2i is row i of `a`, row 2i + 1 row i of `b`, the shorter from its start again.

    Of the validation and test images there are as many of each, in turn too, and none twice. The labels are the domain:
    0 of `a`, 1 of `b`.

    Raises:
        InputError: they are no images of one shape, or the same ones.
    """
    if a.image_shape is None or a.image_shape != b.image_shape:
        raise InputError(
            f"{a.name} and {b.name} cannot be mixed: their images are {_told(a)} and {_told(b)}; give two datasets of "
            "images of one size."
        )
    if a.content_hash == b.content_hash:
        raise InputError(f"{a.name} and {b.name} have the same images; give two domains that differ.")
    longest = 2 * max(len(a.train), len(b.train))
    counts = {split: 2 * min(len(getattr(a, split)), len(getattr(b, split))) for split in SPLITS}
    counts["train"] = longest
    rows = {split: _in_turn(getattr(a, split), getattr(b, split), counts[split]) for split in SPLITS}
    return Dataset.of(
        f"{a.name}+{b.name}",
        f"{a.version}+{b.version}",
        0,
        rows,
        image_shape=a.image_shape,
        labels={split: np.arange(counts[split], dtype=np.int64) % 2 for split in SPLITS},
    )


def parts_of(name: str, version: str) -> list[tuple[str, str]]:
    """Name and version of each of the two datasets that a record names as one; nothing where it is not mixed."""
    parts = list(zip(name.split("+"), version.split("+"), strict=False))
    return parts if len(parts) == 2 else []


def _in_turn(one: Rows, other: Rows, count: int) -> Rows:
    if isinstance(one, PixelRows) and isinstance(other, PixelRows):
        return PixelRows(PixelsInTurn(one, other, count))
    which = np.arange(count // 2)
    pair = [np.asarray(rows)[which % len(rows)] for rows in (one, other)]
    return np.stack(pair, 1).reshape(count, -1)


def _told(data: Dataset) -> str:
    return "none" if data.image_shape is None else "x".join(map(str, data.image_shape))
