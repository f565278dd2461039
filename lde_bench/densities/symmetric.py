"""The average of a density over the eight flips and quarter turns of an 8x8 patch.

p(x) = 1/8 sum_g q(g x), with q the density it wraps and g the symmetries. The 63 kept numbers x stand for 64 pixels
that sum to zero, and g permutes the pixels. On x it is linear and of finite order (g^4 = 1), so |det g| = 1 whichever
pixel is dropped: each q(g x) is a density, and so is their mean. Theis and Bethge 2015 (arXiv 1506.03478) average
models of patches over flips and rotations in this way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lde_bench.data.patches import FEATURES, SYMMETRIES
from lde_bench.densities.base import Density, Part, equal_parts
from lde_bench.densities.wrapper import Wrapper
from lde_bench.errors import InputError
from lde_bench.training.model import Card


class Symmetric(Wrapper):
    """`base` averaged over the symmetries of the patch; method suffix `+sym`.

    It trains exactly as `base` does, weights chosen by the likelihood of `base`; the average is taken at evaluation.
    The conditionals of an average are no average of conditionals in one order: it is not autoregressive.

    Raises:
        InputError: `base` is no density of the 63 numbers of an 8x8 patch.
    """

    name = "sym"
    only_features = FEATURES
    patches_only = True
    trains_as_base = True
    card = Card(
        summary="the average over the 8 flips and rotations of the patch, p(x) = 1/8 sum p(g x)",
        source="Theis, Bethge 2015, arXiv 1506.03478; see docs of lde_bench.densities.symmetric",
        sample_cost="one evaluation costs 8",
        bibtex=("theis2015generative",),
    )

    places: Tensor  # int64 [8, 63]: where among the 64 pixels each kept number of a symmetry comes from

    def __init__(self, base: Density) -> None:
        if base.features != FEATURES:
            raise InputError(
                f"+sym averages over the symmetries of an 8x8 patch, which has {FEATURES} features and not "
                f"{base.features}; leave out +sym."
            )
        super().__init__(base)
        # Not saved: it is the same for every model.
        self.register_buffer("places", torch.from_numpy(SYMMETRIES[:, :FEATURES].copy()), persistent=False)

    @property
    def passes(self) -> int:
        return len(self.places) * self.base.passes

    def forward(self, x: Tensor) -> Tensor:
        pixels = _complete(x)
        # One after the other: eight at once would take eight times the memory.
        return torch.stack([self.base(pixels[:, place]) for place in self.places]).logsumexp(0) - math.log(8)

    def parts(self, x: Tensor) -> list[Part]:
        pixels = _complete(x)
        return equal_parts([(self.base, pixels[:, place]) for place in self.places])

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        pixels = _complete(self.base.draw(n, generator))
        which = torch.randint(len(self.places), (n,), generator=generator, device=generator.device)
        return pixels.gather(1, self.places[which])  # [n, 63]


def _complete(x: Tensor) -> Tensor:
    """All 64 pixels, the dropped one being minus the sum of the others: [B, 63] -> [B, 64]."""
    return torch.cat([x, -x.sum(1, keepdim=True, dtype=torch.float64).to(x.dtype)], 1)
