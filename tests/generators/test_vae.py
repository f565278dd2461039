from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from linear_gaussian import SIDE, draws, exact_log_prob, linear

import lde_bench as lb
from lde_bench.errors import InputError
from lde_bench.generators import create_generator
from lde_bench.generators.vae import VAE, gaussian_kl, gaussian_log_prob, infer_gaussian


def test_the_divergence_in_closed_form_is_that_of_monte_carlo():
    torch.manual_seed(0)
    mean, log_scale = torch.randn(1, 5, dtype=torch.float64), 0.5 * torch.randn(1, 5, dtype=torch.float64)
    noise = torch.randn(200_000, 5, dtype=torch.float64)
    _, kl, log_ratio = infer_gaussian(mean, log_scale, noise)
    error = log_ratio.std() / math.sqrt(len(noise))
    assert abs(log_ratio.mean() + kl.item()) < 4 * error
    assert error < 0.02 * kl.item()


def test_divergence_and_density_are_those_of_torch_distributions():
    torch.manual_seed(0)
    x, mean, log_scale = torch.randn(3, 4, 5, dtype=torch.float64)
    normal = torch.distributions.Normal(mean, log_scale.exp())
    standard = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
    torch.testing.assert_close(gaussian_kl(mean, log_scale), torch.distributions.kl_divergence(normal, standard).sum(1))
    torch.testing.assert_close(gaussian_log_prob(x, mean, log_scale), normal.log_prob(x).sum(1))


def test_with_the_exact_posterior_one_code_gives_the_exact_likelihood():
    # Then p(x|z) p(z) / q(z|x) is p(x) at every z: a wrong sign, a lost constant or a wrong count would show.
    model = linear(VAE)
    x = draws(model, 50)
    for samples in (1, 7):
        np.testing.assert_allclose(model.log_prob_bound(x, samples), exact_log_prob(model, x), atol=1e-9)


@pytest.mark.slow
def test_with_another_posterior_the_bound_lies_below_and_closes_with_more_codes():
    model = linear(VAE, shift=0.2, widen=0.3)
    x = draws(model, 500)
    gaps = [(exact_log_prob(model, x) - model.log_prob_bound(x, samples)).mean() for samples in (1, 10, 1000)]
    assert gaps[0] > 2 * gaps[1] > 0
    assert abs(gaps[2]) < 0.01 < gaps[1]


def test_the_loss_is_minus_the_evidence_lower_bound_in_closed_form():
    model = linear(VAE, shift=0.2, widen=0.3)
    x = draws(model, 200)
    rows = torch.from_numpy(x)
    mean, log_scale = model.posterior(rows)
    # E log p(x|z) over the posterior, of which W's columns are orthogonal.
    noise = (log_scale.exp().square() * model.weight.square().sum(0)).sum(1) / (2 * model.log_sigma.exp() ** 2)
    bound = model.log_likelihood(rows, mean) - noise - gaussian_kl(mean, log_scale)
    torch.manual_seed(0)
    losses = torch.stack([model.loss(rows, 0.0) for _ in range(400)])
    error = losses.std() / math.sqrt(len(losses))
    assert abs(losses.mean() + bound.mean()) < 4 * error
    assert bound.mean() < exact_log_prob(model, x).mean() - 20 * error


def test_the_bounds_of_one_set_of_codes_are_those_in_closed_form_in_their_order():
    model = linear(VAE, shift=0.2, widen=0.3)
    x = draws(model, 400)
    rows = torch.from_numpy(x)
    mean, log_scale = model.posterior(rows)
    noise = (log_scale.exp().square() * model.weight.square().sum(0)).sum(1) / (2 * model.log_sigma.exp() ** 2)
    kl = gaussian_kl(mean, log_scale)
    evidence = (model.log_likelihood(rows, mean) - noise - kl).detach().numpy()
    exact = exact_log_prob(model, x)
    few, many = model.bounds(x, 10), model.bounds(x, 300)
    np.testing.assert_allclose(many.kl, kl, rtol=1e-9)
    assert abs(many.evidence - evidence).mean() < 0.3 * abs(few.evidence - evidence).mean() < 0.5
    assert evidence.mean() < few.importance_weighted.mean() < many.importance_weighted.mean() < exact.mean() + 0.01
    np.testing.assert_array_equal(few.importance_weighted, model.log_prob_bound(x, 10))


def test_codes_are_draws_of_the_posterior():
    model = linear(VAE, shift=0.2, widen=0.3)
    x = np.full((20_000, SIDE**2), 0.5)
    mean, log_scale = (part[0].numpy() for part in model.posterior(torch.from_numpy(x[:1])))
    codes = model.posterior_codes(x, seed=3)
    error = np.exp(log_scale) / math.sqrt(len(x))
    assert (np.abs(codes.mean(0) - mean) < 4.5 * error).all()
    np.testing.assert_allclose(codes.std(0), np.exp(log_scale), rtol=0.03)
    np.testing.assert_array_equal(codes, model.posterior_codes(x, seed=3))
    assert not np.array_equal(codes, model.posterior_codes(x, seed=4))


def test_beta_weighs_the_divergence_alone():
    x = torch.rand(16, 64)
    losses = []
    for beta in (1.0, 3.0):
        torch.manual_seed(0)
        model = VAE((8, 8), latent=4, beta=beta)
        torch.manual_seed(1)
        losses.append(model.loss(x, 0.0))
    torch.testing.assert_close(losses[1] - losses[0], 2 * model.infer(x).kl.mean(), rtol=1e-4, atol=0)


def test_sigma_is_at_rest_where_its_square_is_the_mean_squared_error():
    torch.manual_seed(0)
    model, x = VAE((8, 8), latent=4, pixels="gaussian"), torch.rand(64, 64)
    z = model.infer(x).z
    with torch.no_grad():
        model.log_sigma.copy_(0.5 * (model.decode(z) - x).square().mean().log())
    (gradient,) = torch.autograd.grad(model.log_likelihood(x, z).mean(), model.log_sigma)
    assert abs(gradient) < 1e-3
    with torch.no_grad():
        model.log_sigma.add_(0.1)
    (gradient,) = torch.autograd.grad(model.log_likelihood(x, z).mean(), model.log_sigma)
    assert gradient < -1


@pytest.mark.slow
def test_a_trained_bound_is_higher_and_the_codes_say_more():
    data = lb.load_dataset("digits8x8")
    model = create_generator("vae", data.image_shape, latent=4).fit(data.train, steps=1)
    before = model.log_prob_bound(data.validation, 10).mean()
    model.fit(data.train, steps=30)
    assert model.log_prob_bound(data.validation, 10).mean() > before + 5
    first = model.log_prob_bound(data.validation, 2, seed=0)
    np.testing.assert_array_equal(first, model.log_prob_bound(data.validation, 2, seed=0))
    assert not np.array_equal(first, model.log_prob_bound(data.validation, 2, seed=1))


def test_the_networks_have_the_published_sizes():
    encoder = 784 * 1000 + 1000 + 1000 * 1000 + 1000 + 1000 * 16 + 16
    decoder = 8 * 1000 + 1000 + 1000 * 1000 + 1000 + 1000 * 784 + 784
    assert create_generator("vae", (28, 28)).parameter_count() == encoder + decoder
    assert create_generator("vae", (28, 28), pixels="gaussian").parameter_count() == encoder + decoder + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": 0}, "beta = 0 is no number above 0"),
        ({"beta": float("nan")}, "beta = nan"),
        ({"beta": "high"}, "beta = 'high'"),
        ({"pixels": "poisson"}, "pixels 'poisson' are unknown; choose bernoulli or gaussian"),
        ({"backbone": "resnet"}, "backbone 'resnet' is unknown; choose mlp or conv"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        create_generator("vae", (8, 8), **arguments)


def test_a_bound_of_no_codes_is_refused():
    with pytest.raises(InputError, match="samples = 0"):
        VAE((8, 8)).log_prob_bound(np.zeros((1, 64), np.float32), samples=0)
