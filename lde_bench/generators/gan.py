"""GAN: generative adversarial networks (Goodfellow et al. 2014, arXiv 1406.2661).

Sizes and settings are those of the authors' public repository (goodfeli/adversarial, mnist.yaml; the plan of larger
images: tfd_pretrain/train.yaml).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from lde_bench.generators.base import Generator
from lde_bench.generators.decoder_model import DecoderModel, standard_normal, uniform_of_normal
from lde_bench.generators.networks import mlp
from lde_bench.training.batches import Batches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import PartedLearner
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan

#: Steps of one epoch of MNIST, 55,000 images in batches of 100.
EPOCH = 550

#: And of TFD, of about 101,000.
TFD_EPOCH = 1_010

#: What the momentum of `sgd` has grown to, linearly, at the end of the run.
FINAL_MOMENTUM = 0.7

#: Half the width of the uniform noise: its variance is 1.
NOISE_BOUND = math.sqrt(3)

#: Bounds of the mean pixels that the generator's output starts from, so that a pixel always black has a logit.
LEAST_MEAN = 1e-7

#: Training images that the mean pixels are taken from.
MEAN_ROWS = 50_000


class Maxout(nn.Module):
    """[B, inputs] -> [B, units]: each unit is the largest of `pieces` affine functions (Goodfellow et al. 2013, arXiv
    1302.4389).
    """

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.units = units
        self.affine = nn.Linear(inputs, pieces * units)

    def forward(self, x: Tensor) -> Tensor:
        return self.affine(x).unflatten(1, (-1, self.units)).amax(1)  # [B, P * U] -> [B, P, U] -> [B, U]


class GAN(Generator):
    """A generator that learns to be taken for the data by a discriminator that learns to tell them apart.

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
        noise: size of the uniform noise that an image is made of.
        hidden: units of each of the generator's two layers of ReLU.
        units: of each of the discriminator's two maxout layers.
        pieces: affine functions of each of those units.
    """

    name = "gan"
    place = 40
    card = Card(
        summary="generative adversarial network",
        source="Goodfellow et al. 2014, arXiv 1406.2661",
        sample_cost="one pass of the generator",
        differences=(
            "55,000 training images of MNIST, where the published model has 50,000; quick and standard: Adam, fewer "
            "steps, an average of the weights; paper: the epochs of MNIST could not be verified; on larger images the "
            "momentum grows to 0.7 within 22 epochs, where the published one of TFD takes 250; images of other sizes "
            "have the networks of MNIST, not the wider ones of TFD (pretrained 100-8000-8000-2304 under a new "
            "100-8000-100; a discriminator of 1200 units of 5 pieces, units=1200)"
        ),
        bibtex=("goodfellow2014generative", "goodfellow2013maxout"),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(
            steps=500, batch_size=100, rate=5e-4, betas=(0.5, 0.999), warmup=1, average=0.99, reference_seconds=16.0
        ),
        # A constant rate: the average of the weights settles what a falling rate would.
        "standard": Plan(
            steps=10_200,
            batch_size=100,
            rate=1e-3,
            betas=(0.5, 0.999),
            schedule="constant",
            average=0.999,
            reference_seconds=250.0,
        ),
        "paper": Plan(
            steps=250 * EPOCH,
            rows=100 * EPOCH,
            batch_size=100,
            rate=0.1,
            optimizer="sgd",
            momentum=0.5,
            schedule="exponential",
            decay=1 / 1.000004,
            bf16=False,
            reference_seconds=7200.0,
        ),
    }

    large_plans: ClassVar[dict[str, Plan]] = {
        "paper": replace(plans["paper"], steps=22 * TFD_EPOCH, rows=100 * TFD_EPOCH, rate=0.05)
    }

    def __init__(
        self, image_shape: Sequence[int], noise: int = 100, hidden: int = 1200, units: int = 240, pieces: int = 5
    ) -> None:
        super().__init__(image_shape)
        self.noise = positive_integer("noise", noise)
        units, pieces = positive_integer("units", units), positive_integer("pieces", pieces)
        self.generator = mlp(self.noise, self.features, positive_integer("hidden", hidden))
        self.discriminator = nn.Sequential(
            nn.Dropout(0.2),
            Maxout(self.features, units, pieces),
            nn.Dropout(0.5),
            Maxout(units, units, pieces),
            nn.Dropout(0.5),
            nn.Linear(units, 1),
        )

    def reset_parameters(self) -> None:
        for network, bound in ((self.generator, 0.05), (self.discriminator, 0.005)):
            for layer in network.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.uniform_(layer.weight, -bound, bound)
                    nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def prepare(self, batches: Batches) -> None:
        """The generator's output starts around the mean image."""
        mean = torch.from_numpy(batches.take(MEAN_ROWS).mean(0))
        *_, bias = self.generator.parameters()
        bias.copy_(torch.logit(mean, eps=LEAST_MEAN))

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> AdversarialLearner:
        return AdversarialLearner(self, plan, device, precision)

    def losses(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the discriminator and what the generator makes smaller, of images [B, D] and as many generated ones.

        The discriminator's is -V / 2 of eq. 1, half of each -log of the probability of the truth: log 2 where it tells
        nothing apart. The generator's is -log D(G(z)), which does not vanish where the discriminator is sure.
        """
        real, fake = self.discriminator(x), self.discriminator(self.decode(self.draw_noise(len(x))))  # [B, 1]
        return (softplus(-real) + softplus(fake)).mean() / 2, softplus(-fake).mean()

    def draw_noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """[n, noise] of mean 0 and variance 1."""
        noise = torch.rand(n, self.noise, generator=generator, dtype=self.dtype, device=self.device)
        return NOISE_BOUND * (2 * noise - 1)

    def decode(self, noise: Tensor) -> Tensor:
        """The image of a noise: [B, noise] -> [B, D]."""
        return torch.sigmoid(self.generator(noise))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return self.decode(self.draw_noise(n, generator))

    @property
    def decoder_models(self) -> tuple[DecoderModel, ...]:
        return (standard_normal(self, self.noise, lambda z: self.decode(NOISE_BOUND * uniform_of_normal(z))),)


class AdversarialLearner(PartedLearner):
    """Both networks at once, each down the gradient of its own loss with its own optimiser, on one and the same
    generated images and dropped units, as the authors' repository has it.
    """

    module: GAN

    def __init__(self, module: GAN, plan: Plan, device: torch.device, precision: str) -> None:
        # In the order of `GAN.losses`.
        parts: dict[str, Sequence[nn.Module]] = {
            "discriminator": (module.discriminator,),
            "generator": (module.generator,),
        }
        super().__init__(module, plan, device, precision, parts)

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        """Take one training step on images [B, D]; the discriminator's loss."""
        self.begin(step, progress)
        with self.autocast():
            losses = self.module.losses(batch)
        for own, loss in zip(self.parts.values(), losses, strict=True):
            for parameter, gradient in zip(own, torch.autograd.grad(loss, own, retain_graph=True), strict=True):
                parameter.grad = gradient
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.follow(step)
        return losses[0].item()

    def begin(self, step: int, progress: float) -> None:
        super().begin(step, progress)
        if self.plan.optimizer == "sgd":
            for optimizer in self.optimizers.values():
                for group in optimizer.param_groups:
                    group["momentum"] = self.plan.momentum + (FINAL_MOMENTUM - self.plan.momentum) * progress
