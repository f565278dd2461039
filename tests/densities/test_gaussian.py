from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal

import lde_bench as lb
from lde_bench.densities import triangular
from lde_bench.errors import InputError
from lde_bench.training.batches import ArrayBatches, FreshBatches


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def correlated(n: int, features: int, seed: int = 0, offset: float = 3.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    factor = np.tril(np.random.default_rng(99).normal(size=(features, features))) + 2 * np.eye(features)
    return generator.normal(size=(n, features)) @ factor.T + offset


def test_the_fit_is_the_mean_and_covariance_of_all_rows_as_scipy_computes_them():
    rows = correlated(4000, 7)
    model = lb.create("gaussian", features=7).double().fit(rows)
    reference = multivariate_normal(rows.mean(0), np.cov(rows.T, bias=True))
    np.testing.assert_allclose(model.log_prob(rows), reference.logpdf(rows), rtol=1e-10)


def test_the_moments_do_not_depend_on_the_chunks_they_are_summed_in(monkeypatch):
    rows = correlated(1000, 5).astype(np.float32)
    whole = triangular.moments(rows)
    monkeypatch.setattr(triangular, "CHUNK_ROWS", 64)
    for mine, theirs in zip(triangular.moments(rows), whole, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_parameters_are_counted_before_the_fit():
    assert lb.create("gaussian", features=63).parameter_count() == 63 + 63 * 64 // 2


def test_every_parameter_gets_a_gradient():
    model = lb.create("gaussian", features=4)
    model.log_prob(torch.randn(50, 4)).sum().backward()
    assert all((parameter.grad != 0).all() for parameter in model.parameters())


def test_one_feature_works():
    rows = correlated(500, 1)
    model = lb.create("gaussian", features=1).double().fit(rows)
    reference = multivariate_normal(rows.mean(), rows.var())
    np.testing.assert_allclose(model.log_prob(rows), reference.logpdf(rows[:, 0]), rtol=1e-12)


def test_conditionals_sum_to_the_joint_and_their_cdf_is_uniform_on_samples():
    model = lb.create("gaussian", features=5).double().fit(correlated(2000, 5))
    samples = torch.as_tensor(model.sample(3000, seed=1))
    joint = model.conditional_log_prob(samples).sum(-1)
    torch.testing.assert_close(joint, model.log_prob(samples), rtol=1e-10, atol=1e-10)
    cdf = model.conditional_cdf(samples).detach().numpy()
    assert min(kstest(cdf[:, i], "uniform").pvalue for i in range(5)) > 1e-3


def test_samples_have_the_mean_and_covariance_of_the_data():
    rows = correlated(5000, 3)
    samples = lb.create("gaussian", features=3).double().fit(rows).sample(20_000, seed=0)
    np.testing.assert_allclose(samples.mean(0), rows.mean(0), atol=0.15)
    np.testing.assert_allclose(np.cov(samples.T), np.cov(rows.T), atol=0.05 * np.cov(rows.T).max())


@pytest.mark.parametrize("fault", ["constant", "copy", "sum", "few"])
def test_a_singular_covariance_is_one_clear_sentence(fault):
    rows = correlated(300, 4).astype(np.float32)
    if fault == "constant":
        rows[:, 2] = 5
    elif fault == "copy":
        rows[:, 2] = rows[:, 0]
    elif fault == "sum":
        rows[:, 2] = rows[:, 0] + rows[:, 1]
    else:
        rows = rows[:2]  # two rows span one direction about their mean
    with pytest.raises(InputError, match=f"feature {1 if fault == 'few' else 2} is constant or a linear"):
        lb.create("gaussian", features=4).fit(rows)


def test_a_stream_of_fresh_rows_is_fitted_too(monkeypatch):
    monkeypatch.setattr("lde_bench.densities.gaussian.STREAM_ROWS", 20_000)
    stream = FreshBatches(lambda n, generator: generator.normal(2, 3, (n, 2)).astype(np.float32), 2, seed=0)
    model = lb.create("gaussian", features=2).fit(stream)
    assert model.log_prob(np.full((1, 2), 2.0)) == pytest.approx(-np.log(2 * np.pi * 9), abs=0.05)


def test_save_and_load_round_trip(tmp_path):
    rows = correlated(300, 4)
    model = lb.create("gaussian", features=4).fit(rows)
    model.save(tmp_path / "g.safetensors")
    np.testing.assert_array_equal(lb.load_density(tmp_path / "g.safetensors").log_prob(rows), model.log_prob(rows))


def test_float32_stays_close_to_float64_far_from_zero():
    rows = correlated(2000, 6, offset=100.0)
    single = lb.create("gaussian", features=6).fit(rows).log_prob(rows)
    double = lb.create("gaussian", features=6).double().fit(rows).log_prob(rows)
    np.testing.assert_allclose(single, double, atol=2e-3)


def test_behind_whitening_it_is_the_same_density():
    rows = correlated(2000, 5)
    plain = lb.create("gaussian", features=5).double().fit(rows).log_prob(rows)
    white = lb.create("gaussian+w", features=5).double().fit(rows).log_prob(rows)
    np.testing.assert_allclose(white, plain, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 + 0.1])
def test_a_constant_column_is_one_in_any_precision(dtype, constant):
    rows = np.random.default_rng(0).normal(size=(100, 3)).astype(dtype)
    rows[:, 1] = constant
    _, covariance = triangular.moments(rows)
    assert not covariance[1].any()
    _, scale = triangular.standardisation(ArrayBatches(rows, 0))
    assert scale[1] == 1
    with pytest.raises(InputError, match="feature 1 is constant"):
        lb.create("gaussian", features=3).double().fit(rows)
