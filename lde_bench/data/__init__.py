"""Datasets: fetched with their hashes checked, prepared the same everywhere, loaded as NumPy arrays.

One file of this package is one dataset (or one family): a module with a tuple `DATASETS` of `DatasetEntry` is
found without being named anywhere else.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from functools import cache
from numbers import Integral
from pathlib import Path

from lde_bench.data import user_file
from lde_bench.data.base import SPLITS, Dataset, DatasetEntry, Request
from lde_bench.data.patches import FreshPatches
from lde_bench.errors import InputError
from lde_bench.registry import did_you_mean

__all__ = ["Dataset", "DatasetEntry", "FreshPatches", "datasets", "describe", "load_dataset"]


@cache
def datasets() -> dict[str, DatasetEntry]:
    """Every dataset by name, in alphabetical order of the modules that hold them."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {entry.name: entry for module in modules for entry in getattr(module, "DATASETS", ())}


def describe(name: str, version: str) -> DatasetEntry:
    """The entry of a dataset that a record names.

    A user's own may be called as a registered one is: of it, and of one that is not known here, the entry says no more
    than `items` that come from a `group`.
    """
    found = None if version == user_file.VERSION else datasets().get(name)
    return found or DatasetEntry(name, version, "data of a user's own", "a file", _nothing_to_load)


def _nothing_to_load(request: Request) -> Dataset:
    raise InputError("this dataset is no registered one; give its file again.")


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
    source: str = "auto",
    progress: bool = False,
) -> Dataset:
    """Load a dataset by name, preparing it first where that has not been done.

    `data_dir` (raw official files, only read), when given, is the only source; otherwise the folder in
    `LDE_BENCH_DATA`, then the cache (`cache_dir`, else `LDE_BENCH_CACHE`, else the user's cache folder), then the
    official download are tried. `source="embedded"` stands for `natural8x8` where `bsds300` is named, so that the main
    job runs with no files and no network. `train`, `validation` and `test` are numbers of rows, prefixes of
    the prepared splits; None is the dataset's default. `seed` is that of the preparation: same seed, same bytes.
    `progress` shows a bar on stderr if that is a terminal.

    Raises `InputError` for an unknown name, a size that is not a positive whole number or is more than there is,
    and files that are absent or damaged.
    """
    for split, size in zip(SPLITS, (train, validation, test), strict=True):
        if size is not None and (isinstance(size, bool) or not isinstance(size, Integral) or size < 1):
            raise InputError(f"{split}={size!r} is not a number of rows; give a whole number from 1 up.")
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise InputError(f"seed={seed!r} is not a whole number; give one, such as 0.")
    known = datasets()
    if name not in known:
        hint = did_you_mean(name, known).rstrip() or f"choose one of {', '.join(known)}."
        raise InputError(f"There is no dataset {name!r}; {hint}")
    if source not in ("auto", "embedded"):
        raise InputError(f"source={source!r} is unknown; choose 'auto' or 'embedded'.")
    if source == "embedded" and name not in ("bsds300", "natural8x8"):
        raise InputError(f"source='embedded' has no {name!r}; choose 'auto', or the dataset 'bsds300'.")
    request = Request(
        data_dir=None if data_dir is None else Path(data_dir).expanduser(),
        cache_dir=None if cache_dir is None else Path(cache_dir).expanduser(),
        train=None if train is None else int(train),
        validation=None if validation is None else int(validation),
        test=None if test is None else int(test),
        seed=int(seed),
        progress=progress,
    )
    return known["natural8x8" if source == "embedded" else name].load(request)
