"""Annealed importance sampling against models whose likelihood is known, and the contract of the decoder models."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from linear_gaussian import LATENT, SIDE, SIGMA, draws, exact_log_prob, linear

import lde_bench as lb
from lde_bench.densities.base import LOG_2PI
from lde_bench.evaluation import ais
from lde_bench.evaluation.ais import (
    ACCEPTANCE,
    Annealing,
    Around,
    Bounds,
    Estimator,
    Posterior,
    Sampler,
    Scout,
    Sizes,
    sigma_ladder,
)
from lde_bench.evaluation.likelihood_bounds import LikelihoodBounds
from lde_bench.evaluation.sample_measures import BoundedModel, SampleSets
from lde_bench.generators import create_generator
from lde_bench.generators.decoder_model import DecoderModel
from lde_bench.generators.evae import EVAE
from lde_bench.generators.vae import VAE

N = 200


def mean_and_error(values: torch.Tensor) -> tuple[float, float]:
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


@pytest.mark.slow
@pytest.mark.parametrize(("wide", "spare"), [(1.0, 0.001), (2.5, 0.001), (1.0, 0.3)])
def test_the_bounds_bracket_the_known_likelihood_and_close_with_more_distributions(wide, spare, monkeypatch):
    monkeypatch.setattr(ais, "WIDTH", wide * ais.WIDTH)  # a start that is further off
    monkeypatch.setattr(ais, "SPARE", spare)
    model = linear(VAE)
    x = draws(model, N)
    exact = torch.from_numpy(exact_log_prob(model, x))
    gaps = []
    for distributions in (2, 20):
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


def test_a_start_is_the_posterior_where_that_is_a_gaussian(monkeypatch):
    model = linear(VAE, shift=0.4)  # an encoder that is off
    x = torch.from_numpy(draws(model, 20))
    with torch.no_grad():
        posterior = Posterior(model.decoder_models[0], x, SIGMA)
        sampler = Sampler(model.decoder_models[0], 1, torch.Generator().manual_seed(0))
        sampler.scale = torch.ones(LATENT, dtype=torch.float64)  # not as 1,000 draws have it
        around = sampler.around(posterior, sampler.first_codes(x))
        mean, log_scale = linear(VAE).posterior(x)
    assert ((around.mode - mean) / log_scale.exp()).square().sum(1).mean() < 2 * ais.LEAST_GAIN
    covariance = around.root @ around.root.mT
    torch.testing.assert_close(covariance, torch.diag_embed((2 * log_scale).exp()), rtol=1e-6, atol=1e-9)


def test_the_density_of_a_start_is_that_of_its_draws_and_its_slope_is_its_gradient(monkeypatch):
    torch.manual_seed(3)
    roots = torch.randn(4, LATENT, LATENT, dtype=torch.float64).triu(1) + torch.diag(torch.tensor([0.5, 1.0, 2.0]))
    around = Around(torch.randn(4, LATENT, dtype=torch.float64), roots)
    z = around.draw(torch.Generator().manual_seed(0)).requires_grad_()
    covariances = ais.WIDTH**2 * roots @ roots.mT
    exact = torch.distributions.MultivariateNormal(around.mode, covariances).log_prob(z)
    torch.testing.assert_close(around.log_density(z), exact)
    model = linear(VAE)
    sampler = Sampler(model.decoder_models[0], 1, torch.Generator().manual_seed(0))
    posterior = Posterior(model.decoder_models[0], torch.from_numpy(draws(model, 4)), SIGMA)
    monkeypatch.setattr(ais, "SPARE", 0.1)  # of the starts are of the prior
    mixed = torch.logaddexp(exact + math.log(0.9), model.decoder_models[0].log_prior(z) + math.log(0.1))
    point = sampler.at(posterior, around, z)
    torch.testing.assert_close(point.log_start, mixed.detach())
    torch.testing.assert_close(point.start_slope, torch.autograd.grad(mixed.sum(), z)[0])
    many = around.of_chains(2_000).draw(torch.Generator().manual_seed(1)).unflatten(0, (2_000, 4))
    error = (covariances.diagonal(dim1=1, dim2=2) / 2_000).sqrt()
    assert ((many.mean(0) - around.mode).abs() < 5 * error).all()


def test_the_search_begins_at_the_draw_whose_image_is_nearest():
    torch.manual_seed(0)
    model = create_generator("gan", (8, 8)).eval().decoder_models[0]
    x = torch.rand(6, 64)
    with torch.no_grad():
        sampler = Sampler(model, 1, torch.Generator().manual_seed(0))
        (begin,) = sampler.first_codes(x)
        least = torch.stack([(model.decode(sampler.prior) - each).square().sum(1).min() for each in x])
        torch.testing.assert_close((model.decode(begin) - x).square().sum(1), least)


@pytest.mark.parametrize("encoder", [True, False])
def test_a_chain_starts_at_the_hill_where_the_image_lies(encoder):
    """Codes around one of 60 points, far apart: a chain from the prior would hardly ever find the right one."""
    torch.manual_seed(5)
    centres = 30 * torch.randn(60, LATENT, dtype=torch.float64)
    weight = torch.linalg.qr(torch.randn(9, LATENT, dtype=torch.float64)).Q  # [D, Z]

    def log_prior(z: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(-0.5 * (z[:, None] - centres).square().sum(2), 1) - math.log(60) - 1.5 * LOG_2PI

    def draw(n: int, generator: torch.Generator) -> torch.Tensor:
        noise = torch.randn(n, LATENT, generator=generator, dtype=torch.float64)
        return centres[torch.randint(60, (n,), generator=generator)] + noise

    encode = (lambda x: x @ weight) if encoder else None
    model = DecoderModel(draw, log_prior, lambda z: z @ weight.T, torch.device("cpu"), encode)
    x = draw(30, torch.Generator().manual_seed(0)) @ weight.T
    x = x + 0.1 * torch.randn(x.shape, dtype=torch.float64)
    covariance = weight @ weight.T + 0.1**2 * torch.eye(9, dtype=torch.float64)
    each = [torch.distributions.MultivariateNormal(centre @ weight.T, covariance).log_prob(x) for centre in centres]
    exact = torch.logsumexp(torch.stack(each), 0) - math.log(60)
    estimator = Estimator([model], Annealing(16, 40))
    torch.testing.assert_close(estimator.lower_bounds(x, 0.1).nats, exact, rtol=0, atol=0.5)
    assert estimator.gaps(20, 0.1).mean() < 0.2


@pytest.mark.slow
def test_an_equal_mixture_is_that_of_its_epitomes():
    model = linear(EVAE, size=1)
    x = draws(model, N)
    each = np.stack([exact_log_prob(model, x, mask.double()) for mask in model.masks])
    exact = torch.from_numpy(np.logaddexp.reduce(each) - math.log(len(each)))
    estimator = Estimator(model.decoder_models, Annealing(chains=4, distributions=40))
    below, error = mean_and_error(estimator.lower_bounds(torch.from_numpy(x), SIGMA).nats - exact)
    assert -0.5 < below < 2 * error


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_transition_leaves_its_distribution_as_it_is_however_long_its_steps(share, monkeypatch):
    monkeypatch.setattr(ais, "SPARE", 1e-300)
    # Leapfrog steps of 1.6 widths alone would settle at a variance of 1 / (1 - 1.6^2 / 4) = 2.8 times the true one.
    model, n = linear(VAE), 2_000
    x = torch.from_numpy(draws(model, 1)).repeat(n, 1)
    mean, log_scale = model.posterior(x)
    # Of start and posterior, two Gaussians of one mean, the path has one that is as precise as they are on average.
    width = (share + (1 - share) / ais.WIDTH**2) ** -0.5 * log_scale.exp()
    generator = torch.Generator().manual_seed(0)
    start = mean + width * torch.randn(n, LATENT, generator=generator, dtype=torch.float64)
    sampler = Sampler(model.decoder_models[0], 1, generator)
    around = Around(mean, torch.diag(log_scale[0].exp()).repeat(n, 1, 1))
    posterior = Posterior(model.decoder_models[0], x, SIGMA)
    point = sampler.at(posterior, around, start)
    for _ in range(10):
        point, probability = sampler.move(posterior, around, point, share, torch.full_like(x[:, 0], 1.6))
    assert 0.2 < probability.mean() < 0.95
    white = (point.z - mean) / width
    assert (white.mean(0).abs() < 5 / math.sqrt(n)).all()
    assert ((white.var(0) - 1).abs() < 5 * math.sqrt(2 / n)).all()


def test_the_pace_of_the_way_back_is_that_of_the_way_there_in_reverse():
    back = Sizes(torch.arange(6.0).view(3, 2)).reversed().of_chains(2)
    assert back.size(1).tolist() == [4, 5, 4, 5]
    assert back.size(3).tolist() == [0, 1, 0, 1]


def test_a_search_that_is_refused_a_step_goes_on_with_a_shorter_one_and_minds_no_neighbour():
    """Two codes far off, whose full step overshoots; a third where the search begins already is at its end."""
    torch.manual_seed(0)

    def decode(z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(3 * z) @ torch.eye(2, 9, dtype=torch.float64)

    def draw(n: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(n, 2, generator=generator, dtype=torch.float64)

    model = DecoderModel(draw, lambda z: -0.5 * (z.square() + LOG_2PI).sum(1), decode, torch.device("cpu"))
    sampler = Sampler(model, 1, torch.Generator().manual_seed(0))
    truth = torch.tensor([[0.2, -0.1], [-0.3, 0.25], [0.0, 0.0]], dtype=torch.float64)
    begin = torch.tensor([[0.9, -0.8], [0.8, -0.9], [0.0, 0.0]], dtype=torch.float64)
    together = sampler._climb(Posterior(model, decode(truth), 0.05), begin)
    assert (together - truth).abs().max() < 0.02
    alone = torch.cat([sampler._climb(Posterior(model, decode(truth[[i]]), 0.05), begin[[i]]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)


def test_a_start_is_not_where_the_density_is_no_number():
    model = linear(VAE)
    known = model.decoder_models[0]
    x = torch.from_numpy(draws(model, 5))
    lost = DecoderModel(
        known.draw,
        lambda z: torch.where(z[:, 0] > 50, torch.nan, known.log_prior(z)),
        known.decode,
        known.device,
        lambda x: torch.full((len(x), LATENT), 99.0, dtype=torch.float64),
    )
    with torch.no_grad():
        sampler = Sampler(lost, 1, torch.Generator().manual_seed(0))
        around = sampler.around(Posterior(lost, x, SIGMA), sampler.first_codes(x))
    assert around.mode.isfinite().all()
    assert (around.mode[:, 0] < 50).all()


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


@pytest.mark.parametrize("method", ["aae", "aae:prior=mixture,modes=2", "vae", "vae-iaf", "evae", "ae+gaussian"])
def test_codes_of_the_encoder_are_where_the_decoder_looks_for_them(method):
    torch.manual_seed(0)
    model = create_generator(method, (8, 8)).eval()
    x = np.random.default_rng(0).random((5, 64), dtype=np.float32)
    with torch.no_grad():
        expected = torch.from_numpy(model.coder.codes(x))
        for number, part in enumerate(model.decoder_models):
            assert part.encode is not None
            image = part.decode(part.encode(torch.from_numpy(x)))
            if method == "evae":  # each epitome has its own dimensions of the code
                expected = model.posterior(torch.from_numpy(x))[0] * model.masks[number]
            torch.testing.assert_close(image, model.coder.decode(expected), rtol=1e-5, atol=1e-6)
    assert all(each.encode is None for name in ("gan", "gmmn+ae") for each in models_of(name))


def models_of(method: str) -> tuple[DecoderModel, ...]:
    return create_generator(method, (8, 8)).decoder_models


@pytest.fixture
def bounded(monkeypatch):
    """Measure without any chain, at a sigma; what each part was given, and the figures."""

    def measured(sigma: float):
        seen: dict[str, torch.Tensor] = {}

        def weighted(x, codes, seed):
            seen["iwae"] = torch.from_numpy(x)
            return x[:, 0]

        fakes = {
            "choose_sigma": lambda self, x: seen.update(sigma=x) or sigma,
            "lower_bounds": lambda self, x, sigma: seen.update(ais=x) or Bounds(x[:, 0], 1.0),
            "gaps": lambda self, n, sigma: torch.zeros(n),
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(Estimator, name, fake)
        rows = np.ones((30, SIDE**2))
        model = BoundedModel(linear(VAE).decoder_models, weighted, "Gaussian", 0.75 * rows, 20)
        figures = LikelihoodBounds().measure(SampleSets(0 * rows, 0.25 * rows, rows, seed=0, bounded=model))
        return {name: x.unique().tolist() for name, x in seen.items()}, figures

    return measured


def test_the_bounds_are_those_of_test_images_and_the_noise_is_chosen_on_validation_images(bounded):
    seen, _ = bounded(SIGMA)
    assert seen == {"sigma": [0.75], "ais": [0.25], "iwae": [0.25]}


def test_a_noise_at_an_end_of_the_ladder_is_told(bounded):
    widest, *_, least = sigma_ladder()
    assert widest > least
    for sigma, told in ((widest, "the widest that is looked at"), (least, "a smaller one may be better")):
        assert bounded(sigma)[1]["ais_sigma"].detail.endswith(told)


def test_the_pace_is_led_to_where_chains_are_accepted_as_often_as_asked():
    scout = Scout(torch.zeros(3, LATENT))
    for t in range(1, 100):
        scout.hear(torch.exp(-torch.tensor([0.5, 1.0, 3.0]) * scout.size(t)))
    acceptance = torch.exp(-torch.tensor([0.5, 1.0, 3.0]) * scout.size(100))
    torch.testing.assert_close(acceptance, torch.full((3,), ACCEPTANCE), rtol=0, atol=0.01)
