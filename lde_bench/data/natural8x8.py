"""natural8x8: the BSDS300 patch protocol over photographs that installed packages carry; no files, no network.

The photographs are read from the data folders inside the scikit-image and scikit-learn wheels, never through
functions that may download. Only photographs of the natural kind are used: no drawings, text, masks or
microscopy, and one of the two views of the stereo pair. The split is by photograph and fixed.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from lde_bench.data.base import SPLITS, Dataset, DatasetEntry, Request
from lde_bench.data.cache import Recipe, load_prepared
from lde_bench.data.patches import Photographs, decode_grey
from lde_bench.errors import InputError

NAME = "natural8x8"
VERSION = "1"
COUNTS = {"train": 200_000, "validation": 10_000, "test": 50_000}

#: A photograph's id is its place in the three lists read one after another.
PHOTOGRAPHS = {
    "train": (
        "skimage/data/astronaut.png",
        "skimage/data/brick.png",
        "skimage/data/camera.png",
        "sklearn/datasets/images/china.jpg",
        "skimage/data/coffee.png",
        "skimage/data/grass.png",
        "skimage/data/hubble_deep_field.jpg",
        "skimage/data/rocket.jpg",
    ),
    "validation": (
        "skimage/data/chelsea.png",
        "skimage/data/coins.png",
    ),
    "test": (
        "sklearn/datasets/images/flower.jpg",
        "skimage/data/gravel.png",
        "skimage/data/moon.png",
        "skimage/data/motorcycle_left.png",
    ),
}


def read() -> dict[str, bytes]:
    """The encoded photographs by name, in the order of `PHOTOGRAPHS`."""
    return {name: read_photograph(name) for split in SPLITS for name in PHOTOGRAPHS[split]}


def read_photograph(name: str) -> bytes:
    """The encoded photograph of that name, found without importing the package that carries it.

    Raises:
        InputError: the package or the photograph is missing.
    """
    package, _, inside = name.partition("/")
    found = importlib.util.find_spec(package)  # an import would take a second
    if found is None or found.origin is None:
        raise InputError(f"{name}: the package {package} is not installed; reinstall lde-bench with pip.")
    path = Path(found.origin).parent / inside
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the photograph is missing; reinstall {package} from its wheel.") from error


def decode(files: dict[str, bytes]) -> dict[str, Photographs]:
    """The grey photographs of each split."""
    ids: Iterator[int] = iter(range(len(files)))
    return {
        split: Photographs.of({next(ids): decode_grey(files[name], name) for name in PHOTOGRAPHS[split]})
        for split in SPLITS
    }


def load(request: Request) -> Dataset:
    """Load natural8x8; see `lde_bench.data.load_dataset` (`data_dir` plays no part)."""
    files = read()
    lines = "".join(f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in files.items())
    files_hash = hashlib.sha256(lines.encode()).hexdigest()
    return load_prepared(Recipe(NAME, VERSION, request.seed, COUNTS, files_hash, lambda: decode(files)), request)


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        "the same patches of 14 photographs in the scikit-image and scikit-learn wheels: 200,000 / 10,000 / 50,000",
        "scikit-image developers, https://scikit-image.org; scikit-learn developers, https://scikit-learn.org",
        load,
        items="patches",
        group="photograph",
        reads_files=False,
        is_drawn=True,
        bibtex=("uria2016nade",),
    ),
)
