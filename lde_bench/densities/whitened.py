"""Volume-tracked triangular whitening: a density of z behind the Cholesky factor of the training covariance.

z = m + L e with L the lower-triangular Cholesky factor, so log p(z) = log p(e) - log det L. L is triangular, hence z_<i
and e_<i determine each other: the order of the chain rule is kept, and the conditionals of an autoregressive density
stay what they were up to a shift and a scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lde_bench.densities.base import Density, Part
from lde_bench.densities.triangular import cholesky, moments
from lde_bench.densities.wrapper import Wrapper
from lde_bench.errors import InputError
from lde_bench.training.batches import Batches, MappedBatches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner
from lde_bench.training.model import Card, TrainingRequest
from lde_bench.training.plan import Plan

#: Rows from which the covariance is estimated (fewer where the training set has fewer).
COVARIANCE_ROWS = 300_000


class Whitened(Wrapper):
    """`base` on whitened input; method suffix `+w`, or `whiten="cholesky"` in `create`.

    `parameter_count` counts those of `base`: mean and factor are statistics of the training set, not trained weights.

    Raises:
        InputError: `base` needs the numbers of a patch, as `+sym` does; whitened ones have no flips and rotations.
    """

    name = "w"
    input = "Cholesky"
    card = Card(
        summary="whitening by the Cholesky factor of the training covariance, its log-determinant counted",
        source="standard linear change of variables; see docs of lde_bench.densities.whitened",
        sample_cost="one triangular product more",
    )

    mean: Tensor
    factor: Tensor
    equivariant = True

    def __init__(self, base: Density) -> None:
        if any(isinstance(inner, Density) and inner.patches_only for inner in base.modules()):
            raise InputError(
                f"+w would whiten what {base.name} takes for the pixels of a patch; whiten inside, as in lde+w+sym."
            )
        super().__init__(base)
        self.autoregressive = base.autoregressive
        self.invertible = base.invertible
        self.register_buffer("mean", torch.zeros(self.features))
        self.register_buffer("factor", torch.eye(self.features))

    def prepare(self, batches: Batches) -> None:
        mean, covariance = moments(batches.take(COVARIANCE_ROWS))
        self.mean.copy_(mean)
        self.factor.copy_(cholesky(covariance, "whitening"))
        self.base.prepare(
            MappedBatches(batches, lambda x: self._inverse(torch.as_tensor(x).to(self.mean)).cpu().numpy())
        )

    def treatment(self) -> dict[str, Any]:
        """Nothing: whitened rows have the unit 1, with which a density of one unit is as without."""
        return {}

    def request(self, request: TrainingRequest) -> None:
        held_out = request.validation
        self.base.request(replace(request, validation=None if held_out is None else self._inverse(held_out)))

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return _WhitenedLearner(self, self.base.learner(plan, device, precision, compiler))

    def _inverse(self, z: Tensor) -> Tensor:
        """e of z = m + L e: [B, D] -> [B, D]."""
        return torch.linalg.solve_triangular(self.factor.t(), z - self.mean, upper=True, left=False)

    def _log_scales(self) -> Tensor:
        """log L_ii: [D]; their sum is log det L."""
        return self.factor.diagonal().log()

    def forward(self, x: Tensor) -> Tensor:
        return self.base(self._inverse(x)) - self._log_scales().sum()

    def conditional_log_prob(self, x: Tensor) -> Tensor:
        return self.base.conditional_log_prob(self._inverse(x)) - self._log_scales()

    def conditional_cdf(self, x: Tensor) -> Tensor:
        return self.base.conditional_cdf(self._inverse(x))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, log_abs_det = self.base.encode(self._inverse(x))
        return u, log_abs_det - self._log_scales().sum()

    def decode(self, u: Tensor) -> Tensor:
        return self.mean + self.base.decode(u) @ self.factor.t()

    def base_density(self) -> Density | None:
        return self.base.base_density()

    def parts(self, x: Tensor) -> list[Part] | None:
        found = self.base.parts(self._inverse(x))
        return found and [part._replace(log_abs_det=part.log_abs_det - self._log_scales().sum()) for part in found]

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return self.mean + self.base.draw(n, generator) @ self.factor.t()


class _WhitenedLearner:
    """The base's learner on whitened rows. Whitening stays in full precision, outside any autocast."""

    def __init__(self, density: Whitened, inner: Learner) -> None:
        self.density = density
        self.inner = inner
        self.candidate: Callable[[], dict[str, Tensor]] = inner.candidate
        self.adopt: Callable[[dict[str, Tensor]], None] = inner.adopt
        self.state_dict: Callable[[], dict[str, Any]] = inner.state_dict
        self.load_state_dict: Callable[[dict[str, Any]], None] = inner.load_state_dict
        self.log_det = density._log_scales().sum().item()

    @property
    def score_rows(self) -> int | None:
        return self.inner.score_rows

    @property
    def was_clipped(self) -> bool:
        return self.inner.was_clipped

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        return self.inner.step(self.density._inverse(batch), step, progress) + self.log_det

    def score(self, validation: Tensor) -> float:
        return self.inner.score(self.density._inverse(validation)) - self.log_det
