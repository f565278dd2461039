"""BSDS300: 8x8 patches of the Berkeley Segmentation Dataset's 300 photographs (`patches.py` has the protocol).

D. Martin, C. Fowlkes, D. Tal, J. Malik, "A Database of Human Segmented Natural Images and its Application to Evaluating
Segmentation Algorithms and Measuring Ecological Statistics", ICCV 2001. The colour JPEGs are made grey as Pillow's
mode "L" does (ITU-R BT.601 luma). Of the 200 training photographs 180 train and 20 validate, chosen once for all
seeds by hashing the photographs' numbers; the 100 test photographs test.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lde_bench.data.base import Dataset, DatasetEntry, Request
from lde_bench.data.cache import Recipe, cache_folder, load_prepared, named_data_folder
from lde_bench.data.fetch import download, read_archive
from lde_bench.data.patches import Photographs, decode_grey
from lde_bench.errors import InputError
from lde_bench.seeds import derive_seed

NAME = "bsds300"
VERSION = "1"
COUNTS = {"train": 1_000_000, "validation": 50_000, "test": 250_000}
PHOTOGRAPHS = {"train": 200, "test": 100}
VALIDATION_PHOTOGRAPHS = 20

ARCHIVE = "BSDS300-images.tgz"
ARCHIVE_SHA256 = "a5f7d0e49fe135c75518a3543ced24470156fd69305ae77845dff2a5138652b4"
_SITE = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision"
URLS = (f"{_SITE}/grouping/segbench/{ARCHIVE}", f"{_SITE}/bsds/{ARCHIVE}")
#: `Files.sha256` of the 300 official JPEGs.
OFFICIAL_FILES_SHA256 = "c1f4fc20617849ec686a3c33d2df8664e0f4a4f7147c899929dfab7860f78c7c"

REMEDY = (
    "point --data-dir or LDE_BENCH_DATA at the folder that holds bsds300/images/train and test, connect to the network "
    "so that it can be downloaded, or run on the built-in photographs with --source embedded."
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """The encoded photographs, (split of the official folders, number) to bytes, and where they came from."""

    jpegs: dict[tuple[str, int], bytes]
    origin: Path

    @property
    def sha256(self) -> str:
        """Names the photographs' bytes, whatever they were read from."""
        lines = (f"{s}/{n} {hashlib.sha256(self.jpegs[s, n]).hexdigest()}\n" for s, n in sorted(self.jpegs))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def find(folder: Path) -> Files | None:
    """The photographs under `folder`, or None when there is no BSDS300 there.

    `folder` may be the root that holds `bsds300/` or `BSDS300/`, that folder itself, its `images` folder, or the
    official archive or a folder it lies in. Raises `InputError` when photographs are missing or the archive is damaged.
    """
    try:
        return _find(folder)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); check its rights.") from error


def _find(folder: Path) -> Files | None:
    if folder.is_file():
        return _from_archive(folder) if folder.suffix in (".tgz", ".gz") else None
    for place in (folder / "bsds300", folder / "BSDS300", folder):
        for images in (place / "images", place):
            if all((images / split).is_dir() for split in PHOTOGRAPHS):
                return _from_folder(images)
        if (place / ARCHIVE).is_file():
            return _from_archive(place / ARCHIVE)
    return None


def _from_folder(images: Path) -> Files:
    paths = ((split, path) for split in PHOTOGRAPHS for path in sorted((images / split).iterdir()))
    jpegs = {}
    for split, path in paths:
        if path.suffix.lower() in (".jpg", ".jpeg") and not path.name.startswith("."):
            if not path.stem.isdecimal():
                raise InputError(f"{path}: a BSDS300 photograph is named by its number; remove the stray file.")
            jpegs[split, int(path.stem)] = path.read_bytes()
    return _checked(Files(jpegs, images))


def _from_archive(path: Path) -> Files:
    found = read_archive(path, ARCHIVE_SHA256, re.compile(r"images/(train|test)/(\d+)\.jpg$"))
    return _checked(Files({(split, int(number)): data for (split, number), data in found.items()}, path))


def _checked(files: Files) -> Files:
    for split, wanted in PHOTOGRAPHS.items():
        count = sum(1 for s, _ in files.jpegs if s == split)
        if count != wanted:
            raise InputError(
                f"{files.origin}: {count} photographs in '{split}' where BSDS300 has {wanted}; unpack {ARCHIVE} afresh."
            )
    return files


def split_numbers(files: Files) -> dict[str, list[int]]:
    """The photograph numbers of each split, in the order patches are taken from them: a fixed shuffle by hash."""

    def shuffled(numbers: Iterable[int]) -> list[int]:
        return sorted(numbers, key=lambda number: derive_seed(NAME, VERSION, "photograph", number))

    training = shuffled(n for split, n in files.jpegs if split == "train")
    return {
        "train": training[VALIDATION_PHOTOGRAPHS:],
        "validation": training[:VALIDATION_PHOTOGRAPHS],
        "test": shuffled(n for split, n in files.jpegs if split == "test"),
    }


def decode(files: Files) -> dict[str, Photographs]:
    """The grey photographs of each split."""
    return {
        split: Photographs.of({n: _grey(files, "test" if split == "test" else "train", n) for n in numbers})
        for split, numbers in split_numbers(files).items()
    }


def _grey(files: Files, folder: str, number: int) -> np.ndarray:
    return decode_grey(files.jpegs[folder, number], str(files.origin / folder / f"{number}.jpg"))


def recipe(files: Files | None, request: Request) -> Recipe:
    """What to prepare. Without files at hand it is the official photographs, downloaded if they must be decoded."""

    def photographs() -> dict[str, Photographs]:
        return decode(files or _downloaded(request))

    files_hash = OFFICIAL_FILES_SHA256 if files is None else files.sha256
    # Other photographs under the same name are another dataset version: no table mixes them with BSDS300.
    version = VERSION if files_hash == OFFICIAL_FILES_SHA256 else f"{VERSION}-unofficial"
    return Recipe(NAME, version, request.seed, COUNTS, files_hash, photographs)


def _downloaded(request: Request) -> Files:
    path = cache_folder(request.cache_dir) / ARCHIVE
    return _from_archive(download(URLS, ARCHIVE_SHA256, path, remedy=REMEDY, progress=request.progress))


def load(request: Request) -> Dataset:
    """Load BSDS300; see `lde_bench.data.load_dataset`."""
    files = None
    if request.data_dir is not None:
        files = find(request.data_dir)
        if files is None:
            what = "no BSDS300 there" if request.data_dir.exists() else "no such folder"
            raise InputError(f"{request.data_dir}: {what}; {REMEDY}")
    elif folder := named_data_folder():
        files = find(folder)
    if files is not None and files.sha256 != OFFICIAL_FILES_SHA256:
        log.warning("%s: these are not the 300 official files, so figures compare with no other BSDS300.", files.origin)
    return load_prepared(recipe(files, request), request)


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        "63-number 8x8 grey patches of the 300 Berkeley photographs, rebuilt: 1,000,000 / 50,000 / 250,000",
        f"Martin, Fowlkes, Tal, Malik 2001, {URLS[0]}",
        load,
        items="patches",
        group="photograph",
        is_drawn=True,
        bibtex=("martin2001database", "uria2016nade"),
    ),
)
