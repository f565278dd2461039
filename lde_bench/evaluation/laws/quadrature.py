"""Numerical integration of a density, and the Kolmogorov-Smirnov bound: what the laws measure with."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from lde_bench.densities.base import Density

#: Probability that a correct density fails one statistical law: a trial runs fewer than ten of them.
SIGNIFICANCE = 1e-5
#: Rows evaluated at once.
BLOCK = 8192
#: Reach (in standard deviations of the data) and points per axis of the grids in 1 and 2 dimensions. Each finer and
#: wider one decides where those before find a fault: a wrong integral stays wrong there.
GRIDS = {1: ((100.0, 1_201), (1e3, 20_001)), 2: ((100.0, 401), (1e3, 801), (1e3, 1_601))}
#: Slices are dense within CORE standard deviations of their row's own value, where a conditional has its mass, and
#: reach far: a barely trained model may be much wider than the data.
CORE, REACH = 0.01, 1e4


class Axis(NamedTuple):
    """Points at `offset` = core * sinh(u) over uniform u, and d offset / du, each float64 [points].

    Integrated over u, the trapezoid rule converges exponentially for smooth densities, and reaching far costs only a
    logarithm of the points.
    """

    u: Tensor
    offset: Tensor
    slope: Tensor

    @classmethod
    def of(cls, core: float, reach: float, points: int, device: torch.device) -> Axis:
        limit = math.asinh(reach / core)
        u = torch.linspace(-limit, limit, points, dtype=torch.float64, device=device)
        return cls(u, core * u.sinh(), core * u.cosh())


class Grid(NamedTuple):
    """A density on a grid: `axes` are its D lines of values, `mass` = p times the slopes, one index per dimension."""

    axes: list[Tensor]
    u: Tensor
    p: Tensor
    mass: Tensor

    def integral(self, values: Tensor) -> float:
        """Of a function [points, ...] times p."""
        total = values * self.mass
        for _ in self.axes:
            total = torch.trapezoid(total, self.u)
        return total.item()

    def marginal_cdf(self, dimension: int) -> Tensor:
        """P(X_dimension <= t) at the points of that axis."""
        mass = self.mass.movedim(dimension, 0)
        while mass.ndim > 1:
            mass = torch.trapezoid(mass, self.u)
        cdf = torch.cat([mass.new_zeros(1), torch.cumulative_trapezoid(mass, self.u)])
        return cdf / cdf[-1]


@torch.no_grad()
def log_prob_in_blocks(density: Density, rows: Tensor) -> Tensor:
    """log p of many rows [n, D] -> [n] nats."""
    return torch.cat([density.log_prob(block) for block in rows.split(BLOCK)])


def on_grid(density: Density, rows: Tensor, level: int) -> Grid:
    """The density on a grid around `rows` [n, D], D = 1 or 2."""
    reach, points = GRIDS[density.features][level]
    axis = Axis.of(1.0, reach, points, rows.device)
    centre, scale = rows.double().mean(0), rows.double().std(0)
    axes = [centre[i] + scale[i] * axis.offset for i in range(density.features)]
    nodes = torch.cartesian_prod(*axes).reshape(-1, density.features).to(rows.dtype)
    p = log_prob_in_blocks(density, nodes).double().exp().reshape([points] * density.features)
    mass = p
    for i in range(density.features):
        mass = mass * (scale[i] * axis.slope).reshape([-1 if j == i else 1 for j in range(density.features)])
    return Grid(axes, axis.u, p, mass)


class Slice(NamedTuple):
    """Values of x_i along one line, and dx_i/du at them, for integration over u."""

    rows: Tensor  # [points, D]
    u: Tensor  # [points]
    slope: Tensor  # [points]


def slice_through(row: Tensor, dimension: int, scale: Tensor, points: int) -> Slice:
    """Points through `row` [D] along one dimension, dense at the row's own value; `points` is odd, the middle is it."""
    axis = Axis.of(CORE, REACH, points, row.device)
    rows = row.repeat(points, 1)
    rows[:, dimension] += (scale * axis.offset).to(row.dtype)
    return Slice(rows, axis.u, scale.double() * axis.slope)


def ks_distance(uniforms: Tensor) -> float:
    """Largest Kolmogorov-Smirnov distance of the columns of [n, m] from uniform on [0, 1]; NaN if one is NaN."""
    ordered = np.sort(np.asarray(uniforms.double().cpu()), axis=0)
    steps = np.arange(len(ordered) + 1)[:, None] / len(ordered)
    return float(np.maximum(steps[1:] - ordered, ordered - steps[:-1]).max())


def ks_bound(n: int, tests: int) -> float:
    """The distance that the largest of `tests` correct ones of `n` values exceeds with probability SIGNIFICANCE."""
    return float(stats.kstwo.isf(SIGNIFICANCE / tests, n))
