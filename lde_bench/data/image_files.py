"""Datasets of picture files: where the files lie, how they are split by their names, and how large images are made.

A dataset of this kind takes a side, a fit (`lde_bench.data.pictures`) and whether bad files are left out. Side and fit
are part of its version, as in `1-64-stretch`, so that no two sizes share a table, and fix the settings of its models.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np

from lde_bench.data.archives import reading
from lde_bench.data.base import SPLITS, Dataset, ImageSettings, Request
from lde_bench.data.image_cache import ImageFiles, ImageRecipe, Prepared, load_pictures
from lde_bench.data.pictures import BadPicture, Fit
from lde_bench.errors import InputError
from lde_bench.seeds import derive_seed

#: Of images whose side nobody asked for.
SIDE = 64

#: Size of the code by the least side it is for: the paper's 100 at 64 x 64 and 200 at 128 x 128, and 32 below.
LATENTS = {1: 32, 48: 100, 96: 200}

#: Shares of the validation and the test images; the others train.
HELD_OUT = {"validation": 0.1, "test": 0.1}

#: No picture file is larger.
MOST_BYTES = 1 << 28
#: Errors of reading that are a file's own, and last until it is changed.
_OF_THE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EACCES, errno.EPERM}

_SIZED = re.compile(r"-(\d+)-(stretch|crop)$")

log = logging.getLogger(__name__)


def colour_settings(side: int) -> ImageSettings:
    """What is fixed for images in colour of a side: the paper's codes and share of warm-up, and a wide grid."""
    latent = LATENTS[max(least for least in LATENTS if least <= side)]
    return ImageSettings(latent=latent, warmup=100 / 200, grid=np.arange(1, 26) / 50, space="vgg")


def size_of(version: str) -> tuple[int, Fit] | None:
    """The side and the fit that the version of a dataset says; None of one that has none to choose."""
    sized = _SIZED.search(version)
    return (int(sized[1]), cast("Fit", sized[2])) if sized else None


def settings_of(version: str) -> ImageSettings | None:
    """The settings of a dataset whose version says its side; None of one that has no side to choose."""
    size = size_of(version)
    return colour_settings(size[0]) if size else None


def in_folder(folder: Path) -> ImageFiles:
    """All files of a folder and of those in it but hidden ones, whatever they hold.

    A file is called by its path from the folder on, with slashes. It is known by its size, its rights and when it was
    written: what is decoded once is not decoded again as long as these and the folder's place stay.
    Folders that are symbolic links are not entered.

    Raises:
        InputError: it is no folder, cannot be read, or holds no such file.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); check the path and its rights.")

    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give one of images.")
    stamps = {}
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(each for each in folders if _is_shown(each))
        for file in filter(_is_shown, files):
            path = Path(place, file)
            stamps[path.relative_to(folder).as_posix()] = _stamp(path)
    if not stamps:
        raise InputError(f"{folder}: holds no images; give a folder of image files.")

    def read(name: str) -> bytes:
        path = folder / name
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise BadPicture("is no file")  # reading a pipe would wait for ever
            _check_bytes(found.st_size)
            return path.read_bytes()
        except OSError as error:
            fault = f"cannot be read ({error.strerror})"
            if error.errno in _OF_THE_FILE:
                raise BadPicture(fault) from error
            # Of the disk or the process, and perhaps gone the next time: never to be remembered as the file's own.
            raise InputError(f"{path}: {fault}; run again, or move it out of the folder if it stays so.") from error

    return ImageFiles(folder, dict(sorted(stamps.items())), read, str(folder.resolve()))


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:  # a link to nowhere: `read` says so of the one file
        return str(error.strerror)
    return f"{found.st_size} {found.st_mode:o} {found.st_mtime_ns}"


def in_zip(path: Path, remedy: str) -> ImageFiles:
    """All files of a .zip archive but hidden ones, read without unpacking it; each is known by size and checksum.

    Raises:
        InputError: it is no whole archive; one that is a web page is told of as one.
    """
    _check_zip(path, remedy)
    with reading(path, remedy):
        archive = zipfile.ZipFile(path)
    members = {
        each.filename: each
        for each in archive.infolist()
        if not each.is_dir() and all(map(_is_shown, PurePosixPath(each.filename).parts))
    }

    def read(name: str) -> bytes:
        _check_bytes(members[name].file_size)
        try:
            return archive.read(members[name])
        except MemoryError:
            raise
        except OSError as error:  # as above, not the member's own
            raise InputError(f"{path}: cannot be read ({error.strerror}); run again, or copy the archive.") from error
        except Exception as error:  # encrypted, damaged, packed by an unknown method
            raise BadPicture(f"cannot be unpacked ({' '.join(str(error).split())[:80]})") from error

    return ImageFiles(path, {name: f"{each.file_size} {each.CRC}" for name, each in sorted(members.items())}, read)


def _is_shown(name: str) -> bool:
    """Whether a file or folder is no hidden one, nor what a Macintosh adds to archives."""
    return not name.startswith(".") and name != "__MACOSX"


def _check_bytes(size: int) -> None:
    if size > MOST_BYTES:
        raise BadPicture(f"has {size:,} bytes, more than {MOST_BYTES:,}")


def _check_zip(path: Path, remedy: str) -> None:
    with reading(path, remedy):
        if zipfile.is_zipfile(path):
            return
        with path.open("rb") as handle:
            head = handle.read(1 << 14).decode("utf-8", "replace")
    if re.match(r"\s*<(!doctype html|html|head|\?xml)", head, re.IGNORECASE):
        title = re.search(r"<title[^>]*>(.*?)</title>", head, re.IGNORECASE | re.DOTALL)
        told = "".join(c for c in " ".join(title[1].split()) if c.isprintable())[:80] if title else ""
        called = f", '{told}'," if told else ""
        raise InputError(
            f"{path}: is a web page{called} and not the archive, as a download that was refused leaves it; {remedy}"
        )
    raise InputError(f"{path}: is no whole .zip archive ({path.stat().st_size:,} bytes); {remedy}")


def split_by_hash(names: Iterable[str], key: Callable[[str], str] = lambda name: name) -> dict[str, list[str]]:
    """The names of each split, about 80 / 10 / 10, by a hash of each one's `key`, wherever it lies.

    Names of one key are never in two splits, and a name stays where it is when others come or go. Each split is in an
    order of hashes too, so that a prefix of it is a fair sample.

    Raises:
        InputError: a split would be empty.
    """
    bounds = np.cumsum(list(HELD_OUT.values()))
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in names:
        share = _hash("split", key(name)) / 2.0**63
        split = next((held for held, bound in zip(HELD_OUT, bounds, strict=True) if share < bound), "train")
        splits[split].append(name)
    return in_order(splits)


def in_order(
    splits: Mapping[str, Iterable[str]], key: Callable[[str], str] = lambda name: name
) -> dict[str, list[str]]:
    """The names of each split in an order that depends on nothing but each one's `key`."""
    return {split: sorted(names, key=lambda name: _hash("order", key(name))) for split, names in splits.items()}


def _hash(what: str, name: str) -> int:
    """63 bits; names that are no text, as file systems allow, have one too."""
    return derive_seed("images", what, name.encode(errors="backslashreplace").decode())


@dataclass(frozen=True)
class Origin:
    """Which picture files a dataset is made of.

    Attributes:
        name: of the dataset.
        version: of the dataset, to which side and fit are added.
        files: all there are.
        splits: the names of those of each split.
        label: of a file by its name, where it is known, what it shows: a whole number.
        incomplete: the version, of official data, where files are left out that cannot be used.
    """

    name: str
    version: str
    files: ImageFiles
    splits: Mapping[str, Sequence[str]]
    label: Callable[[str], int] | None = None
    incomplete: str | None = None


def load_image_files(origin: Origin, request: Request, fit: Fit = "stretch") -> Dataset:
    """The dataset of picture files, in colour, with the side and fit of the request, or `SIDE` and `fit`.

    Raises:
        InputError: files cannot be used, unless `skip_bad` is asked for, or there are fewer than asked for.
    """
    for split in SPLITS:
        if not origin.splits[split]:
            raise InputError(
                f"{origin.files.origin}: of its {sum(map(len, origin.splits.values())):,} images none falls to the "
                f"{split} split; give more images."
            )
    side, chosen = request.side or SIDE, request.fit or fit
    size = f"{side}-{chosen}"
    recipe = ImageRecipe(origin.name, f"{origin.version}-{size}", origin.files, origin.splits, side, chosen)
    prepared = load_pictures(recipe, request)
    named = origin.incomplete if prepared.faults and origin.incomplete else origin.version
    return Dataset.of(
        origin.name,
        f"{named}-{size}",
        0,
        prepared.rows,
        image_shape=(3, side, side),
        labels=_labels(origin, prepared),
    )


def _labels(origin: Origin, prepared: Prepared) -> dict[str, np.ndarray]:
    if origin.label is None:
        return {}
    return {
        split: np.array([origin.label(origin.splits[split][place]) for place in prepared.places[split]], np.int64)
        for split in SPLITS
    }
