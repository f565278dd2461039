"""Real NVP: affine coupling layers with BatchNorm between them.

Dinh, Sohl-Dickstein, Bengio 2016, arXiv 1605.08803; in the form and with the settings of Papamakarios, Pavlakou, Murray
2017, arXiv 1705.07057, table 1 ("Real NVP (10)", BSDS300: 153.28 +- 1.78 nats).
"""

from __future__ import annotations

from typing import ClassVar

import torch

from lde_bench.densities.bijections import BatchNorm, Bijection, affine_coupling
from lde_bench.densities.flow import FLOW_PLAN, Flow
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan


class RealNvp(Flow):
    """Real NVP.

    Args:
        features: D.
        transforms: coupling layers; 5 and 10 are published.
        hidden: units of a hidden layer of the scale and of the shift network; 512 and 1024 are published.
        layers: hidden layers of each; 1 and 2 are published.
    """

    name = "real-nvp"
    place = 60
    rows = ("real-nvp", "real-nvp+w")
    card = Card(
        summary="10 affine couplings on alternate features, tanh scale and relu shift networks, BatchNorm between",
        source="Dinh et al. 2016, arXiv 1605.08803; Papamakarios et al. 2017, arXiv 1705.07057",
        sample_cost="one pass of the couplings",
        differences="zuko's couplings, |log scale| below 6.9, networks see the kept half alone, inputs cut off at 30; "
        "features standardised; running BatchNorm statistics, published: of the whole training set; quick, standard, "
        "long: a cosine rate, clipping and averaged weights, no patience",
        bibtex=("dinh2017density", "papamakarios2017masked", "rozet2022zuko"),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(
            steps=200,
            batch_size=256,
            rate=1e-3,
            warmup=50,
            clip=5.0,
            average=0.98,
            validate_every=50,
            reference_seconds=45,
        ),
        "standard": Plan(
            steps=1_900,
            batch_size=256,
            rate=3e-3,
            clip=0.1,
            average=0.998,
            validate_every=250,
            reference_seconds=120,
        ),
        # Adam 1e-4, batch 100, L2 1e-6, stop after 30 epochs without an improvement; one epoch is 10,000 steps.
        "paper": FLOW_PLAN,
    }

    def __init__(self, features: int, transforms: int = 10, hidden: int = 512, layers: int = 2) -> None:
        features = positive_integer("features", features)
        widths = [positive_integer("hidden", hidden)] * positive_integer("layers", layers)
        stack: list[Bijection] = []
        for i in range(positive_integer("transforms", transforms)):
            kept = torch.arange(features) % 2 == (i + 1) % 2
            stack += [affine_coupling(kept, widths), BatchNorm(features)]
        super().__init__(features, stack)
