"""AE: the paper's autoencoder without a prior (Yoo, Lee, Kwak 2020, arXiv 1902.04294, section 3.1)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from lde_bench.generators.autoencoder import Autoencoder
from lde_bench.generators.networks import ConvDecoder, ConvEncoder, reset_conv
from lde_bench.training.model import Card
from lde_bench.training.plan import Plan

#: Steps of one epoch of MNIST, 55,000 images in batches of 128.
EPOCH = 430


class AE(Autoencoder):
    """Convolutions to a code and back, trained on the squared error alone (eq. 1 without the perceptual term).

    Args:
        image_shape: (height, width).
        latent: size of the code; the paper has 8 for MNIST and 15 for TFD.
    """

    name = "ae"
    place = 100
    has_no_prior = True
    card = Card(
        summary="autoencoder without a prior",
        source="Yoo, Lee, Kwak 2020, arXiv 1902.04294",
        sample_cost="one density sample and one decoding",
        differences="quick and standard: fewer steps, cosine rate",
        bibtex=("yoo2020unpriortized",),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(steps=600, batch_size=128, rate=1e-3, betas=(0.5, 0.999), warmup=50, reference_seconds=40.0),
        "standard": Plan(steps=9_000, batch_size=128, rate=1e-3, betas=(0.5, 0.999), reference_seconds=540.0),
        "paper": Plan(
            steps=280 * EPOCH,
            batch_size=128,
            rate=1e-3,
            betas=(0.5, 0.999),
            schedule="halving",
            halve_at=(20 * EPOCH, 50 * EPOCH, 100 * EPOCH),
            bf16=False,
            reference_seconds=5_200.0,
        ),
    }

    def __init__(self, image_shape: tuple[int, int], latent: int = 8) -> None:
        super().__init__(image_shape, latent)
        self.encoder = ConvEncoder(self.image_shape, self.latent)
        self.decoder = ConvDecoder(self.image_shape, self.latent)

    def reset_parameters(self) -> None:
        reset_conv(self)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(z))

    def loss(self, x: Tensor, progress: float) -> Tensor:
        return mse_loss(self.decode(self.encode(x)), x)
