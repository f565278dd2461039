"""What a second network adds to the average over the symmetries of a patch: one more seed, or one of another view.

    python benchmarks/unlike_networks.py --steps 1500 --threads 1 --data-dir DIR

`resmade-mog+w` is trained on fresh patches of BSDS300, of all symmetries: twice on the pixels row by row, then once on
each other view of the same patch: pixels in other orders, Haar wavelets, cosines. Validation nats of each, alone and
averaged over the 8 symmetries, and of the equal mixtures of two and three of those averages.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.fft import dct
from short_runs import exit_code, positive

from lde_bench.data import load_dataset
from lde_bench.data.base import Dataset
from lde_bench.data.patches import FEATURES, SIDE, SYMMETRIES, apply_symmetries, complete
from lde_bench.densities import create
from lde_bench.densities.haar import wavelets
from lde_bench.densities.view_mixture import View
from lde_bench.training.batches import FreshBatches
from lde_bench.training.plan import Budget

METHOD, PROFILE, EVERY = "resmade-mog+w", "long", 3


def in_order(*keys: np.ndarray) -> np.ndarray:
    """T of T x, the pixels sorted by the last key, then by those before it: float64 [63, 63]."""
    return complete(np.eye(FEATURES)).T[np.lexsort(keys)][:FEATURES]


def cosines() -> np.ndarray:
    """T of T x, the cosines of a patch without its mean, low frequencies first: float64 [63, 63]."""
    line, frequencies = dct(np.eye(SIDE), axis=0, norm="ortho"), np.arange(SIDE)
    order = np.argsort((frequencies[:, None] + frequencies).ravel(), kind="stable")[1:]
    return np.kron(line, line)[order] @ complete(np.eye(FEATURES)).T


def views() -> dict[str, np.ndarray]:
    """The matrix of every view: [63, 63]."""
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    scale = sum(((row % step == 0) & (column % step == 0)).astype(int) for step in (2, 4)) * -2 - (
        (row + column) % 2 == 0
    )
    ring = np.minimum.reduce([row, column, SIDE - 1 - row, SIDE - 1 - column])
    return {
        "pixels": np.eye(FEATURES),
        "pixels, another seed": np.eye(FEATURES),
        "pixels of a coarse grid first": in_order(column, row, scale),
        "pixels along diagonals": in_order(row, row + column),
        "pixels from the border inwards": in_order(np.arctan2(row - 3.5, column - 3.5), ring),
        "Haar wavelets, coarse to fine": wavelets(),
        "cosines, low frequencies first": cosines(),
    }


def symmetrised(data: Dataset, rows: np.ndarray, view: View, steps: int, seed: int) -> np.ndarray:
    """Log-likelihoods of `rows` [n, 63] under each of the 8 symmetries, of a network trained on `view`: [8, n]."""

    def augment(batch: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return apply_symmetries(batch, generator.integers(len(SYMMETRIES), size=len(batch)))

    assert data.fresh is not None
    density = create(METHOD, FEATURES)
    plan = density.plan(Budget.of(PROFILE))
    plan = replace(plan, steps=steps, average=max(0.0, 1 - 20 / steps))
    density.fit(
        view.batches(FreshBatches(data.fresh.draw, FEATURES, seed, augment)),
        seed=seed,
        profile=PROFILE,
        steps=steps,
        plan=plan,
    )
    each = (apply_symmetries(rows, np.full(len(rows), symmetry)) for symmetry in range(len(SYMMETRIES)))
    return np.stack([density.log_prob(view.rows(turned)) + view.log_det for turned in each])


def mixed(log_probs: Sequence[np.ndarray]) -> np.ndarray:
    return np.logaddexp.reduce(np.stack(log_probs), 0) - math.log(len(log_probs))


def measure(steps: int, folder: Path | None) -> None:
    data = load_dataset("bsds300", validation=10_000, data_dir=folder)
    rows = np.asarray(data.validation, dtype=np.float32)[::EVERY]
    found = {}
    for name, matrix in views().items():
        log_probs = symmetrised(data, rows, View.of(matrix, 1.0), steps, seed=int("seed" in name))
        found[name] = mixed(list(log_probs))
        print(f"{name}: {log_probs[0].mean():.2f}, averaged {found[name].mean():.2f}", flush=True)
    for count in (2, 3):
        for names in itertools.combinations(found, count):
            print(f"{' + '.join(names)}: {mixed([found[name] for name in names]).mean():.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=positive(int), default=1500)
    parser.add_argument("--threads", type=positive(int), default=1)
    parser.add_argument("--data-dir", type=Path)
    asked = parser.parse_args()
    return exit_code(asked.threads, lambda: measure(asked.steps, asked.data_dir))


if __name__ == "__main__":
    sys.exit(main())
