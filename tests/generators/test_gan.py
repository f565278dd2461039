from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lde_bench.generators import create_generator
from lde_bench.generators.gan import GAN, Maxout
from lde_bench.training import loop
from lde_bench.training.batches import ArrayBatches
from lde_bench.training.device import Compiler
from lde_bench.training.plan import Plan

SHAPE = (5, 4)
ROWS = np.random.default_rng(0).random((300, 20), dtype=np.float32)
SMALL = {"noise": 3, "hidden": 8, "units": 6, "pieces": 4}
SGD = Plan(steps=20, batch_size=16, rate=0.1, optimizer="sgd", momentum=0.5, schedule="exponential", decay=0.99)
ADAM = Plan(steps=20, batch_size=16, rate=1e-2)


def small() -> GAN:
    model = create_generator("gan", SHAPE, **SMALL)
    assert isinstance(model, GAN)
    return model


def learner(model: GAN, plan: Plan):
    cpu = torch.device("cpu")
    return model.learner(plan, cpu, "fp32", Compiler(cpu, False, print))


def weights(network: torch.nn.Module) -> list[Tensor]:
    return [value.clone() for value in network.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_published_networks_have_the_parameters_counted_by_hand():
    model = GAN((28, 28))
    generator = 100 * 1200 + 1200 + 1200 * 1200 + 1200 + 1200 * 784 + 784
    discriminator = 784 * 240 * 5 + 240 * 5 + 240 * 240 * 5 + 240 * 5 + 240 + 1
    assert sum(each.numel() for each in model.generator.parameters()) == generator
    assert sum(each.numel() for each in model.discriminator.parameters()) == discriminator
    assert model.parameter_count() == generator + discriminator


def test_maxout_is_the_largest_of_its_affine_functions():
    torch.manual_seed(0)
    layer = Maxout(5, units=3, pieces=4)
    x = torch.randn(7, 5)
    weight, bias = layer.affine.weight, layer.affine.bias
    for unit in range(3):
        rows = [piece * 3 + unit for piece in range(4)]
        naive = torch.stack([x @ weight[row] + bias[row] for row in rows]).max(0).values
        torch.testing.assert_close(layer(x)[:, unit], naive)


def test_a_fresh_discriminator_tells_nothing_apart():
    """V(D, G) = -2 log 2 where D is 1/2 everywhere; its loss is -V / 2, and the generator's -log D is log 2."""
    model = GAN((28, 28))
    torch.manual_seed(0)
    model.reset_parameters()
    discriminator, generator = model.train().losses(torch.rand(64, 784))
    assert 2 * discriminator.item() == pytest.approx(2 * math.log(2), abs=0.02)
    assert generator.item() == pytest.approx(math.log(2), abs=0.02)


def test_the_losses_are_those_of_the_paper():
    model = small().eval()  # no dropout
    x = torch.rand(9, 20)
    torch.manual_seed(3)
    discriminator, generator = model.losses(x)
    torch.manual_seed(3)
    real = torch.sigmoid(model.discriminator(x))
    fake = torch.sigmoid(model.discriminator(model.decode(model.draw_noise(9))))
    torch.testing.assert_close(-2 * discriminator, real.log().mean() + (1 - fake).log().mean())
    torch.testing.assert_close(generator, -fake.log().mean())


@pytest.mark.parametrize("silent", [0, 1])
def test_each_loss_moves_its_own_network_alone(monkeypatch, silent):
    """With one loss made constant, its network stands still, however much the other one moves."""
    torch.manual_seed(1)
    model = small()
    model.reset_parameters()
    losses = model.losses
    monkeypatch.setattr(
        model, "losses", lambda x: tuple(0 * loss if i == silent else loss for i, loss in enumerate(losses(x)))
    )
    before = weights(model.discriminator), weights(model.generator)
    learner(model, SGD).step(torch.rand(16, 20), 0, 0.0)
    still = same(before[0], weights(model.discriminator)), same(before[1], weights(model.generator))
    assert still == (silent == 0, silent == 1)


def test_a_generator_that_is_given_a_gradient_is_taken_more_for_data():
    torch.manual_seed(2)
    model = small().eval()
    noise = model.draw_noise(500)
    before = model.discriminator(model.decode(noise)).mean().item()
    descent = learner(model, SGD)
    descent.optimizers["discriminator"].param_groups[0]["params"].clear()  # the discriminator stays
    for step in range(20):
        descent.step(torch.rand(16, 20), step, 0.0)
    assert model.eval().discriminator(model.decode(noise)).mean().item() > before


def test_the_momentum_grows_and_the_rate_falls_as_published():
    model = small()
    descent = learner(model, SGD)
    for step, progress, momentum in ((0, 0.0, 0.5), (10, 0.5, 0.6), (20, 1.0, 0.7)):
        descent.step(torch.rand(16, 20), step, progress)
        for optimizer in descent.optimizers.values():
            assert optimizer.param_groups[0]["momentum"] == pytest.approx(momentum)
            assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.99**step)


def test_the_first_images_are_around_the_mean_image():
    rows = ROWS.copy()
    rows[:, 0], rows[:, 1] = 0.0, 0.9
    model = small()
    model.reset_parameters()
    model.prepare(ArrayBatches(rows, seed=0))
    image = model.decode(torch.zeros(1, 3)).detach().numpy()[0]
    np.testing.assert_allclose(image, rows.mean(0), atol=1e-5)


def test_the_noise_is_uniform_of_mean_0_and_variance_1():
    noise = GAN(SHAPE).draw_noise(4000)
    assert noise.shape == (4000, 100)
    assert noise.abs().max() <= math.sqrt(3)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.var().item() == pytest.approx(1, abs=0.01)


class Killed(Exception):
    pass


@pytest.mark.parametrize("plan", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_killed_run_goes_on_with_both_optimisers_to_the_same_weights_to_the_bit(tmp_path, monkeypatch, plan):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    def fit(kill_at: int | None = None, checkpoint=None) -> GAN:
        def on_progress(progress: loop.Progress) -> None:
            if progress.step == kill_at:
                raise Killed

        return small().fit(ROWS, plan=plan, steps=plan.steps, checkpoint=checkpoint, on_progress=on_progress)

    with pytest.raises(Killed):
        fit(11, tmp_path / "checkpoint")
    resumed, whole = fit(checkpoint=tmp_path / "checkpoint"), fit()
    assert resumed.training_state.resumed_wall_seconds > 0
    assert same(weights(resumed), weights(whole))
