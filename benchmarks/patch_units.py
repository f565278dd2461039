"""One unit for all dimensions of a patch against one of each: what the choice is worth to a row.

    python benchmarks/patch_units.py --seconds 120 --threads 1 --seed 0

The rows that take a scalar unit, `lde` and `made-mog`, are trained on patches as they are, and on patches whose every
dimension has been brought to one deviation, log-determinant counted; validation nats. The scalar leaves the paper's
shared convolution its family of densities, deviations of each dimension do not.
"""

from __future__ import annotations

import sys

import numpy as np
from short_runs import main, nats, patches

from lde_bench.densities import create
from lde_bench.seeds import derive_seed

ROWS, UNIT_ROWS = 300_000, 100_000
METHODS = ("lde", "made-mog:components=10")


def measure(seed: int, seconds: float) -> None:
    train, validation = patches(ROWS)
    deviations = train[:UNIT_ROWS].std(0)
    print(f"deviations of the dimensions: {deviations.min():.4f} to {deviations.max():.4f}")
    even = deviations / np.sqrt(np.square(deviations).mean())
    drawn = derive_seed("unit", seed)
    for method in METHODS:
        scalar, each = (create(method, train.shape[1]) for _ in range(2))
        one = nats(scalar, train, validation, drawn, seconds)
        many = nats(each, train / even, validation / even, drawn, seconds) - float(np.log(even).sum())
        print(f"{method}: scalar {one:.2f}, per dimension {many:.2f} nats", flush=True)


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", measure))
