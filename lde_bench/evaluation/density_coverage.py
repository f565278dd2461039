"""Density and coverage: how deep the samples lie in the data, and how much of the data has a sample near it.

Naeem, Oh, Uh, Choi, Yoo 2020, "Reliable Fidelity and Diversity Metrics for Generative Models", arXiv 2002.09797,
section 3. Only balls around real items count, so that outliers among the samples cannot feign diversity.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from torch import Tensor

from lde_bench.evaluation.neighbours import (
    BLOCK_ROWS,
    Distance,
    ball_measures,
    count_balls,
    euclidean,
    points,
    radii,
)
from lde_bench.evaluation.sample_measures import Figure, Measure, SampleMetric, SampleSets, check_sets

#: The neighbour that sets the radius of a ball, as published.
K = 5


def density_coverage(
    *, real: np.ndarray, generated: np.ndarray, k: int = K, block_rows: int = BLOCK_ROWS
) -> tuple[float, float]:
    """Density, then coverage.

    Around every real item lies a ball up to its k-th nearest other real item. Density is the mean number of these balls
    around a generated item, over k: 1 is expected of two sets of one distribution, and samples crowded into modes
    exceed it. Coverage is the share of balls that hold a generated item: of two such sets of n rows
    1 - (n - 1)...(n - k) / ((2n - 1)...(2n - k)) is expected, near 1 - 2^-k (Naeem et al. 2020, section 3).

    Args:
        real: [n, D].
        generated: [m, D].
        k: which neighbour.
        block_rows: memory is `block_rows` x max(n, m) distances; the figures do not depend on it.

    Raises:
        InputError: `real` has no more than k rows, a set is not [n, D], holds NaN, or the widths differ.
    """
    check_sets(least=k + 1, real=real)
    real, generated = check_sets(least=1, real=real, generated=generated).values()
    x, y = points(real, generated)
    counts = _counts(x, y, euclidean, k, block_rows)
    return counts["density"].mean().item(), counts["coverage"].double().mean().item()


def _counts(
    real: Tensor, generated: Tensor, distance: Distance, k: int = K, block_rows: int = BLOCK_ROWS
) -> dict[str, Tensor]:
    """Balls around each generated item over k, [m], and whether each ball holds one, [n]."""
    limits = radii(real, k, distance, block_rows)
    holding, held = count_balls(centres=real, limits=limits, items=generated, distance=distance, block_rows=block_rows)
    return {"density": holding.double() / k, "coverage": held > 0}


class DensityCoverage(SampleMetric):
    """`density` and `coverage` of the samples against held-out items."""

    name = "density-coverage"
    summary = "balls of the data around a sample, and share of the data's balls that hold one (k = 5)"
    source = "Naeem et al. 2020, arXiv 2002.09797"
    bibtex = ("naeem2020reliable",)
    place = 20
    figures: ClassVar[dict[str, Figure]] = {
        "density": Figure(
            "density",
            "null",
            meaning="held-out items whose neighbourhood a sample lies in, over k; below, samples off the data; above, "
            "crowded into modes or blurred",
        ),
        "coverage": Figure(
            "coverage",
            "null",
            meaning="share of held-out items that have a sample near; below, data that the samples miss; above, more "
            "evenly spread than real items",
        ),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        return ball_measures(sets, self.name, _counts)
