"""MAF MoG: a masked autoregressive flow over a MADE with mixture conditionals.

Papamakarios, Pavlakou, Murray 2017, arXiv 1705.07057, section 3 and table 1 ("MAF MoG (5)", BSDS300: 156.36 +- 0.28
nats).
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from lde_bench.densities.base import Density
from lde_bench.densities.bijections import BatchNorm, Bijection, affine_autoregressive
from lde_bench.densities.flow import FLOW_PLAN, Flow, alternating_orders
from lde_bench.densities.made_mog import MadeMog
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan


class MafMog(Flow):
    """MAF MoG.

    The orders of the MADEs alternate and end in the reverse of the base's, which runs through u in raster order.

    Args:
        features: D.
        components: K, Gaussians per dimension of the base.
        transforms: MADEs of the flow, the base not counted; 5 are published.
        hidden: units of a hidden layer of each MADE and of the base; 512 and 1024 are published.
        layers: hidden layers of each; 1 and 2 are published.
    """

    name = "maf-mog"
    place = 70
    replayable = True
    rows = ("maf-mog:components=10", "maf-mog+w:components=10")
    card = Card(
        summary="masked autoregressive flow of 5 MADEs with BatchNorm between, over a MADE with K Gaussians",
        source="Papamakarios et al. 2017, arXiv 1705.07057",
        sample_cost="one pass of a network per dimension and network (6 D passes)",
        differences="zuko's MADEs, |log scale| below 6.9, inputs cut off at 30; features standardised; running "
        "BatchNorm statistics, published: of the whole training set; quick, standard, long: a cosine rate, clipping "
        "and averaged weights, no patience",
        bibtex=("papamakarios2017masked", "rozet2022zuko"),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(
            steps=400,
            batch_size=256,
            rate=1e-3,
            warmup=50,
            clip=5.0,
            average=0.98,
            validate_every=100,
            reference_seconds=45,
        ),
        "standard": Plan(
            steps=2_200,
            batch_size=512,
            rate=3e-3,
            clip=10.0,
            average=0.998,
            validate_every=250,
            reference_seconds=100,
        ),
        # Adam 1e-4, batch 100, L2 1e-6, stop after 30 epochs without an improvement; one epoch is 10,000 steps.
        "paper": FLOW_PLAN,
    }
    wide_code_plans: ClassVar[dict[str, Plan]] = {
        "standard": replace(
            plans["standard"],
            steps=2_000,
            batch_size=128,
            rate=1e-3,
            clip=5.0,
            validate_every=100,
            reference_seconds=60,
        ),
    }

    def __init__(
        self, features: int, components: int = 10, transforms: int = 5, hidden: int = 512, layers: int = 2
    ) -> None:
        features = positive_integer("features", features)
        widths = [positive_integer("hidden", hidden)] * positive_integer("layers", layers)
        stack: list[Bijection] = []
        for order in alternating_orders(features, positive_integer("transforms", transforms)):
            stack += [affine_autoregressive(order, widths), BatchNorm(features)]
        super().__init__(features, stack)
        self.base = MadeMog(features, components, hidden, layers, unit=1)  # of numbers of unit scale
        self.components = self.base.components

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.base.reset_parameters()

    def base_log_prob(self, u: Tensor) -> Tensor:
        return self.base(u)

    def base_density(self) -> Density | None:
        return self.base

    def draw_base(self, n: int, generator: torch.Generator) -> Tensor:
        return self.base.draw(n, generator)
