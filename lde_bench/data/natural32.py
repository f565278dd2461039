"""natural32: 32 x 32 crops, in colour, of photographs that installed packages carry; no files, no network.

The photographs in colour among those of `natural8x8`, split by photograph as there. Crop i of a split is cut from its
photograph i modulo their number, at a place drawn uniformly, so that any prefix spreads evenly over all of them.
"""

from __future__ import annotations

import numpy as np

from lde_bench.arrays import PixelRows
from lde_bench.data import natural8x8
from lde_bench.data.base import SPLITS, Dataset, DatasetEntry, Request
from lde_bench.data.image_files import colour_settings
from lde_bench.data.pictures import BadPicture, decode, quiet_pillow
from lde_bench.errors import InputError
from lde_bench.seeds import derive_generator

NAME = "natural32"
VERSION = "1"
SIDE = 32
COUNTS = {"train": 4_000, "validation": 500, "test": 1_000}

#: Those of `natural8x8` that are grey.
GREY = ("brick", "camera", "coins", "grass", "gravel", "moon")


def photographs(split: str) -> dict[str, np.ndarray]:
    """The photographs of a split by name, uint8 [height, width, 3]."""
    found = {}
    for name in natural8x8.PHOTOGRAPHS[split]:
        if not any(grey in name for grey in GREY):
            try:
                found[name] = np.asarray(decode(natural8x8.read_photograph(name)))
            except BadPicture as error:
                package = name.partition("/")[0]
                raise InputError(f"{name}: the photograph {error}; reinstall {package} from its wheel.") from error
    return found


def crops(images: dict[str, np.ndarray], count: int) -> np.ndarray:
    """Crops of photographs uint8 [height, width, 3] in turn, channel by channel: uint8 [count, 3 * 32 * 32]."""
    rows = np.empty((count, 3, SIDE, SIDE), np.uint8)
    for place, (name, image) in enumerate(images.items()):
        mine = rows[place :: len(images)]
        most = [side - SIDE + 1 for side in image.shape[:2]]
        corners = derive_generator(NAME, VERSION, name).integers(0, most, (len(mine), 2))
        for row, (top, left) in zip(mine, corners, strict=True):
            row[:] = image[top : top + SIDE, left : left + SIDE].transpose(2, 0, 1)
    return rows.reshape(count, -1)


def load(request: Request) -> Dataset:
    """Load natural32; see `lde_bench.data.load_dataset` (`data_dir` plays no part)."""
    sizes = request.sizes(NAME, COUNTS)
    arrays: dict[str, PixelRows | np.ndarray] = {}
    first = 0
    with quiet_pillow():
        for split in SPLITS:
            images = photographs(split)
            arrays[split] = PixelRows(crops(images, COUNTS[split])).first(sizes[split])
            arrays[f"{split}_groups"] = first + np.arange(sizes[split]) % len(images)
            first += len(images)
    return Dataset.of(NAME, VERSION, 0, arrays, image_shape=(3, SIDE, SIDE))


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        "32x32 crops in colour of 8 photographs in the scikit-image and scikit-learn wheels, no download: "
        "4,000 / 500 / 1,000",
        "scikit-image developers, https://scikit-image.org; scikit-learn developers, https://scikit-learn.org",
        load,
        items="images",
        group="photograph",
        images=colour_settings(SIDE),
        reads_files=False,
    ),
)
