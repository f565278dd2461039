"""The kernel distance: unbiased squared maximum mean discrepancy of features under a polynomial kernel.

M. Bińkowski, D. Sutherland, M. Arbel, A. Gretton 2018, "Demystifying MMD GANs", arXiv 1801.01401, section 4. Theirs is
on features of Inception and is called KID; this one is on others, and compares with no KID.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lde_bench.evaluation.mmd import HALVINGS, first_items, kernel_null, standard_error, unbiased
from lde_bench.evaluation.nulls import with_null
from lde_bench.evaluation.sample_measures import Figure, Measure, SampleMetric, SampleSets, check_sets

#: Rows of each set, whose kernel matrix, pooled, is held: 4,000 x 4,000.
ROWS = 2000


def kernel_distance(*, real: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    """Unbiased MMD^2 under the kernel (x.y / F + 1)^3, 0 on average for two sets of one distribution, and its error.

    The error is that of the influence of each item: see `lde_bench.evaluation.mmd.mmd2`.

    Args:
        real: [n, F].
        generated: [m, F].

    Raises:
        InputError: a set has fewer than 2 rows, is not [n, F], holds NaN, or the widths differ.
    """
    real, generated = check_sets(least=2, real=real, generated=generated).values()
    both = np.concatenate([real, generated])
    kernel = polynomial_kernel(both, both)
    return unbiased(kernel, first_items(len(real), len(generated))).item(), standard_error(kernel, len(real))


def polynomial_kernel(rows: np.ndarray, others: np.ndarray) -> Tensor:
    """(x.y / F + 1)^3 between all rows [N, F] and all others [M, F]: float64 [N, M]."""
    x, y = (torch.from_numpy(each.astype(np.float64)) for each in (rows, others))
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


class KernelDistance(SampleMetric):
    """`kernel_distance` of samples against held-out items; in a space of features only."""

    name = "kernel-distance"
    summary = "unbiased squared maximum mean discrepancy of features, cubic kernel"
    source = "Bińkowski et al. 2018, arXiv 1801.01401"
    bibtex = ("binkowski2018demystifying",)
    place = 6
    figures: ClassVar[dict[str, Figure]] = {
        "kernel_distance": Figure(
            "kernel distance",
            "null",
            meaning="of features, unbiased, so that it may be negative; below, nearer to these held-out items than new "
            "real ones; above, off the data",
        ),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        if sets.in_pixels:
            return {}
        generator = sets.generator(self.name)
        chosen = sets.equal_points(ROWS, generator)
        n = len(chosen.test)
        value, error = kernel_distance(real=chosen.test, generated=chosen.samples)
        null = None
        if chosen.validation is not None:
            null = kernel_null(
                polynomial_kernel(chosen.test, chosen.test),
                polynomial_kernel(chosen.validation, chosen.test).mean(1),
                polynomial_kernel(chosen.validation, chosen.validation),
                generator,
            )
        return {
            "kernel_distance": with_null(
                value,
                error,
                null,
                f"{n} held-out items and {n} samples, {sets.space.words}",
                f"{HALVINGS} random halvings of {2 * n} validation items",
            )
        }
