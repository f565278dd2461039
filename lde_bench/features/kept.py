"""Arrays that take long to make again, kept in the cache folder.

That they cannot be read or written costs time, which is told, and is no error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lde_bench.data.archives import read_npz
from lde_bench.data.cache import cache_folder
from lde_bench.errors import InputError
from lde_bench.files import atomic_path

log = logging.getLogger(__name__)

#: What `keep_in` said.
_cache_dir: Path | None = None


def keep_in(cache_dir: Path | None) -> None:
    """Keep everything here from now on, in the whole process; None: in the usual cache folder."""
    global _cache_dir
    _cache_dir = cache_dir


def kept_path(name: str) -> Path:
    """Where the file of that name stands, or will.

    Raises:
        InputError: the user has no home folder, and named no other.
    """
    return cache_folder(_cache_dir) / name


def keep(name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as the .npz file `name`."""
    try:
        with atomic_path(kept_path(name)) as temporary, temporary.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type] # a name could be an option of it
    except InputError as error:
        log.warning("%s is not kept, and is made again in the next run: %s", name, error)


def read_kept(name: str, array: str) -> np.ndarray | None:
    """An array of the file `name`; None where there is no such file, or it is damaged."""
    try:
        path = kept_path(name)
        return read_npz(path, (array,), remedy="it is made again.")[array] if path.is_file() else None
    except InputError as error:
        log.warning("%s", error)
        return None
