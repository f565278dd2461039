"""Data of a user's own: `train`, `validation`, `test` and, where items come in groups, `test_groups`, in one file.

An `.npz` of NumPy (never with pickled objects) or an HDF5 file. The dataset is called as the file is, has the version
`user`, and is known by the hash of its arrays: another file of the same name never shares a table with it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lde_bench.data.base import SPLITS, Dataset, Request
from lde_bench.errors import InputError

VERSION = "user"
GROUPS = "test_groups"
HDF5 = (".h5", ".hdf5")

_CONTENT = "arrays train, validation and test, each [n, D]"


def load_file(path: Path, request: Request) -> Dataset:
    """The arrays of `path` as a dataset, float32 [n, D]; sizes of `request` take prefixes of the splits.

    Raises:
        InputError: the file is absent or unreadable, lacks an array, or holds one of another form: one sentence.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give a .npz or .h5 file with {_CONTENT}.")
    if path.suffix.lower() not in (".npz", *HDF5):
        raise InputError(f"{path}: is neither .npz nor .h5; save {_CONTENT}, e.g. with numpy.savez.")
    stored = _read_npz(path) if path.suffix.lower() == ".npz" else _read_hdf5(path)
    rows = {split: _rows(path, split, stored[split]) for split in SPLITS}
    widths = {split: array.shape[1] for split, array in rows.items()}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"'{split}' has {width}" for split, width in widths.items())
        raise InputError(f"{path}: the arrays differ in their number of columns, {told}; give all the same.")
    sizes = request.sizes(path.stem, {split: len(array) for split, array in rows.items()})
    arrays = {split: array[: sizes[split]] for split, array in rows.items()}
    if GROUPS in stored:
        arrays[GROUPS] = _groups(path, stored[GROUPS], len(rows["test"]))[: sizes["test"]]
    return Dataset.of(path.stem, VERSION, request.seed, arrays)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: is no whole .npz archive; save {_CONTENT} with numpy.savez.")
    try:
        with np.load(path, allow_pickle=False) as content:
            return _wanted(path, set(content.files), lambda name: content[name])
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            names = {name for name, item in file.items() if isinstance(item, h5py.Dataset)}
            return _wanted(path, names, lambda name: np.asarray(file[name][()]))
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    if "allow_pickle" in str(error):
        return InputError(f"{path}: holds an array of Python objects, which is not read; save arrays of numbers.")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"{path}: cannot be read ({reason.rstrip('.')}); save the arrays again.")


def _wanted(path: Path, names: set[str], read: Callable[[str], Any]) -> dict[str, np.ndarray]:
    for split in SPLITS:
        if split not in names:
            there = ", ".join(sorted(names)) or "nothing"
            raise InputError(f"{path}: the array '{split}' is missing (it holds {there}); save {_CONTENT}.")
    return {name: np.asarray(read(name)) for name in (*SPLITS, GROUPS) if name in names}


def _rows(path: Path, split: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: '{split}' holds {array.dtype} values; save an array of numbers.")
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{path}: '{split}' has shape {list(array.shape)}; it should be [n, D], one row per item.")
    with np.errstate(over="ignore"):  # a float64 too large for float32 is the infinity reported below
        rows = np.ascontiguousarray(array, dtype=np.float32)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise InputError(
            f"{path}: {int(bad.sum())} rows of '{split}' hold NaN or infinity, the first is row {int(bad.argmax())}; "
            "remove them."
        )
    return rows


def _groups(path: Path, array: np.ndarray, items: int) -> np.ndarray:
    if array.dtype.kind not in "iu" or array.shape != (items,):
        raise InputError(
            f"{path}: '{GROUPS}' is {array.dtype} {list(array.shape)}; it should be one whole number for each of the "
            f"{items} test rows."
        )
    return array.astype(np.int64)
