"""What a decoder-based model of images is: a prior that can be drawn from and differentiated, and a decoder.

The likelihood of such a model needs no more than this, however it was trained (Wu, Burda, Salakhutdinov, Grosse 2017,
arXiv 1611.04273, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lde_bench.densities.base import LOG_2PI
from lde_bench.training.model import Model


@dataclass(frozen=True)
class DecoderModel:
    """z ~ p(z), and an image that lies around decode(z).

    Attributes:
        draw: n, generator -> independent draws of p(z), [n, Z].
        log_prior: log p(z) in nats, differentiable: [B, Z] -> [B].
        decode: mean pixels in [0, 1], differentiable: [B, Z] -> [B, D].
        device: where these tensors live.
        encode: where a code of an image may be looked for, of models with an encoder: [B, D] -> [B, Z]; None of others.
    """

    draw: Callable[[int, torch.Generator], Tensor]
    log_prior: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    device: torch.device
    encode: Callable[[Tensor], Tensor] | None = None


def standard_normal(
    model: Model,
    latent: int,
    decode: Callable[[Tensor], Tensor],
    encode: Callable[[Tensor], Tensor] | None = None,
) -> DecoderModel:
    """The decoder model of p(z) = N(0, I), z [B, latent], with the number format and the device of `model`."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, latent, generator=generator, dtype=model.dtype, device=model.device)

    def log_prior(z: Tensor) -> Tensor:
        return -0.5 * (z.square() + LOG_2PI).sum(1)

    return DecoderModel(draw, log_prior, decode, model.device, encode)


def uniform_of_normal(z: Tensor) -> Tensor:
    """2 Phi(z) - 1, uniform in (-1, 1) where z is standard normal: [...] -> [...]."""
    return torch.erf(z / math.sqrt(2))
