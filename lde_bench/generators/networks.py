"""The networks of the autoencoders: the paper's convolutions, and the perceptrons of Makhzani et al.

Sizes and initial weights are those of the authors' public repository (yoojy31/unpriortized-autoencoder). Rows hold
pixels in [0, 1]. Inside, as there, grey ones stay so and a sigmoid gives them; those in colour are mapped to [-1, 1],
and a tanh gives them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lde_bench.errors import InputError
from lde_bench.training.model import positive_integer

#: (channels, height, width) of the images of a model: one channel where they are grey, three in colour.
ImageShape = tuple[int, int, int]

#: Pixels of an image of TFD.
LARGE = 48 * 48

#: Channels of the first convolution; each further one has twice as many.
CHANNELS = 64

#: Hidden layers of the perceptrons, and units of each (Makhzani et al. 2015, arXiv 1511.05644).
LAYERS, HIDDEN = 2, 1000

#: Those of the published best of the eVAE, on MNIST and on TFD.
DEEP = 3, 500


class ConvEncoder(nn.Module):
    """[B, D] -> [B, outputs]: n = int(log2 side) - 1 blocks, all but the last a 4x4 convolution of stride 2 with 64,
    128, 256, ... channels, BatchNorm (not in the first) and LeakyReLU(0.2); the last one full-size kernel.
    """

    def __init__(self, image_shape: ImageShape, outputs: int) -> None:
        super().__init__()
        self.image_shape = image_shape
        channels, sides = conv_sizes(image_shape)
        layers: list[nn.Module] = []
        for index, (inside, outside) in enumerate(zip([image_shape[0], *channels], channels, strict=False)):
            layers.append(nn.Conv2d(inside, outside, 4, stride=2, padding=1))
            layers += [nn.BatchNorm2d(outside)] if index else []
            layers.append(nn.LeakyReLU(0.2))
        layers.append(nn.Conv2d(channels[-1], outputs, sides))
        self.layers = _channels_last(nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        images = x.view(len(x), *self.image_shape)  # [B, C, H, W]
        if is_colour(self.image_shape):
            images = signed(images)
        return self.layers(images).flatten(1)  # [B, outputs, 1, 1] -> [B, outputs]


class ConvDecoder(nn.Module):
    """[B, latent] -> [B, D]: the encoder mirrored by transposed convolutions; what comes out is for `pixels`.

    Nothing stands between the layer of the code and the next; BatchNorm and LeakyReLU(0.2) between the others.
    """

    def __init__(self, image_shape: ImageShape, latent: int) -> None:
        super().__init__()
        channels, sides = conv_sizes(image_shape)
        backwards = channels[::-1]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, backwards[0], sides)]
        for index, (inside, outside) in enumerate(zip(backwards, [*backwards[1:], image_shape[0]], strict=True)):
            layers += [nn.BatchNorm2d(inside), nn.LeakyReLU(0.2)] if index else []
            layers.append(nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1))
        self.layers = _channels_last(nn.Sequential(*layers))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None]).flatten(1)  # [B, Z, 1, 1] -> [B, C, H, W] -> [B, D]


class Signed(nn.Module):
    """`signed` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return signed(x)


def is_large(image_shape: Sequence[int]) -> bool:
    """Whether images are of the size of TFD's, 48x48, or more; what was published for MNIST is for those below."""
    *_, height, width = image_shape
    return height * width >= LARGE


def is_colour(image_shape: ImageShape) -> bool:
    """Whether images are worked on in [-1, 1]."""
    return image_shape[0] > 1


def signed(x: Tensor) -> Tensor:
    """Pixels in [0, 1] mapped to [-1, 1]."""
    return 2 * x - 1


def pixels(outputs: Tensor, image_shape: ImageShape) -> Tensor:
    """Pixels in [0, 1] of what a decoder gives, [B, D]: by a sigmoid, in colour by a tanh in [-1, 1]."""
    return (torch.tanh(outputs) + 1) / 2 if is_colour(image_shape) else torch.sigmoid(outputs)


def conv_sizes(image_shape: ImageShape) -> tuple[list[int], tuple[int, int]]:
    """Channels of the strided convolutions, and the size of the full-size kernel behind them: 7x7 for 28x28 images.

    Raises:
        InputError: a side that cannot be halved so often.
    """
    _, *sides = image_shape
    count = int(math.log2(min(sides))) - 2
    if count < 1 or any(side % 2**count for side in sides):
        raise InputError(
            f"images of {sides[0]}x{sides[1]} do not fit convolutions of stride 2; use sides that are "
            "multiples of a power of two, such as 28, 32, 48, 64 or 128, of at least 8."
        )
    return [CHANNELS * 2**index for index in range(count)], (sides[0] >> count, sides[1] >> count)


def coders(
    backbone: str,
    image_shape: ImageShape,
    outputs: int,
    latent: int,
    layers: int | None = None,
    hidden: int | None = None,
) -> tuple[nn.Module, nn.Module]:
    """An encoder [B, D] -> [B, outputs] and a decoder [B, latent] -> [B, D] (see `pixels`) of one kind.

    Args:
        backbone: `mlp`, hidden layers of ReLU each way, or `conv`, the networks of the AE.
        image_shape: of the images.
        outputs: of the encoder.
        latent: inputs of the decoder.
        layers: hidden layers of `mlp` each way, 2 unless given.
        hidden: units of each, 1,000 unless given.

    Raises:
        InputError: an unknown backbone, layers or units below 1 or of convolutions, or images that do not fit the
            convolutions.
    """
    if backbone == "conv":
        if layers is not None or hidden is not None:
            raise InputError("layers and hidden are those of backbone=mlp; leave them out of backbone=conv.")
        return ConvEncoder(image_shape, outputs), ConvDecoder(image_shape, latent)
    if backbone == "mlp":
        encoder = mlp(math.prod(image_shape), outputs, hidden, layers)
        decoder = mlp(latent, math.prod(image_shape), hidden, layers)
        return nn.Sequential(Signed(), encoder) if is_colour(image_shape) else encoder, decoder
    raise InputError(f"backbone '{backbone}' is unknown; choose mlp or conv.")


def sizes(
    backbone: str, layers: int | None, hidden: int | None, usual: tuple[int, int]
) -> tuple[int | None, int | None]:
    """Hidden layers and units as given, or else the usual ones, which perceptrons alone have."""
    if backbone != "mlp":
        return layers, hidden
    return usual[0] if layers is None else layers, usual[1] if hidden is None else hidden


def reset_coders(backbone: str, *modules: nn.Module) -> None:
    """The initial weights that go with a backbone."""
    for module in modules:
        (reset_conv if backbone == "conv" else reset_mlp)(module)


def _channels_last(layers: nn.Sequential) -> nn.Sequential:
    """A fifth to a quarter faster on a CPU than weights with the channels first."""
    for parameter in layers.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return layers


def mlp(inputs: int, outputs: int, hidden: int | None = None, layers: int | None = None) -> nn.Sequential:
    """[B, inputs] -> [B, outputs] through hidden layers of ReLU, two of 1,000 unless given."""
    count = LAYERS if layers is None else positive_integer("layers", layers)
    units = HIDDEN if hidden is None else positive_integer("hidden", hidden)
    sizes = [inputs, *[units] * count]
    inner = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*inner, nn.Linear(sizes[-1], outputs))


@torch.no_grad()
def reset_conv(module: nn.Module) -> None:
    """Orthogonal weights, BatchNorm scales from N(0, 0.02), zero biases, as the authors' repository has them."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # Not in place: it cannot with the channels last.
            layer.weight.copy_(nn.init.orthogonal_(torch.empty(layer.weight.shape)))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.reset_running_stats()
            nn.init.normal_(layer.weight, 0.0, 0.02)
            nn.init.zeros_(layer.bias)


def reset_mlp(module: nn.Module) -> None:
    """torch's own initial weights, drawn anew."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.BatchNorm1d):
            layer.reset_parameters()
