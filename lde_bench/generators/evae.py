"""eVAE: the epitomic variational autoencoder (Yeung, Kannan, Dauphin, Fei-Fei 2017, arXiv 1706.03643)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lde_bench.errors import InputError
from lde_bench.generators.decoder_model import DecoderModel, standard_normal
from lde_bench.generators.networks import DEEP
from lde_bench.generators.vae import VAE, Inference, infer_gaussian
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan

#: The published epitomes have 3 or 4 dimensions on MNIST and 5 on TFD.
LARGEST_SIZE = 5


class EVAE(VAE):
    """A VAE of whose code each image uses one epitome: `size` dimensions, the others being zero; else as `VAE`.

    Epitomes do not overlap: the code is divided into Z / `size` of them. p(y) is uniform over the epitomes, the mean of
    p(x|y, z) decode(m_y z) with m_y in {0, 1}^Z. Of an image that epitome is used whose loss is lowest; the KL is that
    of its dimensions alone, and only they learn from the image. A sample draws y uniformly and its dimensions from
    N(0, I).

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
        latent: Z, size of the code; the published figures have 48 for MNIST and 25 for TFD, and 8 and 15 in the
            comparison with the AAE.
        beta: weight of the KL in the loss.
        backbone: `mlp` or `conv`, as of `VAE`.
        pixels: `bernoulli` or `gaussian`, as of `VAE`.
        layers: hidden layers of `mlp` each way, three unless given.
        hidden: units of each, 500 unless given.
        size: K, dimensions of an epitome, a divisor of Z; unless given the largest up to 5 that makes two epitomes or
            more: 4 of 8 or 48, 5 of 15 or 25. A single epitome of size Z is the VAE.

    Raises:
        InputError: see `VAE`; or a size that does not divide the code.
    """

    name = "evae"
    place = 90
    usual = DEEP
    card = Card(
        summary="epitomic variational autoencoder: each image uses one of several groups of latent dimensions",
        source="Yeung et al. 2017, arXiv 1706.03643",
        sample_cost=VAE.card.sample_cost,
        differences="the latent size of the other rows, where the published 337 of MNIST is of 48 numbers and the 2371 "
        "of TFD of 25; epitomes are chosen at every step, the published at every epoch, with minibatches stratified by "
        "them; quick and standard: fewer steps, a cosine rate",
        bibtex=("yeung2017tackling",),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": replace(VAE.plans["quick"], steps=400),
        "standard": replace(VAE.plans["standard"], steps=26_000),
        "paper": VAE.plans["paper"],
    }

    masks: Tensor

    def __init__(
        self,
        image_shape: Sequence[int],
        latent: int = 8,
        beta: float = 1.0,
        backbone: Literal["mlp", "conv"] = "mlp",
        pixels: Literal["bernoulli", "gaussian"] = "bernoulli",
        layers: int | None = None,
        hidden: int | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__(image_shape, latent, beta, backbone, pixels, layers, hidden)
        width = usual_size(self.latent) if size is None else positive_integer("size", size)
        masks = epitome_masks(self.latent, width)
        self.register_buffer("masks", masks, persistent=False)  # made from the arguments, so no part of a saved model

    def infer(self, x: Tensor, posterior: tuple[Tensor, ...] | None = None) -> Inference:
        mean, log_scale = posterior or self.posterior(x)
        noise = torch.randn_like(mean)
        active = self._active(x, mean, log_scale, noise)
        z, kl, log_ratio = infer_gaussian(mean * active, log_scale * active, noise)
        # The ratio of the joint of y and z, q(y|x) being 1 at the epitome in use.
        return Inference(z * active, kl, log_ratio - math.log(len(self.masks)))

    def _kl_of_bound(self, inferred: Inference) -> Tensor:
        # The closed form knows nothing of the choice of the epitome by this very noise; the estimate by the code, with
        # log E of the epitome, leaves out only what makes the bound lower still than it is.
        return -inferred.log_ratio

    def encode(self, x: Tensor) -> Tensor:
        mean, log_scale = self.posterior(x)
        return mean * self._active(x, mean, log_scale, torch.zeros_like(mean))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        which = torch.randint(len(self.masks), (n,), generator=generator, device=self.device)
        z = torch.randn(n, self.latent, generator=generator, dtype=self.dtype, device=self.device)
        return self.decode(z * self.masks[which])

    @property
    def decoder_models(self) -> tuple[DecoderModel, ...]:
        """One for each epitome, of its dimensions alone."""

        def of_epitome(own: Tensor) -> DecoderModel:
            def decode(z: Tensor) -> Tensor:
                return self.decode(z.new_zeros(len(z), self.latent).index_copy(1, own, z))

            return standard_normal(self, len(own), decode, lambda x: self.posterior(x)[0][:, own])

        return tuple(of_epitome(mask.nonzero().flatten()) for mask in self.masks)

    @torch.no_grad()
    def _active(self, x: Tensor, mean: Tensor, log_scale: Tensor, noise: Tensor) -> Tensor:
        """1 where a dimension belongs to the epitome of lowest loss at this noise, else 0: [B, Z]."""
        losses = []
        for mask in self.masks:
            z, kl, _ = infer_gaussian(mean * mask, log_scale * mask, noise)
            losses.append(self.beta * kl - self.log_likelihood(x, z * mask))
        return self.masks[torch.stack(losses).argmin(0)]


def usual_size(latent: int) -> int:
    """The largest size of epitomes up to the published ones that makes several of a code, or else one dimension."""
    return max(size for size in range(1, LARGEST_SIZE + 1) if latent % size == 0 and (size < latent or latent == 1))


def epitome_masks(latent: int, size: int) -> Tensor:
    """The epitomes of a code: runs of `size` of the `latent` dimensions, one after the other: [E, Z].

    Raises:
        InputError: the size does not divide the code.
    """
    if latent % size:
        divisors = ", ".join(str(each) for each in range(1, latent + 1) if latent % each == 0)
        raise InputError(
            f"evae: epitomes of size {size} do not divide a code of {latent}; give a size of {divisors}, or another "
            "latent."
        )
    return torch.eye(latent // size).repeat_interleave(size, 1)
