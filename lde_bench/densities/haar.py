"""The equal mixture of a density of a patch by its pixels and of one like it by its Haar wavelets.

An autoregressive network learns other things of pixels row by row than of wavelets from the coarsest to the finest
(Haar 1910; as a chain of conditionals from coarse to fine: Reed et al. 2017, arXiv 1703.03664). The mixture of two
unlike networks is therefore worth more than that of two that differ in their first weights alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lde_bench.data.patches import FEATURES, SIDE
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
    """T of T x, the 63 orthonormal Haar wavelets of a patch x without its mean, coarse to fine: float64 [63, 63]."""
    line, levels = np.ones((1, 1)), np.zeros(1, dtype=int)
    while len(line) < SIDE:
        details = np.kron(np.eye(len(line)), [1, -1])
        line = np.vstack([np.kron(line, [1, 1]), details]) / np.sqrt(2)
        levels = np.concatenate([levels, np.full(len(details), levels.max() + 1)])
    finest = np.maximum(levels[:, None], levels)  # of the two directions: [8, 8]
    both = levels[:, None] + levels
    order = np.lexsort((both.ravel(), finest.ravel()))[1:]  # without the mean, which is zero
    complete = np.vstack([np.eye(FEATURES), -np.ones(FEATURES)])  # [64, 63]
    return np.kron(line, line)[order] @ complete


class Haar(ViewMixture):
    """`base` and a density like it of the Haar wavelets of the patch, half each; method suffix `+haar`.

    Both learn from the same batches, each by a learner of its own.

    Raises:
        InputError: `base` is no density of the 63 numbers of an 8x8 patch.
    """

    name = "haar"
    only_features = FEATURES
    patches_only = True
    card = Card(
        summary="the equal mixture of two like it, of the pixels of a patch and of its Haar wavelets, coarse to fine",
        source="this project; the wavelets: Haar 1910, Mathematische Annalen 69",
        sample_cost="that of the density it wraps; one evaluation costs 2 of its",
        bibtex=("haar1910theorie",),
    )
    views = (View.of(wavelets(), 0.5),)
    own_weight = 0.5

    def __init__(self, base: Density) -> None:
        if base.features != FEATURES:
            raise InputError(
                f"+haar needs the pixels of an 8x8 patch, {FEATURES} features and not {base.features}; leave out +haar."
            )
        super().__init__(base, base)

    def reference_seconds(self, plan: Plan) -> float:
        return sum(density.reference_seconds(plan) for density in self.each())

    def prepare(self, batches: Batches) -> None:
        for density, rows in zip(self.each(), [batches, *(view.batches(batches) for view in self.views)], strict=True):
            density.prepare(rows)

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return _BothLearner(self, [density.learner(plan, device, precision, compiler) for density in self.each()])


class _BothLearner(JointLearner):
    """The learners of both, each on its view of every batch."""

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        pixels, other = self.inner
        (view,) = Haar.views
        return (pixels.step(batch, step, progress) + other.step(view.tensor(batch), step, progress) - view.log_det) / 2
