"""The reconstruction loss of the paper's autoencoders: squared error, and a distance in features of VGG19.

Yoo, Lee, Kwak 2020 (arXiv 1902.04294), equations 1 and 5; sizes and units are those of the authors' repository.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lde_bench.errors import InputError
from lde_bench.features.vgg19 import perceptual_distance, vgg19
from lde_bench.generators.autoencoder import Autoencoder
from lde_bench.generators.networks import ImageShape, is_colour, pixels, signed
from lde_bench.training.plan import Plan

#: Weight of the perceptual term in the paper.
PAPER_WEIGHT = 0.1

#: On one core with bf16, 64x64, 47 images a second were measured with the term and 177 without; two do twice as many.
SECONDS_PER_PIXEL = (1 / 47 - 1 / 177) / 2 / 64**2


class ReconstructionLoss:
    """Squared error per pixel, in the model's own units, plus `perceptual` times the distance in features of VGG19.

    No module: the weights of VGG19 are part of no model that is trained by them.

    Args:
        image_shape: (C, H, W).
        perceptual: weight of the second term; 0 leaves it out, and needs no VGG19. The paper has 0.1 in colour.

    Raises:
        InputError: `perceptual` is no number from 0 up.
    """

    def __init__(self, image_shape: ImageShape, perceptual: float) -> None:
        real = isinstance(perceptual, int | float) and not isinstance(perceptual, bool)
        if not (real and 0 <= perceptual < math.inf):
            raise InputError(f"perceptual = {perceptual!r} is no number from 0 up; the paper has perceptual=0.1.")
        self.image_shape = image_shape
        self.perceptual = float(perceptual)

    def reference_seconds(self) -> float:
        """What the perceptual term adds to a step for each of its images, on 2 cores with bf16."""
        _, height, width = self.image_shape
        return height * width * SECONDS_PER_PIXEL if self.perceptual else 0.0

    def check(self) -> None:
        """Find out before training that the weights of VGG19 are not at hand.

        Raises:
            InputError: they are not, and are needed.
        """
        if self.perceptual:
            vgg19()

    def __call__(self, decoded: Tensor, target: Tensor) -> Tensor:
        """The loss of images [B, D] in [0, 1], decoded and as they should be: a scalar."""
        colour = is_colour(self.image_shape)
        loss = mse_loss(signed(decoded), signed(target)) if colour else mse_loss(decoded, target)
        if self.perceptual:
            images = (rows.view(len(rows), *self.image_shape) for rows in (decoded, target))  # [B, C, H, W]
            loss = loss + self.perceptual * perceptual_distance(*images)
        return loss


class Reconstructor(Autoencoder):
    """An autoencoder of two networks that learns by a `ReconstructionLoss`, beside whatever else it learns by.

    A subclass sets the three.
    """

    reconstruction_loss: ReconstructionLoss
    encoder: nn.Module
    decoder: nn.Module

    def reference_seconds(self, plan: Plan) -> float:
        images = plan.steps * plan.batch_size
        return super().reference_seconds(plan) + images * self.reconstruction_loss.reference_seconds()

    def check_needs(self) -> None:
        self.reconstruction_loss.check()

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return pixels(self.decoder(z), self.image_shape)
