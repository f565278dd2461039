"""Prepared patches on disk: one HDF5 file per dataset version, seed and set of photographs.

Keys `train`, `validation`, `test` (float32 [n, 63]), `train_groups`, ... (int64 [n], photograph ids) and `photographs`
(the grey training photographs, for fresh patches). Files are written whole or not at all; a damaged one is noticed
(HDF5 checksums every chunk that is read) and rebuilt.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from lde_bench.data.archives import open_hdf5
from lde_bench.data.base import SPLITS, ContentHash, Dataset, Request, content_hash
from lde_bench.data.patches import FEATURES, PROTOCOL, FreshPatches, Photographs, cut_split
from lde_bench.errors import InputError
from lde_bench.files import atomic_path, expanded
from lde_bench.locks import FolderLocks
from lde_bench.progress import bar
from lde_bench.seeds import derive_seed

_FORMAT = "1"
_CHUNK = 2048  # rows per HDF5 chunk: half a megabyte, the unit that is read and checked
_PHOTOGRAPH_FIELDS = ("ids", "heights", "widths", "pixels")

log = logging.getLogger(__name__)

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the bytes of a prepared dataset.

    `files_hash` names the encoded photographs; `photographs` decodes them, by split, and is called only when
    the file must be built.
    """

    name: str
    version: str
    seed: int
    counts: Mapping[str, int]
    files_hash: str
    photographs: Callable[[], dict[str, Photographs]]

    @property
    def key(self) -> str:
        """SHA-256 of all that changes the bytes."""
        parts = [_FORMAT, PROTOCOL, self.name, self.version, str(self.seed), self.files_hash]
        parts += [f"{split}={self.counts[split]}" for split in SPLITS]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def path(self, cache_dir: Path | None) -> Path:
        """Where the prepared file stands, or will."""
        return cache_folder(cache_dir) / f"{self.name}-{self.version}-seed{self.seed}-{self.key[:16]}.h5"


class Damaged(Exception):
    """A prepared file that cannot be trusted, and why."""


def cache_folder(cache_dir: Path | None) -> Path:
    """`cache_dir`, else `LDE_BENCH_CACHE`, else `lde-bench` in the user's cache folder.

    Raises `InputError` when the user has no home folder.
    """
    if cache_dir is not None:
        return expanded(cache_dir)
    if chosen := os.environ.get("LDE_BENCH_CACHE"):
        return expanded(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lde-bench"
    except RuntimeError as error:
        raise InputError(
            "this user has no home folder to cache data in; give --cache-dir or LDE_BENCH_CACHE."
        ) from error


def named_data_folder() -> Path | None:
    """The folder of official files that `LDE_BENCH_DATA` names; None where it is not set.

    Raises `InputError` when it names nothing that exists: to go on without it might be a download, or other data.
    """
    if not (named := os.environ.get("LDE_BENCH_DATA")):
        return None
    if not (folder := expanded(named)).exists():
        raise InputError(
            f"{folder}: no such folder, though LDE_BENCH_DATA names it; set it to one that exists, or unset it."
        )
    return folder


def load_prepared(recipe: Recipe, request: Request) -> Dataset:
    """The dataset of `recipe`, only the rows that `request` asks for, built first if it must be.

    Raises `InputError` when more rows are asked for than there are, or the cache folder cannot be written.
    """
    sizes = request.sizes(recipe.name, recipe.counts)
    return read_or_prepare(
        recipe.path(request.cache_dir),
        lambda path: _read(path, recipe, sizes),
        lambda path: prepare(recipe, path, progress=request.progress),
    )


def read_or_prepare(path: Path, read: Callable[[Path], _Read], prepare: Callable[[Path], None]) -> _Read:
    """What `read` makes of the prepared file, written first where it is not there, and again where it is damaged.

    Of several processes one writes it, and the others wait.

    Args:
        path: of the file.
        read: raises `Damaged` over a file that cannot be trusted.
        prepare: writes the file, atomically.

    Raises:
        InputError: the file just written cannot be read back.
    """
    if path.is_file():
        with contextlib.suppress(Damaged):
            return read(path)
    with _alone(path):
        if path.is_file():  # damaged, or another process has just written it
            try:
                return read(path)
            except Damaged as damage:
                log.warning("%s is damaged (%s) and is rebuilt.", path, damage)
        prepare(path)
    try:
        return read(path)
    except Damaged as damage:
        raise InputError(
            f"{path}: the file just written cannot be read back ({damage}); choose another --cache-dir."
        ) from damage


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """The time in which no other process prepares this file; what one that was killed left of it is removed.

    Raises:
        StorageError: the folder cannot be written to.
    """
    with FolderLocks(path.parent / ".locks").hold(path.name):
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            left.unlink(missing_ok=True)
        yield


def stored_test_rows(
    name: str,
    version: str,
    seed: int,
    sizes: Mapping[str, int],
    content: str,
    rows: int,
    cache_dir: Path | None = None,
) -> np.ndarray | None:
    """The first `rows` test rows, float32 [rows, D], of a dataset prepared before, whose splits cut to those sizes have
    that content hash; None where it is not in the cache.

    Nothing is downloaded, prepared or written.
    """
    for path in sorted(cache_folder(cache_dir).glob(f"{glob.escape(f'{name}-{version}-seed{seed}')}-*.h5")):
        try:
            if _content(path, path.stat().st_mtime_ns, tuple(sizes[split] for split in SPLITS)) == content:
                with open_hdf5(path) as file:
                    return np.asarray(file["test"][:rows], dtype=np.float32)
        except (OSError, KeyError, ValueError):  # damaged: whoever trains on it will say so
            continue
    return None


@functools.lru_cache(maxsize=16)  # a report asks for one dataset in every section
def _content(path: Path, written: int, sizes: tuple[int, ...]) -> str:
    """The content hash of a prepared file that was `written` then, of its splits cut to these sizes."""
    with open_hdf5(path) as file:
        arrays = {
            name: file[name][:count]
            for split, count in zip(SPLITS, sizes, strict=True)
            for name, _, _ in _layout(split, count)
        }
        return content_hash(arrays)


def prepare(recipe: Recipe, path: Path, *, progress: bool = False) -> None:
    """Cut all patches of `recipe` and write them to `path`, atomically and block by block."""
    import h5py

    photographs = recipe.photographs()
    total = ContentHash()
    items = sum(recipe.counts.values())
    rows = items + len(SPLITS) * _CHUNK  # the last chunk of a split is stored whole
    with (
        atomic_path(path) as temporary,
        temporary.open("rb+") as handle,
        preparing(recipe.name, items, progress) as advance,
        h5py.File(handle, "w", libver="v110") as file,  # in this format the metadata has checksums too
    ):
        reserve(handle, rows * (FEATURES * 4 + 8) + 2 * photographs["train"].pixels.nbytes)
        for split in SPLITS:
            _write_split(file, split, recipe, photographs[split], total, advance)
        for field in _PHOTOGRAPH_FIELDS:
            values = getattr(photographs["train"], field)
            file.create_dataset(f"photographs/{field}", data=values, chunks=True, fletcher32=True)
        file.attrs.update(
            format=_FORMAT,
            key=recipe.key,
            name=recipe.name,
            version=recipe.version,
            seed=str(recipe.seed),
            protocol=PROTOCOL,
            photographs_sha256=recipe.files_hash,
            content_hash=total.hexdigest(),
        )


def reserve(handle: IO[bytes], size: int) -> None:
    """Take the disk space for `size` bytes before HDF5 writes: the library crashes where a disk fills up under it.

    What is too much is given back when the file is closed. Raises the operating system's `OSError`.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle.fileno(), 0, size + (1 << 20))


def _layout(split: str, count: int) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(split, "float32", (count, FEATURES)), (f"{split}_groups", "int64", (count,))]


def _write_split(
    file: Any,
    split: str,
    recipe: Recipe,
    photographs: Photographs,
    total: ContentHash,
    advance: Callable[[int], None],
) -> None:
    targets = []
    for name, dtype, shape in _layout(split, recipe.counts[split]):
        chunks = (min(_CHUNK, shape[0]), *shape[1:])
        array = file.create_dataset(name, shape, dtype, chunks=chunks, fletcher32=True)
        targets.append((array, total.array(name, dtype, shape)))
    seeds = [
        derive_seed("patches", recipe.name, recipe.version, recipe.seed, split, int(identity))
        for identity in photographs.ids
    ]
    start = 0
    for blocks in cut_split(photographs, recipe.counts[split], seeds):
        for (array, update), block in zip(targets, blocks, strict=True):
            array[start : start + len(block)] = block
            update(block)
        start += len(blocks[0])
        advance(len(blocks[0]))


def _read(path: Path, recipe: Recipe, sizes: Mapping[str, int]) -> Dataset:
    arrays: dict[str, np.ndarray] = {}
    try:
        with open_hdf5(path) as file:
            if file.attrs["key"] != recipe.key:
                raise Damaged("it was made by another recipe")
            full_hash = file.attrs["content_hash"]
            for split in SPLITS:
                for name, dtype, shape in _layout(split, recipe.counts[split]):
                    if file[name].shape != shape or file[name].dtype != dtype:
                        raise Damaged(f"'{name}' is {file[name].dtype} {file[name].shape}")
                    arrays[name] = file[name][: sizes[split]]
            fields = [file[f"photographs/{field}"][:] for field in _PHOTOGRAPH_FIELDS]
    except (OSError, KeyError, RuntimeError, ValueError, AttributeError) as error:
        raise Damaged(str(error).splitlines()[0]) from error
    fresh = FreshPatches(Photographs(*fields))
    dataset = Dataset.of(recipe.name, recipe.version, recipe.seed, arrays, fresh=fresh, is_patch=True)
    if dict(sizes) == dict(recipe.counts) and dataset.content_hash != full_hash:
        raise Damaged("its content hash is not the recorded one")
    return dataset


@contextlib.contextmanager
def preparing(name: str, items: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A bar over all `items` of a dataset, on stderr, only when wanted and stderr is a terminal.

    It is moved by calling what is given with the number of items that are ready.
    """
    if not (wanted and sys.stderr.isatty()):
        yield lambda ready: None
        return
    ready = 0
    with bar(f"Preparing {name}") as show:

        def advance(more: int) -> None:
            nonlocal ready
            ready += more
            show(ready, items)

        show(0, items)
        yield advance
