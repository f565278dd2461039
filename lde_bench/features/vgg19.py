"""VGG19 up to conv3_1: the perceptual distance of a loss, and the layers that a feature space of measures is made of.

Network and weights: K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015, arXiv 1409.1556, as torchvision trained it on ImageNet. The distance is that of the paper's equation (5)
(Yoo, Lee, Kwak 2020, arXiv 1902.04294), cut where the authors' code cuts the network.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lde_bench.errors import InputError
from lde_bench.features.vgg19_weights import load_weights

#: Of the photographs that the network was trained on, by channel, in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Two poolings halve an image twice.
LEAST_SIDE = 4


class Vgg19(nn.Module):
    """The first five convolutions, frozen: no gradient ever reaches its weights.

    It belongs to no model, so that it stands in no model's `state_dict`: whoever needs it calls `vgg19`.

    Args:
        weights: `conv1_1.weight` [out, in, 3, 3], `conv1_1.bias` [out], ..., float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        # Buffers, since modules of torch would draw initial weights, and change the random numbers of a training.
        for name, array in weights.items():
            values = torch.from_numpy(array)
            if values.ndim == 4:
                values = values.contiguous(memory_format=torch.channels_last)
            self.register_buffer(name.replace(".", "_"), values)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])

    def _convolve(self, x: Tensor, layer: str) -> Tensor:
        return F.conv2d(x, self.get_buffer(f"{layer}_weight"), self.get_buffer(f"{layer}_bias"), padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """relu1_1 [B, 64, H, W], relu2_1 [B, 128, H/2, W/2] and conv3_1 before its ReLU [B, 256, H/4, W/4], float32.

        Args:
            images: [B, 3, H, W], or grey ones [B, 1, H, W], in [0, 1].

        Raises:
            InputError: images of another shape; see `check_image_shape`.
        """
        check_image_shape(images.shape[1:])
        x = (images - self.mean) / self.std  # a grey channel becomes three
        x = x.contiguous(memory_format=torch.channels_last)
        relu1_1 = self._convolve(x, "conv1_1").relu_()
        x = F.max_pool2d(self._convolve(relu1_1, "conv1_2").relu_(), 2)
        relu2_1 = self._convolve(x, "conv2_1").relu_()
        x = F.max_pool2d(self._convolve(relu2_1, "conv2_2").relu_(), 2)
        conv3_1 = self._convolve(x, "conv3_1")
        return relu1_1.float(), relu2_1.float(), conv3_1.float()


def check_image_shape(image_shape: Sequence[int]) -> None:
    """Find out whether images (C, H, W) are grey or in colour and large enough for the network.

    Raises:
        InputError: they are not.
    """
    if len(image_shape) != 3 or image_shape[0] not in (1, 3) or min(image_shape[1:]) < LEAST_SIDE:
        raise InputError(
            f"vgg19: expected images (3, H, W) or (1, H, W) with sides of {LEAST_SIDE} or more, got "
            f"{tuple(image_shape)}; give images of that shape, or train and measure without its features."
        )


def perceptual_distance(decoded: Tensor, target: Tensor) -> Tensor:
    """Half the sum of the mean squared differences of relu1_1, relu2_1 and conv3_1: a scalar, float32 in any autocast.

    The second term of equation (5) of Yoo et al. 2020, without its weight. Gradients flow to `decoded` alone.

    Args:
        decoded: images [B, 3, H, W], or grey ones [B, 1, H, W], in [0, 1].
        target: images of the same shape.

    Raises:
        InputError: the weights are not at hand, or the images have a shape that the network refuses.
    """
    network = vgg19(decoded.device)
    with torch.no_grad():
        wanted = network(target)
    terms = [F.mse_loss(mine, theirs) for mine, theirs in zip(network(decoded), wanted, strict=True)]
    return 0.5 * torch.stack(terms).sum()


#: Where `use_weights` says the weights are.
_named: Path | None = None


def use_weights(path: Path | None) -> None:
    """Take the weights from this file from now on, in the whole process.

    Args:
        path: torchvision's .pth, or an .npz of the five layers; None: whatever is at hand, else a download.
    """
    global _named
    _named = path


def vgg19(device: torch.device | str = "cpu") -> Vgg19:
    """The network, read once for each device.

    Raises:
        InputError: the weights are not at hand and could not be downloaded, or are not those of torchvision; the
            sentence says how to give them and how to do without.
    """
    return _network(_named, torch.device(device))


@functools.cache
def _network(path: Path | None, device: torch.device) -> Vgg19:
    return Vgg19(load_weights(path)).to(device)
