"""Mean activations of a layer of VGG19: a feature space in which a blurred face is no face.

On pixels, blurred images lie nearer to everything than sharp ones do, and pass for the better samples. Figures here are
not those of Inception features that others print: they compare with figures of this same layer only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from lde_bench.arrays import Rows
from lde_bench.data.base import content_hash
from lde_bench.errors import InputError
from lde_bench.features.base import FeatureSpace
from lde_bench.features.kept import keep, read_kept
from lde_bench.features.vgg19 import check_image_shape, vgg19
from lde_bench.features.vgg19_weights import CONTENT_SHA256

#: Channels of the layer.
FEATURES = 256

#: Images whose activations are held at once: 64 of 64 x 64 pixels take some 200 MB.
BLOCK_IMAGES = 64

#: Seconds a pixel of an image: 20 ms at 64 x 64 on one core.
SECONDS_PER_PIXEL = 5e-6


class Vgg(FeatureSpace):
    """relu3_1 of VGG19, averaged over all positions: 256 numbers."""

    name = "vgg"
    label = "vgg19-relu3_1"
    words = "VGG19 features (vgg19-relu3_1: relu3_1 averaged over positions, 256 numbers)"
    bibtex = ("simonyan2015very",)

    def features(self, rows: Rows, image_shape: Sequence[int] | None) -> np.ndarray:
        shape = _checked(rows, image_shape)
        network = vgg19(self.device)
        blocks = []
        with torch.no_grad():
            for first in range(0, len(rows), BLOCK_IMAGES):
                block = np.asarray(rows[first : first + BLOCK_IMAGES], dtype=np.float32)
                images = torch.from_numpy(block).to(self.device).view(-1, *shape)  # [B, C, H, W]
                *_, conv3_1 = network(images)
                blocks.append(conv3_1.relu_().mean((2, 3)).cpu().numpy())  # [B, 256]
        return np.concatenate(blocks)

    def real_features(self, rows: Rows, image_shape: Sequence[int] | None) -> np.ndarray:
        shape = _checked(rows, image_shape)
        name = f"{self.label}-{CONTENT_SHA256[:8]}-{'x'.join(map(str, shape))}-{content_hash({'rows': rows})[:16]}.npz"
        found = read_kept(name, "features")
        if found is not None and found.shape == (len(rows), FEATURES):
            return found
        features = self.features(rows, shape)
        keep(name, {"features": features})
        return features

    def check(self, image_shape: Sequence[int]) -> None:
        check_image_shape(image_shape)
        vgg19(self.device)

    def reference_seconds(self, images: int, image_shape: Sequence[int]) -> float:
        return images * math.prod(image_shape[1:]) * SECONDS_PER_PIXEL


def _checked(rows: Rows, image_shape: Sequence[int] | None) -> tuple[int, ...]:
    if image_shape is None:
        raise InputError("features of VGG19 are those of images; give image_shape=(channels, height, width).")
    check_image_shape(image_shape)
    if rows.ndim != 2 or rows.shape[1] != math.prod(image_shape):
        raise InputError(
            f"features of VGG19: rows {list(rows.shape)} are no images of {list(image_shape)}; give [n, "
            f"{math.prod(image_shape)}]."
        )
    return tuple(image_shape)
