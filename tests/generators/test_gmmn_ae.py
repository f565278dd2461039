from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lde_bench.errors import InputError
from lde_bench.generators import create_generator, generator_classes
from lde_bench.generators.gmmn_ae import CodeGenerator, SigmoidAutoencoder, root_mmd
from lde_bench.training.plan import Budget, Plan

SCALES = (0.5, 1.0, 4.0)


def naive_mmd2(x: Tensor, y: Tensor, scales: tuple[float, ...] = SCALES) -> Tensor:
    """By a double loop over the pairs."""

    def mean(first: Tensor, second: Tensor) -> Tensor:
        pairs = [(a - b).square().sum() for a in first for b in second]
        return torch.stack([sum(torch.exp(-pair / (2 * scale)) for scale in scales) for pair in pairs]).mean()

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def two_sets() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(7, 3, generator=generator, dtype=torch.float64)
    return x, 4 * torch.rand(5, 3, generator=generator, dtype=torch.float64)


def test_the_loss_of_two_points_is_known_in_closed_form():
    x, y = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    closed = sum(2 - 2 * math.exp(-25 / (2 * scale)) for scale in SCALES)
    assert root_mmd(x, y, SCALES).item() == pytest.approx(math.sqrt(closed), rel=1e-12)


def test_the_loss_and_its_gradient_are_those_of_a_double_loop_and_autograd():
    x, y = two_sets()
    y.requires_grad_()
    naive = naive_mmd2(x, y).sqrt()
    (expected,) = torch.autograd.grad(3 * naive, y)
    loss = root_mmd(x, y, SCALES)
    (gradient,) = torch.autograd.grad(3 * loss, y)
    torch.testing.assert_close(loss, naive, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)


def test_the_loss_is_symmetric_and_that_of_a_set_and_itself_none():
    x, y = two_sets()
    torch.testing.assert_close(root_mmd(x, y, SCALES), root_mmd(y, x, SCALES))
    assert root_mmd(x, x.flip(0), SCALES).item() < 1e-5


def test_the_generator_is_trained_on_the_loss_to_the_codes_it_generates():
    model = CodeGenerator(3, SCALES).double()
    x, _ = two_sets()
    torch.manual_seed(4)
    loss = model.loss(x, 0.0)
    torch.manual_seed(4)
    torch.testing.assert_close(loss, naive_mmd2(x, model.draw(7)).sqrt())


def test_a_perfect_match_has_a_finite_gradient():
    model = CodeGenerator(3)
    nn.init.zeros_(model.layers[-2].weight)
    nn.init.zeros_(model.layers[-2].bias)
    model.loss(torch.full((4, 3), 0.5), 0.0).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_published_networks_have_the_parameters_counted_by_hand():
    generator = 10 * 64 + 64 + 64 * 256 + 256 + 256 * 256 + 256 + 256 * 1024 + 1024
    mnist = 784 * 1024 + 1024 + 1024 * 32 + 32 + 32 * 1024 + 1024 + 1024 * 784 + 784
    assert create_generator("gmmn+ae", (28, 28)).parameter_count() == mnist + generator + 1024 * 32 + 32
    encoder = 2304 * 512 + 512 + 512 * 512 + 512 + 512 * 128 + 128
    tfd = encoder + 128 * 512 + 512 + 512 * 512 + 512 + 512 * 2304 + 2304
    assert create_generator("gmmn+ae", (48, 48)).parameter_count() == tfd + generator + 1024 * 128 + 128


@pytest.mark.parametrize(
    ("side", "scales", "steps"),
    [
        (28, [1], {"autoencoder": 9_000, "codes": 40_000}),
        (48, [1, 2, 5, 10, 20, 40], {"autoencoder": 60_000, "codes": 48_000}),
    ],
)
def test_the_kernels_and_the_published_steps_are_those_of_the_size_of_the_images(side, scales, steps):
    model = create_generator("gmmn+ae:scale=1", (side, side))
    assert list(model.codes.scales) == scales
    plans = {name: model.part_plan(part, Budget("paper")) for name, part in model.parts().items()}
    assert {name: plan.steps for name, plan in plans.items()} == steps
    # A step takes as long at either size, the pixels aside.
    assert plans["codes"].reference_seconds / plans["codes"].steps == pytest.approx(3000 / 40_000)


def test_one_kernel_is_narrower_than_published_unless_its_scale_is_given_and_six_are_as_published():
    scales = {
        (method, side): create_generator(method, (side, side)).codes.scales
        for method in ("gmmn+ae", "gmmn+ae:scale=2")
        for side in (28, 48)
    }
    assert scales["gmmn+ae", 28] == (0.3,)
    assert scales["gmmn+ae", 48] == (1, 2, 5, 10, 20, 40)
    assert scales["gmmn+ae:scale=2", 28] == (2,)
    assert scales["gmmn+ae:scale=2", 48] == (2, 4, 10, 20, 40, 80)
    for bad in (0, -1, True, "wide"):
        with pytest.raises(InputError, match="is no number above 0; give for example scale=1"):
            create_generator(f"gmmn+ae:scale={bad}", (28, 28))


def test_units_are_dropped_in_training_alone_and_by_the_encoder_alone():
    model = SigmoidAutoencoder((28, 28))
    assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [0.2, 0.5]
    x = torch.rand(4, 784)
    assert not torch.equal(model.encode(x), model.encode(x))
    z = torch.rand(4, 32)
    assert torch.equal(model.decode(z), model.decode(z))
    model.eval()
    assert torch.equal(model.encode(x), model.encode(x))


@pytest.mark.slow
def test_the_generator_learns_the_moments_of_codes_in_two_corners():
    draw = np.random.default_rng(0)
    corner = draw.integers(2, size=(2000, 1))
    codes = (0.2 + 0.6 * corner + 0.03 * draw.normal(size=(2000, 2))).astype(np.float32)
    plan = Plan(steps=150, batch_size=200, rate=3e-3, warmup=10)
    samples = CodeGenerator(2).fit(codes, seed=0, plan=plan).sample(4000)
    np.testing.assert_allclose(samples.mean(0), codes.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(samples.T), np.cov(codes.T), atol=0.02)


def test_the_parts_are_no_models_of_images_of_their_own():
    assert generator_classes()["gmmn+ae"].__name__ == "GMMNAE"
    parts = {"SigmoidAutoencoder", "CodeGenerator"}
    assert parts.isdisjoint(kind.__name__ for kind in generator_classes().values())


def test_the_autoencoder_says_its_name_in_what_it_tells():
    with pytest.raises(ValueError, match="gmmn\\+ae autoencoder: the image array should be"):
        create_generator("gmmn+ae", (8, 8)).reconstructs(np.zeros((2, 5), np.float32))


def test_a_bright_pixel_keeps_its_gradient_in_bfloat16():
    autoencoder = SigmoidAutoencoder((1, 4, 4))
    autoencoder.decoder[-2].bias.data.fill_(8.0)  # a probability of 0.9997, which bfloat16 rounds to 1
    x = torch.full((5, 16), 0.99)
    with torch.autocast("cpu", torch.bfloat16):
        loss = autoencoder.loss(x, 0.0)
    loss.backward()
    gradient = autoencoder.decoder[-2].bias.grad
    assert float(gradient.min()) > 0
    assert float(loss.detach()) < 0.2
