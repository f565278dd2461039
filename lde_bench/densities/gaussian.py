"""One Gaussian with a full covariance, by maximum likelihood in closed form."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lde_bench.densities.triangular import TriangularGaussians, cholesky, moments
from lde_bench.training.batches import Batches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, ModuleLearner
from lde_bench.training.model import Card
from lde_bench.training.plan import Plan

#: Rows that stand for a stream of fresh samples, which has no "all rows".
STREAM_ROWS = 1_000_000


class Gaussian(TriangularGaussians):
    """N(m, S) with m and S the mean and covariance of all training rows, accumulated in float64.

    The fit takes no steps: any budget gives the same density. Before `fit` it is the standard normal.

    Args:
        features: D; D + D (D + 1) / 2 parameters.
    """

    name = "gaussian"
    place = 10
    card = Card(
        summary="one Gaussian with a full covariance, maximum likelihood in closed form",
        source="textbook, e.g. Bishop 2006, Pattern Recognition and Machine Learning, section 2.3.4",
        sample_cost="one triangular solve",
        bibtex=("bishop2006pattern",),
    )
    plans: ClassVar[dict[str, Plan]] = dict.fromkeys(
        ("quick", "standard", "paper"),
        Plan(steps=1, batch_size=10_000, validate_every=1, bf16=False, closed_form=True, reference_seconds=10),
    )

    def __init__(self, features: int) -> None:
        super().__init__(features, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self._set_components(self.means.new_zeros(self.means.shape), torch.eye(self.features).unsqueeze(0))

    def log_weights(self) -> Tensor:
        return self.means.new_zeros(1)

    def prepare(self, batches: Batches) -> None:
        mean, covariance = moments(batches.take(batches.size or STREAM_ROWS))
        self._set_components(mean.unsqueeze(0), cholesky(covariance, self.name).unsqueeze(0))

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return _Reporter(self)


class _Reporter(ModuleLearner):
    """A learner with nothing left to learn: its steps report the loss."""

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        return -self.score(batch)
