from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lde_bench.generators import create_generator
from lde_bench.generators.deep_gsn import DeepGSN
from lde_bench.training import loop
from lde_bench.training.batches import ArrayBatches
from lde_bench.training.plan import Plan

SHAPE = (4, 4)
SGD = Plan(steps=20, batch_size=16, rate=0.1, optimizer="sgd", momentum=0.5, schedule="exponential", decay=0.99)
ADAM = Plan(steps=20, batch_size=16, rate=1e-2, warmup=1)


def small(**arguments: int) -> DeepGSN:
    model = create_generator("deep-gsn", SHAPE, **{"hidden": 12, **arguments})
    assert isinstance(model, DeepGSN)
    torch.manual_seed(0)
    model.reset_parameters()
    return model


def two_patterns(n: int) -> np.ndarray:
    """Images white in their last row, whose first row is white or black, as likely either."""
    rows = np.zeros((n, 16), np.float32)
    rows[:, 12:] = 1.0
    rows[:, :4] = np.random.default_rng(0).random((n, 1)) < 0.5
    return rows


@pytest.fixture(scope="module")
def trained() -> DeepGSN:
    model = create_generator("deep-gsn", SHAPE, hidden=32)
    assert isinstance(model, DeepGSN)
    return model.fit(two_patterns(500), plan=Plan(steps=300, batch_size=50, rate=3e-3, warmup=10), steps=300)


@pytest.mark.parametrize("layers", [2, 3])
def test_the_published_layers_have_the_parameters_counted_by_hand(layers):
    model = DeepGSN((28, 28), layers=layers)
    above = {2: 1500 * 1500, 3: 2 * 1500 * 1500}[layers]
    assert model.parameter_count() == 784 * 1500 + above + 784 + layers * 1500


def test_salt_and_pepper_replaces_four_tenths_of_the_pixels_half_by_black_half_by_white():
    noisy = small().salt_and_pepper(torch.full((4000, 16), 0.5))
    share = {value: (noisy == value).double().mean().item() for value in (0.0, 0.5, 1.0)}
    assert share == pytest.approx({0.0: 0.2, 0.5: 0.6, 1.0: 0.2}, abs=0.008)  # 5 standard errors


def test_salt_and_pepper_falls_on_each_image_and_pixel_by_itself():
    hit = (small().salt_and_pepper(torch.full((4000, 16), 0.5)) != 0.5).double()
    assert hit.var(1).mean().item() == pytest.approx(0.24, abs=0.005)
    torch.testing.assert_close(torch.corrcoef(hit.T), torch.eye(16, dtype=torch.double), atol=0.08, rtol=0)


def test_the_noise_of_hidden_units_has_standard_deviation_2():
    noise = small().gaussian(torch.full((20_000,), 3.0)) - 3.0
    assert noise.mean().item() == pytest.approx(0, abs=0.07)
    assert noise.std().item() == pytest.approx(2, abs=0.05)


def test_the_layers_above_the_first_have_noise_before_and_after_tanh_and_the_first_has_none():
    """With zero weights it is tanh(2 e) + 2 e', of variance E[tanh(2 e)^2] + 4."""
    model = small(layers=3, hidden=4)
    torch.nn.init.constant_(model.biases[1], 0.3)
    for weight in model.weights:
        torch.nn.init.zeros_(weight)
    _, state = model.update(model.start(torch.zeros(20_000, 16)))
    torch.testing.assert_close(state[1], torch.full_like(state[1], math.tanh(0.3)))
    e = np.linspace(-8, 8, 20_001)
    inner = np.sum(np.tanh(2 * e) ** 2 * np.exp(-(e**2) / 2)) / np.sum(np.exp(-(e**2) / 2))
    for layer in (2, 3):
        assert state[layer].var().item() == pytest.approx(4 + inner, rel=0.03)
        assert state[layer].mean().item() == pytest.approx(0, abs=0.05)


def test_the_weights_down_are_the_weights_up(monkeypatch):
    """One step against the formula, with weights read from one place only; noise silenced."""
    model = small(layers=3)
    monkeypatch.setattr(model, "gaussian", lambda h, generator=None: h)
    x, h1, h2, h3 = (torch.randn(5, size) for size in model.sizes)
    w1, w2, w3 = model.weights
    b0, b1, b2, b3 = model.biases
    logits, state = model.update([x, h1, h2, h3])
    new1 = torch.tanh(x @ w1.T + h2 @ w2 + b1)
    new3 = torch.tanh(h2 @ w3.T + b3)
    torch.testing.assert_close(state[1], new1)
    torch.testing.assert_close(state[3], new3)
    torch.testing.assert_close(state[2], torch.tanh(new1 @ w2.T + new3 @ w3 + b2))
    torch.testing.assert_close(logits, new1 @ w1 + b0)


def test_no_weight_is_stored_twice():
    stored = {value.data_ptr() for value in small().state_dict().values()}
    assert len(stored) == len(list(small().parameters())) == 2 + 3


def test_every_parameter_learns_though_the_last_layer_acts_on_the_next_step_only():
    model = small(layers=3)
    model.loss(torch.rand(8, 16), 0.0).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_the_loss_is_the_sum_of_the_cross_entropies_of_all_steps():
    """With zero weights and a visible bias every reconstruction is the same."""
    model = small(walkback=3)
    for weight in model.weights:
        torch.nn.init.zeros_(weight)
    torch.nn.init.constant_(model.biases[0], 0.7)
    x = torch.rand(6, 16)
    p = torch.sigmoid(torch.tensor(0.7))
    one = -(x * p.log() + (1 - x) * (1 - p).log()).mean()
    torch.testing.assert_close(model.loss(x, 0.0), 3 * one)


def test_a_chain_forgets_where_it_started(trained):
    """After many steps from either pattern both are as likely; after one the start still shows."""

    def share_white(start: float, steps: int) -> float:
        image = torch.zeros(1000, 16)
        image[:, 12:], image[:, :4] = 1.0, start
        state = trained.start(image)
        for _ in range(steps):
            logits, state = trained.update(state)
        return (logits[:, :4].mean(1) > 0).double().mean().item()

    with torch.no_grad():
        torch.manual_seed(0)
        assert share_white(1.0, 1) - share_white(0.0, 1) > 0.5
        assert abs(share_white(1.0, 60) - share_white(0.0, 60)) < 5 * math.sqrt(2 * 0.25 / 1000)


def test_samples_are_of_the_data_and_of_chains_of_their_own(trained):
    samples = trained.sample(1000, seed=1)
    patterns = np.unique(two_patterns(50), axis=0)
    distance = np.abs(samples[:, None] - patterns[None]).mean(2)  # [n, 2]
    nearest = distance.argmin(1)
    assert np.mean(distance.min(1) < 0.15) > 0.8
    assert 0.1 < nearest.mean() < 0.9
    # Neighbours in the array are no more alike than any two.
    assert abs(np.corrcoef(nearest[1:], nearest[:-1])[0, 1]) < 5 / math.sqrt(1000)


def test_the_first_images_are_around_the_mean_image():
    rows = np.random.default_rng(0).random((300, 16), dtype=np.float32)
    rows[:, 0], rows[:, 1] = 0.0, 0.9
    model = small()
    model.prepare(ArrayBatches(rows, seed=0))
    start = torch.sigmoid(model.biases[0]).detach().numpy()
    np.testing.assert_allclose(start[1:], rows.mean(0)[1:], atol=1e-5)
    assert 0 < start[0] < 0.01


class Killed(Exception):
    pass


@pytest.mark.parametrize("plan", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_killed_run_goes_on_to_the_same_weights_to_the_bit(tmp_path, monkeypatch, plan):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    def fit(kill_at: int | None = None, checkpoint=None) -> DeepGSN:
        def on_progress(progress: loop.Progress) -> None:
            if progress.step == kill_at:
                raise Killed

        return small().fit(
            two_patterns(90), plan=plan, steps=plan.steps, checkpoint=checkpoint, on_progress=on_progress
        )

    with pytest.raises(Killed):
        fit(11, tmp_path / "checkpoint")
    resumed, whole = fit(checkpoint=tmp_path / "checkpoint"), fit()
    assert resumed.training_state.resumed_wall_seconds > 0
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))
