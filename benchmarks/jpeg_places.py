"""How much of a row's likelihood is owed to JPEG: its mean by where the blocks of the file lie in the patch.

    python benchmarks/jpeg_places.py /tmp/results/*.safetensors --data-dir DIR --rows 3000 --threads 1

The photographs of BSDS300 are JPEG files, stored in blocks of 8x8 pixels that start at their top left corner. Of every
saved density that is named, the mean log-likelihood in nats of patches of the validation photographs, so many for each
of the 64 places of their corner on this grid, the same for every density. What knows nothing of blocks has one mean
everywhere, up to the spread over patches.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from short_runs import exit_code, positive

from lde_bench.data import bsds300
from lde_bench.data.patches import FEATURES, PIXELS, SIDE, WORDS
from lde_bench.densities import load_density
from lde_bench.errors import InputError
from lde_bench.seeds import derive_generator


def patches_by_place(folder: Path, rows: int) -> np.ndarray:
    """Patches of the validation photographs by the row and the column of their corner: float32 [8, 8, rows, 63]."""
    files = bsds300.find(folder)
    if files is None:
        raise InputError(f"{folder}: holds no BSDS300; give its folder with --data-dir.")
    photographs = bsds300.decode(files)["validation"]
    which = np.arange(rows) % len(photographs)
    # The same random words at every place, so that places differ by where they are and not by their patches.
    words = derive_generator("jpeg-places").integers(0, 1 << 64, size=(rows, WORDS), dtype=np.uint64)
    places = [np.tile(divmod(place, SIDE), (rows, 1)) for place in range(PIXELS)]
    return np.stack([photographs.patches(which, words, place) for place in places]).reshape(SIDE, SIDE, rows, FEATURES)


def measure(files: Sequence[Path], folder: Path, count: int) -> None:
    rows = patches_by_place(folder, count)
    for path in files:
        density = load_density(path)
        means = np.array([[density.log_prob(place).mean() for place in line] for line in rows])
        print(f"{path.stem}: mean {means.mean():.2f} nats; by row and column of the corner, modulo 8:")
        print("\n".join(" ".join(f"{mean:6.1f}" for mean in line) for line in means), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("densities", type=Path, nargs="+", help="files that a run has left beside its records")
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder of BSDS300")
    parser.add_argument("--rows", type=positive(int), default=3000, help="patches for each place")
    parser.add_argument("--threads", type=positive(int), default=1)
    asked = parser.parse_args()
    return exit_code(asked.threads, lambda: measure(asked.densities, asked.data_dir, asked.rows))


if __name__ == "__main__":
    sys.exit(main())
