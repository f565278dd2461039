"""Improved precision and recall: the share of samples among the data, and of the data among the samples.

Kynkäänniemi, Karras, Laine, Lehtinen, Aila 2019, "Improved Precision and Recall Metric for Assessing Generative
Models", arXiv 1904.06991, equations 1 and 2.
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
K = 3


def precision_recall(
    *, real: np.ndarray, generated: np.ndarray, k: int = K, block_rows: int = BLOCK_ROWS
) -> tuple[float, float]:
    """Precision, then recall.

    Around every item of a set lies a ball up to its k-th nearest other item of that set. Precision is the share of
    `generated` inside a ball of `real`; recall the share of `real` inside a ball of `generated`. Two sets of one
    distribution do not reach 1, and both depend on the sizes: compare at equal ones. Both change places when `real`
    and `generated` do.

    Args:
        real: [n, D].
        generated: [m, D].
        k: which neighbour.
        block_rows: memory is `block_rows` x max(n, m) distances; the figures do not depend on it.

    Raises:
        InputError: a set has no more than k rows, is not [n, D], holds NaN, or the widths differ.
    """
    real, generated = check_sets(least=k + 1, real=real, generated=generated).values()
    x, y = points(real, generated)
    shares = _inside(x, y, euclidean, k, block_rows)
    return shares["precision"].double().mean().item(), shares["recall"].double().mean().item()


def _inside(
    real: Tensor, generated: Tensor, distance: Distance, k: int = K, block_rows: int = BLOCK_ROWS
) -> dict[str, Tensor]:
    """Whether each item is inside a ball of the other set: precision [m] and recall [n]."""

    def inside(items: Tensor, others: Tensor) -> Tensor:
        limits = radii(others, k, distance, block_rows)
        holding, _ = count_balls(centres=others, limits=limits, items=items, distance=distance, block_rows=block_rows)
        return holding > 0

    return {"precision": inside(generated, real), "recall": inside(real, generated)}


class PrecisionRecall(SampleMetric):
    """`precision` and `recall` of the samples against held-out items."""

    name = "precision-recall"
    summary = "share of samples among the data's neighbours, and of the data among the samples' (k = 3)"
    source = "Kynkäänniemi et al. 2019, arXiv 1904.06991"
    bibtex = ("kynkaanniemi2019improved",)
    place = 10
    figures: ClassVar[dict[str, Figure]] = {
        "precision": Figure(
            "precision",
            "null",
            meaning="share of samples among held-out items; below, samples off the data; above, blurred or less varied",
        ),
        "recall": Figure(
            "recall",
            "null",
            meaning="share of held-out items among samples; below, data that the samples miss; above, samples spread "
            "too widely",
        ),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        return ball_measures(sets, self.name, _inside)
