"""Residual MADE with a mixture head and a causal running scale.

Masked residual blocks with pre-activation (Durkan et al. 2019, arXiv 1906.04032; Nash and Durkan 2019, arXiv
1904.05626) under a mixture of K Gaussians per dimension. The running scale is this project's own: conditional i is a
mixture in units of s_i = sqrt((u^2 + sum_{j<i} x_j^2) / i), computed from x_<i alone (u: the root mean square of the
training data), and the network sees x_j / s_j, so that patches of low and of high contrast look alike to it. The
log-determinant is counted: the mixture is rescaled.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.densities.masked import MaskedLinear, MixtureOutputs, hidden_degrees, input_degrees
from lde_bench.densities.mixture import UNIT_ROWS, AutoregressiveMixture, Mixture
from lde_bench.training.batches import Batches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import GradientLearner, Learner
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan


class MaskedBlock(nn.Module):
    """h + W2 gelu(W1 gelu(h)), every unit keeping its degree: [B, width] -> [B, width]."""

    def __init__(self, degrees: Tensor) -> None:
        super().__init__()
        self.first = MaskedLinear(degrees, degrees)
        self.second = MaskedLinear(degrees, degrees)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(F.gelu(self.first(F.gelu(h))))


class ResidualMade(AutoregressiveMixture):
    """The masked layers of a residual MADE; a subclass gives `conditionals`.

    Args:
        features: D.
        components: K, Gaussians per dimension.
        hidden: width of the residual stream.
        blocks: residual blocks of two masked layers each.
        views: numbers that the network sees of every dimension, [B, views D], all of the first one first.
    """

    def __init__(self, features: int, components: int, hidden: int, blocks: int, views: int = 1) -> None:
        super().__init__(features, components)
        self.degrees = hidden_degrees(self.features, positive_integer("hidden", hidden))
        self.inputs = MaskedLinear(input_degrees(self.features).repeat(views), self.degrees)
        self.blocks = nn.Sequential(*(MaskedBlock(self.degrees) for _ in range(positive_integer("blocks", blocks))))
        self.outputs = MixtureOutputs(self.degrees, self.features, self.components)

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
        for block in self.blocks:
            assert isinstance(block, MaskedBlock)
            with torch.no_grad():
                block.second.weight.mul_(0.1)  # every block starts close to the identity
        self.outputs.start(weight_scale=0.1)

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        # A width of 512 is 2 million weights, and one of 1,536 is 12 million.
        return GradientLearner(self, plan, device, precision, compiler(self), compiler, fused=True)

    def trunk(self, seen: Tensor) -> Tensor:
        """The units that the outputs see: [B, views D] -> [B, hidden]."""
        return F.gelu(self.blocks(self.inputs(seen)))


class ResMadeMog(ResidualMade):
    """Residual MADE MoG with a causal running scale; meant for whitened input (`resmade-mog+w`).

    Args:
        features: D.
        components: K, Gaussians per dimension.
        hidden: width of the residual stream.
        blocks: residual blocks of two masked layers each.
    """

    unit: Tensor

    name = "resmade-mog"
    place = 120
    replayable = True
    rows = ("resmade-mog+w",)
    input = "scalar unit"
    card = Card(
        summary="residual MADE, K Gaussians per dimension, causal running scale",
        source="this project, after Durkan et al. 2019, arXiv 1906.04032; Nash and Durkan 2019, arXiv 1904.05626",
        sample_cost="one pass of the network per dimension (D passes)",
        differences="no published row; the running scale is ours",
        bibtex=("durkan2019neural", "nash2019autoregressive"),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(
            steps=500,
            batch_size=512,
            rate=3e-3,
            optimizer="adamw",
            betas=(0.9, 0.99),
            weight_decay=1e-4,
            clip=0.5,
            average=0.98,
            validate_every=125,
            reference_seconds=45,
        ),
        "standard": Plan(
            steps=2_150,
            batch_size=1024,
            rate=1.2e-2,
            optimizer="adamw",
            betas=(0.9, 0.99),
            weight_decay=1e-4,
            clip=0.1,
            average=0.995,
            validate_every=200,
            reference_seconds=100,
        ),
        # Eight times the steps ask for a lower rate: at 2,500 steps already 4e-3 was ahead of 1.2e-2.
        "long": Plan(
            steps=18_000,
            batch_size=1024,
            rate=3e-3,
            optimizer="adamw",
            betas=(0.9, 0.99),
            weight_decay=1e-4,
            clip=0.1,
            average=0.998,
            validate_every=1000,
            reference_seconds=1000,
        ),
        "paper": Plan(
            steps=400_000,
            batch_size=1024,
            rate=2e-3,
            optimizer="adamw",
            betas=(0.9, 0.99),
            weight_decay=1e-4,
            clip=0.5,
            average=0.9995,
            validate_every=5000,
            compile=True,
            reference_seconds=4e4,
        ),
    }

    def __init__(self, features: int, components: int = 10, hidden: int = 512, blocks: int = 2) -> None:
        super().__init__(features, components, hidden, blocks)
        self.register_buffer("unit", torch.ones(()))
        self.reset_parameters()

    def prepare(self, batches: Batches) -> None:
        rows = np.asarray(batches.take(UNIT_ROWS), dtype=np.float64)
        self.unit.fill_(float(np.sqrt(np.square(rows).mean())) or 1.0)

    def conditionals(self, x: Tensor) -> Mixture:
        past = F.pad(x.square().cumsum(-1)[:, :-1], (1, 0))  # sum of squares before i: [B, D]
        count = torch.arange(1, self.features + 1, device=x.device, dtype=x.dtype)
        log_scale = 0.5 * torch.log((past + self.unit.square()) / count)
        # The network too sees x in units of the running scale. Fed x itself, its means would grow like |x|^2 and about
        # one sample in a hundred would run away.
        h = self.trunk(x * torch.exp(-log_scale))
        return Mixture.from_head(self.outputs(h)).rescaled(log_scale)  # [B, D, K]
