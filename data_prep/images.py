"""The image datasets as arrays of a file of your own: mnist, tfd-fold1 ... tfd-fold5, faces48, digits8x8.

    python data_prep/images.py DATASET [--data-dir FOLDER] [--out FILE.npz]

How each is read, split and scaled is `lde_bench/data/DATASET.py` (of the folds `tfd.py`); `lde-bench parzen --dataset
DATASET` reads the official files itself and needs none of this. The file holds train, validation, test, float32 [n, D]
in [0, 1], and the persons of faces as *_groups: as `lde-bench table --data FILE.npz --no-standardise` reads them.
Grey levels are no real numbers, though, and have no proper density: add noise of one level before a figure is quoted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from lde_bench.data import load_dataset
from lde_bench.data.base import SPLITS
from lde_bench.errors import InputError
from lde_bench.files import atomic_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    data = load_dataset(options.dataset, data_dir=options.data_dir, progress=True)
    if data.image_shape is None:
        raise InputError(f"{options.dataset} is no set of images; its recipe is in lde_bench/data.")
    print(f"{data.name} version {data.version}: {data.image_shape[1]}x{data.image_shape[2]}, {data.sizes}")
    arrays = {split: getattr(data, split) for split in SPLITS}
    groups = {f"{split}_groups": getattr(data, f"{split}_groups") for split in SPLITS}
    arrays |= {name: array for name, array in groups.items() if array is not None}
    out = options.out or Path(f"{data.name}.npz")
    with atomic_path(out) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, **arrays)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, content SHA-256 {data.content_hash[:16]}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
