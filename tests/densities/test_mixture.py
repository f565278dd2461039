from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import lde_bench as lb
from lde_bench.densities.mixture import LOG_SCALE_BOUND, AutoregressiveMixture, Mixture
from lde_bench.errors import InputError


def mixture(shape: tuple[int, ...] = (), components: int = 3, seed: int = 0) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(*shape, 3 * components, generator=generator, dtype=torch.float64)
    return Mixture.from_head(outputs)


def weights_means_scales(one: Mixture) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return one.logits.softmax(-1).numpy(), one.means.numpy(), one.log_scales.exp().numpy()


def test_log_prob_and_cdf_are_those_of_scipys_gaussians():
    one, x = mixture(), torch.linspace(-5, 5, 41, dtype=torch.float64)
    weights, means, scales = weights_means_scales(one)
    density = (weights * stats.norm.pdf(x.numpy()[:, None], means, scales)).sum(-1)
    cumulative = (weights * stats.norm.cdf(x.numpy()[:, None], means, scales)).sum(-1)
    np.testing.assert_allclose(one.log_prob(x), np.log(density), rtol=1e-12)
    np.testing.assert_allclose(one.cdf(x), cumulative, rtol=1e-12)


def test_the_logits_are_defined_up_to_a_constant():
    one, x = mixture(), torch.linspace(-5, 5, 11, dtype=torch.float64)
    shifted = one._replace(logits=one.logits + 300)
    torch.testing.assert_close(shifted.log_prob(x), one.log_prob(x), rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_tails_and_extreme_outputs_stay_finite(dtype):
    outputs = torch.tensor([[1e4, -1e4, 0.0, 0.0, 1e3, -1e3, 1e6, -1e6, 0.0]], dtype=dtype, requires_grad=True)
    log_p = Mixture.from_head(outputs).log_prob(torch.tensor([1e6], dtype=dtype))
    assert torch.isfinite(log_p).all()
    log_p.sum().backward()
    assert torch.isfinite(outputs.grad).all()
    assert Mixture.from_head(outputs).log_scales.abs().max() == LOG_SCALE_BOUND


def test_a_far_tail_is_exact_and_has_no_floor():
    one = Mixture(*(torch.zeros(1, 1, dtype=torch.float64) for _ in range(3)))
    expected = -0.5 * 1e6 - 0.5 * math.log(2 * math.pi)
    assert one.log_prob(torch.tensor([1e3], dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-15)


def test_a_bfloat16_network_gets_a_float32_mixture():
    assert {part.dtype for part in Mixture.from_head(torch.zeros(2, 6, dtype=torch.bfloat16))} == {torch.float32}
    assert {part.dtype for part in Mixture.from_head(torch.zeros(2, 6, dtype=torch.float64))} == {torch.float64}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_of_a_batch_follow_the_mixture(dtype):
    one = Mixture(*(part.to(dtype) for part in mixture()))
    batch = Mixture(*(part.expand(4000, -1) for part in one))
    drawn = batch.sample(torch.Generator().manual_seed(1))
    assert drawn.dtype == dtype
    assert stats.kstest(one.cdf(drawn).double().numpy(), "uniform").pvalue > 1e-3


def test_every_component_is_drawn_as_often_as_its_weight_says():
    one = Mixture(
        torch.tensor([0.2, 0.5, 0.3]).log(), torch.tensor([-100.0, 0.0, 100.0]), torch.zeros(3)
    )  # far apart: a sample tells its component
    drawn = Mixture(*(part.expand(20_000, -1) for part in one)).sample(torch.Generator().manual_seed(0))
    shares = [((drawn - mean).abs() < 20).float().mean().item() for mean in (-100, 0, 100)]
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=4 * math.sqrt(0.25 / 20_000))


def test_rows_draw_their_components_independently():
    one = Mixture(torch.zeros(2), torch.tensor([-100.0, 100.0]), torch.zeros(2))
    sides = Mixture(*(part.expand(1000, 5, -1) for part in one)).sample(torch.Generator().manual_seed(0)).sign()
    assert np.abs(np.corrcoef(sides.numpy().T) - np.eye(5)).max() < 0.2
    assert abs((sides[1:] * sides[:-1]).mean().item()) < 4 / math.sqrt(5 * 1000)


def test_a_rescaled_mixture_is_that_of_the_scaled_variable():
    one, x, log_scale = mixture((7,)), torch.randn(7, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    rescaled = one.rescaled(log_scale)
    scale = log_scale.exp()
    torch.testing.assert_close(rescaled.log_prob(scale * x), one.log_prob(x) - log_scale)
    torch.testing.assert_close(rescaled.cdf(scale * x), one.cdf(x))


class Chain(AutoregressiveMixture):
    """x_i is one Gaussian around x_(i-1)."""

    def conditionals(self, x: Tensor) -> Mixture:
        before = torch.nn.functional.pad(x[:, :-1], (1, 0)).unsqueeze(-1)
        zeros = torch.zeros_like(before)
        return Mixture(zeros, before, zeros)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")


def test_the_chain_rule_gives_a_random_walk_its_covariance_and_its_log_prob():
    walk = Chain(4)
    covariance = np.minimum.outer(np.arange(1, 5), np.arange(1, 5)).astype(float)
    drawn = walk.draw(20_000, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(np.cov(drawn.numpy().T), covariance, atol=0.2)
    expected = stats.multivariate_normal(np.zeros(4), covariance).logpdf(drawn[:50].numpy())
    np.testing.assert_allclose(walk(drawn[:50]), expected, rtol=1e-12)
    np.testing.assert_allclose(walk.conditional_log_prob(drawn[:50]).sum(-1), expected, rtol=1e-12)


@pytest.mark.parametrize("components", [0, -1, 2.5, True, "ten", None])
def test_a_bad_number_of_components_is_an_input_error(components):
    with pytest.raises(InputError, match=r"components = .* is not a whole number from 1 up"):
        lb.create("lde", features=3, components=components)


@pytest.mark.parametrize(
    "argument", ["lde:components", "gmm:components", "nsf:bins", "tan:hidden", "deep-rnade:layers"]
)
def test_a_number_that_torch_cannot_hold_is_an_input_error(argument):
    with pytest.raises(InputError, match="= 99999999999999999999 is more than any machine holds; give at most 1,000"):
        lb.create(f"{argument}=99999999999999999999", features=3)
