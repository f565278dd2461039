from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from lde_bench.evaluation.statistics import (
    Difference,
    GroupMeans,
    average_over_trials,
    bootstrap_interval,
    clustered_standard_error,
    difference_by_group,
    difference_of_methods,
    difference_of_models,
    naive_standard_error,
    paired_difference,
    paired_difference_of_items,
    two_standard_deviations,
)


@pytest.fixture
def rng():
    return np.random.default_rng(20260131)


def clustered_sample(rng, groups: int = 40, sd_between: float = 3.0, sd_within: float = 10.0):
    """Items of unequal groups around zero: values [n], group ids [n] (shuffled, with gaps)."""
    counts = rng.integers(20, 60, size=groups)
    ids = rng.permutation(groups * 7)[:groups]
    members = np.repeat(ids, counts)
    values = np.repeat(rng.normal(0, sd_between, groups), counts) + rng.normal(0, sd_within, counts.sum())
    order = rng.permutation(len(values))
    return values[order], members[order]


def test_naive_error_closed_form():
    assert naive_standard_error([1.0, 2.0, 3.0, 4.0]) == pytest.approx(math.sqrt(5 / 3 / 4), rel=1e-15)


def test_naive_error_of_float32_is_computed_in_float64():
    # In float32 the sum of 2^25 ones-and-twos around 157 would lose the variance's digits.
    values = np.where(np.arange(200_000) % 2, 157.0, 158.0).astype(np.float32)
    assert naive_standard_error(values) == pytest.approx(0.5 / math.sqrt(199_999), rel=1e-12)


def test_clustered_error_closed_form_with_equal_groups():
    # Ten groups of 4, means 0..9: variance of the group means 55/6 (n - 1), error sqrt(55/6/10).
    values = np.repeat(np.arange(10.0), 4)
    assert clustered_standard_error(values, values) == pytest.approx(math.sqrt(55 / 60), rel=1e-14)


def test_clustered_error_closed_form_with_unequal_groups():
    # One group of 11 at 1, nine groups of 1 at 0: N = 20, mean 11/20; sums 11 * 9/20 and nine times -11/20.
    values = np.array([1.0] * 11 + [0.0] * 9)
    groups = np.array([0] * 11 + list(range(1, 10)))
    expected = math.sqrt(10 / 9 * ((99 / 20) ** 2 + 9 * (11 / 20) ** 2)) / 20
    assert clustered_standard_error(values, groups) == pytest.approx(expected, rel=1e-14)


def test_clustered_error_of_single_item_groups_is_the_naive_one(rng):
    values = rng.normal(size=50)
    assert clustered_standard_error(values, np.arange(50)) == pytest.approx(naive_standard_error(values))


def test_clustered_error_equals_the_sandwich_of_a_regression_on_a_constant(rng):
    # (X'X)^-1 X' S X (X'X)^-1 with S the residuals' outer product inside groups, as a dense matrix; the
    # correction G/(G-1) (N-1)/(N-k) of the usual packages is G/(G-1) for the one coefficient of a constant.
    values, groups = clustered_sample(rng)
    x = np.ones((len(values), 1))
    bread = np.linalg.inv(x.T @ x)
    residuals = values - x @ (bread @ x.T @ values)
    same_group = groups[:, None] == groups[None, :]
    meat = x.T @ (np.outer(residuals, residuals) * same_group) @ x
    number = len(np.unique(groups))
    expected = math.sqrt(float((bread @ meat @ bread)[0, 0]) * number / (number - 1))
    assert clustered_standard_error(values, groups) == pytest.approx(expected, rel=1e-10)


def test_group_means_carry_everything_the_items_do(rng):
    values, groups = clustered_sample(rng)
    means = GroupMeans.from_items(values, groups)
    assert means.mean == pytest.approx(values.mean(), abs=1e-12)
    shuffled = rng.permutation(len(means.ids))
    again = GroupMeans.of(*(np.array(part)[shuffled] for part in (means.ids, means.counts, means.mean_nats)))
    assert again.standard_error == means.standard_error == clustered_standard_error(values, groups)
    for number, group in enumerate(means.ids):
        assert means.counts[number] == np.count_nonzero(groups == group)
        assert means.mean_nats[number] == pytest.approx(values[groups == group].mean(), abs=1e-12)


def test_blocks_tell_the_error_of_a_paired_difference_of_independent_items(rng):
    hardness = rng.normal(0, 50, 10_000)
    first, second = hardness + rng.normal(1, 3, 10_000), hardness + rng.normal(0, 3, 10_000)
    told = paired_difference(GroupMeans.of_blocks(first), GroupMeans.of_blocks(second))
    naive = paired_difference_of_items(first, second)
    assert told.mean == pytest.approx(naive.mean, abs=1e-10)
    assert told.standard_error == pytest.approx(naive.standard_error, rel=0.25)  # of 100 blocks: 7 % is its own error
    assert told.standard_error < 0.1 * naive_standard_error(first)


@pytest.mark.parametrize(("items", "counts"), [(10_000, {100}), (1003, {10, 11}), (57, {11, 12}), (5, {5})])
def test_blocks_are_of_successive_items_and_nearly_equal(items, counts):
    blocks = GroupMeans.of_blocks(np.arange(float(items)))
    assert set(blocks.counts) == counts
    assert blocks.mean == pytest.approx((items - 1) / 2)
    assert blocks.mean_nats == sorted(blocks.mean_nats)


@pytest.mark.parametrize(("groups", "told"), [(9, False), (10, True)])
def test_under_ten_groups_there_is_no_clustered_error(groups, told):
    values = np.arange(groups * 3.0)
    assert (clustered_standard_error(values, np.arange(groups * 3) % groups) is not None) == told


def test_the_paired_difference_from_groups_equals_the_one_from_items(rng):
    first, groups = clustered_sample(rng)
    second = first + rng.normal(0.3, 1.0, len(first))
    told = paired_difference(GroupMeans.from_items(first, groups), GroupMeans.from_items(second, groups))
    assert told.mean == pytest.approx((first - second).mean(), abs=1e-12)
    assert told.standard_error == pytest.approx(clustered_standard_error(first - second, groups), rel=1e-9)
    naive = paired_difference_of_items(first, second)
    assert naive.mean == pytest.approx(told.mean, abs=1e-12)
    assert naive.standard_error == pytest.approx(naive_standard_error(first - second), rel=1e-12)
    # What both share cancels: far below the error of either alone.
    assert told.standard_error < 0.2 * clustered_standard_error(first, groups)


def test_models_tested_on_other_items_cannot_be_compared():
    one = GroupMeans.of([1, 2], [5, 5], [0.0, 1.0])
    for other in (GroupMeans.of([1, 3], [5, 5], [0.0, 1.0]), GroupMeans.of([1, 2], [5, 6], [0.0, 1.0])):
        with pytest.raises(ValueError, match="same items"):
            paired_difference(one, other)
        with pytest.raises(ValueError, match="same items"):
            average_over_trials([one, other])
    with pytest.raises(ValueError, match="same items"):
        paired_difference_of_items([1.0, 2.0], [1.0])


def test_the_same_photographs_in_another_order_are_matched():
    one = GroupMeans.of([1, 2], [5, 6], [0.0, 1.0])
    other = GroupMeans.of([2, 1], [6, 5], [1.0, 0.0])
    assert paired_difference(one, other).mean == 0


def test_average_over_trials_is_the_mean_of_each_photograph():
    trials = [GroupMeans.of([1, 2], [1, 3], means) for means in ([0.0, 4.0], [2.0, 8.0])]
    average = average_over_trials(trials)
    assert average.mean_nats == [1.0, 6.0]
    assert average.mean == pytest.approx((trials[0].mean + trials[1].mean) / 2)


def test_spread_over_trials_is_shown_from_three_trials():
    assert two_standard_deviations([1.0]) is None
    assert two_standard_deviations([1.0, 2.0]) is None
    assert two_standard_deviations([1.0, 2.0, 3.0]) == pytest.approx(2.0, rel=1e-15)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_one_nan_is_counted_and_refused(bad):
    with pytest.raises(ValueError, match="1 of 3"):
        naive_standard_error([0.0, bad, 1.0])
    with pytest.raises(ValueError, match="1 of 3"):
        clustered_standard_error([0.0, bad, 1.0], [0, 1, 2])


@pytest.mark.parametrize(
    "arguments", [([], [], []), ([1], [1, 2], [0.0]), ([1, 1], [1, 1], [0.0, 0.0]), ([1], [0], [0.0])]
)
def test_groups_that_do_not_fit_together_are_refused(arguments):
    with pytest.raises(ValueError, match=r"group|ids"):
        GroupMeans.of(*arguments)


def null_comparison(rng, groups: int, true_difference: float = 0.0) -> tuple[GroupMeans, np.ndarray]:
    """Two equally good models whose difference varies by photograph: by photograph, and every item's."""
    counts = rng.integers(15, 25, size=groups)
    members = np.repeat(np.arange(groups), counts)
    each = np.repeat(rng.normal(true_difference, 1.0, groups), counts) + rng.normal(0, 2.0, counts.sum())
    return difference_by_group(
        GroupMeans.from_items(each, members), GroupMeans.from_items(np.zeros_like(each), members)
    ), each


@pytest.mark.slow
@pytest.mark.parametrize("groups", [12, 60])
def test_under_a_true_null_the_clustered_test_rejects_five_percent_and_the_naive_one_far_more(rng, groups):
    simulations, level = 2000, 0.05
    clustered = naive = 0
    for _ in range(simulations):
        by_photograph, each = null_comparison(rng, groups)
        told = Difference(by_photograph.mean, by_photograph.standard_error)
        clustered += difference_of_models(told, groups).p_value < level
        naive += difference_of_models(paired_difference_of_items(each, 0 * each), len(each)).p_value < level
    # Four binomial standard deviations: 0.0195. At 12 photographs the normal quantile 1.96 would reject 7.6 % (t, 11
    # degrees of freedom) and fail this; the unequal photographs make t itself reject a little more, too.
    assert clustered / simulations == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / simulations))
    # The variance is underestimated by 1 + 19 * 0.2 = 4.8 (Kish): |z| > 1.96 / 2.2 has probability 0.37.
    assert naive / simulations > 0.3


@pytest.mark.slow
def test_the_bootstrap_interval_over_photographs_covers_the_truth_as_often_as_it_says(rng):
    simulations, level, truth = 600, 0.95, 0.7
    covered = naive = 0
    for number in range(simulations):
        by_photograph, each = null_comparison(rng, 60, truth)
        low, high = bootstrap_interval(by_photograph, seed=number, resamples=500)
        covered += low <= truth <= high
        naive += abs(each.mean() - truth) <= 1.96 * naive_standard_error(each)
    # A percentile interval has no t quantile and no G / (G - 1): at 60 photographs it covers 94.3 % where exact
    # theory has 95 % (P(|t_59| < 1.96 sqrt(59 / 60))). Four binomial standard deviations are 3.6 % more.
    assert covered / simulations == pytest.approx(0.943, abs=4 * math.sqrt(level * (1 - level) / simulations))
    assert naive / simulations < 0.7


def test_the_bootstrap_agrees_with_scipy(rng):
    values, groups = clustered_sample(rng)
    means = GroupMeans.from_items(values, groups)

    def mean_over_items(sums, counts, axis):
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    sums = np.multiply(means.counts, means.mean_nats)
    theirs = scipy.stats.bootstrap(
        (sums, means.counts), mean_over_items, paired=True, vectorized=True, n_resamples=20_000,
        method="percentile", random_state=rng,
    ).confidence_interval  # fmt: skip
    # A 2.5 % quantile of 10,000 resamples has a standard deviation of sqrt(0.025 * 0.975 / 10,000) / 0.058 = 2.7 % of
    # the standard error (0.058: the normal density there); with theirs of 20,000, four of both together are 13 %.
    assert bootstrap_interval(means, seed=1) == pytest.approx(tuple(theirs), abs=0.13 * means.standard_error)


def test_the_bootstrap_has_a_seed_a_level_and_needs_ten_photographs(rng):
    values, groups = clustered_sample(rng)
    means = GroupMeans.from_items(values, groups)
    low, high = bootstrap_interval(means, seed=1)
    assert (low, high) == bootstrap_interval(means, seed=1) != bootstrap_interval(means, seed=2)
    narrow = bootstrap_interval(means, seed=1, level=0.5)
    assert low < narrow[0] < means.mean < narrow[1] < high
    assert bootstrap_interval(GroupMeans.of(range(9), [1] * 9, [0.0] * 9), seed=1) is None


def test_p_values_closed_form():
    # One degree of freedom is the Cauchy distribution: P(|t| > 1) = 1/2.
    assert difference_of_models(Difference(-3.0, 3.0), 2).p_value == pytest.approx(0.5, rel=1e-12)
    assert difference_of_models(Difference(1.0, None), 5).p_value is None
    certain = [difference_of_models(Difference(mean, 0.0), 10).p_value for mean in (0.0, 0.1)]
    assert certain == [1.0, 0.0]


# ---- methods, of which each seed gives another model


def test_the_error_of_a_difference_of_methods_is_that_of_a_hand_computed_case():
    found = difference_of_methods(Difference(1.0, 0.3), 50, [10.0, 11.0], [9.0, 9.5, 9.1])
    # s_a^2 / n_a = 0.5 / 2; s_b^2 / n_b = 0.07 / 3
    a, b, items = 0.25, 0.07 / 3, 0.09
    assert found.standard_error == pytest.approx(math.sqrt(a + b + items), rel=1e-12)
    freedom = (a + b + items) ** 2 / (a**2 / 1 + b**2 / 2 + items**2 / 49)
    assert found.degrees_of_freedom == pytest.approx(freedom, rel=1e-12)
    told = scipy.stats.t.sf(1.0 / found.standard_error, freedom)
    assert found.p_value == pytest.approx(2 * told, rel=1e-9)


def test_without_noise_over_items_it_is_welchs_test():
    rng = np.random.default_rng(5)
    first, second = rng.normal(0, 1, 4), rng.normal(0.3, 2, 6)
    found = difference_of_methods(Difference(first.mean() - second.mean(), 0.0), 10, first, second)
    assert found.p_value == pytest.approx(scipy.stats.ttest_ind(first, second, equal_var=False).pvalue, rel=1e-9)


def test_methods_that_do_not_vary_over_seeds_are_judged_by_the_items_alone():
    found = difference_of_methods(Difference(1.0, 0.4), 30, [5.0, 5.0], [4.0, 4.0])
    assert found == difference_of_models(Difference(1.0, 0.4), 30)
    assert difference_of_methods(Difference(1.0, None), 5, [1.0, 2.0], [1.0, 2.0]).p_value is None


def false_verdicts(seeds: int, photographs: int, seed_noise: float) -> tuple[float, float]:
    """How often methods that are alike are told apart at 5 %: by photographs and seeds, and by photographs alone."""
    rng = np.random.default_rng(17)
    counts, rounds = np.full(photographs, 10), 1500
    both = alone = 0
    for _ in range(rounds):
        hardness = rng.normal(0, 30, photographs)
        sides = [
            hardness + rng.normal(0, 1, photographs) / 2 + rng.normal(0, seed_noise, (seeds, 1)) for _ in range(2)
        ]  # [seeds, G]: a method's own way with each photograph, and what a seed shifts alike
        one, other = (GroupMeans.of(range(photographs), counts, side.mean(0)) for side in sides)
        each = difference_by_group(one, other)
        told = Difference(each.mean, each.standard_error)
        trials = [side.mean(1) for side in sides]
        both += difference_of_methods(told, photographs, *trials).p_value < 0.05
        alone += difference_of_models(told, photographs).p_value < 0.05
    return both / rounds, alone / rounds


@pytest.mark.parametrize(("seeds", "noise"), [(2, 0.1), (2, 0.3), (3, 0.3), (5, 0.3)])
def test_with_noise_over_seeds_alike_methods_are_told_apart_one_time_in_twenty(seeds, noise):
    both, alone = false_verdicts(seeds, 60, noise)
    # Over 40,000 rounds these four are 5.4, 6.1, 4.8 and 4.8 %; three standard deviations of 1,500 are 1.9 %.
    assert 0.029 < both < 0.08
    assert alone > (0.1 if noise == 0.1 else 0.3)
