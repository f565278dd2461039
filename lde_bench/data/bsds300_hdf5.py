"""bsds300-hdf5: the ready-made `BSDS300.hdf5`, as published with its patches cut, centred and shuffled.

B. Uria et al. (JMLR 2016) prepared the patches; G. Papamakarios, T. Pavlakou, I. Murray, "Masked Autoregressive Flow
for Density Estimation", NeurIPS 2017 (arXiv 1705.07057) published the file. Its noise and photographs cannot be
traced, so there are no groups and no fresh patches, and it never shares a table column with rebuilt patches.

Only the archive around the file has a published checksum (MD5 9b9c9b0375315ad270eba4ce80c093ab), so nothing can prove
that a file is the one inside. The version says as much: `zenodo-1161203-unverified` of a file with the published
numbers of rows, `unofficial` of any other. The content hash in a record tells two files of either kind apart.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from lde_bench.data.archives import open_hdf5, reading
from lde_bench.data.base import SPLITS, Dataset, DatasetEntry, Request
from lde_bench.data.cache import named_data_folder
from lde_bench.data.patches import FEATURES
from lde_bench.errors import InputError
from lde_bench.memory import check_memory

NAME = "bsds300-hdf5"
VERSION = "zenodo-1161203-unverified"
#: The version of a file that cannot be the published one.
UNOFFICIAL = "unofficial"
#: Rows of the published file.
PUBLISHED_ROWS = {"train": 1_000_000, "validation": 50_000, "test": 250_000}
FILE = "BSDS300.hdf5"
URL = "https://zenodo.org/record/1161203/files/data.tar.gz"
_SLICE = 65_536

REMEDY = f"take {FILE} from {URL} and point --data-dir or LDE_BENCH_DATA at the folder it lies in."

log = logging.getLogger(__name__)


def find(folder: Path) -> Path | None:
    """The file at, in, or in `bsds300/` or `BSDS300/` under `folder`; None when there is none."""
    places = (folder, folder / FILE, folder / "bsds300" / FILE, folder / "BSDS300" / FILE)
    return next((place for place in places if place.is_file()), None)


def load(request: Request) -> Dataset:
    """Load the ready-made file, only the rows asked for; see `lde_bench.data.load_dataset`.

    Raises `InputError` when the file is absent or unreadable, lacks a split, has another width, or the rows
    read are not all finite.
    """
    folder = request.data_dir or named_data_folder()
    if folder is None:
        raise InputError(f"{NAME} needs a data folder; {REMEDY}")
    path = find(folder)
    if path is None:
        raise InputError(f"{folder}: no {FILE} there; {REMEDY}")
    with reading(path, REMEDY), open_hdf5(path) as file:
        stored = {split: _split(file, split, path) for split in SPLITS}
        rows = {split: len(array) for split, array in stored.items()}
        sizes = request.sizes(NAME, rows)
        arrays = {split: _rows(stored[split], sizes[split], split, path) for split in SPLITS}
    published = rows == PUBLISHED_ROWS
    if not published:
        log.warning("%s: this is not the published file, so figures compare with no other %s.", path, NAME)
    return Dataset.of(NAME, VERSION if published else UNOFFICIAL, 0, arrays, is_patch=True)


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
    check_memory(f"{path}: the rows of '{split}'", count * FEATURES * 4, REMEDY)
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
        items="patches",
        group="photograph",
        bibtex=("uria2016nade", "papamakarios2017masked"),
    ),
)
