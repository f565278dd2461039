"""The laws of every measure of samples: identity, symmetry, closed form, direction, seed, blocks (one suite)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import binom, norm

import lde_bench as lb
from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.evaluation.classifier_two_sample import accuracy_null, classifier_accuracy
from lde_bench.evaluation.density_coverage import density_coverage
from lde_bench.evaluation.memorisation import memorisation_gap
from lde_bench.evaluation.mmd import median_distance, mmd2
from lde_bench.evaluation.neighbours import nearest_distances
from lde_bench.evaluation.precision_recall import precision_recall
from lde_bench.evaluation.reconstruction import reconstruction_errors
from lde_bench.evaluation.sample_measures import (
    BoundedModel,
    Measure,
    SampleMetric,
    SampleSets,
    measure_samples,
    sample_figures,
    sample_metrics,
    share_error,
)
from lde_bench.features.pixels import Pixels
from lde_bench.generators.decoder_model import DecoderModel
from lde_bench.registry import LAST_PLACE, in_order


def normal(rng: np.random.Generator, *shape: int, mean: float | np.ndarray = 0.0) -> np.ndarray:
    return (rng.normal(size=shape) + mean).astype(np.float32)


def two_modes(rng: np.random.Generator, n: int, *, share: float = 0.5, width: int = 6) -> np.ndarray:
    """Unit Gaussians 20 apart, of which the second has this share of the rows."""
    rows = normal(rng, n, width)
    rows[: round(share * n), 0] += 20
    return rows


class Features(Pixels):
    """A space of features, which are the rows."""

    name = label = words = "features"


def sets_of(seed: int = 0, n: int = 200, **given: object) -> SampleSets:
    """Four sets of one distribution, where not given."""
    rng = np.random.default_rng([seed, 77])
    sizes = {"train": 2 * n, "test": n, "samples": n, "validation": 2 * n}
    plain = {name: two_modes(rng, size) for name, size in sizes.items()}
    return SampleSets(**{**plain, "seed": seed, **given})


#: Every metric of samples alone: it must have a null. Those of a model's encoder have none.
WITH_NULL = [name for name in sample_metrics() if measure_samples(sets_of(n=20), [name])]


def inside(measure: Measure) -> bool:
    return measure.null_low <= measure.value <= measure.null_high


# Every metric


def test_every_metric_is_found_by_itself_and_says_what_it_is():
    metrics = sample_metrics()
    assert {*WITH_NULL, "code-likelihood", "reconstruction"} <= set(metrics)
    assert {"classifier-two-sample", "density-coverage", "memorisation", "mmd", "precision-recall"} <= set(WITH_NULL)
    for name, metric in metrics.items():
        assert metric.name == name
        assert metric.summary
        assert metric.source
        for figure in metric.figures.values():
            assert figure.header
            assert figure.meaning


@pytest.mark.slow
def test_the_metrics_give_the_figures_they_declare_in_the_order_of_the_table():
    rng = np.random.default_rng(0)
    images = {name: normal(rng, 40, 12) for name in ("train", "test", "samples", "validation")}
    decoder = DecoderModel(
        draw=lambda n, generator: torch.randn(n, 2, generator=generator),
        log_prior=lambda z: -0.5 * z.square().sum(1),
        decode=lambda z: z.repeat(1, 6),
        device=torch.device("cpu"),
    )
    sets = sets_of(
        **images,
        bounded=BoundedModel([decoder], lambda x, codes, seed: x[:, 0], "Gaussian", images["test"], images=20),
        reconstruct=np.copy,
        code_log_prob=lambda x: x[:, 0],
        encoder="ab12",
        space=Features(),
        image_shape=(1, 3, 4),
    )
    one_by_one = [figure for name in sample_metrics() for figure in measure_samples(sets, [name])]
    # Those of classes are of a space that has a classifier.
    declared = [name for name in sample_figures() if not name.startswith("class_")]
    assert one_by_one == list(measure_samples(sets)) == declared
    assert [name for name, figure in sample_figures().items() if figure.in_table] == [
        "ais_nats",
        "ais_gap",
        "ais_sigma",
        "iwae_nats",
        "frechet",
        "frechet_limit",
        "kernel_distance",
        "class_shift",
        "precision",
        "recall",
        "density",
        "coverage",
        "mmd2",
        "c2st_accuracy",
        "memorisation_gap",
        "sharpness",
        "reconstruction_mse",
        "code_nats",
    ]


def test_the_nats_of_codes_are_their_mean_and_its_standard_error_and_name_the_encoder():
    sets = sets_of(code_log_prob=lambda x: x[:, 0].astype(np.float64), encoder="ab12")
    (measure,) = measure_samples(sets, ["code-likelihood"]).values()
    values = sets.test[:, 0].astype(np.float64)
    assert measure.value == values.mean()
    assert measure.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(len(values)), rel=1e-12)
    assert "over the autoencoder ab12" in measure.detail
    assert measure_samples(sets_of(), ["code-likelihood"]) == {}
    with pytest.raises(TrainingDiverged, match="code log-likelihoods"):
        measure_samples(sets_of(code_log_prob=lambda x: x[:, 0] * np.nan), ["code-likelihood"])


def test_a_metric_without_a_place_stands_behind_all_others():
    class Own(SampleMetric):
        name = "a-own"

    placed = {name: metric for name, metric in sample_metrics().items() if metric.place != LAST_PLACE}
    own: Any = Own
    assert in_order({"b-own": own, "a-own": own, **placed}) == [*placed, "a-own", "b-own"]


@pytest.mark.slow
@pytest.mark.parametrize("metric", WITH_NULL)
def test_identity_one_distribution_is_inside_its_null_in_19_of_20_cases(metric):
    draws = [measure_samples(sets_of(seed, n=100), [metric]) for seed in range(20)]
    for figure in draws[0]:
        if figure != "c2st_power":
            outside = sum(not inside(draw[figure]) for draw in draws)
            # 0.07 allows for the values of one seed that are not independent of the null's own draws.
            assert outside <= binom.ppf(0.9999, len(draws), 0.07), figure


@pytest.mark.parametrize("metric", WITH_NULL)
def test_seed_the_same_gives_the_same_and_another_differs_within_the_error(metric, monkeypatch):
    module = __import__(sample_metrics()[metric].__module__, fromlist=["ROWS"])
    for place in (module, __import__("lde_bench.evaluation.neighbours", fromlist=["ROWS"])):
        if hasattr(place, "ROWS"):
            monkeypatch.setattr(place, "ROWS", 200)
    sets = sets_of(n=600)
    first, again, other = (measure_samples(dataclasses.replace(sets, seed=seed), [metric]) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    for figure, measure in first.items():
        # The errors of ball figures leave out the other set's share, which is as large again.
        spread = 2 * math.hypot(measure.standard_error, other[figure].standard_error, 0.002)
        assert abs(measure.value - other[figure].value) < 4 * spread, figure


@pytest.mark.parametrize("metric", WITH_NULL)
def test_the_seed_alone_draws_so_that_other_models_meet_the_same_held_out_items(metric):
    alone = measure_samples(sets_of(), [metric])
    among = measure_samples(sets_of(), [*WITH_NULL])
    assert all(among[figure] == measure for figure, measure in alone.items())


FUNCTIONS = {
    "precision-recall": lambda real, generated, **more: precision_recall(real=real, generated=generated, **more),
    "density-coverage": lambda real, generated, **more: density_coverage(real=real, generated=generated, **more),
    "mmd": lambda real, generated, **more: mmd2(real=real, generated=generated, **more),
    "memorisation": lambda real, generated, **more: memorisation_gap(
        generated=generated, held_out=real, train=real[:40] + np.float32(0.1), **more
    ),
    "reconstruction": lambda real, generated, **more: (
        reconstruction_errors(real=real, reconstruct=lambda x: x + x[:, :1], **more).mean(),
        generated.mean(),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_blocks_change_nothing(name):
    rng = np.random.default_rng(3)
    real, generated = normal(rng, 150, 5, mean=0.5), normal(rng, 130, 5, mean=0.7)
    generated[:30] = real[:30]  # ties and distances of 0
    whole = FUNCTIONS[name](real, generated, block_rows=1000)
    for block_rows in (1, 7, 64):
        np.testing.assert_allclose(FUNCTIONS[name](real, generated, block_rows=block_rows), whole, rtol=1e-6, atol=1e-9)
    if name in ("precision-recall", "density-coverage"):
        assert FUNCTIONS[name](real, generated, block_rows=7) == whole


@pytest.mark.parametrize("name", ["precision-recall", "density-coverage", "mmd", "reconstruction"])
def test_the_order_of_rows_changes_nothing(name):
    rng = np.random.default_rng(4)
    real, generated = normal(rng, 100, 5), normal(rng, 90, 5, mean=0.3)
    shuffled = FUNCTIONS[name](rng.permutation(real), rng.permutation(generated))
    np.testing.assert_allclose(shuffled, FUNCTIONS[name](real, generated), rtol=1e-5, atol=1e-9)


# Direction: each fault is seen by the figures that are there for it, and by no other


def faulty(fault: str, n: int = 250) -> dict[str, Measure]:
    rng = np.random.default_rng(11)
    train = two_modes(rng, 2 * n)
    samples = {
        "collapsed": lambda: two_modes(rng, n, share=0.0),
        "noisy": lambda: two_modes(rng, n) + 2 * normal(rng, n, 6),
        "copied": lambda: train[::2],  # as many of either mode as the real sets have
    }[fault]()
    sets = SampleSets(train, two_modes(rng, n), samples, seed=0, validation=two_modes(rng, 2 * n))
    return measure_samples(sets, WITH_NULL)


def test_direction_a_collapsed_generator_loses_recall_and_coverage_and_not_precision():
    figures = faulty("collapsed")
    assert figures["precision"].value >= figures["precision"].null_low
    assert figures["density"].value >= figures["density"].null_low
    for figure in ("recall", "coverage"):
        # The half of the data that is lost has no sample near it, so the figure is half of its null.
        error = 4 * (figures[figure].standard_error + figures[figure].null_high - figures[figure].null_low)
        assert figures[figure].value == pytest.approx(figures[figure].null / 2, abs=error / 4)
        assert figures[figure].value < figures[figure].null_low
    assert figures["mmd2"].value > figures["mmd2"].null_high
    # Half of the real items can be told from the samples, the others not: 3/4.
    assert figures["c2st_accuracy"].value == pytest.approx(0.75, abs=4 * figures["c2st_accuracy"].standard_error)


def test_direction_the_historic_swap_of_precision_and_recall_breaks_that_law():
    rng = np.random.default_rng(12)
    real, collapsed = two_modes(rng, 250), two_modes(rng, 250, share=0.0)
    precision, recall = precision_recall(real=real, generated=collapsed)
    assert recall < 0.6 < 0.8 < precision
    swapped_precision, swapped_recall = precision_recall(real=collapsed, generated=real)
    assert not swapped_recall < 0.6 < 0.8 < swapped_precision


def test_direction_noise_loses_precision_density_and_coverage_and_not_recall():
    figures = faulty("noisy")
    for figure in ("precision", "density", "coverage"):
        assert figures[figure].value < figures[figure].null_low, figure
    assert figures["recall"].value >= figures["recall"].null_low
    for figure in ("c2st_accuracy", "memorisation_gap"):
        assert figures[figure].value > figures[figure].null_high, figure


def test_direction_a_copier_is_seen_by_the_memorisation_gap_alone():
    figures = faulty("copied")
    assert figures["memorisation_gap"].value < figures["memorisation_gap"].null_low
    for figure in ("precision", "recall", "density", "coverage", "mmd2", "c2st_accuracy"):
        # Six figures of one draw: within three standard deviations, where the band is two.
        assert figures[figure].distance_from_null < 1.5, figure


def test_direction_half_a_copier_has_half_the_gap():
    rng = np.random.default_rng(13)
    train, held_out, new = normal(rng, 500, 8), normal(rng, 400, 8), normal(rng, 400, 8)
    whole, _ = memorisation_gap(generated=train[:400], held_out=held_out, train=train)
    half, error = memorisation_gap(generated=np.concatenate([train[:200], new[:200]]), held_out=held_out, train=train)
    assert whole == pytest.approx(-nearest_distances(held_out, train).mean(), rel=1e-12)
    assert half == pytest.approx(whole / 2, abs=4 * error)


# Precision and recall, density and coverage


def brute_force(real: np.ndarray, generated: np.ndarray, k: int) -> dict[str, float]:
    """The definitions, word by word, in float64."""
    rr, gg, rg = (
        cdist(a.astype(float), b.astype(float)) for a, b in ((real, real), (generated,) * 2, (real, generated))
    )
    real_radius, generated_radius = np.sort(rr, 1)[:, k], np.sort(gg, 1)[:, k]
    return {
        "precision": (rg <= real_radius[:, None]).any(0).mean(),
        "recall": (rg <= generated_radius[None]).any(1).mean(),
        "density": (rg <= real_radius[:, None]).sum(0).mean() / k,
        "coverage": (rg <= real_radius[:, None]).any(1).mean(),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
def test_ball_figures_are_their_definitions(k):
    rng = np.random.default_rng(k)
    real, generated = normal(rng, 90, 4), normal(rng, 70, 4, mean=0.6)
    expected = brute_force(real, generated, k)
    assert precision_recall(real=real, generated=generated, k=k) == (expected["precision"], expected["recall"])
    assert density_coverage(real=real, generated=generated, k=k) == pytest.approx(
        (expected["density"], expected["coverage"]), rel=1e-12
    )


def test_ball_figures_by_hand():
    # Radii of the real items at k = 1: 1, 1, 2; of the generated ones 0.5, 0.5, 8.5.
    real, generated = np.array([[0.0], [1], [3]]), np.array([[0.5], [1.0], [9.5]])
    assert precision_recall(real=real, generated=generated, k=1) == pytest.approx((2 / 3, 1.0))
    # 0.5 is in the balls of 0 and 1; 1.0 in all three.
    assert density_coverage(real=real, generated=generated, k=1) == pytest.approx((5 / 3, 1.0))


def test_identity_a_set_is_wholly_inside_itself_duplicates_too():
    rows = normal(np.random.default_rng(5), 60, 784)
    rows[:10] = rows[0]  # radius 0: only an exact zero distance is inside
    assert precision_recall(real=rows, generated=rows.copy()) == (1.0, 1.0)
    assert density_coverage(real=rows, generated=rows.copy())[1] == 1.0


def test_the_error_of_a_share_of_all_or_none_still_counts_the_items():
    for share in (0.0, 1.0):
        assert share_error(share, 96) == pytest.approx(math.sqrt(0.02 * 0.98 / 100))
    assert share_error(0.3, 2000) == pytest.approx(math.sqrt(0.3 * 0.7 / 2000), rel=0.002)
    # Two errors on either side hold a share of 0.99 in 95 % of draws or more, where sqrt(p (1 - p) / n) does in 87 %.
    hits = np.arange(201)
    holds = [abs(hit / 200 - 0.99) <= 1.96 * share_error(hit / 200, 200) for hit in hits]
    assert binom.pmf(hits[holds], 200, 0.99).sum() >= 0.95


def test_the_null_of_a_classifier_that_never_errs_is_no_certainty_either():
    assert accuracy_null(1.0, 96).low == pytest.approx(1 - 1.96 * math.sqrt(2) * 0.014, rel=1e-4)


def test_a_precision_of_one_and_a_classifier_that_never_errs_are_no_certainties():
    rng = np.random.default_rng(23)
    crowded, apart = 0.01 * normal(rng, 200, 6), normal(rng, 200, 6, mean=40)
    inside = measure_samples(sets_of(samples=crowded), ["precision-recall"])["precision"]
    told = measure_samples(sets_of(samples=apart), ["classifier-two-sample"])["c2st_accuracy"]
    assert inside.value == told.value == 1
    assert inside.standard_error == told.standard_error == share_error(1.0, 200)


def test_symmetry_swapped_arguments_swap_precision_and_recall_and_not_density_and_coverage():
    rng = np.random.default_rng(6)
    real, generated = two_modes(rng, 120), two_modes(rng, 100, share=0.1)
    there, back = (precision_recall(real=a, generated=b) for a, b in ((real, generated), (generated, real)))
    assert there == back[::-1]
    assert there[0] != there[1]
    there, back = (density_coverage(real=a, generated=b) for a, b in ((real, generated), (generated, real)))
    assert there != back[::-1]


@pytest.mark.parametrize("k", [1, 5])
def test_density_and_coverage_of_one_distribution_have_their_closed_forms(k):
    # Given the real items, the ranks of 2n - 1 equal rows decide: none of the k nearest is generated.
    n, repeats = 40, 150
    rng = np.random.default_rng(7)
    draws = np.array(
        [density_coverage(real=normal(rng, n, 3), generated=normal(rng, n, 3), k=k) for _ in range(repeats)]
    )
    coverage = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    error = draws.std(0, ddof=1) / math.sqrt(repeats)
    assert (np.abs(draws.mean(0) - [1, coverage]) < 4 * error).all()
    assert (error < 0.02).all()


def test_density_exceeds_one_and_coverage_falls_when_samples_crowd_into_one_mode():
    rng = np.random.default_rng(8)
    real = normal(rng, 200, 10)
    density, coverage = density_coverage(real=real, generated=0.2 * normal(rng, 200, 10))
    assert density > 1.5
    assert coverage < 0.8


# Distances


def test_neighbours_of_images_far_from_the_origin_are_told_apart_where_float32_products_cancel():
    rng = np.random.default_rng(9)
    train = (100 + rng.uniform(size=(50, 784))).astype(np.float32)
    queries = train[:20] + np.float32(1e-3) * normal(rng, 20, 784)
    exact = cdist(queries.astype(float), train.astype(float)).min(1)
    np.testing.assert_allclose(nearest_distances(queries, train), exact, rtol=1e-5)
    x, y = queries, train
    historic = np.sqrt(np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0)).min(1)
    assert np.abs(historic / exact - 1).max() > 0.1
    np.testing.assert_array_equal(nearest_distances(train[:20], train), 0)


# MMD


def closed_form(shift: np.ndarray, bandwidth: float) -> float:
    """MMD^2 between N(0, I) and N(shift, I): the mean of the kernel over x - y, which is N(0, 2I) or N(shift, 2I)."""
    wide = bandwidth**2 + 2
    return 2 * (bandwidth**2 / wide) ** (len(shift) / 2) * (1 - math.exp(-(shift @ shift) / (2 * wide)))


def mmd_draws(shift: np.ndarray, n: int, m: int, repeats: int = 250) -> np.ndarray:
    rng = np.random.default_rng(14)
    pairs = ((normal(rng, n, len(shift)), normal(rng, m, len(shift), mean=shift)) for _ in range(repeats))
    return np.array([mmd2(real=real, generated=generated, bandwidth=1.5) for real, generated in pairs])


def biased(real: np.ndarray, generated: np.ndarray, bandwidth: float) -> float:
    """The V-statistic: the diagonal counts."""
    kernels = (
        np.exp(-cdist(a, b, "sqeuclidean") / (2 * bandwidth**2)).mean()
        for a, b in ((real, real), (generated, generated), (real, generated))
    )
    return next(kernels) + next(kernels) - 2 * next(kernels)


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_mmd_is_its_closed_form_on_average_and_the_biased_one_is_not(shift):
    mean = np.array([shift, 0.0, 0.0])
    values = mmd_draws(mean, 30, 40)[:, 0]
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert abs(values.mean() - closed_form(mean, 1.5)) < 4 * error
    rng = np.random.default_rng(15)
    old = [biased(normal(rng, 30, 3), normal(rng, 40, 3, mean=mean), 1.5) for _ in values]
    assert abs(np.mean(old) - closed_form(mean, 1.5)) > 4 * np.std(old, ddof=1) / math.sqrt(len(old))


def test_direction_mmd_grows_with_the_noise():
    rng = np.random.default_rng(25)
    real, generated, noise = (normal(rng, 300, 6) for _ in range(3))
    validation = normal(rng, 600, 6)
    figures = [
        measure_samples(SampleSets(real, real, generated + level * noise, 0, validation), ["mmd"])["mmd2"]
        for level in (0.0, 1.0, 3.0)
    ]
    assert inside(figures[0])
    assert all(figure.value > figure.null_high for figure in figures[1:])
    assert all(
        more.value - less.value > 2 * math.hypot(more.standard_error, less.standard_error)
        for less, more in itertools.pairwise(figures)
    )


def test_mmd_is_its_definition():
    rng = np.random.default_rng(16)
    real, generated = normal(rng, 23, 4), normal(rng, 31, 4, mean=1.0)
    width = np.median(cdist(real, real)[np.triu_indices(23, 1)])
    assert median_distance(real) == pytest.approx(width, rel=1e-6)
    k = [np.exp(-cdist(a, b, "sqeuclidean") / (2 * width**2)) for a, b in
         ((real, real), (generated, generated), (real, generated))]  # fmt: skip
    expected = (k[0].sum() - 23) / (23 * 22) + (k[1].sum() - 31) / (31 * 30) - 2 * k[2].mean()
    assert mmd2(real=real, generated=generated)[0] == pytest.approx(expected, rel=1e-5)


def test_of_copies_of_one_item_there_is_no_mmd_and_other_measures_stay():
    rng = np.random.default_rng(19)
    copies = np.repeat(rng.random((1, 12), np.float32), 60, 0)
    sets = SampleSets(copies, copies, rng.random((60, 12), np.float32), 0)
    assert measure_samples(sets, ["mmd"]) == {}
    with pytest.raises(InputError, match="give items that differ, or a bandwidth"):
        mmd2(real=copies, generated=copies)


def test_mmd_is_symmetric_at_one_bandwidth_and_its_own_is_of_the_real_items():
    rng = np.random.default_rng(17)
    real, generated = normal(rng, 50, 4), 5 * normal(rng, 60, 4)
    there = mmd2(real=real, generated=generated, bandwidth=2.0)
    assert there == pytest.approx(mmd2(real=generated, generated=real, bandwidth=2.0), rel=1e-12)
    chosen = mmd2(real=real, generated=generated, bandwidth=median_distance(real))
    assert mmd2(real=real, generated=generated) == pytest.approx(chosen, rel=1e-12)


@pytest.mark.parametrize(("shift", "low", "high"), [(2.0, 0.9, 1.15), (0.0, 1.0, 1.6)])
def test_the_error_of_mmd_is_the_spread_of_draws(shift, low, high):
    # Where the sets do not differ a jackknife counts the second-order term twice: up to sqrt(2).
    draws = mmd_draws(np.array([shift, 0.0]), 60, 60, repeats=400)
    ratio = math.sqrt((draws[:, 1] ** 2).mean()) / draws[:, 0].std(ddof=1)
    # A spread of 400 draws is known to 1 / sqrt(800).
    assert low - 3 / math.sqrt(800) < ratio < high + 3 / math.sqrt(800)


# The classifier


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_the_classifier_reaches_the_best_accuracy_there_is_between_two_gaussians(shift):
    rng = np.random.default_rng(18)
    mean = np.array([0.6, 0.0, -0.8]) * shift
    accuracy, items = classifier_accuracy(real=normal(rng, 3000, 3), generated=normal(rng, 3000, 3, mean=mean))
    best = norm.cdf(shift / 2)
    assert items == 3000
    assert accuracy == pytest.approx(best, abs=4 * math.sqrt(best * (1 - best) / items))


@pytest.mark.slow
def test_the_classifier_is_not_scored_on_what_it_learnt():
    # With more features than items it separates its own items wholly, whatever they are.
    rng = np.random.default_rng(19)
    accuracies = [
        classifier_accuracy(real=normal(rng, 60, 100), generated=normal(rng, 60, 100), seed=seed)[0]
        for seed in range(20)
    ]
    assert np.mean(accuracies) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(20 * 60))


def test_the_classifier_sees_variances_and_lost_correlations():
    rng = np.random.default_rng(20)
    real, other = (normal(rng, 600, 1) + 0.5 * normal(rng, 600, 12) for _ in range(2))
    independent = np.stack([rng.permutation(column) for column in other.T], 1)
    high = binom.ppf(0.999, 600, 0.5) / 600
    assert classifier_accuracy(real=real, generated=1.3 * other)[0] > high
    assert classifier_accuracy(real=real, generated=independent)[0] > 0.8
    assert classifier_accuracy(real=real, generated=other)[0] < high


def test_the_classifier_is_nearly_symmetric_and_ignores_scale_and_offset():
    rng = np.random.default_rng(21)
    real, generated = normal(rng, 400, 5), normal(rng, 400, 5, mean=0.4)
    accuracy, items = classifier_accuracy(real=real, generated=generated)
    swapped, _ = classifier_accuracy(real=generated, generated=real)
    assert swapped == pytest.approx(accuracy, abs=4 * math.sqrt(0.5 / items))
    assert classifier_accuracy(real=8 * real + 32, generated=8 * generated + 32)[0] == pytest.approx(accuracy, abs=0.01)


@pytest.mark.slow
def test_the_power_on_images_is_shown_and_is_there():
    data = lb.load_dataset("digits8x8")
    sets = SampleSets(data.train[800:], data.test, data.train[:400], seed=0, validation=data.train[400:800])
    figures = measure_samples(sets, ["classifier-two-sample"])
    assert inside(figures["c2st_accuracy"])
    assert figures["c2st_power"].value > figures["c2st_power"].null_high
    assert "10% of another" in figures["c2st_power"].detail
    assert figures["c2st_power"].null_high == figures["c2st_accuracy"].null_high


# Memorisation


def test_the_memorisation_gap_has_its_closed_form_on_a_grid():
    # Unseen items lie uniformly between training items one apart: at 1/4 from the nearest on average.
    train = np.arange(100.0)[:, None]
    held_out = np.linspace(0, 99, 99 * 40 + 1)[:-1, None] + 1 / 80
    gap, error = memorisation_gap(generated=train, held_out=held_out, train=train)
    assert gap == pytest.approx(-0.25, abs=1e-6)
    assert error == pytest.approx(math.sqrt(1 / 48 / len(held_out)), rel=1e-2)


def test_symmetry_the_memorisation_gap_changes_sign_when_samples_and_held_out_items_change_places():
    rng = np.random.default_rng(22)
    a, b, train = normal(rng, 50, 4), 2 * normal(rng, 60, 4), normal(rng, 80, 4)
    there, error = memorisation_gap(generated=a, held_out=b, train=train)
    assert (-there, error) == memorisation_gap(generated=b, held_out=a, train=train)


def test_every_training_item_is_looked_at():
    # A copier of the last items only: a subset of the training set would miss it.
    rng = np.random.default_rng(23)
    train = normal(rng, 3000, 10)
    copies = train[-100:]
    figures = measure_samples(SampleSets(train, normal(rng, 300, 10), copies, seed=0), ["memorisation"])
    held_out_mean = float(figures["memorisation_gap"].detail.split("which lie ")[1].split()[0])
    assert figures["memorisation_gap"].value == pytest.approx(-held_out_mean, rel=1e-3)


# Reconstruction


def test_the_reconstruction_error_is_the_noises_variance_and_its_error_that_of_chi_square():
    n, width, sd = 400, 50, 0.3
    rng = np.random.default_rng(24)
    sets = sets_of(
        train=normal(rng, 50, width),
        test=normal(rng, n, width),
        samples=normal(rng, 50, width),
        validation=None,
        reconstruct=lambda x: x + sd * normal(rng, *x.shape),
    )
    measure = measure_samples(sets, ["reconstruction"])["reconstruction_mse"]
    error = sd**2 * math.sqrt(2 / (n * width))
    assert measure.value == pytest.approx(sd**2, abs=4 * error)
    assert measure.standard_error == pytest.approx(error, rel=4 / math.sqrt(2 * n))


def test_identity_a_perfect_reconstruction_has_no_error_and_a_model_without_an_encoder_no_figure():
    assert measure_samples(sets_of(reconstruct=np.copy), ["reconstruction"])["reconstruction_mse"].value == 0
    assert measure_samples(sets_of(), ["reconstruction"]) == {}


# Faults of what is given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"samples": np.full((30, 6), np.nan)}, "30 rows of the array 'samples' hold NaN"),
        ({"test": np.zeros((30, 5))}, "widths of the sets differ .*test 5"),
        ({"samples": np.zeros((3, 6))}, "the array 'samples' has 3 rows, too few"),
        ({"train": np.zeros((30, 2, 3))}, r"the array 'train' should be \[n, D\], got \[30, 2, 3\]"),
        ({"train": [[0.0] * 6, [0.0]]}, "the array 'train' is no array"),
        ({"test": np.full((30, 6), "a")}, "the array 'test' holds <U1 values"),
    ],
)
def test_bad_sets_are_refused_in_one_sentence(given, message):
    with pytest.raises(InputError, match=message):
        sets_of(**given)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda x: precision_recall(real=x[:3], generated=x), "'real' has 3 rows, too few"),
        (lambda x: density_coverage(real=x[:5], generated=x), "'real' has 5 rows, too few"),
        (lambda x: mmd2(real=x, generated=x, bandwidth=0), "bandwidth = 0 is not a positive number"),
        (lambda x: mmd2(real=np.ones_like(x), generated=x), "median distance of the real items is 0"),
        (lambda x: classifier_accuracy(real=x[:3], generated=x), "'real' has 3 rows, too few"),
        (lambda x: memorisation_gap(generated=x, held_out=x, train=x[:, :2]), "widths of the sets differ"),
        (lambda x: reconstruction_errors(real=x, reconstruct=lambda y: y[:, :1]), r"expected \[30, 4\], got \[30, 1\]"),
        (
            lambda x: reconstruction_errors(real=x, reconstruct=lambda y: y * np.nan),
            "30 rows of the array 'reconstructions'",
        ),
        (lambda x: measure_samples(sets_of(), ["mdm"]), "metric 'mdm' is unknown; did you mean 'mmd'"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(measure, message):
    with pytest.raises(InputError, match=message):
        measure(normal(np.random.default_rng(0), 30, 4))


def test_a_set_of_equal_items_is_measured_and_not_divided_by_zero():
    constant = np.full((40, 4), 0.5, dtype=np.float32)
    assert classifier_accuracy(real=constant, generated=constant) == (0.5, 40)
    assert precision_recall(real=constant, generated=constant) == (1.0, 1.0)
    assert memorisation_gap(generated=constant, held_out=constant, train=constant) == (0.0, 0.0)
