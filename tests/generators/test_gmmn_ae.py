from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lde_bench.generators import create_generator, generator_classes
from lde_bench.generators.gmmn_ae import CodeGenerator, SigmoidAutoencoder, biased_mmd2
from lde_bench.training.plan import Plan


def naive_mmd2(x: Tensor, y: Tensor) -> float:
    def kernel(a: Tensor, b: Tensor) -> float:
        distance = sum((u - v) ** 2 for u, v in zip(a.tolist(), b.tolist(), strict=True))
        return sum(math.exp(-distance / (2 * squared)) for squared in (1, 2, 4, 8, 16, 32))

    def mean(first: Tensor, second: Tensor) -> float:
        return sum(kernel(a, b) for a in first for b in second) / (len(first) * len(second))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def two_sets() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(7, 3, generator=generator, dtype=torch.float64)
    return x, 4 * torch.rand(5, 3, generator=generator, dtype=torch.float64)


def test_the_mmd_is_that_of_a_naive_double_loop():
    x, y = two_sets()
    assert biased_mmd2(x, y).item() == pytest.approx(naive_mmd2(x, y), rel=1e-12)


def test_the_mmd_of_two_points_is_known_in_closed_form():
    x, y = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    closed = sum(2 - 2 * math.exp(-25 / (2 * squared)) for squared in (1, 2, 4, 8, 16, 32))
    assert biased_mmd2(x, y).item() == pytest.approx(closed, rel=1e-12)


def test_the_mmd_is_symmetric_and_none_of_a_set_and_itself():
    x, y = two_sets()
    assert biased_mmd2(x, y).item() == pytest.approx(biased_mmd2(y, x).item(), rel=1e-12)
    assert biased_mmd2(x, x.flip(0)).item() == pytest.approx(0, abs=1e-12)


def test_the_gradient_of_the_root_of_the_mmd_is_right():
    x, y = two_sets()
    assert torch.autograd.gradcheck(lambda y: biased_mmd2(x, y).sqrt(), y.requires_grad_())


def test_the_loss_is_the_root_of_the_mmd_to_the_generated_codes():
    model = CodeGenerator(3).double()
    x, _ = two_sets()
    torch.manual_seed(4)
    loss = model.loss(x, 0.0).item()
    torch.manual_seed(4)
    assert loss == pytest.approx(math.sqrt(naive_mmd2(x, model.draw(7))), rel=1e-12)


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
