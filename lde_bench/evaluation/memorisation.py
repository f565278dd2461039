"""Memorisation: whether samples lie nearer to the training items than unseen real items do.

After the idea of Meehan, Chaudhuri, Dasgupta 2020, "A Non-Parametric Test to Detect Data-Copying in Generative Models",
arXiv 2004.05675: distances to the nearest training item, of samples against held-out items. Theirs is a rank
test per cell of a partition; this is the difference of the means, in the units of the data, and over the whole space.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from lde_bench.evaluation.neighbours import BLOCK_ROWS, nearest_distances
from lde_bench.evaluation.nulls import DRAWS, null_of_means, with_null
from lde_bench.evaluation.sample_measures import (
    Figure,
    Measure,
    SampleMetric,
    SampleSets,
    check_sets,
    mean_and_error,
    rows_within,
    subset,
)

#: Items of each set whose nearest training item is looked for; among all training items.
ROWS = 2000


def memorisation_gap(
    *, generated: np.ndarray, held_out: np.ndarray, train: np.ndarray, block_rows: int = BLOCK_ROWS
) -> tuple[float, float]:
    """Mean distance to the nearest training item, of generated minus of held-out items, and its standard error.

    Below 0 the samples hug the training items; a copier reaches the least there is, minus the mean distance of the
    held-out items. Above 0 they keep off the data: noise is far above, so that more is not better.

    Args:
        generated: [m, D].
        held_out: real items that are not in `train`, [n, D].
        train: [N, D].
        block_rows: training items that are compared at once; no figure depends on it.

    Raises:
        InputError: `generated` or `held_out` has fewer than 2 rows, a set is empty or not [n, D], holds NaN, or the
            widths differ.
    """
    generated, held_out = check_sets(least=2, generated=generated, held_out=held_out).values()
    generated, train = check_sets(least=1, generated=generated, train=train).values()
    sets = (generated, held_out)
    (near, near_error), (far, far_error) = (mean_and_error(nearest_distances(x, train, block_rows)) for x in sets)
    return near - far, float(np.hypot(near_error, far_error))


class Memorisation(SampleMetric):
    """`memorisation_gap` of the samples, with that of validation items as the null."""

    name = "memorisation"
    summary = "distance of samples to the nearest training item, minus that of held-out items; a copier is far below 0"
    source = "after Meehan, Chaudhuri and Dasgupta 2020, arXiv 2004.05675"
    bibtex = ("meehan2020nonparametric",)
    place = 50
    figures: ClassVar[dict[str, Figure]] = {
        "memorisation_gap": Figure(
            "memorisation gap", "null", meaning="below, the samples are copies; above, off the data"
        ),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        generator = sets.generator(self.name)
        train = sets.points("train")
        most = rows_within(ROWS, train)

        def distances(name: Literal["test", "samples", "validation"]) -> np.ndarray:
            return nearest_distances(subset(sets.points(name), most, generator), train)

        real = distances("test")
        validation = distances("validation") if sets.null_items is not None else None
        generated = distances("samples")
        (near, near_error), (far, far_error) = mean_and_error(generated), mean_and_error(real)
        null, how = None, ""
        if validation is not None:
            null = null_of_means(validation, len(generated), generator).under(lambda mean: mean - far)
            how = f"the gap of {len(validation)} validation items, {DRAWS} draws"
        return {
            "memorisation_gap": with_null(
                near - far,
                float(np.hypot(near_error, far_error)),
                null,
                f"{len(generated)} samples and {len(real)} held-out items, which lie {far:.4g} off, against all "
                f"{len(sets.train)} training items, {sets.space.words}",
                how,
            )
        }
