"""Mean activations of a layer of VGG19: a feature space in which a blurred face is no face.

On pixels, blurred images lie nearer to everything than sharp ones do, and pass for the better samples. Figures here are
not those of Inception features that others print: they compare with figures of this same layer only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from lde_bench.features.network_space import NetworkSpace
from lde_bench.features.vgg19 import check_image_shape, vgg19
from lde_bench.features.vgg19_weights import CONTENT_SHA256

#: Seconds a pixel of an image: 20 ms at 64 x 64 on one core.
SECONDS_PER_PIXEL = 5e-6


class Vgg(NetworkSpace):
    """relu3_1 of VGG19, averaged over all positions: 256 numbers."""

    name = "vgg"
    label = "vgg19-relu3_1"
    words = "VGG19 features (vgg19-relu3_1: relu3_1 averaged over positions, 256 numbers)"
    bibtex = ("simonyan2015very",)
    shipped = False
    width = 256
    identity = f"{label}-{CONTENT_SHA256[:8]}"

    def check_shape(self, image_shape: Sequence[int]) -> None:
        check_image_shape(image_shape)

    def layer(self, images: Tensor) -> Tensor:
        *_, conv3_1 = vgg19(self.device)(images)
        return conv3_1.relu_().mean((2, 3))

    def check(self, image_shape: Sequence[int]) -> None:
        super().check(image_shape)
        vgg19(self.device)

    def reference_seconds(self, images: int, image_shape: Sequence[int]) -> float:
        return images * math.prod(image_shape[1:]) * SECONDS_PER_PIXEL
