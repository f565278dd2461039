"""AE: the paper's autoencoder without a prior (Yoo, Lee, Kwak 2020, arXiv 1902.04294, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lde_bench.generators.networks import coders, reset_coders
from lde_bench.generators.reconstruction import ReconstructionLoss, Reconstructor
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, LossLearner
from lde_bench.training.model import Card
from lde_bench.training.plan import Plan

#: Training images of MNIST, of TFD, the unlabeled and those of a fold (the paper's epoch has 789 steps), and of CelebA.
MNIST_ROWS, TFD_ROWS, CELEBA_ROWS = 55_000, 100_983, 162_770

#: Shares of the 130 epochs of the IAE on TFD at which its rate is halved.
TFD_HALVINGS = (20 / 130, 50 / 130, 100 / 130)

#: Images of a step.
BATCH_SIZE = 128


def published_plan(epochs: int, rows: int, seconds: float) -> Plan:
    """So many epochs of training rows, of about so many reference seconds; the rate is halved at the 20th, 50th, 100th
    and 200th.
    """
    return Plan(
        steps=epochs * math.ceil(rows / BATCH_SIZE),
        rows=rows,
        batch_size=BATCH_SIZE,
        rate=1e-3,
        betas=(0.5, 0.999),
        schedule="halving",
        halve_at=tuple(epoch / epochs for epoch in (20, 50, 100, 200) if epoch < epochs),
        bf16=False,
        reference_seconds=seconds,
    )


class AE(Reconstructor):
    """Convolutions to a code and back, trained on the squared error and, if so asked, the perceptual one (eq. 1 and 5).

    Args:
        image_shape: (C, H, W), or (H, W) of grey images.
        latent: size of the code; the paper has 8 for MNIST, 15 for TFD, 100 for colour 64x64 and 200 for 128x128.
        perceptual: weight of the distance in features of VGG19 in the loss; the paper has 0.1 for images in colour.
        backbone: `conv`, or `mlp`, the two hidden layers of 1,000 each way that our VAE has.

    Raises:
        InputError: images that do not fit the convolutions, a bad `perceptual`, or an unknown backbone.
    """

    name = "ae"
    place = 100
    has_no_prior = True
    card = Card(
        summary="autoencoder without a prior",
        source="Yoo, Lee, Kwak 2020, arXiv 1902.04294",
        sample_cost="one density sample and one decoding",
        differences="quick and standard: fewer steps; a cosine rate, or that of the IAE on TFD for images of its size",
        bibtex=("yoo2020unpriortized",),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(steps=600, batch_size=128, rate=1e-3, betas=(0.5, 0.999), warmup=50, reference_seconds=40.0),
        "standard": Plan(
            steps=2_500, batch_size=128, rate=2e-3, betas=(0.5, 0.999), warmup=50, reference_seconds=150.0
        ),
        "paper": published_plan(280, MNIST_ROWS, 5_200.0),
    }
    # A step of the perceptrons takes a fifth of the time of one of the convolutions, on a core with AVX2.
    backbone_plans: ClassVar[dict[str, dict[str, Plan]]] = {
        "mlp": {"standard": replace(plans["standard"], steps=11_800, reference_seconds=300.0)},
    }
    # The last dimension of an IAE comes late on TFD: under a cosine its rate would be gone. The AE has the same plan.
    large_plans: ClassVar[dict[str, Plan]] = {
        "quick": replace(plans["quick"], schedule="halving", halve_at=TFD_HALVINGS),
        "standard": replace(
            plans["quick"], steps=800, schedule="halving", halve_at=TFD_HALVINGS, reference_seconds=92.0
        ),
        "paper": published_plan(60, TFD_ROWS, 2_000.0),
    }
    # There a step of the convolutions takes eleven times that of the perceptrons, with bf16: 800 take 200 CPU seconds.
    large_backbone_plans: ClassVar[dict[str, dict[str, Plan]]] = {
        "mlp": {"standard": replace(large_plans["standard"], steps=9_000, reference_seconds=90.0)},
    }
    colour_plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(steps=300, batch_size=16, rate=1e-3, betas=(0.5, 0.999), warmup=20, reference_seconds=15.0),
        "standard": Plan(steps=400, batch_size=16, rate=1e-3, betas=(0.5, 0.999), warmup=20, reference_seconds=20.0),
        "paper": published_plan(200, CELEBA_ROWS, 100_000.0),
    }

    def __init__(
        self,
        image_shape: Sequence[int],
        latent: int = 8,
        perceptual: float = 0.0,
        backbone: Literal["conv", "mlp"] = "conv",
    ) -> None:
        super().__init__(image_shape, latent)
        self.reconstruction_loss = ReconstructionLoss(self.image_shape, perceptual)
        self.backbone = backbone
        self.encoder, self.decoder = coders(backbone, self.image_shape, self.latent, self.latent)

    def reset_parameters(self) -> None:
        reset_coders(self.backbone, self.encoder, self.decoder)

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return LossLearner(self, plan, device, precision, self.loss, fused=self.backbone == "mlp")

    def loss(self, x: Tensor, progress: float) -> Tensor:
        return self.reconstruction_loss(self.decode(self.encode(x)), x)
