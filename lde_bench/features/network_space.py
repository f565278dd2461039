"""What feature spaces that are a layer of a network share: images in blocks, and kept features of real ones."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lde_bench.arrays import Rows
from lde_bench.data.base import content_hash
from lde_bench.errors import InputError
from lde_bench.features.base import FeatureSpace
from lde_bench.features.kept import keep, read_kept
from lde_bench.training.device import whole_float32

#: Images whose activations are held at once: of VGG19, 64 of 64 x 64 pixels take some 200 MB.
BLOCK_IMAGES = 64


class NetworkSpace(FeatureSpace):
    """A layer of a network; a subclass sets what follows, and gives `check_shape` and `layer`."""

    #: Numbers of an image.
    width: ClassVar[int]
    #: Names network, layer and weights: features that are kept by this name are never those of other weights.
    identity: ClassVar[str]

    @abstractmethod
    def check_shape(self, image_shape: Sequence[int]) -> None:
        """Find out whether the network takes images of this shape.

        Raises:
            InputError: it does not.
        """

    @abstractmethod
    def layer(self, images: Tensor) -> Tensor:
        """The features of images [B, C, H, W] in [0, 1] on `device`: [B, F]."""

    def features(self, rows: Rows, image_shape: Sequence[int] | None) -> np.ndarray:
        shape = self._checked(rows, image_shape)
        blocks = []
        with whole_float32(), torch.no_grad():
            for first in range(0, len(rows), BLOCK_IMAGES):
                block = np.asarray(rows[first : first + BLOCK_IMAGES], dtype=np.float32)
                images = torch.from_numpy(block).to(self.device).view(-1, *shape)  # [B, C, H, W]
                blocks.append(self.layer(images).cpu().numpy())  # [B, F]
        return np.concatenate(blocks) if blocks else np.zeros((0, self.width), np.float32)

    def real_features(self, rows: Rows, image_shape: Sequence[int] | None) -> np.ndarray:
        shape = self._checked(rows, image_shape)
        # Another device, or another torch, rounds in other places.
        by = f"{torch.device(self.device).type}-torch{torch.__version__}"
        name = f"{self.identity}-{by}-{'x'.join(map(str, shape))}-{content_hash({'rows': rows})[:16]}.npz"
        found = read_kept(name, "features")
        if found is not None and found.shape == (len(rows), self.width):
            return found
        features = self.features(rows, shape)
        keep(name, {"features": features})
        return features

    def check(self, image_shape: Sequence[int]) -> None:
        self.check_shape(image_shape)

    def _checked(self, rows: Rows, image_shape: Sequence[int] | None) -> tuple[int, ...]:
        if image_shape is None:
            raise InputError(
                f"features of {self.label} are those of images; give image_shape=(channels, height, width)."
            )
        self.check_shape(image_shape)
        pixels = math.prod(image_shape)
        if rows.ndim != 2 or rows.shape[1] != pixels:
            raise InputError(
                f"features of {self.label}: rows {list(rows.shape)} are no images of {list(image_shape)}; give [n, "
                f"{pixels}]."
            )
        return tuple(image_shape)
