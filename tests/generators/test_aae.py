from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lde_bench.errors import InputError
from lde_bench.generators import create_generator
from lde_bench.generators.aae import AAE, mode_means
from lde_bench.training import loop
from lde_bench.training.device import Compiler
from lde_bench.training.plan import Plan

SHAPE = (8, 8)
ROWS = np.random.default_rng(0).random((200, 64), dtype=np.float32)
PLAN = Plan(steps=12, batch_size=20, rate=1e-3, betas=(0.5, 0.999), warmup=2)


class Killed(Exception):
    pass


def fitted(
    backbone: str = "mlp", checkpoint: Path | None = None, kill_at: int | None = None, **arguments: float
) -> AAE:
    model = create_generator("aae", SHAPE, latent=3, backbone=backbone, prior="mixture", **arguments)
    assert isinstance(model, AAE)

    def watch(progress: loop.Progress) -> None:
        if progress.step == kill_at:
            raise Killed

    return model.fit(ROWS, seed=5, plan=PLAN, steps=12, precision="fp32", checkpoint=checkpoint, on_progress=watch)


def test_the_published_networks_have_the_parameters_counted_by_hand():
    model = AAE((28, 28), latent=8, layers=2, hidden=1000)
    encoder = 784 * 1000 + 1000 + 1000 * 1000 + 1000 + 1000 * 8 + 8
    decoder = 8 * 1000 + 1000 + 1000 * 1000 + 1000 + 1000 * 784 + 784
    discriminator = 8 * 1000 + 1000 + 1000 * 1000 + 1000 + 1000 + 1
    assert model.parameter_count() == encoder + decoder + discriminator


def test_unless_given_it_has_three_layers_of_500():
    between = 2 * (500 * 500 + 500)  # those of one network that have 500 units on both sides
    encoder = (784 * 500 + 500) + between + (500 * 8 + 8)
    decoder = (8 * 500 + 500) + between + (500 * 784 + 784)
    discriminator = (8 * 500 + 500) + between + (500 + 1)
    assert AAE((28, 28), latent=8).parameter_count() == encoder + decoder + discriminator


def test_the_convolutions_are_those_of_the_ae():
    model, ae = AAE((28, 28), latent=8, backbone="conv"), create_generator("ae", (28, 28), latent=8)
    discriminator = sum(each.numel() for each in model.discriminator.parameters())
    assert model.parameter_count() == ae.parameter_count() + discriminator


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "arguments"), [("mlp", {}), ("conv", {}), ("mlp", {"adversarial": 0.1})])
def test_a_killed_run_ends_with_the_same_weights_to_the_bit(tmp_path, monkeypatch, backbone, arguments):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    whole = fitted(backbone, **arguments)
    with pytest.raises(Killed):
        fitted(backbone, tmp_path / "checkpoint", kill_at=7, **arguments)
    resumed = fitted(backbone, tmp_path / "checkpoint", **arguments)
    assert resumed.training_state.resumed_wall_seconds > 0
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def learner_of(model: Any, plan: Plan = PLAN) -> Any:
    cpu = torch.device("cpu")
    return model.learner(plan, cpu, "fp32", Compiler(cpu, False, print))


@pytest.mark.parametrize("arguments", [{}, {"adversarial": 0.1}], ids=["phases", "sum"])
def test_an_average_of_the_weights_follows_them(arguments):
    model = create_generator("aae", SHAPE, latent=3, **arguments)
    learner = learner_of(model, replace(PLAN, average=0.9))
    first = learner.candidate()
    learner.step(torch.from_numpy(ROWS[:20]), 5, 0.1)
    weights = model.state_dict()
    for name, value in learner.candidate().items():
        share = 6 / 15  # of the first weights, after step 5
        torch.testing.assert_close(value, share * first[name] + (1 - share) * weights[name])


@pytest.mark.parametrize(
    ("adversarial", "phase", "own"),
    [
        (None, "reconstruction", {"encoder", "decoder"}),
        (None, "discriminator", {"discriminator"}),
        (None, "generator", {"encoder"}),
        (0.1, "discriminator", {"discriminator"}),
        (0.1, "autoencoder", {"encoder", "decoder"}),
    ],
)
def test_a_phase_moves_its_own_networks_alone(monkeypatch, adversarial, phase, own):
    model = create_generator("aae", SHAPE, latent=3, **({} if adversarial is None else {"adversarial": adversarial}))
    learner = learner_of(model)
    for name, optimizer in learner.optimizers.items():
        if name != phase:
            monkeypatch.setattr(optimizer, "step", lambda: None)
    before = learner.candidate()
    learner.step(torch.from_numpy(ROWS[:20]), 5, 0.1)
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == own


def test_the_summed_step_goes_down_the_gradient_of_the_weighted_sum(monkeypatch):
    model = create_generator("aae", SHAPE, latent=3, adversarial=0.3)
    learner = learner_of(model)
    for optimizer in learner.optimizers.values():
        monkeypatch.setattr(optimizer, "step", lambda: None)
    batch = torch.from_numpy(ROWS[:20])
    learner.step(batch, 5, 0.1)
    codes = model.encode(batch)
    error = (model.decode(codes) - batch).square().mean()
    loss = error - 0.3 * torch.sigmoid(model.discriminator(codes)).log().mean()
    own = [*model.encoder.parameters(), *model.decoder.parameters()]
    for parameter, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.slow
def test_the_discriminator_learns_to_tell_the_prior_from_the_codes():
    model = create_generator("aae", SHAPE, latent=3)
    learner = learner_of(model)
    del learner.optimizers["reconstruction"], learner.optimizers["generator"]
    learner.descend = lambda phase, loss: phase == "discriminator" and type(learner).descend(learner, phase, loss)
    torch.manual_seed(0)
    batch = torch.from_numpy(ROWS)
    for step in range(20):
        learner.step(batch, step, 0.1)
    with torch.no_grad():
        assert model.discriminator(model.draw_prior(500)).mean() > model.discriminator(model.encode(batch)).mean() + 1


def distance_to_the_prior(model: AAE, rows: np.ndarray) -> float:
    """The sum of the Kolmogorov-Smirnov distances of each dimension of the codes and N(0, 1)."""
    codes = np.sort(model.codes(rows), axis=0)
    below = 0.5 * (1 + torch.erf(torch.from_numpy(codes) / math.sqrt(2))).numpy()
    return float(np.abs(below - np.linspace(0, 1, len(codes))[:, None]).max(0).sum())


@pytest.mark.slow
def test_the_codes_of_all_images_get_closer_to_the_prior_in_training():
    draw = np.random.default_rng(1)
    rows = 1 / (1 + np.exp(-draw.normal(size=(2000, 2)) @ draw.normal(size=(2, 64))))
    rows = rows.astype(np.float32)
    plan = Plan(steps=150, batch_size=100, rate=1e-3, betas=(0.5, 0.999), warmup=2)
    model = create_generator("aae", SHAPE, latent=2)
    short = distance_to_the_prior(model.fit(rows, seed=0, plan=plan, steps=2), rows)
    long = distance_to_the_prior(model.fit(rows, seed=0, plan=plan, steps=150), rows)
    assert long < 0.5 * short


@pytest.mark.parametrize(("latent", "modes"), [(1, 2), (2, 10), (5, 1), (5, 2), (5, 7)])
def test_draws_of_the_mixture_prior_have_the_moments_of_its_density(latent, modes):
    model = create_generator("aae", SHAPE, latent=latent, prior="mixture", modes=modes)
    n = 40_000
    draws = model.draw_prior(n, torch.Generator().manual_seed(0)).double()
    means = mode_means(modes, latent).double()
    centre = means.mean(0)
    covariance = torch.eye(latent) + (means - centre).T @ (means - centre) / modes
    # Six standard errors, of a mean and, from the draws' own fourth moments, of each entry of the covariance.
    assert ((draws.mean(0) - centre).abs() < 6 * (covariance.diagonal() / n).sqrt()).all()
    products = (draws - centre)[:, :, None] * (draws - centre)[:, None, :]
    assert ((products.mean(0) - covariance).abs() < 6 * products.std(0) / math.sqrt(n)).all()


@pytest.mark.parametrize("prior", ["gaussian", "mixture"])
def test_the_scale_stretches_the_whole_prior(prior):
    narrow, wide = (create_generator("aae", SHAPE, latent=3, prior=prior, scale=scale) for scale in (1, 5))
    draws = [model.draw_prior(50, torch.Generator().manual_seed(0)) for model in (narrow, wide)]
    torch.testing.assert_close(draws[1], 5 * draws[0])


def test_layers_and_units_are_those_of_all_three_networks():
    model = AAE((28, 28), latent=8, layers=3, hidden=500)
    between = 2 * (500 * 500 + 500)
    encoder = 784 * 500 + 500 + between + 500 * 8 + 8
    decoder = 8 * 500 + 500 + between + 500 * 784 + 784
    discriminator = 8 * 500 + 500 + between + 500 + 1
    assert model.parameter_count() == encoder + decoder + discriminator


def test_each_mode_of_the_mixture_has_its_share_of_the_draws():
    model = create_generator("aae", SHAPE, latent=2, prior="mixture", modes=4)
    draws = model.draw_prior(8000, torch.Generator().manual_seed(0))
    nearest = torch.cdist(draws, mode_means(4, 2)).argmin(1)
    assert (nearest.bincount(minlength=4) - 2000).abs().max() < 6 * math.sqrt(8000 * 0.25 * 0.75)


def test_ten_modes_in_two_dimensions_are_even_on_a_ring():
    means = mode_means(10, 2)
    radius = means.norm(dim=1)
    torch.testing.assert_close(radius, radius[:1].expand(10))
    gaps = (means - means.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(gaps, torch.full((10,), 6.0))


def test_two_modes_are_those_of_yoo_et_al():
    assert mode_means(2, 4).tolist() == [[-3.0] * 4, [3.0] * 4]


def test_the_modes_of_a_larger_code_are_apart_and_always_the_same():
    means = mode_means(10, 8)
    assert torch.equal(means, mode_means(10, 8))
    torch.testing.assert_close(means.norm(dim=1), torch.full((10,), 3 * math.sqrt(8)))
    assert torch.pdist(means).min() > 2


@pytest.mark.slow
def test_the_prior_is_saved_with_the_model(tmp_path):
    from lde_bench.generators import load_generator

    model = fitted()
    model.save(tmp_path / "model.safetensors")
    again = load_generator(tmp_path / "model.safetensors")
    assert np.array_equal(model.sample(20, seed=3), again.sample(20, seed=3))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"backbone": "mpl"}, "backbone 'mpl' is unknown"),
        ({"prior": "uniform"}, "prior 'uniform' is unknown; choose gaussian or mixture"),
        ({"modes": 3}, "a gaussian prior has no modes = 3"),
        ({"scale": 0}, "scale = 0 is no number above 0"),
        ({"adversarial": -1}, "adversarial = -1 is no number above 0"),
        ({"backbone": "conv", "hidden": 500}, "layers and hidden are those of backbone=mlp"),
        ({"layers": 0}, "layers = 0 is not a whole number from 1 up"),
        ({"prior": "mixture", "modes": 0}, "modes = 0 is not a whole number from 1 up"),
        ({"prior": "mixture", "modes": 3, "latent": 1}, "modes = 3 find no place in a code of size 1"),
    ],
)
def test_a_bad_argument_is_told_in_one_sentence(wrong, says):
    with pytest.raises(InputError, match=says) as caught:
        create_generator("aae", SHAPE, **wrong)
    assert "\n" not in str(caught.value)
