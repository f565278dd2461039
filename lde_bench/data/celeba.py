"""celeba: CelebA, aligned and cropped, from a user's own `img_align_celeba.zip` or the folder that it unpacks to.

Z. Liu, P. Luo, X. Wang, X. Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015, arXiv 1411.7766: 202,599
photographs, 178 x 218, named by their numbers. Google Drive gives them to a person and not to a program. The official
parts are in `list_eval_partition.txt`; without it the ranges of numbers stand that it consists of.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath

import numpy as np

from lde_bench.data.base import SPLITS, Dataset, DatasetEntry, Request
from lde_bench.data.image_cache import ImageFiles
from lde_bench.data.image_files import (
    SIDE,
    Origin,
    colour_settings,
    in_folder,
    in_order,
    in_zip,
    load_image_files,
)
from lde_bench.data.images import search, search_folder
from lde_bench.errors import InputError

NAME = "celeba"
VERSION = "1"
ARCHIVE, FOLDER, PARTITION = "img_align_celeba.zip", "img_align_celeba", "list_eval_partition.txt"
IMAGES = 202_599
ARCHIVE_BYTES = 1_443_490_838
#: The last numbers of the official parts, in the order of the splits.
LAST = {"train": 162_770, "validation": 182_637, "test": IMAGES}

#: Where people put them, as the official folders and torchvision have it.
PLACES = ("celeba", "CelebA", "celeba/Img", "CelebA/Img", "Img", "celeba/Eval", "CelebA/Eval", "Eval")

REMEDY = (
    f"download {ARCHIVE} ({ARCHIVE_BYTES:,} bytes) and {PARTITION} by hand from "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and point --data-dir or LDE_BENCH_DATA at their folder, or take "
    "the stand-in, --dataset faces-color."
)

log = logging.getLogger(__name__)


def find(request: Request) -> ImageFiles:
    """The photographs of the archive, or of its folder.

    Raises:
        InputError: neither is at hand, or the archive is damaged.
    """
    archive = search(request, PLACES, (ARCHIVE,))
    if archive is not None:
        return in_zip(archive, REMEDY)
    folder = search_folder(request, (FOLDER, *(f"{place}/{FOLDER}" for place in PLACES)))
    if folder is not None:
        return in_folder(folder)
    raise InputError(f"CelebA is not at hand, and is not downloaded for you; {REMEDY}")


def read_partition(path: Path) -> dict[int, str]:
    """The split of each photograph by its number.

    Raises:
        InputError: a line is not a file name and 0, 1 or 2, or the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {REMEDY}") from error
    parts: dict[int, str] = {}
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, part = line.strip().partition(" ")
        stem = name.removesuffix(".jpg")
        if not re.fullmatch(r"\d{1,9}", stem) or part.strip() not in ("0", "1", "2"):
            raise InputError(f"{path}: line {place} is not a file name and 0, 1 or 2; {REMEDY}")
        parts[int(stem)] = SPLITS[int(part)]
    return parts


def split(files: ImageFiles, parts: dict[int, str] | None) -> dict[str, list[str]]:
    """The names of each split: as `parts` has it, else by the official ranges of numbers.

    Raises:
        InputError: a file is not named by a number, or by one that is in no part.
    """
    splits: dict[str, list[str]] = {part: [] for part in SPLITS}
    bounds = np.array(list(LAST.values()))
    for name in files.stamps:
        stem = PurePosixPath(name).stem
        if not stem.isdecimal():
            raise InputError(f"{files.origin}: {name} is no photograph of CelebA, named by number; remove it.")
        number = int(stem)
        if parts is None:
            found = SPLITS[int(np.searchsorted(bounds, number))] if 1 <= number <= IMAGES else None
        else:
            found = parts.get(number)
        if found is None:
            raise InputError(f"{files.origin}: {name} is in no part of CelebA; remove it, or unpack {ARCHIVE} afresh.")
        splits[found].append(name)
    return in_order(splits, key=lambda name: PurePosixPath(name).name)  # the archive has a folder in it


def load(request: Request) -> Dataset:
    """Load CelebA; see `lde_bench.data.load_dataset`."""
    files = find(request)
    partition = search(request, PLACES, (PARTITION,))
    beside = files.origin.parent / PARTITION
    partition = partition or (beside if beside.is_file() else None)
    splits = split(files, read_partition(partition) if partition else None)
    archive = files.origin.is_file()
    whole = len(files.stamps) == IMAGES and (not archive or files.origin.stat().st_size == ARCHIVE_BYTES)
    if not whole:
        log.warning(
            "%s: %d images, which are not the %d of CelebA, so figures compare with no other CelebA.",
            files.origin,
            len(files.stamps),
            IMAGES,
        )
    parted = not whole or partition is None or splits == split(files, None)
    if not parted:
        log.warning("%s: parts CelebA in its own way, so figures compare with no other CelebA.", partition)
    unofficial = f"{VERSION}-unofficial"
    version = VERSION if whole and parted else unofficial
    return load_image_files(Origin(NAME, version, files, splits, incomplete=unofficial), request)


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        "CelebA, aligned faces in colour, 64x64 or --side, from your own img_align_celeba.zip: "
        "162,770 / 19,867 / 19,962",
        "Liu, Luo, Wang, Tang 2015, https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        load,
        items="images",
        images=colour_settings(SIDE),
        from_pictures=True,
        bibtex=("liu2015deep",),
    ),
)
