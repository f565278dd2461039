"""Mixtures of densities that look at the same patch through different invertible matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lde_bench.data.patches import FEATURES
from lde_bench.densities.base import Density, Part
from lde_bench.densities.ensemble import draw_each
from lde_bench.densities.wrapper import Wrapper
from lde_bench.errors import InputError
from lde_bench.seeds import derive_seed
from lde_bench.training.batches import Batches, MappedBatches
from lde_bench.training.model import TrainingRequest


class View(NamedTuple):
    """What one of the mixed densities is given of a row x [D], `matrix` @ x, and its share of the mixture.

    `matrix` is float64 [D, D], `log_det` is log |det matrix| in nats.
    """

    matrix: np.ndarray
    log_det: float
    weight: float

    @classmethod
    def of(cls, matrix: np.ndarray, weight: float) -> View:
        return cls(matrix, float(np.linalg.slogdet(matrix).logabsdet), weight)

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """The view of rows [n, D], in their precision."""
        return rows @ self.matrix.T.astype(rows.dtype)

    def tensor(self, rows: Tensor) -> Tensor:
        """The view of rows [B, D], in their precision."""
        return rows @ _like(self.matrix.T, rows)

    def back(self, rows: Tensor) -> Tensor:
        """The rows [B, D] of which `rows` are the view."""
        return rows @ _like(np.linalg.inv(self.matrix).T, rows)

    def batches(self, batches: Batches) -> MappedBatches:
        return MappedBatches(batches, self.rows)


def _like(matrix: np.ndarray, rows: Tensor) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(matrix), dtype=rows.dtype, device=rows.device)


class ViewMixture(Wrapper):
    """p(x) = w_0 q_0(x) + sum_v w_v q_v(T_v x) |det T_v| of an 8x8 patch, with q_0 the density it wraps.

    A subclass sets `views` and `own_weight`, which sum to one, and trains the densities.

    Args:
        base: q_0, of the patch as it is.
        others: the densities of the views in their order; of `repeats` views that follow one another, one.

    Raises:
        InputError: `base` is no density of the 63 numbers of a patch.
    """

    only_features = FEATURES
    patches_only = True

    views: ClassVar[tuple[View, ...]]
    own_weight: ClassVar[float]
    repeats: ClassVar[int] = 1

    def __init__(self, base: Density, others: Sequence[Density]) -> None:
        if base.features != FEATURES:
            raise InputError(
                f"+{self.name} needs the pixels of an 8x8 patch, {FEATURES} features and not {base.features}; leave "
                f"out +{self.name}."
            )
        super().__init__(base)
        self.others = nn.ModuleList(others)

    def each(self) -> list[Density]:
        """The density of the rows as they are, then the others."""
        return [self.base, *(density for density in self.others if isinstance(density, Density))]

    @property
    def first_views(self) -> tuple[View, ...]:
        """Give of each of the others the first of its views."""
        return self.views[:: self.repeats]

    def each_view(self) -> list[Density]:
        """The density of every view, in the order of the views."""
        return [density for density in self.each()[1:] for _ in range(self.repeats)]

    @property
    def passes(self) -> int:
        return self.base.passes + sum(density.passes for density in self.each_view())

    def reset_parameters(self) -> None:
        for density in self.each():
            density.reset_parameters()

    def held_out(self, rows: Tensor) -> list[Tensor | None]:
        """The validation rows [m, 63] of each density as it sees them; None where it is not known which are its own."""
        return [rows, *(view.tensor(rows) for view in self.first_views)]

    def request(self, request: TrainingRequest) -> None:
        rows = request.validation
        own = [None] * len(self.each()) if rows is None else self.held_out(rows)
        for index, (density, mine) in enumerate(zip(self.each(), own, strict=True)):
            seed = derive_seed(request.seed, "member", index) if index else request.seed
            density.request(replace(request, seed=seed, validation=mine))

    def forward(self, x: Tensor) -> Tensor:
        terms = [part.density(part.view) + part.log_abs_det + math.log(part.weight) for part in self.parts(x)]
        return torch.stack(terms).logsumexp(0)

    def parts(self, x: Tensor) -> list[Part]:
        parts = [Part(self.base, x, x.new_zeros(len(x)), self.own_weight)]
        for view, density in zip(self.views, self.each_view(), strict=True):
            parts.append(Part(density, view.tensor(x), x.new_full((len(x),), view.log_det), view.weight))
        return parts

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        weights = torch.tensor([self.own_weight, *(view.weight for view in self.views)], device=generator.device)
        which = torch.multinomial(weights, n, replacement=True, generator=generator)
        rows = draw_each([self.base, *self.each_view()], which, generator)
        for index, view in enumerate(self.views, 1):
            mine = which == index
            rows[mine] = view.back(rows[mine])
        return rows
