"""Measures of a space of features, and sharpness: closed forms, invariances, bias, errors and nulls."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from scipy.stats import binom, special_ortho_group

from lde_bench.errors import InputError
from lde_bench.evaluation.frechet import frechet_distance, gaussian_distance
from lde_bench.evaluation.kernel_distance import kernel_distance
from lde_bench.evaluation.neighbours import nearest_distances
from lde_bench.evaluation.sample_measures import Measure, SampleSets, measure_samples
from lde_bench.evaluation.sharpness import laplacian_variances, ratio_of_means
from lde_bench.features.base import FeatureSpace
from lde_bench.features.pixels import Pixels

SHAPE = (3, 8, 8)
METRICS = ["frechet", "kernel-distance", "sharpness"]


class Own(Pixels):
    """A space of features that are the rows."""

    name = label = words = "own"


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def sets_of(seed: int, n: int, width: int, *, change=lambda rows: rows, **given: object) -> SampleSets:
    """Four sets of a unit Gaussian, the samples changed."""
    rng = np.random.default_rng([seed, 5])
    train, test, samples, validation = (normal(rng, size, width) for size in (n, n, n, 2 * n))
    real = {"train": train, "test": test, "validation": validation}
    return SampleSets(**{**real, "samples": change(samples), "seed": seed, "space": Own(), **given})


def measure(metric: str, sets: SampleSets) -> dict[str, Measure]:
    return measure_samples(sets, [metric])


def inside(measure: Measure) -> bool:
    return measure.null_low <= measure.value <= measure.null_high


# All three


def images(seed: int, n: int, *, change=lambda rows: rows) -> SampleSets:
    return sets_of(seed, n, math.prod(SHAPE), change=change, image_shape=SHAPE)


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_identity_one_distribution_is_inside_its_null_in_19_of_20_cases(metric):
    draws = [measure(metric, sets_of(seed, 60, 27, image_shape=(1, 3, 9))) for seed in range(20)]
    for figure in draws[0]:
        # 0.07 allows for the values of one seed that are not independent of the null's own draws.
        assert sum(not inside(draw[figure]) for draw in draws) <= binom.ppf(0.9999, len(draws), 0.07), figure


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_seed_the_same_gives_the_same(metric):
    sets = sets_of(0, 60, 27, image_shape=(1, 3, 9))
    first, again, other = (measure(metric, dataclasses.replace(sets, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_on_pixels_and_on_rows_that_are_no_images_they_say_nothing():
    pixels = sets_of(0, 30, 12, space=Pixels())
    assert [measure(metric, pixels) for metric in METRICS] == [{}, {}, {}]
    assert measure("sharpness", sets_of(0, 30, 12)) == {}
    assert measure("sharpness", sets_of(0, 30, 12, image_shape=(3, 2, 2))) == {}


# The space


class Doubled(FeatureSpace):
    """Everything twice as far apart; counts what it is asked for."""

    name = label = words = "doubled"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def features(self, rows, image_shape):
        self.asked.append(len(rows))
        return 2 * rows


def test_every_distance_is_one_of_the_space_and_each_set_is_looked_at_once():
    names = ["precision-recall", "density-coverage", "memorisation", "mmd"]
    space = Doubled()
    plain, doubled = sets_of(0, 40, 5, space=Pixels()), sets_of(0, 40, 5, space=space)
    mine, theirs = measure_samples(doubled, names), measure_samples(plain, names)
    assert space.asked == [40, 80, 40, 40]
    assert mine["memorisation_gap"].value == pytest.approx(2 * theirs["memorisation_gap"].value, rel=1e-5)
    for figure in ("precision", "recall", "density", "coverage"):  # of ranks of distances
        assert mine[figure].value == theirs[figure].value
    assert "doubled" in mine["precision"].detail
    assert "raw pixels" in theirs["precision"].detail
    for figure, one in mine.items():
        assert space.words in one.detail, figure


def test_the_known_fault_of_the_classifier_is_mixed_from_items_and_not_from_features():
    class Squared(Doubled):
        def features(self, rows, image_shape):
            self.asked.append(rows)
            return rows**2

    space = Squared()
    sets = sets_of(0, 40, 5, space=space)
    measure("classifier-two-sample", sets)
    _, _, mixed, _ = space.asked  # of test items, validation items, those with the fault, and samples
    pairs = (0.9 * sets.validation[:, None] + 0.1 * sets.validation).reshape(-1, 5)
    assert nearest_distances(mixed, pairs).max() < 1e-5
    assert nearest_distances(mixed, sets.validation).min() > 1e-3


def test_images_of_another_shape_than_the_rows_are_refused():
    with pytest.raises(InputError, match=r"rows of 12 numbers are no images \(3, 8, 8\)"):
        sets_of(0, 30, 12, image_shape=SHAPE)


# The Frechet distance


def gaussian(rng: np.random.Generator, width: int) -> tuple[np.ndarray, np.ndarray]:
    factor = rng.normal(size=(width, width))
    return rng.normal(size=width), factor @ factor.T


def tensors(*gaussians: tuple[np.ndarray, np.ndarray]) -> list[tuple[torch.Tensor, ...]]:
    return [tuple(map(torch.from_numpy, each)) for each in gaussians]


def test_the_frechet_distance_of_gaussians_with_scaled_unit_covariances_has_its_closed_form():
    mean, other = np.array([1.0, 2, 3]), np.array([0.0, 0, 5])
    one, two = (mean, 4 * np.eye(3)), (other, 9 * np.eye(3))
    assert gaussian_distance(*tensors(one, two)) == pytest.approx(1 + 4 + 4 + 3 * (2 - 3) ** 2, rel=1e-12)


def test_the_frechet_distance_agrees_with_the_general_matrix_root_also_where_covariances_do_not_commute():
    rng = np.random.default_rng(0)
    one, two = gaussian(rng, 7), gaussian(rng, 7)
    root = sqrtm(one[1] @ two[1]).real
    expected = np.square(one[0] - two[0]).sum() + np.trace(one[1] + two[1] - 2 * root)
    assert gaussian_distance(*tensors(one, two)) == pytest.approx(expected, rel=1e-9)
    assert gaussian_distance(*tensors(two, one)) == pytest.approx(expected, rel=1e-9)


def test_the_frechet_distance_is_not_changed_by_moving_and_turning_both_sets_and_scales_as_a_square():
    rng = np.random.default_rng(1)
    real, generated = rng.normal(size=(50, 6)), 1.5 * rng.normal(size=(40, 6)) + 1
    plain = frechet_distance(real=real, generated=generated)
    turn = special_ortho_group.rvs(6, random_state=2)
    moved = [rows @ turn + 3 for rows in (real, generated)]
    assert frechet_distance(real=moved[0], generated=moved[1]) == pytest.approx(plain, rel=1e-9)
    assert frechet_distance(real=3 * real, generated=3 * generated) == pytest.approx(9 * plain, rel=1e-9)


def test_identity_a_set_has_no_distance_to_itself_with_fewer_rows_than_features_too():
    rows = np.random.default_rng(2).normal(size=(10, 30))
    assert frechet_distance(real=rows, generated=rows[::-1].copy()) == pytest.approx(0, abs=1e-5)


def test_the_measure_is_the_plain_distance_of_all_items_though_it_adds_up_groups():
    sets = sets_of(3, 47, 6, change=lambda rows: rows + 0.5)
    figures = measure("frechet", sets)
    plain = frechet_distance(real=sets.test, generated=sets.samples)
    assert figures["frechet"].value == pytest.approx(plain, rel=1e-6)


@pytest.mark.slow
def test_the_frechet_distance_is_biased_in_n_and_its_limit_is_not_and_the_errors_are_the_spread_over_seeds():
    n, width, seeds = 200, 32, 20
    truth = width * (0.2**2 + 0.1**2)
    draws = [measure("frechet", sets_of(seed, n, width, change=lambda rows: 1.1 * rows + 0.2)) for seed in range(seeds)]
    mean = {figure: np.mean([draw[figure].value for draw in draws]) for figure in draws[0]}
    spread = {figure: np.std([draw[figure].value for draw in draws], ddof=1) for figure in draws[0]}
    assert mean["frechet"] > truth + 1.0
    # Twice the bias at half the items, up to terms of higher order.
    assert mean["frechet_half"] - truth == pytest.approx(2 * (mean["frechet"] - truth), rel=0.15)
    left = mean["frechet_limit"] - truth
    assert abs(left) < 0.1 * (mean["frechet"] - truth) + 4 * spread["frechet_limit"] / math.sqrt(seeds)
    for figure in draws[0]:
        told = np.mean([draw[figure].standard_error for draw in draws])
        assert 0.7 < told / spread[figure] < 2, figure


# The kernel distance


def test_the_kernel_distance_is_its_definition():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(9, 4)), rng.normal(size=(7, 4)) + 1

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / 4 + 1) ** 3

    among_x = np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    among_y = np.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    across = np.mean([kernel(a, b) for a in x for b in y])
    assert kernel_distance(real=x, generated=y)[0] == pytest.approx(among_x + among_y - 2 * across, rel=1e-12)


@pytest.mark.slow
def test_the_kernel_distance_is_unbiased_and_its_error_is_the_spread_over_seeds():
    seeds, width, shift = 400, 5, 0.5
    rng = np.random.default_rng(5)

    def draws(mean: float) -> np.ndarray:
        pairs = ((normal(rng, 40, width), normal(rng, 40, width) + np.float32(mean)) for _ in range(seeds))
        return np.array([kernel_distance(real=x, generated=y) for x, y in pairs])

    same, other = draws(0.0), draws(shift)
    assert abs(same[:, 0].mean()) < 4 * same[:, 0].std(ddof=1) / math.sqrt(seeds)
    assert (same[:, 0] < 0).any()
    assert other[:, 1].mean() == pytest.approx(other[:, 0].std(ddof=1), rel=0.25)
    assert other[:, 0].mean() > 10 * other[:, 0].std(ddof=1) / math.sqrt(seeds)


# Sharpness


def test_the_variance_of_the_laplacian_by_hand():
    image = np.zeros((1, 3, 4))
    image[0, 1, 1] = 1  # at its own place -4, at its neighbour 1
    assert laplacian_variances(image.reshape(1, -1), (1, 3, 4)) == pytest.approx([np.var([-4, 1])])
    colour = np.stack([image[0], 0 * image[0], 2 * image[0]])
    assert laplacian_variances(colour.reshape(1, -1), (3, 3, 4)) == pytest.approx([np.var([-4, 1])])


def test_direction_blur_is_far_below_its_null_and_noise_far_above():
    def smooth(rows: np.ndarray, width: float) -> np.ndarray:
        return gaussian_filter(rows.reshape(-1, *SHAPE), (0, 0, width, width)).reshape(rows.shape)

    sharp, blurred, noisy = (
        measure("sharpness", images(0, 80, change=change))["sharpness"]
        for change in (lambda rows: rows, lambda rows: smooth(rows, 1), lambda rows: 1.5 * rows)
    )
    assert sharp.value == pytest.approx(1, abs=4 * sharp.standard_error)
    assert blurred.value < 0.1 < blurred.null_low
    assert noisy.value == pytest.approx(1.5**2 * sharp.value, rel=1e-5)
    assert noisy.value > noisy.null_high


def test_the_error_of_a_ratio_is_its_spread_over_seeds():
    rng = np.random.default_rng(6)
    draws = np.array([ratio_of_means(rng.gamma(2, size=50), 2 * rng.gamma(2, size=80)) for _ in range(1000)])
    assert draws[:, 0].mean() == pytest.approx(0.5, rel=0.02)
    assert draws[:, 1].mean() == pytest.approx(draws[:, 0].std(ddof=1), rel=0.1)


def test_images_of_one_colour_have_no_sharpness_to_compare_with():
    flat = np.ones((30, 27), dtype=np.float32)
    assert measure("sharpness", sets_of(0, 30, 27, test=flat, image_shape=(3, 3, 3))) == {}
