"""IAE: the autoencoder whose code grows during training (Yoo, Lee, Kwak 2020, arXiv 1902.04294, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor

from lde_bench.errors import InputError
from lde_bench.generators.ae import AE, MNIST_ROWS, TFD_ROWS, published_plan
from lde_bench.training.model import Card
from lde_bench.training.plan import Plan

#: Share of the run over which the code grows on MNIST: 96 of 390 epochs. On TFD 120 of 130.
WARMUP = 96 / 390


class IAE(AE):
    """The AE of which at first only the first latent dimensions are used, the others masked to zero.

    At the share p of the run the first int(Z p / warmup + 1) dimensions are in use: the fractional epoch of the paper's
    int(z e / warm-up epochs + 1), so that a run of any length grows through every size and ends with the whole code.

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
        latent: Z, size of the code; see `AE`.
        warmup: share of the run over which the code grows, in (0, 1].
        perceptual: weight of the distance in features of VGG19 in the loss; see `AE`.
        backbone: `conv` or `mlp`; see `AE`.

    Raises:
        InputError: `warmup` is not in (0, 1]; or see `AE`.
    """

    name = "iae"
    place = 110
    card = Card(
        summary="autoencoder whose code grows during training",
        source=AE.card.source,
        sample_cost=AE.card.sample_cost,
        differences=AE.card.differences,
        bibtex=AE.card.bibtex,
    )
    plans: ClassVar[dict[str, Plan]] = {**AE.plans, "paper": published_plan(390, MNIST_ROWS, 7_200.0)}
    large_plans: ClassVar[dict[str, Plan]] = {**AE.large_plans, "paper": published_plan(130, TFD_ROWS, 4_300.0)}

    def __init__(
        self,
        image_shape: Sequence[int],
        latent: int = 8,
        warmup: float = WARMUP,
        perceptual: float = 0.0,
        backbone: Literal["conv", "mlp"] = "conv",
    ) -> None:
        super().__init__(image_shape, latent, perceptual, backbone)
        if isinstance(warmup, bool) or not isinstance(warmup, int | float) or not 0 < warmup <= 1:
            raise InputError(
                f"warmup = {warmup!r} is no share of the run above 0 and at most 1; give for example 0.25."
            )
        self.warmup = float(warmup)

    def in_use(self, progress: float) -> int:
        """The number of latent dimensions in use at this share of the run."""
        return min(self.latent, math.floor(self.latent * progress / self.warmup + 1))

    def loss(self, x: Tensor, progress: float) -> Tensor:
        z = self.encode(x)
        z = z * (z.new_ones(self.latent).cumsum(0) <= self.in_use(progress))  # [B, Z]
        return self.reconstruction_loss(self.decode(z), x)
