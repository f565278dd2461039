"""bsds300-hdf5: the ready-made `BSDS300.hdf5`, as published with its patches cut, centred and shuffled.

B. Uria et al. (JMLR 2016) prepared the patches; G. Papamakarios, T. Pavlakou, I. Murray, "Masked Autoregressive Flow
for Density Estimation", NeurIPS 2017 (arXiv 1705.07057) published the file. Its noise and photographs cannot be
traced, so there are no groups and no fresh patches, and it never shares a table column with rebuilt patches.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from lde_bench.data.base import SPLITS, Dataset, DatasetEntry, Request
from lde_bench.data.patches import FEATURES
from lde_bench.errors import InputError

NAME = "bsds300-hdf5"
VERSION = "zenodo-1161203"
FILE = "BSDS300.hdf5"
URL = "https://zenodo.org/record/1161203/files/data.tar.gz"
_SLICE = 65_536

REMEDY = f"take {FILE} from {URL} and point --data-dir or LDE_BENCH_DATA at the folder it lies in."


def find(folder: Path) -> Path | None:
    """The file at, in, or in `bsds300/` or `BSDS300/` under `folder`; None when there is none."""
    places = (folder, folder / FILE, folder / "bsds300" / FILE, folder / "BSDS300" / FILE)
    return next((place for place in places if place.is_file()), None)


def load(request: Request) -> Dataset:
    """Load the ready-made file, only the rows asked for; see `lde_bench.data.load_dataset`.

    Raises `InputError` when the file is absent or unreadable, lacks a split, has another width, or the rows
    read are not all finite.
    """
    import h5py

    named = request.data_dir or os.environ.get("LDE_BENCH_DATA")
    if not named:
        raise InputError(f"{NAME} needs a data folder; {REMEDY}")
    folder = Path(named).expanduser()
    path = find(folder)
    if path is None:
        raise InputError(f"{folder}: no {FILE} there; {REMEDY}")
    try:
        with h5py.File(path, "r") as file:
            stored = {split: _split(file, split, path) for split in SPLITS}
            sizes = request.sizes(NAME, {split: len(array) for split, array in stored.items()})
            arrays = {split: _rows(stored[split], sizes[split], split, path) for split in SPLITS}
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: this is no readable HDF5 file ({reason}); {REMEDY}") from error
    return Dataset.of(NAME, VERSION, 0, arrays, is_patch=True)


def _split(file: Any, split: str, path: Path) -> Any:
    import h5py

    array = file.get(split)
    if not isinstance(array, h5py.Dataset):
        raise InputError(f"{path}: the key '{split}' is missing; {REMEDY}")
    if array.ndim != 2 or array.shape[1] != FEATURES or len(array) == 0 or array.dtype.kind != "f":
        raise InputError(
            f"{path}: '{split}' is {array.dtype} {array.shape} where rows of {FEATURES} floats belong; {REMEDY}"
        )
    return array


def _rows(array: Any, count: int, split: str, path: Path) -> np.ndarray:
    rows = np.empty((count, FEATURES), dtype=np.float32)
    for start in range(0, count, _SLICE):
        part = rows[start : start + _SLICE]
        with np.errstate(over="ignore"):  # a float64 too large for float32 is the infinity reported below
            part[:] = array[start : start + len(part)]
        if not np.isfinite(part).all():
            bad = start + int(np.flatnonzero(~np.isfinite(part).all(axis=1))[0])
            raise InputError(f"{path}: row {bad} of '{split}' holds a NaN or an infinity; {REMEDY}")
    return rows


DATASETS = (
    DatasetEntry(
        NAME,
        VERSION,
        f"the ready-made {FILE} (63 numbers, no photograph ids); never in one column with rebuilt patches",
        f"Uria et al. 2016, Papamakarios, Pavlakou, Murray 2017, {URL}",
        load,
    ),
)
