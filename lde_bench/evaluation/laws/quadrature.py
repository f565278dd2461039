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
#: Half-width (in standard deviations of the data) and points per axis of the grids in 1 and 2 dimensions. The finer
#: and wider one decides where the first finds a fault: a wrong integral stays wrong there.
GRIDS = {1: ((12.0, 2_001), (60.0, 60_001)), 2: ((10.0, 301), (24.0, 1_201))}
#: A slice runs over x_i + CORE * s * sinh(u): dense at a typical value, out to EXTENT times the data's s.
#: A barely trained model may be far wider than the data; reaching far costs only a logarithm of the points.
CORE, EXTENT = 0.01, 1e4


class Grid(NamedTuple):
    """A density on a uniform grid: `axes` are D arrays of values, `p` has one index per dimension."""

    axes: list[Tensor]
    p: Tensor

    def integral(self, values: Tensor) -> float:
        for axis in reversed(self.axes):
            values = torch.trapezoid(values, axis)
        return values.item()

    def marginal_cdf(self, dimension: int) -> Tensor:
        """P(X_dimension <= t) at the points of that axis."""
        p = self.p
        for other in reversed(range(len(self.axes))):
            if other != dimension:
                p = torch.trapezoid(p, self.axes[other], dim=other)
        cdf = torch.cat([p.new_zeros(1), torch.cumulative_trapezoid(p, self.axes[dimension])])
        return cdf / cdf[-1]


@torch.no_grad()
def log_prob_in_blocks(density: Density, rows: Tensor) -> Tensor:
    """log p of many rows [n, D] -> [n] nats."""
    return torch.cat([density.log_prob(block) for block in rows.split(BLOCK)])


def on_grid(density: Density, rows: Tensor, level: int) -> Grid:
    """The density on a grid around `rows` [n, D], D = 1 or 2."""
    half_width, points = GRIDS[density.features][level]
    unit = torch.linspace(-half_width, half_width, points, dtype=torch.float64, device=rows.device)
    centre, scale = rows.double().mean(0), rows.double().std(0)
    axes = [centre[i] + scale[i] * unit for i in range(density.features)]
    nodes = torch.cartesian_prod(*axes).reshape(-1, density.features).to(rows.dtype)
    p = log_prob_in_blocks(density, nodes).double().exp()
    return Grid(axes, p.reshape([points] * density.features))


class Slice(NamedTuple):
    """Values of x_i along one line, and dx_i/du at them, for integration over u."""

    rows: Tensor  # [points, D]
    u: Tensor  # [points]
    slope: Tensor  # [points]


def slice_through(row: Tensor, dimension: int, scale: Tensor, points: int) -> Slice:
    """Points through `row` [D] along one dimension, dense at the row's own value; `points` is odd, the middle is it."""
    limit = math.asinh(EXTENT / CORE)
    u = torch.linspace(-limit, limit, points, dtype=torch.float64, device=row.device)
    rows = row.repeat(points, 1)
    rows[:, dimension] += (CORE * scale * u.sinh()).to(row.dtype)
    return Slice(rows, u, CORE * scale.double() * u.cosh())


def ks_distance(uniforms: Tensor) -> float:
    """Largest Kolmogorov-Smirnov distance of the columns of [n, m] from uniform on [0, 1]; NaN if one is NaN."""
    ordered = np.sort(np.asarray(uniforms.double().cpu()), axis=0)
    steps = np.arange(len(ordered) + 1)[:, None] / len(ordered)
    return float(np.maximum(steps[1:] - ordered, ordered - steps[:-1]).max())


def ks_bound(n: int, tests: int) -> float:
    """The distance that the largest of `tests` correct ones of `n` values exceeds with probability SIGNIFICANCE."""
    return float(stats.kstwo.isf(SIGNIFICANCE / tests, n))
