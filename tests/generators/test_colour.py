"""Images in colour: the shape of the networks, [-1, 1] inside, the reconstruction loss."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

import lde_bench as lb
from lde_bench.errors import InputError
from lde_bench.features import vgg19 as vgg19_module
from lde_bench.features.vgg19_weights import LAYERS, NAMES
from lde_bench.generators import create_generator, load_generator
from lde_bench.generators.reconstruction import ReconstructionLoss

COLOUR = (3, 16, 16)


@pytest.fixture
def network(monkeypatch) -> vgg19_module.Vgg19:
    """A network of the shape of VGG19 with random weights, in the place of the real one."""
    generator = np.random.default_rng(0)
    channels = [3, 64, 64, 128, 128, 256]
    weights = {}
    for name in NAMES:
        layer, part = name.split(".")
        deep, wide = channels[list(LAYERS).index(layer) :][:2]
        shape = (wide, deep, 3, 3) if part == "weight" else (wide,)
        weights[name] = generator.normal(0, 0.05, shape).astype(np.float32)
    made = vgg19_module.Vgg19(weights)
    monkeypatch.setattr(vgg19_module, "vgg19", lambda device="cpu": made)
    return made


def convolutions(module: nn.Module) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            yield layer.in_channels, layer.out_channels, tuple(layer.kernel_size)


@pytest.mark.parametrize(("side", "last"), [(32, 256), (48, 256), (64, 512), (128, 1024)])
def test_the_networks_are_the_papers_at_every_side(side, last):
    model = create_generator("ae", (3, side, side), latent=20)
    kernel = 6 if side == 48 else 4
    encoder, decoder = (list(convolutions(part)) for part in (model.encoder, model.decoder))
    channels = [3, *(64 << step for step in range(len(encoder) - 1))]
    assert channels[-1] == last
    assert encoder[:-1] == [(a, b, (4, 4)) for a, b in itertools.pairwise(channels)]
    assert encoder[-1] == (last, 20, (kernel, kernel))
    assert decoder == [(b, a, size) for a, b, size in reversed(encoder)]
    assert model.decode(torch.zeros(2, 20)).shape == (2, 3 * side * side)


@pytest.mark.parametrize("method", ["ae", "aae", "aae:backbone=conv", "vae", "vae:backbone=conv"])
def test_colour_is_worked_on_in_minus_one_to_one_and_leaves_in_zero_to_one(method):
    torch.manual_seed(0)
    model = create_generator(method, COLOUR, latent=4).double()
    model.reset_parameters()
    seen = []
    first = next(each for each in model.encoder.modules() if isinstance(each, nn.Conv2d | nn.Linear))
    first.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    x = torch.rand(3, 768, dtype=torch.float64)
    model.encode(x)
    torch.testing.assert_close(seen[0].reshape(3, -1), 2 * x - 1)
    z = torch.randn(3, 4, dtype=torch.float64)
    outputs = model.decoder(z)
    torch.testing.assert_close(2 * model.decode(z) - 1, torch.tanh(outputs))


@pytest.mark.parametrize("method", ["gan", "gmmn+ae", "deep-gsn", "evae", "vae-iaf", "kmeans", "ae+gaussian"])
@pytest.mark.slow
def test_every_model_of_images_takes_colour(method):
    x = np.random.default_rng(1).random((64, 768), dtype=np.float32)
    model = lb.create_generator(method, COLOUR).fit(x, x[:16], steps=2)
    samples = model.sample(5)
    assert samples.shape == (5, 768)
    assert 0 <= samples.min() <= samples.max() <= 1


def test_the_loss_is_that_of_the_paper_in_its_units(network):
    decoded, target = torch.rand(2, 4, 768)
    loss = ReconstructionLoss(COLOUR, 0.1)(decoded, target)
    ours, theirs = (network(rows.view(4, *COLOUR)) for rows in (decoded, target))
    squares = [float((a - b).square().mean()) for a, b in zip(ours, theirs, strict=True)]
    error = float(((2 * decoded - 1) - (2 * target - 1)).square().mean())
    assert loss.item() == pytest.approx(error + 0.1 * 0.5 * sum(squares), rel=1e-5)
    assert min(squares) > 0.001  # each term counts


def test_grey_images_keep_their_units_and_may_have_the_term_too(network):
    decoded, target = torch.rand(2, 4, 256)
    grey = ReconstructionLoss((1, 16, 16), 0.0)(decoded, target)
    assert grey.item() == pytest.approx((decoded - target).square().mean().item())
    assert ReconstructionLoss((1, 16, 16), 0.1)(decoded, target) > grey


@pytest.mark.parametrize("method", ["ae", "iae", "aae:backbone=conv"])
def test_the_perceptual_term_is_trained_on_and_its_network_is_no_part_of_the_model(method, network, tmp_path):
    x = np.random.default_rng(2).random((8, 768), dtype=np.float32)
    with_it, without = (
        create_generator(method, COLOUR, latent=3, perceptual=weight).fit(x, steps=2, seed=5) for weight in (5.0, 0.0)
    )
    assert with_it.parameter_count() == without.parameter_count()
    assert any(not torch.equal(a, b) for a, b in zip(with_it.parameters(), without.parameters(), strict=True))
    with_it.save(tmp_path / "model.safetensors")
    again = load_generator(tmp_path / "model.safetensors")
    assert again.image_shape == COLOUR
    np.testing.assert_array_equal(again.codes(x), with_it.codes(x))


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf"), True, "much"])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(InputError, match=r"perceptual = .* is no number from 0 up"):
        create_generator("ae", COLOUR, perceptual=weight)


def test_a_grey_model_is_made_again_from_what_was_saved_before_there_were_channels(tmp_path):
    model = create_generator("ae", (1, 16, 16), latent=3)
    assert model.config == {"method": "ae:latent=3", "image_shape": [16, 16]}
    model.save(tmp_path / "model.safetensors")
    assert load_generator(tmp_path / "model.safetensors").image_shape == (1, 16, 16)
    assert create_generator("ae", (16, 16)).image_shape == (1, 16, 16)
