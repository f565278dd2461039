from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import kstest, norm

import lde_bench as lb
from lde_bench.densities.mcgsm import MCGSM, _LogMixture
from lde_bench.errors import InputError
from lde_bench.training.batches import ArrayBatches


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def contrast_rows(n: int, features: int = 6, seed: int = 0) -> np.ndarray:
    """Correlated Gaussian rows, each at a contrast of its own (log-normal)."""
    generator = np.random.default_rng(seed)
    factor = np.tril(np.random.default_rng(5).normal(size=(features, features))) + 2 * np.eye(features)
    return np.exp(generator.normal(size=(n, 1))) * (generator.normal(size=(n, features)) @ factor.T) + 3.0


def random_model(features: int, components: int = 3, scales: int = 2, quadratic_features: int = 4) -> MCGSM:
    """A model whose every parameter and statistic is random, in float64."""
    torch.manual_seed(7)
    model = MCGSM(features, components, scales, quadratic_features).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn_like(parameter))
        model.mean.normal_()
        model.factor.copy_(torch.randn(features, features).tril(-1) + torch.diag(torch.rand(features) + 0.5))
    return model.eval()


def published_terms(model: MCGSM, row: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probabilities, means and deviations of the C * S Gaussians of x_i | x_<i, written out number by number."""
    value = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    factor = value["factor"]
    e = np.linalg.solve(factor, row - value["mean"])
    start = i * (i - 1) // 2
    a, b = value["predictors"][start : start + i], value["directions"][start : start + i]
    shift = value["mean"][i] + factor[i, :i] @ e[:i]
    gates, means, deviations = [], [], []
    for c in range(model.components):
        kernel = np.zeros((i, i))
        for n in range(model.quadratic_features if i > 0 else 0):
            kernel += value["loadings"][i - 1, n, c] ** 2 * np.outer(b[:, n], b[:, n])
        mean = a[:, c] @ e[:i] if i > 0 else value["first_means"][c]
        for s in range(model.scales):
            eta, alpha = value["log_weights"][i, c, s], value["log_precisions"][i, c, s]
            gates.append(eta - 0.5 * math.exp(alpha) * (e[:i] @ kernel @ e[:i]))
            means.append(shift + factor[i, i] * mean)
            deviations.append(factor[i, i] * math.exp(-0.5 * alpha))
    return np.array(gates) - logsumexp(gates), np.array(means), np.array(deviations)


@pytest.mark.parametrize("features", [1, 2, 5, 9])
def test_every_conditional_is_the_published_formula(features):
    model = random_model(features)
    rows = np.random.default_rng(1).normal(size=(4, features))
    got = model.conditional_log_prob(torch.as_tensor(rows)).detach().numpy()
    cdf = model.conditional_cdf(torch.as_tensor(rows)).detach().numpy()
    for r, row in enumerate(rows):
        for i in range(features):
            weights, means, deviations = published_terms(model, row, i)
            assert got[r, i] == pytest.approx(logsumexp(weights + norm.logpdf(row[i], means, deviations)), abs=1e-10)
            assert cdf[r, i] == pytest.approx(np.exp(weights) @ norm.cdf(row[i], means, deviations), abs=1e-10)
    np.testing.assert_allclose(model.log_prob(rows), got.sum(1))


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [0, 1, 4])
def test_a_conditional_integrates_to_one(dimension):
    model = random_model(5)
    row = torch.randn(1, 5, dtype=torch.float64)

    def density(value: float) -> float:
        row[0, dimension] = value
        return float(model.conditional_log_prob(row)[0, dimension].exp())

    with torch.no_grad():
        assert quad(density, -60, 60, limit=400)[0] == pytest.approx(1, abs=1e-6)


def test_the_derivatives_written_by_hand_are_the_right_ones():
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (4, 3), (3, 2), (3, 2)]
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    inputs[0], inputs[1] = inputs[0].square(), inputs[1].square()
    assert torch.autograd.gradcheck(_LogMixture.apply, [part.requires_grad_() for part in inputs])
    (first,) = torch.autograd.grad(_LogMixture.apply(*inputs).square().sum(), inputs[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):  # a second time they would be silently wrong
        first.sum().backward()


def test_published_settings_have_the_published_number_of_parameters():
    # lucastheis/ride, code/experiments/bsds300/train_mcgsm.py: 128 components, 4 scales, 48 features. Of dimension i
    # (from 0): 2 * 512 priors and scales; a [i, 128]; b [i, 48]; beta [48, 128] where there is a past.
    priors = 63 * 2 * 128 * 4
    linear = (63 * 62 // 2) * (128 + 48)
    loadings = 62 * 48 * 128
    means_of_the_first = 128
    model = lb.create("mcgsm", features=63, components=128)
    assert (model.scales, model.quadratic_features) == (4, 48)
    assert model.parameter_count() == priors + linear + loadings + means_of_the_first == 789_296


def test_the_start_is_one_gaussian_scale_mixture():
    rows = contrast_rows(5000)
    model = MCGSM(6, components=4, scales=3).double()
    model.prepare(ArrayBatches(rows, 0))
    with torch.no_grad():  # without the noise that tells components apart
        model.predictors.zero_()
        model.first_means.zero_()
        model.loadings.round_()
    deviations = torch.exp(-0.5 * model.log_precisions[0]).detach().numpy().ravel()
    factor = model.factor.numpy()
    e = np.linalg.solve(factor, (rows[:50] - model.mean.numpy()).T).T
    terms = norm.logpdf(e, 0, deviations[:, None, None]).sum(-1)
    expected = logsumexp(terms, 0) - np.log(len(deviations)) - np.linalg.slogdet(factor)[1]
    np.testing.assert_allclose(model.log_prob(rows[:50]), expected, rtol=1e-5)  # float32 directions
    contrasts = np.sqrt(np.square(np.linalg.solve(factor, (rows - rows.mean(0)).T)).mean(0))
    np.testing.assert_allclose(np.sort(deviations), np.quantile(contrasts, (np.arange(12) + 0.5) / 12), rtol=1e-5)


@pytest.mark.slow
def test_training_comes_close_to_the_true_density_of_contrasts():
    rows, test = contrast_rows(20_000, 3), contrast_rows(5000, 3, seed=1)
    factor = np.tril(np.random.default_rng(5).normal(size=(3, 3))) + 2 * np.eye(3)
    e = np.linalg.solve(factor, (test - 3.0).T).T
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)  # over the log-normal contrast
    contrast = np.exp(nodes)[:, None]
    terms = norm.logpdf(e[None] / contrast[..., None]).sum(-1) - 3 * nodes[:, None]
    truth = logsumexp(terms + np.log(weights / weights.sum())[:, None], axis=0) - np.linalg.slogdet(factor)[1]
    model = lb.create("mcgsm", features=3, components=4).fit(rows, steps=150)
    assert model.log_prob(test).mean() == pytest.approx(truth.mean(), abs=0.07)  # a Gaussian: 1.4 nats off


def test_samples_follow_the_density():
    model = lb.create("mcgsm", features=4, components=3).fit(contrast_rows(2000, 4), steps=20)
    cdf = model.conditional_cdf(torch.as_tensor(model.sample(3000, seed=3))).detach().numpy()
    assert min(kstest(cdf[:, i], "uniform").pvalue for i in range(4)) > 1e-3


def test_behind_whitening_nothing_changes_at_the_start():
    # It whitens for itself: `+w` in front of it is the identity up to rounding.
    rows = contrast_rows(3000, 4)
    plain, white = (lb.create(name, features=4, components=3).double() for name in ("mcgsm", "mcgsm+w"))
    torch.manual_seed(0)
    plain.fit(rows, steps=5)
    white.fit(rows, steps=5)
    np.testing.assert_allclose(white.log_prob(rows), plain.log_prob(rows), atol=1e-6)


def test_repeated_rows_and_constant_features_are_met():
    model = lb.create("mcgsm", features=2, components=3)
    model.fit(np.repeat(contrast_rows(20, 2), 30, axis=0), steps=5)
    assert np.isfinite(model.log_prob(contrast_rows(100, 2))).all()
    with pytest.raises(InputError, match="mcgsm: the covariance of the training rows is singular"):
        model.fit(np.ones((50, 2)), steps=1)


@pytest.mark.parametrize("arguments", [{"components": 0}, {"scales": 0}, {"quadratic_features": "all"}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(InputError):
        lb.create("mcgsm", features=2, **arguments)
