"""MADE and the residual MADE: masks by the product of the mask matrices, parameter counts, the running scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import lde_bench as lb
from lde_bench.densities.masked import BLOCKS, MaskedLinear, hidden_degrees, input_degrees
from lde_bench.densities.resmade_mog import ResMadeMog
from lde_bench.training.batches import ArrayBatches


@pytest.mark.parametrize("features", [2, 3, 7, 63])
@pytest.mark.parametrize("method", ["made-mog:layers=1", "made-mog:layers=3", "resmade-mog:blocks=2"])
def test_the_product_of_the_masks_lets_output_i_see_exactly_the_inputs_before_i(method: str, features: int) -> None:
    density = lb.create(f"{method},hidden=128,components=1", features=features)
    paths = torch.eye(features, dtype=torch.float64)
    for layer in density.modules():
        if isinstance(layer, MaskedLinear):
            through = layer.mask.double() @ paths
            # A residual block also hands its input on; what it may see is the same.
            paths = (through > 0).double()
    sees = paths.reshape(features, 3, features).amax(1) > 0
    expected = torch.ones(features, features).tril(-1) > 0
    assert torch.equal(sees, expected)


def test_hidden_units_share_the_degrees_evenly_and_stand_in_their_order() -> None:
    degrees = hidden_degrees(63, 620)
    assert torch.bincount(degrees)[1:].tolist() == [10] * 62
    assert (degrees.diff() >= 0).all()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("order", ["rising", "any", "falling"])
def test_a_product_in_blocks_is_the_masked_product(order: str, strict: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    sources, targets = hidden_degrees(63, 301), input_degrees(63).repeat_interleave(9)
    if order == "any":
        sources, targets = (each[torch.randperm(len(each), generator=generator)] for each in (sources, targets))
    elif order == "falling":
        targets = targets.flip(0)
    layer = MaskedLinear(sources, targets, strict).double()
    share = sum(outputs * inputs for outputs, inputs in layer.blocks) / layer.weight.numel()
    assert (len(layer.blocks), share < 0.65) == ((1, False) if order == "any" else (BLOCKS, True))
    x = torch.randn(2, 5, 301, dtype=torch.float64, generator=generator)
    weight = (layer.weight.detach() * layer.mask).requires_grad_()
    bias = layer.bias.detach().clone().requires_grad_()
    plain = torch.nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(layer(x), plain, rtol=1e-12, atol=1e-12)
    layer(x).square().sum().backward()
    plain.square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, weight.grad * layer.mask, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.bias.grad, bias.grad, rtol=1e-12, atol=1e-12)


def test_a_layer_whose_outputs_see_nothing_gives_its_bias() -> None:
    layer = MaskedLinear(torch.full((300,), 5), torch.full((300,), 1))
    assert layer.blocks == [(75, 0)] * BLOCKS
    torch.testing.assert_close(layer(torch.ones(4, 300)), layer.bias.expand(4, -1))


def test_parameter_counts_follow_from_the_layer_sizes() -> None:
    d, k, h = 63, 10, 512
    made = (d * h + h) + (h * h + h) + (h * 3 * d * k + 3 * d * k)
    assert lb.create("made-mog", features=d, components=k).parameter_count() == made
    resmade = (d * h + h) + 4 * (h * h + h) + (h * 3 * d * k + 3 * d * k)
    assert lb.create("resmade-mog", features=d, components=k).parameter_count() == resmade


def test_at_the_start_every_conditional_is_centred_and_about_as_wide_as_the_data() -> None:
    density = lb.create("made-mog:hidden=16", features=4, components=5)
    samples = density.sample(4000, seed=1)
    assert np.abs(samples.mean(0)).max() < 0.3
    assert 0.2 < samples.std(0).min() < samples.std(0).max() < 3


def test_the_running_scale_makes_log_prob_follow_a_change_of_unit_exactly() -> None:
    """p_c(c x) = p(x) / c^D when the unit of the density is c: the log-determinant of the scale is counted."""
    x = np.random.default_rng(0).normal(size=(50, 6))
    first, second = (ResMadeMog(6, components=3, hidden=24).double().eval() for _ in range(2))
    second.load_state_dict(first.state_dict())
    factor = 0.01
    first.prepare(ArrayBatches(x, 0))
    second.prepare(ArrayBatches(x * factor, 0))
    expected = first.log_prob(x) - 6 * math.log(factor)
    np.testing.assert_allclose(second.log_prob(x * factor), expected, rtol=1e-9)


def test_the_running_scale_is_the_root_mean_square_of_the_past() -> None:
    density = ResMadeMog(3, components=1, hidden=8).double().eval()
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.zero_()
    x = torch.tensor([[2.0, 3.0, 5.0]], dtype=torch.float64)
    scales = density.conditionals(x).log_scales.exp()[0, :, 0]
    expected = torch.tensor([1.0, math.sqrt((1 + 4) / 2), math.sqrt((1 + 4 + 9) / 3)], dtype=torch.float64)
    torch.testing.assert_close(scales, expected)
