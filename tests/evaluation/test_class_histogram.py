"""Histograms of predicted classes: closed forms, the law of the chi-square, errors, nulls, and a mode that is lost."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom, chi2

from lde_bench.errors import InputError
from lde_bench.evaluation.class_histogram import class_chi_square, class_shift
from lde_bench.evaluation.sample_measures import Measure, SampleSets, measure_samples
from lde_bench.features.pixels import Pixels

SHARES = np.array([0.1, 0.2, 0.3, 0.4])


class Told(Pixels):
    """A space whose classifier reads the class from the first number of an item."""

    name = label = words = "told"

    def classes(self, features):
        return features[:, 0].astype(np.int64)


def drawn(rng: np.random.Generator, n: int, shares: np.ndarray = SHARES) -> np.ndarray:
    return rng.choice(len(shares), n, p=shares / shares.sum())


def sets_of(seed: int, n: int, shares: np.ndarray = SHARES, **given: object) -> SampleSets:
    rng = np.random.default_rng([seed, 3])
    rows = {
        name: np.stack([drawn(rng, size, mine), rng.normal(size=size)], 1)
        for name, size, mine in (
            ("train", 20, SHARES),
            ("validation", 2 * n, SHARES),
            ("test", n, SHARES),
            ("samples", n, shares),
        )
    }
    return SampleSets(**{**rows, "seed": seed, "space": Told(), **given})


def measured(sets: SampleSets) -> dict[str, Measure]:
    return measure_samples(sets, ["class-histogram"])


def test_both_figures_by_their_definitions():
    rng = np.random.default_rng(0)
    real, generated = drawn(rng, 50), drawn(rng, 30, SHARES[::-1]) + 2
    mine, theirs = Counter(real.tolist()), Counter(generated.tolist())
    classes = sorted(mine | theirs)
    assert class_shift(real=real, generated=generated)[0] == pytest.approx(
        sum(abs(mine[c] / 50 - theirs[c] / 30) for c in classes) / 2, rel=1e-12
    )
    expected = {(n, c): n * (mine[c] + theirs[c]) / 80 for n in (50, 30) for c in classes}
    statistic = sum(
        (count[c] - expected[n, c]) ** 2 / expected[n, c] for n, count in ((50, mine), (30, theirs)) for c in classes
    )
    found = class_chi_square(real=real, generated=generated)
    assert found == pytest.approx((statistic, len(classes) - 1, chi2.sf(statistic, len(classes) - 1)), rel=1e-9)


def test_equal_histograms_do_not_differ_and_those_without_a_common_class_wholly():
    classes = np.array([0, 0, 2, 5])
    assert class_shift(real=classes, generated=np.tile(classes[::-1], 3)) == (0, 0)
    assert class_chi_square(real=classes, generated=np.tile(classes, 3)) == (0, 2, 1)
    assert class_shift(real=classes, generated=classes + 10) == (1, 0)
    assert class_chi_square(real=classes[:2], generated=classes[:2]) == (0, 0, 1)  # one class, of which nothing differs


@pytest.mark.slow
def test_the_p_value_is_uniform_over_sets_of_one_distribution():
    rng = np.random.default_rng(1)
    found = [class_chi_square(real=drawn(rng, 400), generated=drawn(rng, 300))[2] for _ in range(400)]
    for level in (0.05, 0.5):
        below = sum(p < level for p in found)
        assert binom.ppf(1e-4, 400, level) <= below <= binom.ppf(1 - 1e-4, 400, level), level


def test_the_error_is_the_spread_over_seeds_where_histograms_differ():
    rng = np.random.default_rng(2)
    draws = np.array([class_shift(real=drawn(rng, 200), generated=drawn(rng, 100, SHARES[::-1])) for _ in range(300)])
    assert draws[:, 0].mean() == pytest.approx(0.4, abs=4 * draws[:, 0].std() / math.sqrt(300) + 0.01)
    assert draws[:, 1].mean() == pytest.approx(draws[:, 0].std(ddof=1), rel=0.2)


@pytest.mark.slow
def test_identity_one_distribution_is_inside_its_nulls_and_a_lost_class_far_outside():
    draws = [measured(sets_of(seed, 300)) for seed in range(20)]
    for figure in draws[0]:
        outside = sum(not draw[figure].null_low <= draw[figure].value <= draw[figure].null_high for draw in draws)
        assert outside <= binom.ppf(0.9999, len(draws), 0.1), figure
    lost = measured(sets_of(0, 300, np.array([0.1, 0.0, 0.3, 0.4])))
    for figure, measure in lost.items():
        assert measure.value > measure.null_high, figure
    assert lost["class_shift"].value == pytest.approx(0.2, abs=0.08)
    assert "p = " in lost["class_shift"].detail
    assert measured(sets_of(0, 300)) == draws[0] != measured(sets_of(1, 300))


def test_a_space_without_a_classifier_has_no_histogram():
    assert measured(sets_of(0, 40, space=Pixels())) == {}


@pytest.mark.parametrize("classes", [np.zeros(1, int), np.zeros(4), np.zeros((4, 1), int), np.array([0, -1])])
def test_what_are_no_classes_is_refused_in_one_sentence(classes):
    for compare in (class_shift, class_chi_square):
        with pytest.raises(InputError, match=r"'generated', .*, holds no classes; give two or more whole numbers"):
            compare(real=np.zeros(4, int), generated=classes)


def test_training_items_are_no_part_of_the_histograms_of_classes():
    assert measured(sets_of(0, 40, train=np.zeros((20, 2)))) == measured(sets_of(0, 40))
