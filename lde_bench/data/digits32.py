"""digits32: the handwritten digits that scikit-learn carries, enlarged to 32x32 and in three equal channels; no file,
no network.

For what needs a second kind of images beside natural32 (`lde_bench.data.natural32`), such as walks from one domain to
another. The images, their split and their labels are those of digits8x8.
"""

from __future__ import annotations

import numpy as np

from lde_bench.arrays import PixelRows
from lde_bench.data import digits8x8
from lde_bench.data.base import SPLITS, Dataset, DatasetEntry, Request
from lde_bench.data.image_files import colour_settings

NAME = "digits32"
VERSION = "1"
SIDE = 32


def enlarge(images: np.ndarray) -> np.ndarray:
    """Grey images [n, 64] in [0, 1], 8x8, by bicubic interpolation: uint8 [n, 3 * 32 * 32], channel by channel."""
    from PIL import Image

    rows = np.empty((len(images), 3, SIDE, SIDE), np.uint8)
    for row, image in zip(rows, np.rint(255 * images).astype(np.uint8).reshape(-1, 8, 8), strict=True):
        row[:] = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))  # to all channels
    return rows.reshape(len(images), -1)


def load(request: Request) -> Dataset:
    """Load the digits; see `lde_bench.data.load_dataset` (`data_dir` plays no part)."""
    small = digits8x8.load(request)
    arrays = {split: PixelRows(enlarge(np.asarray(getattr(small, split)))) for split in SPLITS}
    labels = {split: getattr(small, f"{split}_labels") for split in SPLITS}
    return Dataset.of(NAME, VERSION, 0, arrays, image_shape=(3, SIDE, SIDE), labels=labels)


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        "digits8x8 enlarged to 32x32, in three equal channels, no download: 1,197 / 200 / 400",
        "Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80",
        load,
        items="images",
        images=colour_settings(SIDE),
        reads_files=False,
        bibtex=("alpaydin1998optical",),
    ),
)
