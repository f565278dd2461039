"""Reconstruction error of an autoencoder on items that it has not seen: what its decoder can show at best."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from lde_bench.arrays import Rows, row_blocks
from lde_bench.errors import InputError
from lde_bench.evaluation.sample_measures import (
    Figure,
    Measure,
    SampleMetric,
    SampleSets,
    check_readable_sets,
    check_sets,
    mean_and_error,
)

#: Items that are encoded and decoded at once, and fewer where they are large.
BLOCK_ROWS = 1024


def reconstruction_errors(
    *, real: Rows, reconstruct: Callable[[np.ndarray], np.ndarray], block_rows: int = BLOCK_ROWS
) -> np.ndarray:
    """Mean squared error per pixel of each item.

    Args:
        real: [n, D].
        reconstruct: [n, D] -> [n, D].
        block_rows: items a call.

    Returns:
        float64 [n].

    Raises:
        InputError: `real` is empty or not [n, D], holds NaN; or what `reconstruct` gives has another shape, or NaN.
    """
    (real,) = check_readable_sets(least=1, real=real).values()
    errors = []
    for block in row_blocks(real, most=block_rows):
        x = real[block]
        decoded = reconstruct(x)
        (decoded,) = check_sets(least=1, reconstructions=decoded).values()
        if decoded.shape != x.shape:
            raise InputError(f"reconstruct: expected {list(x.shape)}, got {list(decoded.shape)}; give one row an item.")
        errors.append(np.square(decoded.astype(np.float64) - x).mean(1))
    return np.concatenate(errors)


class Reconstruction(SampleMetric):
    """`reconstruction_mse` on all held-out items; nothing for a model without an encoder."""

    name = "reconstruction"
    summary = "mean squared error per pixel of reconstructed held-out items"
    source = "textbook"
    in_space = False
    place = 60
    figures: ClassVar[dict[str, Figure]] = {
        "reconstruction_mse": Figure(
            "reconstruction MSE", "lower", 4, "per pixel of held-out items; what the decoder can show at best"
        ),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        if sets.reconstruct is None:
            return {}
        errors = reconstruction_errors(real=sets.test, reconstruct=sets.reconstruct)
        value, error = mean_and_error(errors)
        return {"reconstruction_mse": Measure(value, error, detail=f"{len(errors)} held-out items, per pixel")}
