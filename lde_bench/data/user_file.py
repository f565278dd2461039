"""Data of a user's own: `train`, `validation`, `test` and, where items come in groups, `test_groups`, in one file.

An `.npz` of NumPy (never with pickled objects) or an HDF5 file. The dataset is called as the file is, has the version
`user`, and is known by the hash of its arrays: another file of the same name never shares a table with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lde_bench.arrays import as_rows
from lde_bench.data.archives import read_hdf5, read_npz
from lde_bench.data.base import SPLITS, Dataset, Request
from lde_bench.data.unit import Unit
from lde_bench.errors import InputError

VERSION = "user"
GROUPS = "test_groups"
HDF5 = (".h5", ".hdf5")

#: Rows, spread over the training set, in which values are looked for that float32 does not tell apart.
LOOKED_ROWS = 1_000

_CONTENT = "arrays train, validation and test, each [n, D]"


def load_file(path: Path, request: Request, *, standardise: bool = True) -> Dataset:
    """The arrays of `path` as a dataset, float32 [n, D]; sizes of `request` take prefixes of the splits.

    Each column is centred and scaled in float64 by mean and deviation of its training rows, which the dataset keeps as
    its `unit`, unless `standardise` is false.

    Raises:
        InputError: the file is absent or unreadable, lacks an array, or holds one of another form, a column is constant
            or does not survive in float32: one sentence.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give a .npz or .h5 file with {_CONTENT}.")
    if path.suffix.lower() not in (".npz", *HDF5):
        raise InputError(f"{path}: is neither .npz nor .h5; save {_CONTENT}, e.g. with numpy.savez.")
    read = read_npz if path.suffix.lower() == ".npz" else read_hdf5
    stored = read(path, SPLITS, (GROUPS,), remedy=f"save {_CONTENT}, again.")
    rows = {
        split: as_rows(str(path), f"'{split}'", stored[split], finite=True, least=1).astype(np.float64)
        for split in SPLITS
    }
    widths = {split: array.shape[1] for split, array in rows.items()}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"'{split}' has {width}" for split, width in widths.items())
        raise InputError(f"{path}: the arrays differ in their number of columns, {told}; give all the same.")
    # A name that is no UTF-8 could stand in no record, one that begins with a full stop hides the folder of results.
    name = path.stem.encode(errors="backslashreplace").decode().lstrip(".") or "data"
    sizes = request.sizes(name, {split: len(array) for split, array in rows.items()})
    taken = {split: array[: sizes[split]] for split, array in rows.items()}
    unit = Unit.of(str(path), taken["train"]) if standardise else None
    arrays = {split: _single(path, split, array, unit) for split, array in taken.items()}
    _check_digits(path, taken["train"], arrays["train"], standardised=standardise)
    if GROUPS in stored:
        arrays[GROUPS] = _groups(path, stored[GROUPS], len(rows["test"]))[: sizes["test"]]
    return Dataset.of(name, VERSION, request.seed, arrays, unit=unit)


def _single(path: Path, split: str, rows: np.ndarray, unit: Unit | None) -> np.ndarray:
    """Rows [n, D] in float32, standardised where there is a unit."""
    with np.errstate(over="ignore"):  # the infinities are looked for
        single = (rows if unit is None else unit.apply(rows)).astype(np.float32)
    if (bad := ~np.isfinite(single).all(axis=1)).any():
        what = "too large for float32" if unit is None else "too many deviations from the training mean for float32"
        raise InputError(
            f"{path}: {int(bad.sum())} rows of '{split}' are {what}, the first is row {int(bad.argmax())}; remove them."
        )
    return single


def _check_digits(path: Path, train: np.ndarray, single: np.ndarray, *, standardised: bool) -> None:
    """Raises `InputError` where rounding to float32 leaves no more than half of the values of a column apart.

    A density of what is left may rise without bound where many rows have fallen together.
    """
    rows = np.linspace(0, len(train) - 1, min(len(train), LOOKED_ROWS)).astype(np.int64)
    before, after = _values(train[rows]), _values(single[rows])
    if (bad := 2 * after <= before).any():
        column = int(bad.argmax())
        remedy = (
            "a few of its values are far beyond the others: transform it, e.g. take its logarithm."
            if standardised
            else "leave out --no-standardise, or centre and scale it."
        )
        raise InputError(
            f"{path}: column {column} of 'train' loses its digits in float32, of {before[column]} different values in "
            f"{len(rows)} rows {after[column]} are left; {remedy}"
        )


def _values(rows: np.ndarray) -> np.ndarray:
    """How many different values each column has: [n, D] -> int64 [D]."""
    return 1 + np.count_nonzero(np.diff(np.sort(rows, axis=0), axis=0), axis=0)


def _groups(path: Path, array: np.ndarray, items: int) -> np.ndarray:
    if array.dtype.kind not in "iu" or array.shape != (items,):
        raise InputError(
            f"{path}: '{GROUPS}' is {array.dtype} {list(array.shape)}; it should be one whole number for each of the "
            f"{items} test rows."
        )
    if array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise InputError(f"{path}: '{GROUPS}' holds {array.max()}; number the groups below 2^63.")
    return array.astype(np.int64)
