"""tfd: the Toronto Face Dataset, 48x48, in [0, 1], from a user's own `TFD_48x48.mat`.

J. Susskind, A. Anderson, G. Hinton, "The Toronto Face Dataset", technical report UTML TR 2010-001, University of
Toronto, 2010. 98,058 images are unlabeled; the others are in one part of each of five folds. A model trains on the
unlabeled images alone, as the public code of the GAN, GMMN and GSN does; of fold k, sigma is chosen on the validation
images, and the test images test. In `tfd-union` it trains on the fold's training images as well, as Yoo, Lee, Kwak 2020
(arXiv 1902.04294) seem to have done, by the 789 steps of their epoch.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from pathlib import Path

import numpy as np

from lde_bench.data.archives import read_mat
from lde_bench.data.base import Dataset, DatasetEntry, ImageSettings, Request
from lde_bench.data.images import image_dataset, search, shuffled
from lde_bench.errors import InputError

NAME = "tfd"
UNION = "tfd-union"
#: Of `tfd`, which was the union at version 1, and of the union.
VERSIONS = {NAME: "2", UNION: "1"}
FILE = "TFD_48x48.mat"
OFFICIAL_MD5 = "9d113650c197719b750ecc6864faf87c"
FOLDS = (1, 2, 3, 4, 5)
SIDE = 48
IMAGE_SETTINGS = ImageSettings(latent=15, warmup=120 / 130, grid=np.arange(0.001, 0.2, 0.005), space="vgg")
#: Values of the `folds` array.
UNLABELED, TRAIN, VALIDATION, TEST = range(4)

REMEDY = (
    f"ask the University of Toronto (Joshua Susskind, or the machine learning group) for {FILE} and point --data-dir "
    "or LDE_BENCH_DATA at its folder, or take the stand-in, --dataset faces48."
)

log = logging.getLogger(__name__)


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 48, 48] and parts [n, 5] of a .mat file, that of MATLAB 7.3 too.

    Raises:
        InputError: it cannot be read or is not of that layout.
    """
    content = read_mat(path, ("images", "folds"), remedy=REMEDY)
    images, folds = content["images"], content["folds"]
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or images.dtype != np.uint8:
        raise InputError(
            f"{path}: 'images' is {images.dtype} {list(images.shape)} where uint8 [n, {SIDE}, {SIDE}] belongs; {REMEDY}"
        )
    if folds.shape != (len(images), len(FOLDS)) or not np.isin(folds, range(4)).all():
        raise InputError(
            f"{path}: 'folds' is {folds.dtype} {list(folds.shape)} where [{len(images)}, {len(FOLDS)}] of the values 0 "
            f"to 3 belongs; {REMEDY}"
        )
    return images, folds


def load(name: str, fold: int, request: Request) -> Dataset:
    """Load one fold of `tfd` or `tfd-union`; see `lde_bench.data.load_dataset`."""
    path = search(request, ("tfd", "TFD"), (FILE,))
    if path is None:
        raise InputError(f"{FILE} is not at hand: the Toronto Face Dataset is given on request only; {REMEDY}")
    images, folds = read(path)
    with path.open("rb") as handle:
        official = hashlib.file_digest(handle, "md5").hexdigest() == OFFICIAL_MD5
    if not official:
        log.warning("%s: this is not the known file, so figures compare with no other TFD.", path)
    part = folds[:, fold - 1]
    trains = (folds == UNLABELED).all(1)
    if name == UNION:
        trains |= part == TRAIN
    chosen = {
        "train": np.flatnonzero(trains),
        "validation": np.flatnonzero(part == VALIDATION),
        "test": np.flatnonzero(part == TEST),
    }
    for split, index in chosen.items():
        if len(index) == 0:
            raise InputError(f"{path}: fold {fold} has no {split} images; {REMEDY}")
    order = shuffled(len(chosen["train"]), NAME, "1", "train")  # so that a prefix holds images of every kind
    chosen["train"] = chosen["train"][order]
    version = VERSIONS[name] if official else f"{VERSIONS[name]}-unofficial"
    return image_dataset(
        f"{name}-fold{fold}", version, request, {split: images[index] for split, index in chosen.items()}
    )


def _entry(name: str, fold: int | None = None) -> DatasetEntry:
    """The entry of a fold; unless given of all of them, or loaded alone of the first, as the paper seems to have it."""
    trained_on = "the unlabeled and the fold's training images" if name == UNION else "the unlabeled images"
    return DatasetEntry(
        name if fold is None else f"{name}-fold{fold}",
        VERSIONS[name],
        f"Toronto faces, 48x48, in [0, 1], fold {fold or 1} of 5, {trained_on} train, from your own {FILE}",
        "Susskind, Anderson, Hinton 2010, UTML TR 2010-001; on request",
        functools.partial(load, name, fold or 1),
        items="images",
        images=IMAGE_SETTINGS,
        folds=() if fold else tuple(f"{name}-fold{each}" for each in FOLDS),
        bibtex=("susskind2010toronto",),
    )


DATASETS = tuple(_entry(name, fold) for name in (NAME, UNION) for fold in (None, *FOLDS))
