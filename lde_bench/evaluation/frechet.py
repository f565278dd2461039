"""The Frechet distance between the features of samples and of real items, each taken for a Gaussian.

D. Dowson and B. Landau, "The Fréchet distance between multivariate normal distributions", J. Multivariate Analysis
1982; for images M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter 2017, arXiv 1706.08500, equation 6.
Theirs is on features of Inception and is called FID; this one is on others, and compares with no FID.

It is biased: of two sets of one distribution it is above 0, by an amount that falls as 1 / n and that differs between
models. So it is also told at half the items, and extrapolated to all there could be, as in M. Chong and D. Forsyth
2020, arXiv 1911.07023.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lde_bench.evaluation.neighbours import points
from lde_bench.evaluation.nulls import HALVINGS, halvings, null_of_halves, with_null
from lde_bench.evaluation.sample_measures import Figure, Measure, SampleMetric, SampleSets, check_sets

#: Rows of each set: so many are hardly biased.
ROWS = 10_000

#: Random groups of each set, whose moments add up: for halves, for the null, and for the jackknife.
GROUPS = 20


def frechet_distance(*, real: np.ndarray, generated: np.ndarray) -> float:
    """|m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)) of the means and covariances of two sets, in squared units of the rows.

    Args:
        real: [n, F].
        generated: [m, F].

    Raises:
        InputError: a set has fewer than 2 rows, is not [n, F], holds NaN, or the widths differ.
    """
    real, generated = check_sets(least=2, real=real, generated=generated).values()
    one, other = (_Moments(rows, 1) for rows in points(real, generated))
    return gaussian_distance(one.gaussian([0]), other.gaussian([0]))


#: Mean [F] and covariance [F, F] in float64.
_Gaussian = tuple[Tensor, Tensor]


def gaussian_distance(one: _Gaussian, other: _Gaussian) -> float:
    """The squared Frechet distance between Gaussians, each a mean [F] and a covariance [F, F] in float64."""
    (mean, covariance), (other_mean, other_covariance) = one, other
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    # S S' has the eigenvalues of S^(1/2) S' S^(1/2), which is symmetric, so that no complex root is ever taken.
    shared = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
    return ((mean - other_mean).square().sum() + covariance.trace() + other_covariance.trace() - 2 * shared).item()


class _Moments:
    """First and second moments of equal parts of rows [n, F], float64 and near 0, from which follow those of any parts
    together.
    """

    def __init__(self, rows: Tensor, groups: int) -> None:
        parts = rows.tensor_split(groups)
        self.counts = torch.tensor([len(part) for part in parts])  # [G]
        self.sums = torch.stack([part.sum(0) for part in parts])  # [G, F]
        self.products = torch.stack([part.T @ part for part in parts])  # [G, F, F]

    def gaussian(self, groups: list[int]) -> _Gaussian:
        """Mean [F] and covariance [F, F] of these groups together."""
        n = self.counts[groups].sum()
        mean = self.sums[groups].sum(0) / n
        return mean, (self.products[groups].sum(0) - n * torch.outer(mean, mean)) / (n - 1)


#: Groups of a set, in two halves.
_Halves = tuple[list[int], list[int]]


def _halves(groups: list[int]) -> _Halves:
    return groups[::2], groups[1::2]


def _without(group: int, halves: _Halves) -> _Halves:
    one, other = ([each for each in half if each != group] for half in halves)
    return one, other


def _figures(one: _Moments, ones: _Halves, other: _Moments, others: _Halves) -> dict[str, float]:
    """The distance between two sets, the mean of that between their halves, and the extrapolation in 1 / n."""

    def distance(mine: list[int], theirs: list[int]) -> tuple[float, float]:
        inverse_n = 0.5 * (1 / one.counts[mine].sum().item() + 1 / other.counts[theirs].sum().item())
        return gaussian_distance(one.gaussian(mine), other.gaussian(theirs)), inverse_n

    whole, inverse_n = distance(ones[0] + ones[1], others[0] + others[1])
    half, inverse_half = np.mean([distance(*pair) for pair in zip(ones, others, strict=True)], 0)
    slope = (half - whole) / (inverse_half - inverse_n)
    return {"frechet": whole, "frechet_half": float(half), "frechet_limit": float(whole - slope * inverse_n)}


class Frechet(SampleMetric):
    """`frechet` of samples against held-out items, at half as many, and in the limit; in a space of features only."""

    name = "frechet"
    summary = "Frechet distance between Gaussians of features, with its bias: at half the items, and extrapolated"
    source = "Dowson and Landau 1982; Heusel et al. 2017, arXiv 1706.08500; Chong and Forsyth 2020, arXiv 1911.07023"
    bibtex = ("dowson1982frechet", "heusel2017gans", "chong2020effectively")
    place = 4
    figures: ClassVar[dict[str, Figure]] = {
        "frechet": Figure(
            "Frechet distance",
            "null",
            meaning="between Gaussians of features; below, nearer to the held-out items than real ones are; above, off "
            "the data",
        ),
        "frechet_half": Figure(
            "Frechet distance, half",
            "",
            meaning="the same of half as many items: what it is higher is bias in n",
            in_table=False,
        ),
        "frechet_limit": Figure(
            "Frechet distance, n to infinity",
            "null",
            meaning="the same extrapolated to any number of items; below, by chance; above, off the data",
        ),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        if sets.in_pixels:
            return {}
        generator = sets.generator(self.name)
        chosen = sets.equal_points(ROWS, generator)
        n = len(chosen.test)
        test, samples = points(chosen.test, chosen.samples)
        real, generated = _Moments(test, GROUPS), _Moments(samples, GROUPS)
        halves = _halves(list(range(GROUPS)))
        jackknife = [
            _figures(real, rest, generated, rest) for rest in (_without(group, halves) for group in range(GROUPS))
        ]
        draws = []
        if chosen.validation is not None:
            _, validation = points(chosen.test, chosen.validation)  # shifted as the samples were
            pool = _Moments(validation, 2 * GROUPS)
            orders = halvings(GROUPS, HALVINGS, generator).reshape(2 * HALVINGS, GROUPS).tolist()
            draws = [_figures(real, halves, pool, _halves(order)) for order in orders]
        figures = {}
        for name, value in _figures(real, halves, generated, halves).items():
            spread = np.var([draw[name] for draw in jackknife])
            figures[name] = with_null(
                value,
                float(np.sqrt((GROUPS - 1) * spread)),
                null_of_halves(np.reshape([draw[name] for draw in draws], (-1, 2))) if draws else None,
                f"{n} held-out items and {n} samples, {sets.space.words}; error: jackknife over {GROUPS} groups",
                f"{HALVINGS} random halvings of {2 * n} validation items",
            )
        return figures
