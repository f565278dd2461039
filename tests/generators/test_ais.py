"""Annealed importance sampling against models whose likelihood is known, and the contract of the decoder models."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from linear_gaussian import LATENT, SIGMA, draws, exact_log_prob, linear

import lde_bench as lb
from lde_bench.evaluation.ais import Annealing, Estimator, Moves, Point, Sampler, noise_path
from lde_bench.evaluation.likelihood_bounds import LikelihoodBounds
from lde_bench.evaluation.sample_measures import BoundedModel, SampleSets
from lde_bench.generators import create_generator
from lde_bench.generators.evae import EVAE
from lde_bench.generators.vae import VAE

N = 200


def mean_and_error(values: torch.Tensor) -> tuple[float, float]:
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


@pytest.mark.slow
def test_the_bounds_bracket_the_known_likelihood_and_close_with_more_distributions():
    model = linear(VAE)
    x = draws(model, N)
    exact = torch.from_numpy(exact_log_prob(model, x))
    gaps = []
    for distributions in (4, 40):
        estimator = Estimator(model.decoder_models, Annealing(chains=1, distributions=distributions))
        below = estimator.lower_bounds(torch.from_numpy(x), SIGMA).nats - exact
        gap = estimator.gaps(N, SIGMA)
        (low, low_error), (gap_mean, gap_error) = mean_and_error(below), mean_and_error(gap)
        assert low < 2 * low_error
        assert low + gap_mean > -2 * math.hypot(low_error, gap_error)
        # The estimate of p(x) itself is unbiased.
        ratio, error = mean_and_error(below.exp())
        assert abs(ratio - 1) < 4 * error
        gaps.append(gap_mean)
    assert gaps[0] > 2 * gaps[1] > 0


@pytest.mark.slow
def test_an_equal_mixture_is_that_of_its_epitomes():
    model = linear(EVAE, size=1)
    x = draws(model, N)
    each = np.stack([exact_log_prob(model, x, mask.double()) for mask in model.masks])
    exact = torch.from_numpy(np.logaddexp.reduce(each) - math.log(len(each)))
    estimator = Estimator(model.decoder_models, Annealing(chains=4, distributions=40))
    below, error = mean_and_error(estimator.lower_bounds(torch.from_numpy(x), SIGMA).nats - exact)
    assert -0.5 < below < 2 * error


def test_a_transition_leaves_its_distribution_as_it_is_however_long_its_steps():
    # Leapfrog steps of 1.6 widths alone would settle at a variance of 1 / (1 - 1.6^2 / 4) = 2.8 times the true one.
    model, n = linear(VAE), 2_000
    x = torch.from_numpy(draws(model, 1)).repeat(n, 1)
    mean, log_scale = model.posterior(x)
    generator = torch.Generator().manual_seed(0)
    start = mean + log_scale.exp() * torch.randn(n, LATENT, generator=generator, dtype=torch.float64)
    sampler = Sampler(model.decoder_models[0], 1, generator)
    root = torch.diag(log_scale[0].exp()).repeat(n, 1, 1)
    point = sampler.at(x, start)
    for _ in range(10):
        point, probability = sampler.move(x, point, 1 / SIGMA**2, torch.full((n,), 1.6, dtype=torch.float64), root)
    assert 0.2 < probability.mean() < 0.9
    white = (point.z - mean) / log_scale.exp()
    assert (white.mean(0).abs() < 5 / math.sqrt(n)).all()
    assert ((white.var(0) - 1).abs() < 5 * math.sqrt(2 / n)).all()


def test_moves_of_the_way_back_are_those_of_the_way_there_in_reverse():
    sizes, roots = torch.arange(6.0).view(3, 2), torch.arange(24.0).view(3, 2, 2, 2)
    moves = Moves(sizes, roots).reversed().of_chains(2)
    nowhere = Point(*[torch.zeros(4, 2)] * 5)  # known moves do not depend on where a chain is
    assert moves.move(1, nowhere, 1.0)[0].tolist() == [4, 5, 4, 5]
    assert torch.equal(moves.move(3, nowhere, 1.0)[1], torch.cat([roots[0], roots[0]]))


def test_the_path_goes_from_the_prior_to_the_posterior():
    path = noise_path(0.1, 784, 50)
    assert len(path) == 51
    assert path[0] == 0
    assert path[-1].item() == pytest.approx(100)
    assert (path.diff() > 0).all()


@pytest.mark.slow
def test_the_noise_is_chosen_where_the_likelihood_is_highest():
    model = linear(VAE)
    chosen = Estimator(model.decoder_models, Annealing(distributions=40)).choose_sigma(
        torch.from_numpy(draws(model, N))
    )
    assert chosen == pytest.approx(SIGMA, rel=0.15)


@pytest.mark.slow
def test_annealing_and_importance_weighting_agree_on_a_trained_model():
    data = lb.load_dataset("digits8x8")
    model = create_generator("vae", data.image_shape, latent=4, pixels="gaussian").fit(data.train, steps=100)
    x = data.test[:60]
    annealed = Estimator(model.decoder_models).lower_bounds(torch.from_numpy(x), model.log_sigma.exp().item()).nats
    weighted = torch.from_numpy(model.log_prob_bound(x, 1000)).double()
    difference, error = mean_and_error(annealed - weighted)
    assert abs(difference) < 0.5 + 4 * error


# The contract


@pytest.mark.parametrize("method", ["gan", "gmmn+ae", "aae", "aae:prior=mixture,modes=2", "evae", "ae+gmm"])
def test_a_decoder_model_draws_what_the_model_samples(method):
    torch.manual_seed(0)
    model = create_generator(method, (8, 8)).eval()
    samples = torch.from_numpy(model.sample(600))
    generator = torch.Generator().manual_seed(1)
    parts = model.decoder_models
    with torch.no_grad():
        images = torch.cat([part.decode(part.draw(600 // len(parts), generator)) for part in parts])
    error = (samples.std(0) + images.std(0)) / math.sqrt(600)  # of the difference, and more
    assert ((samples.mean(0) - images.mean(0)).abs() < 5 * error + 1e-5).all()
    assert ((samples.std(0) - images.std(0)).abs() < 5 * error + 1e-5).all()


@pytest.mark.parametrize("method", ["deep-gsn", "train-samples", "ae"])
def test_what_has_no_decoder_or_no_prior_has_no_decoder_model(method):
    model = create_generator(method, (8, 8))
    assert model.decoder_models == ()
    assert model.importance_weighted is None


def test_a_density_of_codes_without_a_gradient_has_no_decoder_model_and_one_with_it_has():
    assert create_generator("ae+sklearn.mixture:GaussianMixture", (8, 8)).decoder_models == ()
    assert len(create_generator("ae+gaussian", (8, 8)).decoder_models) == 1


# The measure


@pytest.mark.slow
def test_the_measure_says_how_it_was_made(monkeypatch):
    model = linear(VAE)
    images = draws(model, 60)
    bounded = BoundedModel(model.decoder_models, model.importance_weighted, model.pixel_kind, images, 20)
    sets = SampleSets(images, images, images, seed=0, bounded=bounded)
    for name, value in (("SIGMA_IMAGES", 20), ("SIMULATED_IMAGES", 20), ("CODES", 5), ("ANNEALING", Annealing(2, 8))):
        monkeypatch.setattr(f"lde_bench.evaluation.likelihood_bounds.{name}", value)
    figures = LikelihoodBounds().measure(sets)
    assert list(figures) == list(LikelihoodBounds.figures)
    for told in ("20 test images, 2 chains", "8 distributions", "leapfrog steps 1", "on 20 validation images"):
        assert told in figures["ais_nats"].detail
    assert "Gaussian (sigma 0.300) pixels" in figures["iwae_nats"].detail
    assert figures["iwae_nats"].value == pytest.approx(exact_log_prob(model, images).mean(), abs=3)
    assert LikelihoodBounds().measure(sets) == figures
    assert LikelihoodBounds().measure(SampleSets(images, images, images, seed=0)) == {}
