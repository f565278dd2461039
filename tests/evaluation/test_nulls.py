"""Nulls: how often new real items fall outside them, closed forms, and what is told where there is none."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom

import lde_bench as lb
from lde_bench.arrays import first_rows
from lde_bench.evaluation import mmd
from lde_bench.evaluation.mmd import kernel_null, mmd2, mmd2_with_null
from lde_bench.evaluation.nulls import HALVINGS, Null, null_of_halves, null_of_means
from lde_bench.evaluation.sample_measures import MINIMUM_ROWS, Measure, SampleSets, measure_samples, sample_figures
from lde_bench.features.pixels import Pixels
from lde_bench.generators import create_generator


class Features(Pixels):
    """A space of features, which are the rows."""

    name = label = words = "features"


def outside(value: float, null: Null) -> bool:
    return not null.low <= value <= null.high


def is_share(count: int, of: int, share: float = 0.05) -> bool:
    return bool(binom.ppf(1e-4, of, share) <= count <= binom.ppf(1 - 1e-4, of, share))


def skewed(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.gamma(4.0, size=shape)


@pytest.mark.parametrize(("figure", "share"), [(np.mean, 0.05), (lambda x, axis: x.mean(axis) ** 2, 0.07)])
def test_a_new_set_falls_outside_the_null_of_halves_in_one_of_twenty_cases_and_not_of_plain_quantiles(figure, share):
    rng, n, repeats = np.random.default_rng(0), 20, 400
    pools, new = rng.normal(size=(repeats, 2 * n)), figure(rng.normal(size=(repeats, n)), 1)
    halved = [rng.permuted(pools, axis=1).reshape(repeats, 2, n) for _ in range(HALVINGS)]
    draws = np.stack([figure(halves, 2) for halves in halved], 1)  # [repeats, HALVINGS, 2]
    found = sum(outside(value, null_of_halves(each)) for value, each in zip(new, draws, strict=True))
    # A figure of pairs has a skewed null, of which so few draws know the tail less well.
    assert is_share(found, repeats, share)
    low, high = np.quantile(draws.reshape(repeats, -1), [0.025, 0.975], axis=1)
    assert not is_share(int(((new < low) | (new > high)).sum()), repeats, share)


def test_the_mean_of_new_values_falls_outside_its_null_in_one_of_twenty_cases():
    rng, repeats = np.random.default_rng(1), 100
    found = sum(
        outside(skewed(rng, 60).mean(), null_of_means(skewed(rng, 50), 60, rng).under(lambda mean: mean))
        for _ in range(repeats)
    )
    assert is_share(found, repeats)


def test_a_null_under_a_growing_change_is_that_of_the_changed_figure():
    assert Null(1.0, 0.0, 4.0).under(lambda x: 2 * x - 1) == Null(1.0, -1.0, 7.0)


def test_the_null_of_a_kernel_is_mmd_between_the_test_items_and_halves(monkeypatch):
    monkeypatch.setattr(mmd, "HALVINGS", 1)
    rng, n, width = np.random.default_rng(2), 15, 1.7
    test, pool = rng.normal(size=(n, 3)), rng.normal(size=(2 * n, 3))

    def kernel(x: np.ndarray, y: np.ndarray):
        return mmd.torch.from_numpy(np.exp(-np.square(x[:, None] - y).sum(2) / (2 * width**2)))

    null = kernel_null(kernel(test, test), kernel(pool, test).mean(1), kernel(pool, pool), np.random.default_rng(3))
    halves = np.split(pool[np.random.default_rng(3).permutation(2 * n)], 2)
    expected = np.mean([mmd2(real=test, generated=half, bandwidth=width)[0] for half in halves])
    assert null.mean == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    data = lb.load_dataset("digits8x8")
    return np.concatenate([data.train, data.validation, data.test])


def measured_row(digits: np.ndarray, seed: int, shift: float = 0.0) -> dict[str, Measure]:
    """The measures of the row `validation-images` after a random split of the digits."""
    rows = np.random.default_rng([seed, 9]).permutation(digits)
    test, validation, train = np.split(rows, [80, 320])
    model = create_generator("validation-images", (8, 8)).fit(train, validation, steps=1)
    sets = SampleSets(
        train=train,
        test=np.clip(test - np.float32(shift), 0, 1),
        samples=model.sample(80, seed=seed),
        seed=seed,
        validation=first_rows(validation, len(validation) - model.used_validation),
        space=Features(),
        image_shape=(1, 8, 8),
    )
    return measure_samples(sets)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_new_real_images_are_inside_every_null_in_19_of_20_cases_also_where_test_images_differ(digits, shift):
    draws = [measured_row(digits, seed, shift) for seed in range(40)]
    found: Counter[str] = Counter()
    for draw in draws:
        for name, measure in draw.items():
            assert measure.null is not None
            assert measure.null_low is not None
            assert measure.null_high is not None
            found[name] += outside(measure.value, Null(measure.null, measure.null_low, measure.null_high))
    del found["c2st_power"]
    print(dict(found))
    assert len(found) == 12
    for name, count in found.items():
        # 0.07 as above: of figures of pairs.
        assert count <= binom.ppf(0.999, len(draws), 0.07), name


def test_of_too_few_validation_items_there_is_no_null_and_the_measure_says_so():
    rng = np.random.default_rng(4)
    train, test, samples = (rng.random((40, 12), np.float32) for _ in range(3))
    for validation in (None, rng.random((2 * MINIMUM_ROWS - 1, 12), np.float32)):
        sets = SampleSets(train, test, samples, 0, validation, space=Features(), image_shape=(1, 3, 4))
        figures = measure_samples(sets)
        # Those of a model, or of a space with a classifier, do not apply.
        missing = {"c2st_power", "reconstruction_mse", "code_nats", "ais_nats", "ais_gap", "ais_sigma", "iwae_nats"}
        assert set(figures) == set(sample_figures()) - missing - {"class_shift", "class_chi2"}
        for figure in figures.values():
            assert (figure.null, figure.null_low, figure.null_high, figure.distance_from_null) == (None,) * 4
            assert figure.detail.endswith(
                "no null: it takes 40 validation items, of 10 photographs or persons where they come from such"
            )


@pytest.mark.parametrize(("value", "distance"), [(4.0, 1.0), (2.5, 0.5), (0.0, 1.0), (-1.0, 2.0), (1.0, 0.0)])
def test_the_distance_from_the_null_is_1_at_either_end_of_a_lopsided_band(value, distance):
    assert Measure(value, null=1.0, null_low=0.0, null_high=4.0).distance_from_null == distance


def test_a_band_of_no_width_holds_its_null_alone():
    assert Measure(1.0, null=1.0, null_low=1.0, null_high=1.0).distance_from_null == 0.0


def test_sets_of_one_distribution_are_outside_the_null_of_permutations_in_one_of_twenty_cases():
    rng, repeats = np.random.default_rng(6), 100
    draws = [
        mmd2_with_null(real=rng.normal(size=(30, 2)), generated=rng.normal(size=(30, 2)), generator=rng)
        for _ in range(repeats)
    ]
    assert is_share(sum(not draw.null_low <= draw.value <= draw.null_high for draw in draws), repeats)
