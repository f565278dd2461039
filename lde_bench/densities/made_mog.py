"""MADE with a mixture of K Gaussians per dimension: "MADE MoG", the paper's second row.

Germain, Gregor, Murray, Larochelle 2015, arXiv 1502.03509; with the mixture conditionals and the settings of
Papamakarios, Pavlakou, Murray 2017, arXiv 1705.07057, table 1.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from lde_bench.densities.masked import MaskedLinear, MixtureOutputs, hidden_degrees, input_degrees
from lde_bench.densities.mixture import Mixture, ScaledMixture
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan


class MadeMog(ScaledMixture):
    """MADE MoG, in a unit of its own (`ScaledMixture`).

    Args:
        features: D.
        components: K, Gaussians per dimension.
        hidden: units of a hidden layer.
        layers: hidden layers.
        unit: one number that the rows are divided by, that of the training rows unless given; 1 is as published.
    """

    name = "made-mog"
    place = 40
    replayable = True
    rows = ("made-mog:components=10", "made-mog+w:components=10")
    card = Card(
        summary="masked autoencoder (MADE), K Gaussians per dimension, sequential order, relu",
        source="Germain et al. 2015, arXiv 1502.03509; Papamakarios et al. 2017, arXiv 1705.07057",
        sample_cost="one pass of the network per dimension (D passes)",
        differences="one scalar unit (published: none; unit=1); quick, standard, long: a cosine rate, clipping and "
        "averaged weights, no patience",
        bibtex=("germain2015made", "papamakarios2017masked"),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(
            steps=1000,
            batch_size=256,
            rate=1e-3,
            clip=0.5,
            average=0.99,
            validate_every=250,
            reference_seconds=25,
        ),
        "standard": Plan(
            steps=7_500,
            batch_size=512,
            rate=3e-3,
            clip=10.0,
            average=0.999,
            validate_every=500,
            reference_seconds=130,
        ),
        # Adam 1e-3, batch 100, L2 1e-6, stop after 30 epochs without an improvement; one epoch is 10,000 steps.
        "paper": Plan(
            steps=10_000_000,
            batch_size=100,
            rate=1e-3,
            weight_decay=1e-6,
            of_nats=True,
            schedule="constant",
            validate_every=10_000,
            patience=30,
            bf16=False,
            reference_seconds=1e5,
        ),
    }

    def __init__(
        self, features: int, components: int = 10, hidden: int = 512, layers: int = 2, unit: float | None = None
    ) -> None:
        super().__init__(features, components, unit)
        degrees = hidden_degrees(self.features, positive_integer("hidden", hidden))
        sources = input_degrees(self.features)
        stack: list[nn.Module] = []
        for _ in range(positive_integer("layers", layers)):
            stack += [MaskedLinear(sources, degrees), nn.ReLU()]
            sources = degrees
        self.hidden = nn.Sequential(*stack)
        self.outputs = MixtureOutputs(degrees, self.features, self.components)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
        self.outputs.start(weight_scale=1.0)

    def conditionals_in_unit(self, y: Tensor) -> Mixture:
        return Mixture.from_head(self.outputs(self.hidden(y)))
