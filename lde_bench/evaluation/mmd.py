"""The kernel two-sample statistic: unbiased squared maximum mean discrepancy under a Gaussian kernel.

Gretton, Borgwardt, Rasch, Schölkopf, Smola 2012, "A Kernel Two-Sample Test", JMLR 13, lemma 6 (equation 3).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lde_bench.arrays import Rows
from lde_bench.errors import InputError
from lde_bench.evaluation.neighbours import BLOCK_ROWS, euclidean, pairwise, points
from lde_bench.evaluation.nulls import Null, halvings, null_of_halves, with_null
from lde_bench.evaluation.sample_measures import (
    Figure,
    Measure,
    SampleMetric,
    SampleSets,
    check_sets,
    rows_within,
    subset,
)

#: Rows of each set whose kernel matrix, pooled, is held: 4,000 x 4,000.
ROWS = 2000

#: Permutations of the pooled set behind a null, or random halvings of the validation items.
PERMUTATIONS, HALVINGS = 199, 100


def mmd2(
    *, real: np.ndarray, generated: np.ndarray, bandwidth: float | None = None, block_rows: int = BLOCK_ROWS
) -> tuple[float, float]:
    """Unbiased MMD^2, 0 on average (and often negative) for two sets of one distribution, and its standard error.

    The kernel is exp(-|x - y|^2 / (2 bandwidth^2)). The error is that of the influence of each item (a jackknife):
    right where the sets differ, and too large by a factor sqrt(2) at most where they do not; there the permutations of
    `Mmd` are to be used. The value is the same when `real` and `generated` change places at a given bandwidth.

    Args:
        real: [n, D].
        generated: [m, D].
        bandwidth: above 0; the median distance between real items (never the samples', which a model could choose) if
            None.
        block_rows: rows of the kernel matrix [n + m, n + m] that are computed at once; no figure depends on it.

    Raises:
        InputError: a set has fewer than 2 rows, is not [n, D], holds NaN, the widths differ, or the bandwidth is not
            above 0.
    """
    real, generated = check_sets(least=2, real=real, generated=generated).values()
    kernel = _kernel(real, generated, bandwidth, block_rows)
    return unbiased(kernel, first_items(len(real), len(generated))).item(), standard_error(kernel, len(real))


def median_distance(real: np.ndarray, block_rows: int = BLOCK_ROWS) -> float:
    """The median distance between two different rows of [n, D]; 0 where more than half of the pairs are equal."""
    distances = pairwise(real, block_rows=block_rows).numpy()
    return float(np.median(distances[np.triu_indices(len(real), 1)]))


def _kernel(real: np.ndarray, generated: np.ndarray, bandwidth: float | None, block_rows: int) -> Tensor:
    """The kernel of the pooled set, real rows first: float64 [N, N]."""
    width = median_distance(real, block_rows) if bandwidth is None else bandwidth
    if bandwidth is None and width == 0:
        raise InputError("mmd: the median distance of the real items is 0; give items that differ, or a bandwidth.")
    if not (np.isfinite(width) and width > 0):
        raise InputError(f"mmd: bandwidth = {width:g} is not a positive number; give one, or None for the median.")
    return _gaussian(pairwise(real, generated, block_rows=block_rows), width)


def _gaussian(distances: Tensor, width: float) -> Tensor:
    return distances.double().square_().mul_(-0.5 / width**2).exp_()


def unbiased(kernel: Tensor, real: Tensor) -> Tensor:
    """MMD^2 for each of P ways to name n items of the pooled set real, 0 or 1 in [N, P]: [P]."""
    n = real[:, 0].sum()
    m = len(kernel) - n
    to_real = kernel @ real  # [N, P]
    among_real = (to_real * real).sum(0)
    across = to_real.sum(0) - among_real
    among_generated = kernel.sum() - among_real - 2 * across
    # The diagonal, k(x, x), is left out of both squares.
    own = kernel.diagonal() @ real  # [P]
    others = kernel.trace() - own
    return (among_real - own) / (n * (n - 1)) + (among_generated - others) / (m * (m - 1)) - 2 * across / (n * m)


def standard_error(kernel: Tensor, n: int) -> float:
    """Estimate the standard error of MMD^2 between the first n items and the others."""
    m = len(kernel) - n
    to_real, to_generated, own = kernel[:, :n].sum(1), kernel[:, n:].sum(1), kernel.diagonal()
    influence_real = 2 * ((to_real[:n] - own[:n]) / (n - 1) - to_generated[:n] / m)
    influence_generated = 2 * ((to_generated[n:] - own[n:]) / (m - 1) - to_real[n:] / n)
    return (influence_real.var() / n + influence_generated.var() / m).sqrt().item()


def first_items(n: int, m: int) -> Tensor:
    """The first n of n + m items named, as `unbiased` takes it."""
    return (torch.arange(n + m) < n).double()[:, None]  # [N, 1]


def mmd2_with_null(*, real: Rows, generated: Rows, generator: np.random.Generator) -> Measure:
    """`mmd2` of at most `ROWS` rows and `SET_NUMBERS` numbers of each set, [n, D] and [m, D], with its null from
    permutations of the pooled set; `generator` chooses both. For sets that nothing but what is measured tells apart.

    Raises:
        InputError: see `mmd2`.
    """
    most = rows_within(ROWS, real)
    chosen = {"real": subset(real, most, generator), "generated": subset(generated, most, generator)}
    real, generated = check_sets(least=2, **chosen).values()
    n, m = len(real), len(generated)
    kernel = _kernel(real, generated, None, BLOCK_ROWS)
    orders = np.stack([generator.permutation(n + m) < n for _ in range(PERMUTATIONS)], 1)  # [N, P]
    null = unbiased(kernel, torch.from_numpy(orders).double()).numpy()
    low, high = np.quantile(null, [0.025, 0.975])
    return Measure(
        unbiased(kernel, first_items(n, m)).item(),
        standard_error(kernel, n),
        0.0,
        float(low),
        float(high),
        f"{n} held-out items and {m} samples; null: {PERMUTATIONS} permutations of the pooled set",
    )


def kernel_null(own: Tensor, to_test: Tensor, kernel: Tensor, generator: np.random.Generator) -> Null:
    """The null of MMD^2 between n test items and n new real ones, of halves of 2 n validation items.

    Args:
        own: the kernel between the test items, [n, n].
        to_test: the mean kernel of each validation item to the test items, [2 n].
        kernel: between validation items, [2 n, 2 n].
        generator: chooses the halves.
    """
    n = len(own)
    places = torch.from_numpy(halvings(n, HALVINGS, generator)).reshape(-1, n).T  # [n, 2 P]
    half = kernel.new_zeros(2 * n, places.shape[1]).scatter_(0, places, 1)
    among_test = own.sum() - own.trace()
    among_half = (half * (kernel @ half)).sum(0) - kernel.diagonal() @ half  # [2 P]
    draws = (among_test + among_half) / (n * (n - 1)) - 2 * to_test @ half / n
    return null_of_halves(draws.reshape(-1, 2).numpy())


class Mmd(SampleMetric):
    """`mmd2` of the samples against held-out items, with its null of validation items."""

    name = "mmd"
    summary = "unbiased squared maximum mean discrepancy, Gaussian kernel, bandwidth the data's median distance"
    source = "Gretton et al. 2012, JMLR 13"
    bibtex = ("gretton2012kernel",)
    place = 30
    figures: ClassVar[dict[str, Figure]] = {
        "mmd2": Figure(
            "MMD^2",
            "null",
            4,
            "unbiased, so that it may be negative; below, nearer to the held-out items than real ones are; above, off "
            "the data",
        ),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        generator = sets.generator(self.name)
        chosen = sets.equal_points(ROWS, generator)
        n = len(chosen.test)
        width = median_distance(chosen.test)
        if width == 0:  # of copies of one item: there is no kernel to measure by
            return {}
        kernel = _gaussian(pairwise(chosen.test, chosen.samples), width)
        value, error = unbiased(kernel, first_items(n, n)).item(), standard_error(kernel, n)
        null = None
        if chosen.validation is not None:
            own = kernel[:n, :n].clone()
            del kernel  # one matrix of so many items at a time
            test, validation = points(chosen.test, chosen.validation)
            to_test = torch.cat(
                [_gaussian(euclidean(block, test), width).mean(1) for block in validation.split(BLOCK_ROWS)]
            )
            null = kernel_null(own, to_test, _gaussian(pairwise(chosen.validation), width), generator)
        return {
            "mmd2": with_null(
                value,
                error,
                null,
                f"{n} held-out items and {n} samples, {sets.space.words}",
                f"{HALVINGS} random halvings of {2 * n} validation items",
            )
        }
