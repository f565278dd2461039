"""What a measure gives of real items that are taken for samples: its null.

Validation items are real, and neither trained on nor tested on. Set against the same test items as the samples, they
show what a perfect model would score, whatever sets training, validation and test items apart. A null is for one more
set of real items: it counts both the chance in that set and that in the validation items it is known from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lde_bench.evaluation.sample_measures import MINIMUM_ROWS, Measure

#: Random halves of the validation items behind a null: the smallest and the largest of 39 hold a fortieth draw in 95 %
#: of cases.
HALVES = 39

#: Draws behind the null of a mean.
DRAWS = 999

#: How much further from the mean of all halves a new set lies than one of the halves does; see `null_of_halves`.
STRETCH = math.sqrt(3)


@dataclass(frozen=True)
class Null:
    """What real items give on average, and the bounds of the central 95 %."""

    mean: float
    low: float
    high: float

    def under(self, change: Callable[[float], float]) -> Null:
        """The null of the figure that `change`, which grows, makes of this one."""
        return Null(change(self.mean), change(self.low), change(self.high))


def null_of_halves(draws: Sequence[float] | np.ndarray) -> Null:
    """The null of a figure of n items, of what it gives of random halves [P] of 2 n validation items.

    Each half is a set of n real items, but two of them have half their items in common. Of a figure that is a mean over
    its items, with variance v, halves therefore spread about their mean with v / 2, and a new set, which shares nothing
    with them, with v + v / 2: three times as much (the correction for a finite population, W. Cochran, "Sampling
    Techniques", 3rd edition, 1977, section 2.3, and the error of the mean itself). Of figures that depend on pairs of
    items two halves share less, and the null is on the wide side.
    """
    draws = np.asarray(draws, dtype=np.float64)
    mean = draws.mean()
    low, high = mean + STRETCH * (_bounds(draws) - mean)
    return Null(float(mean), float(low), float(high))


def null_of_means(values: np.ndarray, count: int, generator: np.random.Generator) -> Null:
    """The null of the mean of `count` new values, of those of all validation items [m], by the bootstrap of both."""
    new, again = (generator.choice(values, (DRAWS, size)).mean(1) for size in (count, len(values)))
    mean = values.mean()
    low, high = mean + _bounds(new - again)
    return Null(float(mean), float(low), float(high))


def _bounds(draws: np.ndarray) -> np.ndarray:
    """Between which one more draw falls in 95 % of cases, [2]."""
    return np.quantile(draws, [0.025, 0.975], method="weibull")


def with_null(value: float, error: float, null: Null | None, detail: str, how: str) -> Measure:
    """A figure with its null, which was found in the way `how` says; None where validation items were too few."""
    if null is None:
        return Measure(value, error, detail=f"{detail}; no null: it takes {2 * MINIMUM_ROWS} validation items")
    return Measure(value, error, null.mean, null.low, null.high, f"{detail}; null: {how}")
