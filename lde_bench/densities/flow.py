"""The base of every normalizing flow: a bijection x <-> u, a density of u, and the log-determinant between them.

log p(x) = log p_u(f(x)) + log |det df/dx| (Rezende and Mohamed 2015, arXiv 1505.05770; Papamakarios et al. 2021, arXiv
1912.02762).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lde_bench.densities.base import LOG_2PI, Density, Input
from lde_bench.densities.bijections import Bijection
from lde_bench.densities.triangular import standardisation
from lde_bench.training.batches import Batches
from lde_bench.training.plan import Plan

#: How Papamakarios et al. 2017 (arXiv 1705.07057) trained their flows.
FLOW_PLAN = Plan(
    steps=10_000_000,
    batch_size=100,
    rate=1e-4,
    weight_decay=1e-6,
    of_nats=True,
    schedule="constant",
    validate_every=10_000,
    patience=30,
    bf16=False,
    reference_seconds=1e6,
)


class Flow(Density):
    """A stack of bijections on standardised features, over a base density.

    Every feature is first brought to mean 0 and standard deviation 1 over the training rows (`prepare`), which the
    log-determinant counts: splines and networks are built for that range.

    Args:
        features: D.
        layers: from x to u.
    """

    input: ClassVar[Input | None] = "standardised"
    invertible = True
    equivariant = True

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, layers: Sequence[Bijection]) -> None:
        super().__init__(features)
        self.layers = nn.ModuleList(layers)
        self.register_buffer("mean", torch.zeros(self.features))
        self.register_buffer("scale", torch.ones(self.features))

    def reset_parameters(self) -> None:
        for layer in self.layers:
            assert isinstance(layer, Bijection)
            layer.reset_parameters()

    def prepare(self, batches: Batches) -> None:
        mean, scale = standardisation(batches)
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u = f(x) and log |det df/dx|: [B, D] -> [B, D], [B]."""
        u = (x - self.mean) / self.scale
        log_abs_det = -self.scale.log().sum().expand(len(x))
        for layer in self.layers:
            assert isinstance(layer, Bijection)
            u, change = layer.encode(u)
            log_abs_det = log_abs_det + change
        return u, log_abs_det

    def decode(self, u: Tensor) -> Tensor:
        """x = f^-1(u), in evaluation mode: [B, D] -> [B, D]."""
        x = u
        for layer in reversed(self.layers):
            assert isinstance(layer, Bijection)
            x = layer.decode(x)
        return x * self.scale + self.mean

    def base_log_prob(self, u: Tensor) -> Tensor:
        """log p_u(u) in nats, by default of the standard normal: [B, D] -> [B]."""
        return -0.5 * (u.square() + LOG_2PI).sum(-1)

    def draw_base(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` samples of the base, by default of the standard normal: [n, D]."""
        return torch.randn(n, self.features, generator=generator, dtype=self.dtype, device=self.device)

    def forward(self, x: Tensor) -> Tensor:
        u, log_abs_det = self.encode(x)
        return self.base_log_prob(u) + log_abs_det

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return self.decode(self.draw_base(n, generator))


def alternating_orders(features: int, transforms: int) -> list[Tensor]:
    """Raster order and its reverse in turn, the last of them reversed: [D] each."""
    forwards = torch.arange(features)
    return [forwards if (transforms - i) % 2 == 0 else forwards.flip(0) for i in range(transforms)]
