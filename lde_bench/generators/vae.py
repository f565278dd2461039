"""VAE: the variational autoencoder, and its beta (Kingma and Welling 2014, arXiv 1312.6114; Higgins et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.arrays import Rows
from lde_bench.densities.base import LOG_2PI
from lde_bench.errors import InputError
from lde_bench.generators.ae import AE
from lde_bench.generators.autoencoder import Autoencoder
from lde_bench.generators.decoder_model import DecoderModel, standard_normal
from lde_bench.generators.networks import HIDDEN, LAYERS, coders, is_colour, reset_coders, sizes
from lde_bench.process import seeded
from lde_bench.seeds import as_seed
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, LossLearner
from lde_bench.training.model import Card, Model, positive_integer, positive_number
from lde_bench.training.plan import Plan

#: Steps of one epoch of MNIST, 55,000 images in batches of 100.
EPOCH = 550

#: log sigma of the pixels before training: near what an image is reconstructed to after a few hundred steps.
LOG_SIGMA = -2.0


def gaussian_kl(mean: Tensor, log_scale: Tensor) -> Tensor:
    """KL(N(mean, scale^2) || N(0, 1)) in nats, summed over the last dimension: [..., Z] -> [...] (Kingma and Welling
    2014, appendix B).
    """
    return (0.5 * (mean.square() + torch.expm1(2 * log_scale)) - log_scale).sum(-1)


def gaussian_log_prob(x: Tensor, mean: Tensor | float = 0.0, log_scale: Tensor | float = 0.0) -> Tensor:
    """log N(x; mean, scale^2) in nats, summed over the last dimension: [..., D] -> [...]."""
    log_scale = torch.as_tensor(log_scale, dtype=x.dtype, device=x.device)
    return (-0.5 * ((x - mean) * torch.exp(-log_scale)).square() - log_scale - 0.5 * LOG_2PI).sum(-1)


class Inference(NamedTuple):
    """What a posterior gives for a batch of images.

    Attributes:
        z: one code of each, drawn from its posterior, [B, Z].
        kl: KL(q(z|x) || p(z)) in nats, exact where there is a closed form, else its estimate by `z`, [B].
        log_ratio: log p(z) - log q(z|x) at `z`, in nats, [B]; its mean is minus the KL.
    """

    z: Tensor
    kl: Tensor
    log_ratio: Tensor


class Bounds(NamedTuple):
    """What several codes of each image, drawn from its posterior, say of log p(x), in nats, [n] each.

    Attributes:
        kl: KL(q(z|x) || p(z)), exact where there is a closed form, else its estimate by these codes.
        evidence: the evidence lower bound E log p(x|z) - KL(q(z|x) || p(z)), the expectation by these codes (Kingma and
            Welling 2014, eq. 7).
        importance_weighted: log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x), S being their number (Burda, Grosse,
            Salakhutdinov 2016, arXiv 1509.00519, eq. 8): in expectation above the former, and below log p(x).
    """

    kl: np.ndarray
    evidence: np.ndarray
    importance_weighted: np.ndarray


def infer_gaussian(mean: Tensor, log_scale: Tensor, noise: Tensor) -> Inference:
    """The code mean + scale * noise under a diagonal Gaussian posterior and the prior N(0, I): [B, Z] each."""
    z = mean + log_scale.exp() * noise
    log_ratio = gaussian_log_prob(z) - gaussian_log_prob(noise) + log_scale.sum(-1)
    return Inference(z, gaussian_kl(mean, log_scale), log_ratio)


class VAE(Autoencoder):
    """p(z) = N(0, I), q(z|x) a diagonal Gaussian, and pixels that are independent given z, of one of two kinds.

    `bernoulli`, the cross-entropy that is usual on MNIST: no density of real-valued pixels, but the expected log
    probability of the image binarised at random, each pixel being 1 with a probability of its brightness. It is the
    default as its samples do better by Parzen windows (MNIST, validation: 299 nats against 230 after 3,000 steps).
    `gaussian`: N(decode(z), sigma^2 I), a density. One sigma is learnt for all pixels: one for each would shrink
    without bound where every image is black, and the bound on log p(x) would say nothing.

    A sample is the decoder's mean at z from the prior, without the noise of the pixels: what Parzen windows are put on.

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
        latent: Z, size of the code.
        beta: weight of the KL in the loss; at 1 the loss is minus the evidence lower bound.
        backbone: `mlp`, hidden layers of ReLU each way, or `conv`, the networks of the AE.
        pixels: `bernoulli` or `gaussian`.
        layers: hidden layers of `mlp` each way, two unless given.
        hidden: units of each, 1,000 unless given.

    Raises:
        InputError: `beta` is no number above 0, the backbone or the kind of pixels is unknown, or layers or units are
            below 1 or of convolutions.
    """

    name = "vae"
    place = 70
    #: Hidden layers of perceptrons each way, and units of each, unless given.
    usual: ClassVar[tuple[int, int]] = (LAYERS, HIDDEN)
    card = Card(
        summary="variational autoencoder, with a weight beta of the KL",
        source="Kingma, Welling 2014, arXiv 1312.6114; Higgins et al. 2017 (beta)",
        sample_cost="one decoding",
        differences="two layers of 1,000 relu each way, the smaller VAE of Yeung et al. 2017, whose best has three of "
        "500; quick and standard: a cosine rate; paper: the schedule of Yeung et al.",
        bibtex=("kingma2014auto", "higgins2017beta"),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(steps=500, batch_size=128, rate=2e-3, warmup=50, reference_seconds=15.0),
        "standard": Plan(steps=17_500, batch_size=64, rate=2e-3, reference_seconds=215.0),
        "paper": Plan(
            steps=200 * EPOCH,
            rows=100 * EPOCH,
            batch_size=100,
            rate=1e-3,
            schedule="constant",
            bf16=False,
            reference_seconds=4000.0,
        ),
    }
    backbone_plans: ClassVar[dict[str, dict[str, Plan]]] = {"conv": {"standard": AE.plans["standard"]}}
    # The published VAEs of TFD have 250 epochs.
    large_plans: ClassVar[dict[str, Plan]] = {"paper": replace(plans["paper"], steps=250 * EPOCH)}

    def __init__(
        self,
        image_shape: Sequence[int],
        latent: int = 8,
        beta: float = 1.0,
        backbone: Literal["mlp", "conv"] = "mlp",
        pixels: Literal["bernoulli", "gaussian"] = "bernoulli",
        layers: int | None = None,
        hidden: int | None = None,
    ) -> None:
        super().__init__(image_shape, latent)
        if pixels not in ("bernoulli", "gaussian"):
            raise InputError(f"pixels '{pixels}' are unknown; choose bernoulli or gaussian.")
        self.beta = positive_number("beta", beta)
        self.backbone = backbone
        self.encoder, self.decoder = coders(
            backbone,
            self.image_shape,
            sum(self.posterior_sizes),
            self.latent,
            *sizes(backbone, layers, hidden, self.usual),
        )
        self.log_sigma = nn.Parameter(torch.tensor(LOG_SIGMA)) if pixels == "gaussian" else None

    @property
    def posterior_sizes(self) -> list[int]:
        """Outputs of the encoder: the mean of the code and its log scale."""
        return [self.latent, self.latent]

    def reset_parameters(self) -> None:
        reset_coders(self.backbone, self.encoder, self.decoder)
        if self.log_sigma is not None:
            nn.init.constant_(self.log_sigma, LOG_SIGMA)

    def posterior(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the encoder gives, the mean and the log scale of q(z|x): [B, D] -> [B, Z] each."""
        return self.encoder(x).to(x.dtype).split(self.posterior_sizes, -1)

    def infer(self, x: Tensor, posterior: tuple[Tensor, ...] | None = None) -> Inference:
        """A code of each image, drawn from its posterior by torch's global generator: [B, D] -> [B, Z]; `posterior(x)`
        may be given where it is known.
        """
        mean, log_scale = posterior or self.posterior(x)
        return infer_gaussian(mean, log_scale, torch.randn_like(mean))

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(z))

    def logits(self, z: Tensor) -> Tensor:
        """The decoder before the sigmoid: [B, Z] -> [B, D]."""
        outputs = self.decoder(z).to(z.dtype)
        # A tanh in [-1, 1], mapped to [0, 1], is a sigmoid of twice its argument.
        return 2 * outputs if is_colour(self.image_shape) else outputs

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) in nats: [B, D], [B, Z] -> [B]."""
        if self.log_sigma is None:
            return -F.binary_cross_entropy_with_logits(self.logits(z), x, reduction="none").sum(-1)
        return gaussian_log_prob(x, self.decode(z), self.log_sigma)

    def _kl_of_bound(self, inferred: Inference) -> Tensor:
        """The KL of the evidence lower bound: [B]."""
        return inferred.kl

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return LossLearner(self, plan, device, precision, self.loss, fused=True)

    def loss(self, x: Tensor, progress: float) -> Tensor:
        """The mean over the batch of beta KL(q(z|x) || p(z)) - log p(x|z) in nats, with one code of each image: at
        beta = 1 minus the evidence lower bound (Kingma and Welling 2014, eq. 7).
        """
        inferred = self.infer(x)
        return (self.beta * inferred.kl - self.log_likelihood(x, inferred.z)).mean()

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        z = torch.randn(n, self.latent, generator=generator, dtype=self.dtype, device=self.device)
        return self.decode(z)

    @property
    def decoder_models(self) -> tuple[DecoderModel, ...]:
        return (standard_normal(self, self.latent, self.decode, self.encode),)

    @property
    def pixel_kind(self) -> str:
        return "Bernoulli" if self.log_sigma is None else f"Gaussian (sigma {self.log_sigma.exp().item():.3f})"

    @property
    def importance_weighted(self) -> Callable[[np.ndarray, int, int], np.ndarray]:
        return self.log_prob_bound

    def posterior_codes(self, x: np.ndarray, seed: int = 0) -> np.ndarray:
        """One code of each image, drawn from its posterior: [n, D] -> float32 [n, Z]. Those of many images are draws of
        the aggregate posterior, which the prior is to be like (Makhzani et al. 2015, arXiv 1511.05644, section 2).

        Raises:
            InputError: `x` is not [n, D], is empty or holds NaN, or its pixels do not lie in [0, 1].
        """
        with seeded(as_seed(self.name, seed)):
            return self._in_blocks(lambda rows: self.infer(rows).z, self._rows("image", x))

    def log_prob_bound(self, x: Rows, samples: int = 1, seed: int = 0) -> np.ndarray:
        """A lower bound, in expectation, of log p(x) in nats: [n, D] -> [n]. With Bernoulli pixels it is one of the
        mean log p over random binarisations of x (log-sum-exp is convex).

        It is `Bounds.importance_weighted`. With one code it estimates the evidence lower bound; more make it tighter.

        Raises:
            InputError: see `bounds`.
        """
        return self.bounds(x, samples, seed).importance_weighted

    def bounds(self, x: Rows, samples: int = 1, seed: int = 0) -> Bounds:
        """The bounds on log p(x) that `samples` codes of each image give, and the KL: x is [n, D]. The codes of a block
        of images are drawn and decoded one after the other, so that their number costs time and no memory.

        Raises:
            InputError: `samples` is no whole number from 1 up; or `x` is not [n, D], is empty or holds NaN.
        """
        count = positive_integer("samples", samples)

        def of_block(rows: Tensor) -> Tensor:
            posterior = self.posterior(rows)
            kl, expected = rows.new_zeros(len(rows)), rows.new_zeros(len(rows))
            weighted = rows.new_full((len(rows),), -math.inf)
            for _ in range(count):
                inferred = self.infer(rows, posterior)
                log_likelihood = self.log_likelihood(rows, inferred.z)
                kl += self._kl_of_bound(inferred) / count
                expected += log_likelihood / count
                weighted = torch.logaddexp(weighted, log_likelihood + inferred.log_ratio)
            return torch.stack([kl, expected - kl, weighted - math.log(count)], 1)  # [B, 3]

        # They hold for any x: under the Gaussian a pixel is a real number.
        with seeded(as_seed(self.name, seed)):
            return Bounds(*self._in_blocks(of_block, Model._rows(self, "image", x)).T)
