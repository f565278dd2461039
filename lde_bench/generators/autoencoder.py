"""The base of every autoencoder: images to codes and back, in checked blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lde_bench.arrays import Rows
from lde_bench.errors import InputError
from lde_bench.generators.base import Coder, Generator, is_colour, is_large
from lde_bench.training.learner import evaluation_blocks
from lde_bench.training.model import positive_integer
from lde_bench.training.plan import Plan


class Autoencoder(Generator):
    """An encoder x -> z and a decoder z -> x of images, rows of D = C * H * W pixels in [0, 1].

    A subclass gives `encode` and `decode`, and where it has a prior of its own also `draw`. One that `has_no_prior` can
    be sampled once a density of its codes is fitted (`lde_bench.generators.latent_density`).

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
        latent: Z, the size of the code.
    """

    #: What its networks are made of, where there is a choice.
    backbone: str = ""
    #: How it is trained with another backbone than the usual one, by backbone and profile, where that differs.
    backbone_plans: ClassVar[dict[str, dict[str, Plan]]] = {}
    #: The same of grey images of the size of TFD's or more.
    large_backbone_plans: ClassVar[dict[str, dict[str, Plan]]] = {}

    def __init__(self, image_shape: Sequence[int], latent: int) -> None:
        super().__init__(image_shape)
        self.latent = positive_integer("latent", latent)

    def own_plans(self) -> dict[str, Plan]:
        plans = {**self.backbone_plans.get(self.backbone, {}), **super().own_plans()}
        large = is_large(self.image_shape) and not is_colour(self.image_shape)
        return {**plans, **(self.large_backbone_plans.get(self.backbone, {}) if large else {})}

    def encode(self, x: Tensor) -> Tensor:
        """The code of an image, its mean where it is random: [B, D] -> [B, Z]."""
        raise TypeError(f"{type(self).__name__} does not define encode")

    def decode(self, z: Tensor) -> Tensor:
        """The image of a code, its mean where it is random, pixels in [0, 1]: [B, Z] -> [B, D]."""
        raise TypeError(f"{type(self).__name__} does not define decode")

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        raise InputError(
            f"{self.name}: has no prior to draw codes from; fit a density of its codes with it, as in {self.name}+lde."
        )

    def codes(self, x: Rows) -> np.ndarray:
        """The codes of images, in evaluation mode: [n, D] -> float32 [n, Z].

        Raises:
            InputError: `x` is not [n, D], is empty or holds NaN.
        """
        return self._in_blocks(self.encode, self._readable("image", x))

    @property
    def coder(self) -> Coder:
        return self

    @property
    def reconstructs(self) -> Callable[[Rows], np.ndarray]:
        return lambda x: self._in_blocks(lambda rows: self.decode(self.encode(rows)), self._readable("image", x))

    def _in_blocks(self, function: Callable[[Tensor], Tensor], rows: Rows | Tensor) -> np.ndarray:
        """`function` over rows [n, D], pixels as they are read: [n, ...]."""
        with self._evaluating(), torch.no_grad():
            parts = [
                function(torch.as_tensor(rows[block], dtype=self.dtype, device=self.device))
                for block in evaluation_blocks(rows)
            ]
        return torch.cat(parts).cpu().numpy()
