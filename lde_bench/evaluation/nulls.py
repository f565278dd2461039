"""What a measure gives of real items that are taken for samples: its null.

Validation items are real, and neither trained on nor tested on. Set against the same test items as the samples, they
show what a perfect model would score, whatever sets training, validation and test items apart. A null is for one more
set of real items: it counts both the chance in that set and that in the validation items it is known from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lde_bench.evaluation.sample_measures import MINIMUM_ROWS, Measure

#: Random halvings of the validation items behind a null: of a mean, whose two halves lie alike far off, 20 bound 95 %.
HALVINGS = 20

#: Photographs or persons that validation items are to come from, where they come from such: fewer are no fair draw.
NULL_GROUPS = 10

#: Draws behind the null of a mean.
DRAWS = 999


@dataclass(frozen=True)
class Null:
    """What real items give on average, and the bounds of the central 95 %."""

    mean: float
    low: float
    high: float

    def within(self, least: float, most: float) -> Null:
        """The null of a figure that can be neither below `least` nor above `most`."""
        return self.under(lambda value: min(max(value, least), most))

    def under(self, change: Callable[[float], float]) -> Null:
        """The null of the figure that `change`, which grows, makes of this one."""
        return Null(change(self.mean), change(self.low), change(self.high))


def halvings(n: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """The places of both halves of 2 n items, `count` times at random: [count, 2, n]."""
    return np.stack([generator.permutation(2 * n).reshape(2, n) for _ in range(count)])


def null_of_halves(draws: Sequence[Sequence[float]] | np.ndarray) -> Null:
    """The null of a figure of n items, of what it gives of both halves of 2 n validation items, halved P times: [P, 2].

    Each half is a set of n real items, but halves of two halvings share items and spread too little. Let v be the
    variance of the figure over new sets, and s^2 that of all halves about their mean. The two of one halving share
    nothing, so that half their mean squared difference is v; the mean of all halves is off by v - s^2; a new set thus
    lies off it by 2 v - s^2 = s^2 (1 - 2 r), with r the correlation of the two. Of a mean over items r is -1 and the
    spread of the halves is a third of that (the finite population of W. Cochran, "Sampling Techniques", 3rd edition,
    1977, section 2.3); of a figure of pairs of items r is nearer to 0.
    """
    draws = np.asarray(draws, dtype=np.float64)
    mean = draws.mean()
    off = draws - mean
    spread = np.square(off).mean()
    correlation = np.clip(off.prod(1).mean() / spread, -1, 0) if spread > 0 else 0.0
    low, high = mean + np.sqrt(1 - 2 * correlation) * _bounds(off.ravel())
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
        least = (
            f"{2 * MINIMUM_ROWS} validation items, of {NULL_GROUPS} photographs or persons where they come from such"
        )
        return Measure(value, error, detail=f"{detail}; no null: it takes {least}")
    return Measure(value, error, null.mean, null.low, null.high, f"{detail}; null: {how}")
