"""The average of a density over the sign of its rows.

p(x) = 1/2 (q(x) + q(-x)), with q the density it wraps; the change of sign keeps volumes. A patch without its mean and
its photographic negative are almost equally likely, so that this is a second opinion on every patch for the price of
one more evaluation. Like every equal mixture it is never worse than its halves are on average.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lde_bench.densities.base import Part, equal_parts
from lde_bench.densities.wrapper import Wrapper
from lde_bench.training.model import Card


class Negated(Wrapper):
    """`base` averaged over x and -x; method suffix `+neg`.

    It trains exactly as `base` does, weights chosen by the likelihood of `base`; the average is taken at evaluation.
    """

    name = "neg"
    trains_as_base = True
    card = Card(
        summary="the average over a row and its negative, p(x) = 1/2 (p(x) + p(-x))",
        source="this project, as averages over flips and rotations are taken: Theis, Bethge 2015, arXiv 1506.03478",
        sample_cost="one evaluation costs 2",
        bibtex=("theis2015generative",),
    )

    @property
    def passes(self) -> int:
        return 2 * self.base.passes

    def forward(self, x: Tensor) -> Tensor:
        return torch.logaddexp(self.base(x), self.base(-x)) - math.log(2)

    def parts(self, x: Tensor) -> list[Part]:
        return equal_parts([(self.base, sign * x) for sign in (1, -1)])

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        x = self.base.draw(n, generator)
        sign = 2 * torch.randint(2, (n, 1), generator=generator, device=x.device) - 1
        return x * sign  # [n, D]
