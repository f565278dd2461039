"""The last hidden layer of a small classifier of digits: the feature space of MNIST.

Two images are near there where the classifier sees the same strokes, wherever they stand: on pixels a blurred digit is
nearer to most others than a sharp one. Here blurred digits lie crowded in one place: precision may still miss that, and
coverage, recall and the distances between the sets do not. The classifier also says which digit a sample is taken for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lde_bench.arrays import Rows
from lde_bench.errors import InputError
from lde_bench.features.mnist_network import FEATURES, IMAGE_SHAPE, WEIGHTS_SHA256, mnist_classifier
from lde_bench.features.network_space import NetworkSpace

#: Of an image, on one core.
SECONDS_PER_IMAGE = 1e-4


class Mnist(NetworkSpace):
    """The 64 numbers of the last hidden layer."""

    name = "mnist"
    label = f"mnist-classifier-hidden-{WEIGHTS_SHA256[:8]}"
    words = f"features of a classifier of MNIST's digits ({label}: its last hidden layer, {FEATURES} numbers)"
    bibtex = ("lecun1998gradient",)
    width = FEATURES
    identity = label

    def check_shape(self, image_shape: Sequence[int]) -> None:
        if tuple(image_shape) != IMAGE_SHAPE:
            raise InputError(
                f"the feature space mnist is one of images {IMAGE_SHAPE}, got {tuple(image_shape)}; compare others in "
                "--features pixels or vgg."
            )

    def layer(self, images: Tensor) -> Tensor:
        return mnist_classifier(self.device).features(images)

    def classes(self, features: Rows) -> np.ndarray:
        hidden = torch.from_numpy(np.asarray(features)).to(self.device)
        with torch.no_grad():
            return mnist_classifier(self.device).digit(hidden).argmax(1).cpu().numpy()

    def reference_seconds(self, images: int, image_shape: Sequence[int]) -> float:
        return images * SECONDS_PER_IMAGE
