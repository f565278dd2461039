from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import lde_bench as lb
from lde_bench.densities.negated import Negated
from lde_bench.evaluation.laws import check

ROWS = np.random.default_rng(0).normal([1.0, -2.0, 0.5], [1.0, 0.5, 2.0], (400, 3))


@pytest.fixture(scope="module")
def fitted() -> Negated:
    density = lb.create("gaussian+neg", 3).fit(ROWS, device="cpu")
    assert isinstance(density, Negated)
    return density.double()


def test_log_prob_is_that_of_two_gaussians_of_opposite_means(fitted):
    mean, covariance = ROWS.mean(0), np.cov(ROWS.T, bias=True)
    halves = [multivariate_normal(sign * mean, covariance).logpdf(ROWS[:50]) for sign in (1, -1)]
    expected = np.logaddexp(*halves) - np.log(2)
    np.testing.assert_allclose(fitted.log_prob(ROWS[:50]), expected, rtol=1e-5)
    assert np.abs(expected - halves[0]).max() > 0.1, "the law says something"


def test_a_row_and_its_negative_are_equally_likely(fitted):
    np.testing.assert_allclose(fitted.log_prob(-ROWS), fitted.log_prob(ROWS), rtol=1e-12)
    assert np.abs(fitted.base.log_prob(-ROWS) - fitted.base.log_prob(ROWS)).max() > 1


def test_samples_are_those_of_the_base_of_either_sign(fitted):
    drawn = fitted.sample(8000, seed=1)
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.12)
    second = np.cov(ROWS.T, bias=True) + np.outer(ROWS.mean(0), ROWS.mean(0))
    np.testing.assert_allclose(drawn.T @ drawn / len(drawn), second, atol=0.25)


def test_it_trains_as_what_it_wraps_and_goes_with_the_symmetries(tmp_path):
    rows = np.random.default_rng(1).normal(0, 0.1, (200, 63)).astype(np.float32)
    whole, plain = (
        lb.create(f"made-mog+w{tail}", 63, components=2, hidden=16).fit(rows, steps=5, device="cpu").double()
        for tail in ("+neg+sym", "")
    )
    np.testing.assert_array_equal(whole.base.base.log_prob(rows), plain.log_prob(rows))
    np.testing.assert_allclose(whole.log_prob(-rows), whole.log_prob(rows), rtol=1e-10)
    whole.save(tmp_path / "d")
    np.testing.assert_array_equal(lb.load_density(tmp_path / "d").log_prob(rows), whole.log_prob(rows))


@pytest.mark.slow
def test_it_passes_every_law():
    results = check("gaussian+neg")
    assert [law for law, result in results.items() if not result.passed] == []
    assert {"samples", "seeds", "round_trip", "contract"} <= set(results), sorted(results)
