"""A density that was trained on standardised columns, in the units of the data they came from.

It is made after training and no wrapper that a method can spell: the laws, the loop and every wrapper see the
standardised rows alone.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lde_bench.arrays import as_rows
from lde_bench.data.unit import Unit
from lde_bench.densities.base import Density, Part
from lde_bench.densities.wrapper import Wrapper
from lde_bench.errors import InputError


class Standardised(Wrapper):
    """p(x) = p_base(z) / prod scale with z = (x - mean) / scale computed in float64, whatever the precision of `base`.

    Args:
        base: a trained density of z.
        unit: mean and scale of each column.
    """

    def __init__(self, base: Density, unit: Unit) -> None:
        super().__init__(base)
        self.name = base.name  # type: ignore[misc]  # messages name the method that was asked for
        self.unit = unit
        self.autoregressive = base.autoregressive
        self.invertible = base.invertible
        # Not buffers: those are cast with the weights.
        place = {"mean": unit.mean.tolist(), "scale": unit.scale.tolist()}
        self.config = {**base.config, "unit": place} if base.config else {}
        self.train(base.training)

    def log_prob(self, x: Any) -> Any:
        if isinstance(x, Tensor):
            with self._evaluating():
                return self(self._check_tensor("the array of log_prob", x).to(self.device))
        rows = as_rows(self.name, "the array of log_prob", x, self.features)
        values: np.ndarray = self.base.log_prob(self.unit.apply(rows))
        return values - self.unit.log_det

    def fit(self, *arguments: Any, **options: Any) -> Self:
        """Refuse: its units are those of the data that it was trained on.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.name}: is trained already, in the units of its data; create another one to train.")

    def _constants(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale, float64 [D] each."""
        mean, scale = (torch.as_tensor(each, device=like.device) for each in (self.unit.mean, self.unit.scale))
        return mean, scale

    def _inside(self, x: Tensor) -> Tensor:
        """z of x: [B, D] -> [B, D]."""
        mean, scale = self._constants(x)
        return ((x.double() - mean) / scale).to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(self._inside(x)) - self.unit.log_det

    def conditional_log_prob(self, x: Tensor) -> Tensor:
        _, scale = self._constants(x)
        return self.base.conditional_log_prob(self._inside(x)) - scale.log().to(self.dtype)

    def conditional_cdf(self, x: Tensor) -> Tensor:
        return self.base.conditional_cdf(self._inside(x))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, log_abs_det = self.base.encode(self._inside(x))
        return u, log_abs_det - self.unit.log_det

    def decode(self, u: Tensor) -> Tensor:
        mean, scale = self._constants(u)
        return mean + scale * self.base.decode(u)

    def base_density(self) -> Density | None:
        return self.base.base_density()

    def parts(self, x: Tensor) -> list[Part] | None:
        found = self.base.parts(self._inside(x))
        return found and [part._replace(log_abs_det=part.log_abs_det - self.unit.log_det) for part in found]

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        z = self.base.draw(n, generator)
        mean, scale = self._constants(z)
        return mean + scale * z  # float64: a float32 far from zero has few digits for the deviations
