"""How often samples are taken for each class: the histogram of a classifier's predictions against that of real items.

S. Santurkar, L. Schmidt, A. Mądry, "A Classification-Based Study of Covariate Shift in GAN Distributions", ICML 2018,
arXiv 1711.00970. Dropped and favoured modes show here. The same classifier looks at both sets, so that its own mistakes
weigh on both. The test of the two histograms is K. Pearson's chi-square of homogeneity (Philosophical Magazine, 1900).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from scipy.stats import chi2, chi2_contingency

from lde_bench.errors import InputError
from lde_bench.evaluation.nulls import HALVINGS, Null, halvings, null_of_halves, with_null
from lde_bench.evaluation.sample_measures import (
    Figure,
    Measure,
    SampleMetric,
    SampleSets,
    mean_and_error,
    subset,
)

#: Samples that are classified.
ROWS = 10_000


def class_shift(*, real: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    """The total variation distance between two histograms of classes, in [0, 1], and its standard error.

    It is half the sum of the differences between shares: the share of items that would have to change their class. Of
    two sets of one distribution it is above 0, the more so the smaller they are. The error is that of the items' own
    influence; it is too small where the histograms hardly differ.

    Args:
        real: classes of real items, int64 [n], from 0 up.
        generated: classes of generated items, int64 [m].

    Raises:
        InputError: a set has fewer than 2 items, or is not whole numbers [n] from 0 up.
    """
    table = _table(real, generated)
    shares = table / table.sum(1, keepdims=True)  # [2, C]
    signs = np.sign(shares[1] - shares[0]) / 2  # [C]
    (there, there_error), (here, here_error) = (mean_and_error(signs[classes]) for classes in (real, generated))
    return here - there, float(np.hypot(here_error, there_error))


def class_chi_square(*, real: np.ndarray, generated: np.ndarray) -> tuple[float, int, float]:
    """Pearson's chi-square of two histograms of classes, its degrees of freedom, and its p-value.

    The p-value is how often two sets of one distribution would differ as much or more; classes in neither do not count.

    Args:
        real: classes of real items, int64 [n], from 0 up.
        generated: classes of generated items, int64 [m].

    Raises:
        InputError: see `class_shift`.
    """
    table = _table(real, generated)
    found = chi2_contingency(table[:, table.any(0)], correction=False)
    return float(found.statistic), int(found.dof), float(found.pvalue)


def _table(real: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """How many items of each class: int64 [2, C], the real ones first."""
    for name, classes in {"real": real, "generated": generated}.items():
        if classes.ndim != 1 or len(classes) < 2 or classes.dtype.kind not in "iu" or classes.min() < 0:
            raise InputError(
                f"class histogram: the array '{name}', {classes.dtype} {list(classes.shape)}, holds no classes; give "
                "two or more whole numbers from 0 up, one for each item."
            )
    width = 1 + int(max(real.max(), generated.max()))
    return np.stack([np.bincount(classes, minlength=width) for classes in (real, generated)])


class ClassHistogram(SampleMetric):
    """`class_shift` and `class_chi_square` of samples against held-out items; in a space with a classifier only."""

    name = "class-histogram"
    summary = "histogram of a classifier's predictions against that of real items, and Pearson's chi-square test of it"
    source = "Santurkar, Schmidt and Mądry 2018, arXiv 1711.00970; Pearson 1900"
    bibtex = ("santurkar2018classification", "pearson1900criterion")
    place = 8
    figures: ClassVar[dict[str, Figure]] = {
        "class_shift": Figure(
            "class shift",
            "null",
            meaning="share of samples that would have to be of another class; below, nearer to the held-out items than "
            "new real ones; above, classes lost or favoured",
        ),
        "class_chi2": Figure(
            "class chi-square",
            "",
            meaning="Pearson's statistic of the same histograms; its null is that of two sets of one distribution",
            in_table=False,
        ),
    }

    def measure(self, sets: SampleSets) -> dict[str, Measure]:
        test = sets.space.classes(sets.points("test"))
        if test is None:
            return {}
        samples = _classes(sets, "samples")
        n, generator = min(ROWS, len(samples)), sets.generator(self.name)
        null, how = None, ""
        if sets.null_items is not None:
            n = min(n, len(sets.null_items) // 2)
            null = _null(test, subset(_classes(sets, "validation"), 2 * n, generator), generator)
            how = f"both halves of {HALVINGS} random halvings of {2 * n} validation items"
        samples = subset(samples, n, generator)
        statistic, freedom, p = class_chi_square(real=test, generated=samples)
        low, high = np.nan_to_num(chi2.ppf([0.025, 0.975], freedom))  # where all are of one class nothing can differ
        seen = f"classes of {len(test)} held-out items and {n} samples, by {sets.space.words}"
        test_words = f"chi-square {statistic:.1f} with {freedom} degrees of freedom, p = {p:.2g}"
        return {
            "class_shift": with_null(*class_shift(real=test, generated=samples), null, f"{seen}; {test_words}", how),
            "class_chi2": Measure(statistic, None, freedom, float(low), float(high), f"{seen}; {test_words}"),
        }


def _classes(sets: SampleSets, name: Literal["validation", "samples"]) -> np.ndarray:
    classes = sets.space.classes(sets.points(name))
    assert classes is not None
    return classes


def _null(test: np.ndarray, validation: np.ndarray, generator: np.random.Generator) -> Null:
    """What half as many real items as `validation`, classes [2 n], give against the same `test`."""
    n = len(validation) // 2
    null = null_of_halves(
        [
            [class_shift(real=test, generated=validation[half])[0] for half in halving]
            for halving in halvings(n, HALVINGS, generator)
        ]
    )
    return null.within(0.0, 1.0)
