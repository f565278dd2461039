"""Datasets: fetched with their hashes checked, prepared the same everywhere, loaded as NumPy arrays.

One file of this package is one dataset (or one family): a module with a tuple `DATASETS` of `DatasetEntry` is
found without being named anywhere else.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
from dataclasses import replace
from numbers import Integral
from pathlib import Path

from lde_bench.data import images_folder, mixing, user_file
from lde_bench.data.base import Dataset, DatasetEntry, Request
from lde_bench.data.image_files import settings_of, size_of
from lde_bench.data.images_folder import load_folder
from lde_bench.data.mixing import mixed
from lde_bench.data.patches import FreshPatches
from lde_bench.data.pictures import FITS, Fit
from lde_bench.errors import InputError
from lde_bench.files import expanded
from lde_bench.registry import did_you_mean

__all__ = [
    "Dataset",
    "DatasetEntry",
    "FreshPatches",
    "datasets",
    "describe",
    "load_dataset",
    "load_image_folder",
    "load_recorded",
    "mixed",
]

#: Pixels along a side of an image: far more than any model here is for.
MOST_SIDE = 1024


@functools.cache
def datasets() -> dict[str, DatasetEntry]:
    """Every dataset by name, in alphabetical order of the modules that hold them."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {entry.name: entry for module in modules for entry in getattr(module, "DATASETS", ())}


def describe(name: str, version: str) -> DatasetEntry:
    """The entry of a dataset that a record names, with the settings of its images at the side that it was loaded with.

    A user's own may be called as a registered one is: of it, and of one that is not known here, the entry says no more
    than `items` that come from a `group`. Of two datasets that are mixed it says what is said of the first.
    """
    if parts := mixing.parts_of(name, version):
        return replace(describe(*parts[0]), name=name, version=version, folds=())
    if own := images_folder.describe(name, version):
        return own
    found = None if version == user_file.VERSION else datasets().get(name)
    if found is None:
        return DatasetEntry(name, version, "data of a user's own", "a file", _nothing_to_load)
    return replace(found, images=settings_of(version) or found.images)


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
    side: int | None = None,
    fit: Fit | None = None,
    skip_bad: bool | None = None,
    progress: bool = False,
) -> Dataset:
    """Load a dataset by name, preparing it first where that has not been done.

    `data_dir` (raw official files, only read), when given, is the only source; otherwise the folder in
    `LDE_BENCH_DATA`, then the cache (`cache_dir`, else `LDE_BENCH_CACHE`, else the user's cache folder), then the
    official download are tried. `source="embedded"` stands for `natural8x8` where `bsds300` is named, so that the main
    job runs with no files and no network. `train`, `validation` and `test` are numbers of rows, prefixes of
    the prepared splits; None is the dataset's default. `seed` is that of the preparation: same seed, same bytes.
    Datasets of picture files take a `side` in pixels, a `fit`, `stretch` or `crop`, and `skip_bad`, which leaves out
    the files that cannot be used. `progress` shows a bar on stderr if that is a terminal.

    Raises `InputError` for an unknown name, a size that is not a positive whole number or is more than there is, a
    side, fit, `skip_bad` or `data_dir` that the dataset does not take, and files that are absent or damaged.
    """
    request = _request(
        data_dir=data_dir,
        cache_dir=cache_dir,
        train=train,
        validation=validation,
        test=test,
        seed=seed,
        side=side,
        fit=fit,
        skip_bad=skip_bad,
        progress=progress,
    )
    known = datasets()
    if name not in known:
        hint = did_you_mean(name, known).rstrip() or f"choose one of {', '.join(known)}."
        raise InputError(f"There is no dataset {name!r}; {hint}")
    if source not in ("auto", "embedded"):
        raise InputError(f"source={source!r} is unknown; choose 'auto' or 'embedded'.")
    if source == "embedded" and name not in ("bsds300", "natural8x8"):
        raise InputError(f"source='embedded' has no {name!r}; choose 'auto', or the dataset 'bsds300'.")
    entry = known["natural8x8" if source == "embedded" else name]
    if not entry.from_pictures and (asked := request.picture_options):
        raise InputError(f"{name} is not made of picture files and takes no {' or '.join(asked)}; leave it out.")
    if request.data_dir is not None and not entry.reads_files:
        raise InputError(f"{entry.name} is made of no files, so that --data-dir has no use; leave it out.")
    return entry.load(request)


def load_recorded(
    name: str,
    version: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load the dataset that a record names by its name and version: two that were mixed, or one of a certain size.

    Its content may still be another, where the files are; `data_dir` and `cache_dir` are those of `load_dataset`.

    Raises `InputError` where `load_dataset` does, and for a folder of someone's own, which no record finds again.
    """
    if parts := mixing.parts_of(name, version):
        return mixed(*(load_recorded(*each, data_dir=data_dir, cache_dir=cache_dir) for each in parts))
    side, fit = size_of(version) or (None, None)
    data_dir = data_dir if describe(name, version).reads_files else None
    return load_dataset(name, data_dir=data_dir, cache_dir=cache_dir, side=side, fit=fit)


def load_image_folder(
    folder: str | os.PathLike[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    side: int | None = None,
    fit: Fit | None = None,
    skip_bad: bool | None = None,
    progress: bool = False,
) -> Dataset:
    """Load a folder of image files of one's own, decoded first where that has not been done, and split 80 / 10 / 10 by
    a hash of the file names.

    `side` is 64 and `fit` `crop` where they are None; for the others see `load_dataset`.

    Raises `InputError` for a size or side that is not a positive whole number or is more than there is, an unknown fit,
    a folder that is absent, or files that cannot be used unless they are to be left out.
    """
    request = _request(
        cache_dir=cache_dir,
        train=train,
        validation=validation,
        test=test,
        side=side,
        fit=fit,
        skip_bad=skip_bad,
        progress=progress,
    )
    return load_folder(Path(folder), request)


def _request(
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    train: int | None,
    validation: int | None,
    test: int | None,
    seed: int = 0,
    side: int | None,
    fit: Fit | None,
    skip_bad: bool | None,
    progress: bool,
) -> Request:
    """The arguments of a loading function, checked."""
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise InputError(f"seed={seed!r} is not a whole number; give one, such as 0.")
    if fit is not None and fit not in FITS:
        raise InputError(f"fit={fit!r} is unknown; choose {' or '.join(FITS)}.")
    return Request(
        data_dir=None if data_dir is None else expanded(data_dir),
        cache_dir=None if cache_dir is None else expanded(cache_dir),
        train=_count("train", train, "a number of rows"),
        validation=_count("validation", validation, "a number of rows"),
        test=_count("test", test, "a number of rows"),
        seed=int(seed),
        progress=progress,
        side=_count("side", side, "a number of pixels", MOST_SIDE),
        fit=fit,
        skip_bad=skip_bad,
    )


def _count(what: str, value: int | None, unit: str, most: int | None = None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1 or (most is not None and value > most):
        limit = "up" if most is None else f"to {most:,}"
        raise InputError(f"{what}={value!r} is not {unit}; give a whole number from 1 {limit}.")
    return int(value)
