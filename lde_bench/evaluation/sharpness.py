"""Sharpness: the variance of the Laplacian of samples over that of held-out images. Blur takes it below 1, noise above.

The variance of the Laplacian as a measure of focus: J. Pech-Pacheco, G. Cristóbal, J. Chamorro-Martínez, J.
Fernández-Valdivia, "Diatom autofocusing in brightfield microscopy", ICPR 2000; of samples of autoencoders: I.
Tolstikhin, O. Bousquet, S. Gelly, B. Schölkopf 2018, arXiv 1711.01558, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from lde_bench.arrays import Rows, row_blocks
from lde_bench.evaluation.nulls import DRAWS, null_of_means, with_null
from lde_bench.evaluation.sample_measures import Figure, Measure, SampleMetric, SampleSets, mean_and_error, subset

#: Images of each set.
ROWS = 2000

#: The Laplacian of a position is made of its neighbours.
LEAST_SIDE = 3


def laplacian_variances(rows: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """The variance over all inner positions of the Laplacian of each image, its channels averaged: float64 [n].

    Args:
        rows: images [n, C * H * W].
        image_shape: (C, H, W), with sides of `LEAST_SIDE` or more.
    """
    return np.concatenate([_variances(rows[block].reshape(-1, *image_shape)) for block in row_blocks(rows)])


def _variances(images: np.ndarray) -> np.ndarray:
    """Those of images [B, C, H, W]: float64 [B]."""
    images = images.mean(1, dtype=np.float64)  # [B, H, W]
    inner = images[:, 1:-1, 1:-1]
    around = images[:, :-2, 1:-1] + images[:, 2:, 1:-1] + images[:, 1:-1, :-2] + images[:, 1:-1, 2:]
    return (around - 4 * inner).var((1, 2))


def ratio_of_means(above: np.ndarray, below: np.ndarray) -> tuple[float, float]:
    """The mean of one set of independent values over that of another, and its standard error by the delta method."""
    (mean, error), (base, base_error) = mean_and_error(above), mean_and_error(below)
    ratio = mean / base
    return ratio, math.hypot(error, ratio * base_error) / base


class Sharpness(SampleMetric):
    """`sharpness` of samples over that of held-out images; of rows that are to be looked at as images only."""

    name = "sharpness"
    summary = "variance of the Laplacian of samples, over that of held-out images"
    source = "Pech-Pacheco et al. 2000; Tolstikhin et al. 2018, arXiv 1711.01558"
    bibtex = ("pechpacheco2000diatom", "tolstikhin2018wasserstein")
    in_space = False
    place = 55
    figures: ClassVar[dict[str, Figure]] = {
        "sharpness": Figure("sharpness", "null", meaning="below, the samples are blurred; above, noisy"),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        if sets.image_shape is None or min(sets.image_shape[1:]) < LEAST_SIDE:
            return {}
        generator = sets.generator(self.name)
        shape = sets.image_shape

        def variances(rows: Rows) -> np.ndarray:
            return laplacian_variances(subset(rows, ROWS, generator), shape)

        test = variances(sets.test)
        if test.mean() == 0:  # held-out images of one colour
            return {}
        validation = None if sets.null_items is None else variances(sets.null_items)
        samples = variances(sets.samples)
        null, how = None, ""
        if validation is not None:
            null = null_of_means(validation, len(samples), generator).under(lambda mean: mean / test.mean())
            how = f"that of {len(validation)} validation images, {DRAWS} draws"
        return {
            "sharpness": with_null(
                *ratio_of_means(samples, test),
                null,
                f"{len(samples)} samples and {len(test)} held-out images, pixels",
                how,
            )
        }
