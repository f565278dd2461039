"""AAE: adversarial autoencoder (Makhzani, Shlens, Jaitly, Goodfellow, Frey 2015, arXiv 1511.05644)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lde_bench.errors import InputError
from lde_bench.generators.ae import AE
from lde_bench.generators.decoder_model import DecoderModel, standard_normal
from lde_bench.generators.networks import DEEP, coders, mlp, reset_coders, reset_mlp, sizes
from lde_bench.generators.reconstruction import ReconstructionLoss, Reconstructor
from lde_bench.seeds import derive_seed
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, PartedLearner
from lde_bench.training.model import Card, positive_integer, positive_number
from lde_bench.training.plan import Plan

#: Of the Gaussians of the mixture prior: Makhzani et al. show ten.
MODES = 10

#: Each mean of the mixture prior is this many standard deviations per dimension from the origin (root mean square): the
#: two Gaussians of Yoo, Lee, Kwak 2020 (arXiv 1902.04294, section 4.2) are N(-3, I) and N(3, I).
SPREAD = 3.0


class AAE(Reconstructor):
    """An autoencoder whose codes, over all images, are pushed towards a prior by a discriminator of codes.

    The encoder is deterministic, as for the paper's log-likelihoods; a sample is the decoding of a draw of the prior.

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
        latent: Z, size of the code; the paper has 8 for MNIST and 15 for TFD.
        backbone: `mlp`, hidden layers of ReLU each way, or `conv`, the networks of the AE.
        prior: `gaussian`, N(0, s^2 I), or `mixture`, equal shares of N(s mean, s^2 I) at the means of `mode_means`.
        modes: number of Gaussians of the mixture, 10 unless given.
        scale: s; the paper has 5.
        adversarial: weight of the adversarial loss beside the reconstruction error, of an encoder that is moved once a
            step, by their sum; unless given it is moved twice, as published, once for each.
        perceptual: weight of the distance in features of VGG19 in the reconstruction loss; the paper has 0.1 for images
            in colour.
        layers: hidden layers of `mlp` each way and of the discriminator, three unless given;
            beside convolutions the discriminator has two.
        hidden: units of each, 500 unless given; beside convolutions 1,000.

    Raises:
        InputError: an unknown backbone or prior, modes without a mixture, modes that find no place, a scale or
            weight that is no number above 0, a bad `perceptual`, or layers or units below 1 or of convolutions.
    """

    name = "aae"
    place = 60
    # Three layers of 500 in place of the published two of 1,000: after a minute on MNIST 53 nats better by Parzen
    # windows, at half the cost of a step (`benchmarks/table2_search.py`).
    revision = 2
    card = Card(
        summary="adversarial autoencoder",
        source="Makhzani et al. 2015, arXiv 1511.05644",
        sample_cost="one decoding",
        differences="three layers of 500 in place of two of 1,000, which layers=2,hidden=1000 are; Adam and a cosine "
        "rate in place of momentum; N(0, I) in place of N(0, 25 I), which scale=5 is; no noise on the images that are "
        "encoded; torch's initial weights in place of N(0, 0.01^2)",
        bibtex=("makhzani2015adversarial",),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(steps=300, batch_size=128, rate=2e-3, betas=(0.5, 0.999), warmup=50, reference_seconds=20.0),
        "standard": Plan(steps=11_700, batch_size=128, rate=1e-3, betas=(0.5, 0.999), reference_seconds=230.0),
        "paper": Plan(
            steps=550_000, rows=55_000, batch_size=100, rate=1e-3, betas=(0.5, 0.999), reference_seconds=30_000.0
        ),
    }
    # The encoder runs twice in a step.
    backbone_plans: ClassVar[dict[str, dict[str, Plan]]] = {
        "conv": {"standard": replace(AE.plans["standard"], steps=1_800)},
    }
    # In the paper's figures it is trained as the AE is.
    colour_plans = AE.colour_plans

    def __init__(
        self,
        image_shape: Sequence[int],
        latent: int = 8,
        backbone: Literal["mlp", "conv"] = "mlp",
        prior: Literal["gaussian", "mixture"] = "gaussian",
        modes: int | None = None,
        scale: float = 1.0,
        adversarial: float | None = None,
        perceptual: float = 0.0,
        layers: int | None = None,
        hidden: int | None = None,
    ) -> None:
        super().__init__(image_shape, latent)
        self.reconstruction_loss = ReconstructionLoss(self.image_shape, perceptual)
        if prior not in ("gaussian", "mixture"):
            raise InputError(f"aae: prior '{prior}' is unknown; choose gaussian or mixture.")
        if prior == "gaussian" and modes is not None:
            raise InputError(f"aae: a gaussian prior has no modes = {modes}; leave it out, or give prior=mixture.")
        self.scale = positive_number("scale", scale)
        self.adversarial = None if adversarial is None else positive_number("adversarial", adversarial)
        layers, hidden = sizes(backbone, layers, hidden, DEEP)
        self.encoder, self.decoder = coders(backbone, self.image_shape, self.latent, self.latent, layers, hidden)
        self.backbone = backbone
        self.discriminator = mlp(self.latent, 1, hidden, layers)
        self.means: Tensor
        if prior == "gaussian":
            means = torch.zeros(1, self.latent)
        else:
            means = mode_means(positive_integer("modes", MODES if modes is None else modes), self.latent)
        self.register_buffer("means", means)  # [modes, Z]

    def reset_parameters(self) -> None:
        reset_coders(self.backbone, self.encoder, self.decoder)
        reset_mlp(self.discriminator)

    def draw_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent codes [n, Z] of the prior; by default from torch's global generator."""
        which = torch.randint(len(self.means), (n,), generator=generator, device=self.device)
        noise = torch.randn(n, self.latent, generator=generator, dtype=self.dtype, device=self.device)
        return self.scale * (self.means[which] + noise)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return self.decode(self.draw_prior(n, generator))

    @property
    def decoder_models(self) -> tuple[DecoderModel, ...]:
        """One for each Gaussian of the prior."""

        def around(mean: Tensor) -> DecoderModel:
            return standard_normal(
                self,
                self.latent,
                lambda z: self.decode(self.scale * (mean + z)),
                lambda x: self.encode(x) / self.scale - mean,
            )

        return tuple(around(mean) for mean in self.means)

    def discrimination_loss(self, codes: Tensor) -> Tensor:
        """What the discriminator makes smaller, of codes [B, Z] and as many draws of the prior: the cross-entropy."""
        told = self.discriminator(torch.cat([self.draw_prior(len(codes)), codes]))  # [2 B, 1]
        truth = torch.ones_like(told)
        truth[len(codes) :] = 0
        return binary_cross_entropy_with_logits(told, truth)

    def deception_loss(self, codes: Tensor) -> Tensor:
        """What the encoder makes smaller: -log of the probability that its codes [B, Z] are of the prior."""
        told = self.discriminator(codes)  # [B, 1]
        return binary_cross_entropy_with_logits(told, torch.ones_like(told))

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        kind = PhasedLearner if self.adversarial is None else SummedLearner
        return kind(self, plan, device, precision)


def mode_means(modes: int, latent: int) -> Tensor:
    """Where the Gaussians of the mixture prior stand, about the origin: [modes, latent].

    Two are at -3 and 3 in every dimension, as in Yoo et al. 2020. In two dimensions they are even on a ring, as in
    Makhzani et al. 2015, neighbours six standard deviations apart or more. Otherwise they are as far from the origin
    as the two are, in directions drawn once and for all.

    Raises:
        InputError: more than two modes in one dimension.
    """
    distance = SPREAD * math.sqrt(latent)
    if modes == 1:
        return torch.zeros(1, latent)
    if modes == 2:
        return SPREAD * torch.tensor([[-1.0], [1.0]]).expand(2, latent).clone()
    if latent == 1:
        raise InputError(f"aae: modes = {modes} find no place in a code of size 1; give latent of at least 2.")
    if latent == 2:
        angles = 2 * math.pi / modes * torch.arange(modes)
        radius = max(distance, SPREAD / math.sin(math.pi / modes))
        return radius * torch.stack([angles.cos(), angles.sin()], dim=1)
    generator = torch.Generator().manual_seed(derive_seed(0, "modes", modes, latent))
    return distance * nn.functional.normalize(torch.randn(modes, latent, generator=generator))


class PhasedLearner(PartedLearner):
    """A step is a reconstruction phase, a discriminator phase and a generator phase: the encoder is moved twice, by the
    last as far as by the first, whatever the size of their gradients.
    """

    module: AAE

    def __init__(self, module: AAE, plan: Plan, device: torch.device, precision: str) -> None:
        parts: dict[str, Sequence[nn.Module]] = {
            "reconstruction": (module.encoder, module.decoder),
            "discriminator": (module.discriminator,),
            "generator": (module.encoder,),
        }
        super().__init__(module, plan, device, precision, parts)

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        """Take one training step on images [B, D]; the reconstruction error."""
        self.begin(step, progress)
        model = self.module
        with self.autocast():
            error = model.reconstruction_loss(model.decode(model.encode(batch)), batch)
        self.descend("reconstruction", error)
        with self.autocast():
            codes = model.encode(batch)  # of the updated encoder, for both phases that follow
            told_apart = model.discrimination_loss(codes.detach())
        self.descend("discriminator", told_apart)
        with self.autocast():
            told = model.deception_loss(codes)
        self.descend("generator", told)
        self.follow(step)
        return error.item()


class SummedLearner(PartedLearner):
    """A step moves the discriminator, then encoder and decoder once, down the sum of the reconstruction error and
    `adversarial` times the loss of the codes that are told from the prior.
    """

    module: AAE

    def __init__(self, module: AAE, plan: Plan, device: torch.device, precision: str) -> None:
        parts: dict[str, Sequence[nn.Module]] = {
            "discriminator": (module.discriminator,),
            "autoencoder": (module.encoder, module.decoder),
        }
        super().__init__(module, plan, device, precision, parts)

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        """Take one training step on images [B, D]; the reconstruction error."""
        self.begin(step, progress)
        model = self.module
        assert model.adversarial is not None
        with self.autocast():
            codes = model.encode(batch)
            error = model.reconstruction_loss(model.decode(codes), batch)
            told_apart = model.discrimination_loss(codes.detach())
        self.descend("discriminator", told_apart)
        with self.autocast():
            total = error + model.adversarial * model.deception_loss(codes)
        self.descend("autoencoder", total)
        self.follow(step)
        return error.item()
