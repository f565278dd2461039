"""Decoded pictures on disk: one HDF5 file per dataset version and set of files, one byte a pixel.

Keys `train`, `validation`, `test` (uint8 [n, 3 * side * side], channel by channel, contiguous and not compressed, so
that rows are read where they lie), `train_files`, ... (int64 [n], the place of each row's file among those of its
split) and `faults` (JSON: the files that cannot be used, and why). Files are written whole or not at all; one that is
cut short or whose bytes are others than those written is noticed when all of it is loaded, and rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lde_bench.arrays import PixelRows
from lde_bench.data.archives import open_hdf5
from lde_bench.data.base import SPLITS, Request
from lde_bench.data.cache import Damaged, cache_folder, preparing, read_or_prepare, reserve
from lde_bench.data.pictures import DECODING, BadPicture, Fit, quiet_pillow, square
from lde_bench.errors import InputError
from lde_bench.files import atomic_path

_FORMAT = "images 1"
_BLOCK = 256  # pictures that are decoded before they are written
_MOST_FAULTS = 5  # that a message tells of by name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFiles:
    """Picture files in a folder or archive.

    Attributes:
        origin: the folder or archive.
        stamps: by name, what tells whether a file has changed.
        read: the bytes of a file by its name; raises `BadPicture`.
        place: of files that stamps alone do not tell from others of their names; empty where these do.
    """

    origin: Path
    stamps: Mapping[str, str]
    read: Callable[[str], bytes]
    place: str = ""


@dataclass(frozen=True)
class ImageRecipe:
    """Everything that decides the bytes of decoded pictures; `splits` names the files of each split in order."""

    name: str
    version: str
    files: ImageFiles
    splits: Mapping[str, Sequence[str]]
    side: int
    fit: Fit

    @property
    def features(self) -> int:
        """D = 3 * side * side."""
        return 3 * self.side**2

    @property
    def count(self) -> int:
        """Files of all splits."""
        return sum(len(names) for names in self.splits.values())

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that changes the bytes."""
        parts = [_FORMAT, DECODING, self.name, self.version, str(self.side), self.fit, self.files.place]
        parts += [f"{split}/{name} {self.files.stamps[name]}" for split in SPLITS for name in self.splits[split]]
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def path(self, cache_dir: Path | None) -> Path:
        """Where the decoded pictures stand, or will."""
        return cache_folder(cache_dir) / f"{self.name}-{self.version}-{self.key[:16]}.h5"

    def decode(self, name: str) -> np.ndarray | BadPicture:
        """One picture, uint8 [3, side, side], or why there is none."""
        try:
            return square(self.files.read(name), self.side, self.fit)
        except BadPicture as fault:
            return fault


@dataclass(frozen=True)
class Prepared:
    """The rows of each split, and the places of their files in it, int64 [n]; the faults of other files by name."""

    rows: dict[str, PixelRows]
    places: dict[str, np.ndarray]
    faults: dict[str, str]


class StoredPixels:
    """Pixels, uint8 [n, D], that lie end to end in a file: what is read takes memory, and no more.

    Read by plain calls, neither through HDF5, which takes rows out of order slowly, nor through a map of the file,
    which would count as this process's memory all that was ever read of it.

    Args:
        path: of the file.
        offset: of the first pixel, in bytes.
        shape: (n, D).
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, int]) -> None:
        self.path, self.offset, self.shape = path, offset, shape
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredPixels, (self.path, self.offset, self.shape)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        if isinstance(index, slice):
            start, stop, step = index.indices(self.shape[0])
            if step == 1:
                return self._read(np.empty((max(0, stop - start), self.shape[1]), np.uint8), start)
            index = np.arange(start, stop, step)
        rows = np.empty((len(index), self.shape[1]), np.uint8)
        for row, place in zip(rows, index, strict=True):
            self._read(row, int(place))
        return rows

    def _read(self, rows: np.ndarray, first: int) -> np.ndarray:
        """Fill `rows` from row `first` on."""
        left, place = rows.reshape(-1).data, self.offset + first * self.shape[1]
        while left:
            taken = os.preadv(self._file, [left], place)
            if taken == 0:
                raise InputError(f"{self.path}: ends before its pixels do; delete it and run again.")
            left, place = left[taken:], place + taken
        return rows


def load_pictures(recipe: ImageRecipe, request: Request) -> Prepared:
    """The rows that `request` asks for, on disk, decoded first if they must be.

    Raises:
        InputError: some files cannot be used, and `skip_bad` is not asked for; none of a split can; more rows are asked
            for than there are; or the cache folder cannot be written.
    """
    prepared = read_or_prepare(
        recipe.path(request.cache_dir),
        lambda path: _read(path, recipe, request),
        lambda path: _prepare(recipe, path, skip_bad=bool(request.skip_bad), progress=request.progress),
    )
    if prepared.faults:
        _check_faults(recipe, prepared.faults, skip_bad=bool(request.skip_bad))
        log.warning("%s are left out.", _told(recipe, prepared.faults))
    return prepared


def _prepare(recipe: ImageRecipe, path: Path, *, skip_bad: bool, progress: bool) -> None:
    """Decode all pictures of `recipe` and write them to `path`, atomically and block by block."""
    import h5py

    faults: dict[str, str] = {}
    with (
        atomic_path(path) as temporary,
        temporary.open("rb+") as handle,
        preparing(recipe.name, recipe.count, progress) as advance,
        h5py.File(handle, "w", libver="v110") as file,  # in this format the metadata has checksums
        quiet_pillow(),
        ThreadPoolExecutor(os.cpu_count()) as pool,  # decoders run outside Python's lock
    ):
        reserve(handle, recipe.count * (recipe.features + 8))
        for split in SPLITS:
            _write_split(file, split, recipe, pool, faults, advance)
        _check_faults(recipe, faults, skip_bad=skip_bad)
        file.create_dataset("faults", data=np.frombuffer(json.dumps(faults).encode(), np.uint8))
        file.attrs.update(format=_FORMAT, key=recipe.key, name=recipe.name, version=recipe.version)


def _write_split(
    file: Any,
    split: str,
    recipe: ImageRecipe,
    pool: ThreadPoolExecutor,
    faults: dict[str, str],
    advance: Callable[[int], None],
) -> None:
    names = recipe.splits[split]
    pixels = file.create_dataset(split, (len(names), recipe.features), np.uint8)
    places: list[int] = []
    digest = hashlib.sha256()
    for start in range(0, len(names), _BLOCK):
        block = names[start : start + _BLOCK]
        good, first = [], len(places)
        for place, (name, found) in enumerate(zip(block, pool.map(recipe.decode, block), strict=True), start):
            if isinstance(found, BadPicture):
                faults[name] = str(found)
            else:
                good.append(found.reshape(-1))
                places.append(place)
        if good:
            rows = np.stack(good)
            pixels[first : first + len(rows)] = rows
            digest.update(rows.data)
        advance(len(block))
    pixels.attrs["sha256"] = digest.hexdigest()
    file.create_dataset(f"{split}_files", data=np.array(places, np.int64))


def _check_faults(recipe: ImageRecipe, faults: Mapping[str, str], *, skip_bad: bool) -> None:
    """Raises `InputError` where files cannot be used, and they are not to be left out or leave a split empty."""
    if faults and not skip_bad:
        raise InputError(f"{_told(recipe, faults)}; mend or remove them, or leave them out with --skip-bad.")
    for split, names in recipe.splits.items():
        if all(name in faults for name in names):
            raise InputError(f"{_told(recipe, faults)}, which leaves no {split} images; mend them, or give more.")


def _told(recipe: ImageRecipe, faults: Mapping[str, str]) -> str:
    named = "; ".join(f"{name} {fault}" for name, fault in sorted(faults.items())[:_MOST_FAULTS])
    named = "".join(c if c.isprintable() else "?" for c in named)
    more = f"; and {len(faults) - _MOST_FAULTS:,} others" if len(faults) > _MOST_FAULTS else ""
    return f"{recipe.files.origin}: {len(faults):,} of {recipe.count:,} files cannot be used as images ({named}{more})"


def _read(path: Path, recipe: ImageRecipe, request: Request) -> Prepared:
    rows, places, hashes = {}, {}, {}
    try:
        with open_hdf5(path) as file:
            if file.attrs["key"] != recipe.key:
                raise Damaged("it was made by another recipe")
            faults = json.loads(file["faults"][:].tobytes())
            for split in SPLITS:
                places[split] = file[f"{split}_files"][:]
                rows[split] = PixelRows(_stored(path, file[split], recipe, split), len(places[split]))
                hashes[split] = file[split].attrs["sha256"]
    except (OSError, KeyError, RuntimeError, ValueError, AttributeError) as error:
        raise Damaged(str(error).splitlines()[0]) from error
    sizes = request.sizes(recipe.name, {split: len(rows[split]) for split in SPLITS})
    for split, size in sizes.items():
        if size == len(rows[split]) and rows[split].sha256 != hashes[split]:
            raise Damaged(f"the bytes of '{split}' are not those that were written")
        rows[split], places[split] = rows[split].first(size), places[split][:size]
    return Prepared(rows, places, faults)


def _stored(path: Path, item: Any, recipe: ImageRecipe, split: str) -> StoredPixels:
    shape, offset = (len(recipe.splits[split]), recipe.features), item.id.get_offset()
    if item.shape != shape or item.dtype != np.uint8 or offset is None:
        raise Damaged(f"'{split}' is {item.dtype} {item.shape}, where contiguous bytes {shape} belong")
    if offset + math.prod(shape) > path.stat().st_size:
        raise Damaged(f"it ends before '{split}' does")
    return StoredPixels(path, offset, shape)
