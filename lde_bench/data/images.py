"""What the image datasets share: pixels in [0, 1] as rows, fixed shuffles, the search for a user's files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from lde_bench.data.base import SPLITS, Dataset, Request
from lde_bench.data.cache import named_data_folder
from lde_bench.errors import InputError
from lde_bench.seeds import derive_generator


def image_dataset(
    name: str,
    version: str,
    request: Request,
    images: Mapping[str, np.ndarray],
    *,
    white: int = 255,
    groups: Mapping[str, np.ndarray] | None = None,
    labels: Mapping[str, np.ndarray] | None = None,
) -> Dataset:
    """A dataset of grey images, the first rows of each split that `request` asks for.

    Args:
        name: of the dataset.
        version: of the dataset.
        request: says how many rows of each split.
        images: by split, integers [n, height, width] from 0 to `white`; they become float32 [n, height * width] in
            [0, 1].
        white: the brightest pixel.
        groups: by split, whose images are alike (the person): int64 [n].
        labels: by split, what the images show: whole numbers [n].

    Raises:
        InputError: more rows are asked for than there are.
    """
    sizes = request.sizes(name, {split: len(images[split]) for split in SPLITS})
    arrays = {}
    for split in SPLITS:
        kept = images[split][: sizes[split]]
        arrays[split] = np.divide(kept.reshape(len(kept), -1), np.float32(white), dtype=np.float32)
    if groups is not None:
        arrays |= {f"{split}_groups": groups[split][: sizes[split]].astype(np.int64) for split in SPLITS}
    height, width = images["train"].shape[1:]
    shown = {split: one[: sizes[split]].astype(np.int64) for split, one in (labels or {}).items()}
    return Dataset.of(name, version, 0, arrays, image_shape=(1, int(height), int(width)), labels=shown)


def shuffled(n: int, *names: str) -> np.ndarray:
    """A permutation of range(n) that depends on nothing but `names`: int64 [n]."""
    return derive_generator(*names).permutation(n)


def search(request: Request, folders: Iterable[str], files: Iterable[str]) -> Path | None:
    """The first of `files` in the user's data folder or one of `folders` under it; None without one.

    `--data-dir` is the only place looked at when it is given, else that in LDE_BENCH_DATA. It may be the file itself.

    Raises:
        InputError: `--data-dir` names nothing that exists.
    """
    root, names = _data_folder(request), list(files)
    if root is None:
        return None
    if root.is_file():
        return root if root.name in names else None
    places = (root, *(root / folder for folder in folders))
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def search_folder(request: Request, folders: Iterable[str]) -> Path | None:
    """The first of `folders` in the user's data folder, which may be that folder itself; None without one.

    Raises:
        InputError: `--data-dir` names nothing that exists.
    """
    root, names = _data_folder(request), list(folders)
    if root is None:
        return None
    if found := next((root / name for name in names if (root / name).is_dir()), None):
        return found
    root = Path(os.path.abspath(root))  # noqa: PTH100 (`.` has no name, and a link is to keep its own)
    return root if root.is_dir() and root.name in {name.rpartition("/")[2] for name in names} else None


def _data_folder(request: Request) -> Path | None:
    """`--data-dir` where it is given, else what LDE_BENCH_DATA names, else None."""
    if request.data_dir is None:
        return named_data_folder()
    if not request.data_dir.exists():
        raise InputError(f"{request.data_dir}: no such folder; give --data-dir a folder that exists.")
    return request.data_dir
