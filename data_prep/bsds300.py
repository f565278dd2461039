"""How the BSDS300 patches are made, from the 300 JPEGs to the HDF5 file, step by step.

    python data_prep/bsds300.py --data-dir FOLDER [--out FILE] [--seed 0]

FOLDER holds bsds300/images/train and test, or BSDS300-images.tgz. `lde-bench prepare bsds300` does the same into the
cache. The protocol of a single patch is `lde_bench/data/patches.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lde_bench.data import bsds300, cache
from lde_bench.data.base import Request
from lde_bench.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("bsds300-patches.h5"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    # 1. Read the 200 training and 100 test JPEGs as they are, and check that none is missing.
    files = bsds300.find(options.data_dir)
    if files is None:
        raise InputError(f"{options.data_dir}: no BSDS300 there; {bsds300.REMEDY}")
    official = files.sha256 == bsds300.OFFICIAL_FILES_SHA256
    print(f"{len(files.jpegs)} photographs from {files.origin}, {'the' if official else 'NOT the'} official files")

    # 2. Split by photograph: 180 train, 20 validate, 100 test, shuffled once for all by hashing their numbers.
    for split, numbers in bsds300.split_numbers(files).items():
        print(f"  {split}: {len(numbers)} photographs, first {numbers[:3]}, {bsds300.COUNTS[split]:,} patches")

    # 3. Decode to grey, cut patches round-robin over the photographs, add noise, centre, drop the last pixel, write.
    recipe = bsds300.recipe(files, Request(seed=options.seed))
    cache.prepare(recipe, options.out, progress=True)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.0f} MB, recipe {recipe.key[:16]}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
