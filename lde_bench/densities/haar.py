"""The equal mixture of a density of a patch by its pixels and of one like it by its Haar wavelets.

An autoregressive network learns other things of pixels row by row than of wavelets from the coarsest to the finest
(Haar 1910). Averaged over the symmetries of the patch, a mixture of two such networks gains four times what one of two
seeds does: `benchmarks/unlike_networks.py`.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from lde_bench.data.patches import FEATURES, SIDE, complete
from lde_bench.densities.base import Density
from lde_bench.densities.ensemble import JointLearner
from lde_bench.densities.view_mixture import View, ViewMixture
from lde_bench.errors import InputError
from lde_bench.training.batches import Batches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner
from lde_bench.training.model import Card
from lde_bench.training.plan import Plan


def wavelets() -> np.ndarray:
    """T of T x, for a patch x without its mean: float64 [63, 63].

    They are the products of the orthonormal wavelets of a row and those of a column, sorted by the finer of the two
    scales, then by the coarser.
    """
    line, levels = np.ones((1, 1)), np.zeros(1, dtype=int)
    while len(line) < SIDE:
        details = np.kron(np.eye(len(line)), [1, -1])
        line = np.vstack([np.kron(line, [1, 1]), details]) / np.sqrt(2)
        levels = np.concatenate([levels, np.full(len(details), levels.max() + 1)])
    finest = np.maximum(levels[:, None], levels)  # of the two directions: [8, 8]
    both = levels[:, None] + levels
    order = np.lexsort((both.ravel(), finest.ravel()))[1:]  # without the mean, which is zero
    return np.kron(line, line)[order] @ complete(np.eye(FEATURES)).T


class Haar(ViewMixture):
    """`base` and a density like it of the Haar wavelets of the patch, half each; method suffix `+haar`.

    Both learn from the same batches, each by a learner of its own.

    Raises:
        InputError: as of `ViewMixture`; or `base` needs the pixels of a patch, as `+sym` does, which wavelets are not.
    """

    name = "haar"
    card = Card(
        summary="the equal mixture of two like it, of the pixels of a patch and of its Haar wavelets, coarse to fine",
        source="this project; the wavelets: Haar 1910, Mathematische Annalen 69",
        sample_cost="one step or evaluation costs 2",
        bibtex=("haar1910theorie",),
    )
    views = (View.of(wavelets(), 0.5),)
    own_weight = 0.5

    def __init__(self, base: Density) -> None:
        if any(isinstance(inner, Density) and inner.patches_only for inner in base.modules()):
            raise InputError(
                f"+haar would show wavelets to what {base.name} takes for the pixels of a patch; put +haar further "
                "inside, as in lde+w+haar+sym."
            )
        other = copy.deepcopy(base)
        other.reset_parameters()
        super().__init__(base, [other])

    def reference_seconds(self, plan: Plan) -> float:
        return sum(density.reference_seconds(plan) for density in self.each())

    def prepare(self, batches: Batches) -> None:
        for density, rows in zip(self.each(), [batches, *(view.batches(batches) for view in self.views)], strict=True):
            density.prepare(rows)

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return _BothLearner(self, [density.learner(plan, device, precision, compiler) for density in self.each()])


class _BothLearner(JointLearner):
    """The learners of both, each on its view of every batch."""

    def __init__(self, density: Haar, inner: list[Learner]) -> None:
        super().__init__(density, inner)
        (self.view,) = density.views

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        pixels, other = self.inner
        loss = other.step(self.view.tensor(batch), step, progress) - self.view.log_det
        return (pixels.step(batch, step, progress) + loss) / 2
