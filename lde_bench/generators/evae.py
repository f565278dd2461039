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
from lde_bench.generators.vae import VAE, Inference, infer_gaussian
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan

#: Number of epitomes, where the code has room for so many.
EPITOMES = 3


class EVAE(VAE):
    """A VAE of whose code each image uses one epitome: `size` dimensions, the others being zero; else as `VAE`.

    p(y) is uniform over the epitomes, the mean of p(x|y, z) decode(m_y z) with m_y in {0, 1}^Z. Of an image that
    epitome is used whose loss is lowest; the KL is that of its dimensions alone, and only they learn from the image.
    A sample draws y uniformly and its dimensions from N(0, I).

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
        latent: Z, size of the code.
        beta: weight of the KL in the loss.
        backbone: `mlp` or `conv`, as of `VAE`.
        pixels: `bernoulli` or `gaussian`, as of `VAE`.
        epitomes: their number, three unless given or too many for the code; they start evenly spaced and may overlap.
        size: K, dimensions of each; three quarters of the code unless given. One epitome of size Z is the VAE.

    Raises:
        InputError: see `VAE`; or epitomes that are larger than the code, equal, or too few to cover it.
    """

    name = "evae"
    place = 90
    card = Card(
        summary="epitomic variational autoencoder: each image uses one of several groups of latent dimensions",
        source="Yeung et al. 2017, arXiv 1706.03643",
        sample_cost=VAE.card.sample_cost,
        differences="pixels and schedule of our VAE; number and size of the epitomes are ours (those of the published "
        "figure could not be verified)",
        bibtex=("yeung2017tackling",),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": replace(VAE.plans["quick"], steps=400),
        "standard": replace(VAE.plans["standard"], steps=9_000),
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
        epitomes: int | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__(image_shape, latent, beta, backbone, pixels)
        width = math.ceil(0.75 * self.latent) if size is None else positive_integer("size", size)
        if epitomes is None:
            epitomes = max(1, min(EPITOMES, self.latent - width + 1))
        masks = epitome_masks(self.latent, positive_integer("epitomes", epitomes), width)
        self.register_buffer("masks", masks, persistent=False)  # made from the arguments, so no part of a saved model

    def infer(self, x: Tensor, posterior: tuple[Tensor, ...] | None = None) -> Inference:
        mean, log_scale = posterior or self.posterior(x)
        noise = torch.randn_like(mean)
        active = self._active(x, mean, log_scale, noise)
        z, kl, log_ratio = infer_gaussian(mean * active, log_scale * active, noise)
        # The ratio of the joint of y and z, q(y|x) being 1 at the epitome in use.
        return Inference(z * active, kl, log_ratio - math.log(len(self.masks)))

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

            return standard_normal(self, len(own), decode)

        return tuple(of_epitome(mask.nonzero().flatten()) for mask in self.masks)

    @torch.no_grad()
    def _active(self, x: Tensor, mean: Tensor, log_scale: Tensor, noise: Tensor) -> Tensor:
        """1 where a dimension belongs to the epitome of lowest loss at this noise, else 0: [B, Z]."""
        losses = []
        for mask in self.masks:
            z, kl, _ = infer_gaussian(mean * mask, log_scale * mask, noise)
            losses.append(self.beta * kl - self.log_likelihood(x, z * mask))
        return self.masks[torch.stack(losses).argmin(0)]


def epitome_masks(latent: int, epitomes: int, size: int) -> Tensor:
    """`epitomes` runs of `size` of the `latent` dimensions, evenly spaced from the first to the last: [E, Z].

    Raises:
        InputError: they are larger than the code, two are equal, or they do not cover it.
    """
    room = latent - size
    starts = [round(index * room / max(1, epitomes - 1)) for index in range(epitomes)]
    dimension = torch.arange(latent)
    masks = torch.stack([(start <= dimension) & (dimension < start + size) for start in starts]).float()
    if room < 0 or len(set(starts)) < epitomes or not masks.any(0).all():
        raise InputError(
            f"evae: {epitomes} epitomes of size {size} cannot differ and cover a code of {latent}; give a size of at "
            f"most {latent} and between {math.ceil(latent / size)} and {max(1, room + 1)} epitomes."
        )
    return masks
