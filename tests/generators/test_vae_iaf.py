from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from linear_gaussian import LATENT, draws, exact_log_prob, linear
from torch.autograd.functional import jacobian

from lde_bench.generators.vae import VAE
from lde_bench.generators.vae_iaf import CONTEXT, FORGET_BIAS, VAEIAF, AutoregressiveStep


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    return torch.randn(1, 5, dtype=torch.float64), torch.randn(1, CONTEXT, dtype=torch.float64)


def rough(module: torch.nn.Module) -> None:
    """Weights far from those of the start, so that nothing is near zero by itself."""
    torch.manual_seed(4)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.2)


def test_the_jacobian_of_a_step_is_lower_triangular_with_the_gates_on_its_diagonal(inputs):
    z, h = inputs
    step = AutoregressiveStep(5, CONTEXT, 40).double()
    rough(step)
    change = jacobian(lambda z: step(z, h)[0], z)[0, :, 0]  # [Z, Z]
    assert (change.triu(1) == 0).all()
    assert (change.tril(-1).abs().sum(1)[1:] > 1e-3).all()
    diagonal = change.diagonal()
    assert ((diagonal > 0) & (diagonal < 1)).all()
    torch.testing.assert_close(diagonal.log().sum(), step(z, h)[1][0])


def test_the_product_of_the_masks_lets_each_output_see_what_is_before_it():
    step = AutoregressiveStep(5, 2, 40)
    seen = (step.outputs.mask @ step.hidden.mask > 0).reshape(2, 5, 7)  # m and gates; context, then z
    assert seen[..., :2].all()
    assert (seen[..., 2:] == torch.ones(5, 5).tril(-1).bool()).all()


def test_the_log_determinant_of_all_steps_is_that_of_autograd(inputs):
    z, h = inputs
    model = VAEIAF((8, 8), latent=5, transforms=3, step_hidden=40).double()
    rough(model.flow)
    change = jacobian(lambda z: model.transform(z, h)[0], z)[0, :, 0]
    torch.testing.assert_close(torch.linalg.slogdet(change).logabsdet, model.transform(z, h)[1][0])
    # The order is reversed between steps: what comes first in one comes last in the next.
    assert (change.triu(1).abs() > 1e-9).any()
    assert (change.tril(-1).abs() > 1e-9).any()


def test_every_dimension_hears_of_the_image(inputs):
    z, h = inputs
    step = AutoregressiveStep(5, CONTEXT, 40).double()
    rough(step)
    assert (jacobian(lambda h: step(z, h)[0], h)[0, :, 0].abs().sum(1) > 1e-3).all()


def test_a_step_starts_near_the_identity():
    torch.manual_seed(0)
    step = AutoregressiveStep(8, CONTEXT, 320)
    step.reset_parameters()
    z = torch.randn(100, 8)
    moved, log_abs_det = step(z, torch.randn(100, CONTEXT))
    assert (log_abs_det / 8).mean().item() == pytest.approx(-math.log1p(math.exp(-FORGET_BIAS)), abs=0.05)
    assert (moved - z).square().mean() < 0.1


def test_with_open_gates_it_is_the_vae():
    model = linear(VAEIAF, transforms=1, step_hidden=8)
    torch.nn.init.zeros_(model.flow[0].outputs.weight)
    torch.nn.init.constant_(model.flow[0].outputs.bias, 40.0)
    x = draws(model, 20)
    np.testing.assert_allclose(model.log_prob_bound(x), exact_log_prob(model, x), atol=1e-9)
    pixels = x.clip(0, 1)
    np.testing.assert_allclose(model.codes(pixels), linear(VAE).codes(pixels), atol=1e-9)


def test_its_importance_weights_have_the_exact_likelihood_as_their_mean():
    model = linear(VAEIAF, widen=0.5, transforms=3, step_hidden=16)
    torch.manual_seed(5)
    with torch.no_grad():
        for step in model.flow:
            step.outputs.weight.normal_(0.0, 0.1)
            step.outputs.bias[LATENT:] += 3.5  # a posterior that stays the wider: weights of small variance
    x = draws(model, 10)
    ratio = (model.log_prob_bound(x.repeat(4000, 0)) - exact_log_prob(model, x).repeat(4000)).reshape(10, 4000)
    weights = np.exp(ratio)
    errors = weights.std(1) / math.sqrt(4000)
    assert (abs(weights.mean(1) - 1) < 4 * errors).all()
    assert errors.max() < 0.05
    assert (ratio.mean(1) < -0.05).all()  # the evidence lower bound
    # Its log-determinants are large enough for a wrong sign to show.
    mean, _, h = model.posterior(torch.from_numpy(x))
    assert (model.transform(mean, h)[1] < -0.15).all()


def test_the_loss_is_minus_the_mean_of_its_bound():
    model = linear(VAEIAF, shift=0.2, widen=0.3, transforms=2, step_hidden=16)
    x = draws(model, 20)
    torch.manual_seed(6)
    losses = torch.stack([model.loss(torch.from_numpy(x), 0.0) for _ in range(200)]).detach().numpy()
    bounds = model.log_prob_bound(x.repeat(200, 0))
    assert abs(losses.mean() + bounds.mean()) < 4 * losses.std() / math.sqrt(100)
