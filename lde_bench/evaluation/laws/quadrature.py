"""Numerical integration of a density, and the Kolmogorov-Smirnov bound: what the laws measure with."""

from __future__ import annotations

import math
from collections.abc import Callable
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
#: A conditional is integrated between these offsets, in deviations of the data, from the row's own value; then between
#: ever closer ones, wherever its integral and its own CDF do not agree.
OFFSETS = tuple(10.0**power for power in range(-1, 13, 2))
#: Gauss-Legendre nodes of an interval; parts of one that is refined; refinements, and intervals at a time, at most.
NODES, PARTS, REFINEMENTS, INTERVALS = 6, 4, 40, 400


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
        """Integrate a function [points, ...] times p."""
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


@torch.no_grad()
def conditional_faults(density: Density, rows: Tensor, dimensions: Tensor, scale: Tensor, tolerance: float) -> Tensor:
    """How far p(x_i | x_<i) is from the derivative of its own CDF, and that from running from 0 to 1: [n].

    Args:
        rows: [n, D], whose x_<i are the conditions.
        dimensions: i of every row, [n].
        scale: of every feature, [D]; where the search for the mass begins, any size will do.
        tolerance: the fault up to which an interval need not be refined, as a share of its mass.

    The mass is followed by the CDF, so that no conditional is too narrow, too wide or too far away: an interval is cut
    in `PARTS` until the integral of p over it is the difference of the CDF at its ends. A wrong p never gets there.
    """

    def along(function: Callable[[Tensor], Tensor], which: Tensor, values: Tensor) -> Tensor:
        found = []
        for index, value in zip(which.split(BLOCK), values.split(BLOCK), strict=True):
            x = rows[index].clone()
            x[torch.arange(len(x), device=x.device), dimensions[index]] = value
            found.append(function(x).gather(1, dimensions[index, None]).squeeze(1).double())
        return torch.cat(found)

    n, place = len(rows), rows.device
    abscissae, weights = (torch.as_tensor(part, device=place) for part in np.polynomial.legendre.leggauss(NODES))
    shares = torch.linspace(0, 1, PARTS + 1, dtype=rows.dtype, device=place)
    offsets = torch.tensor([-offset for offset in reversed(OFFSETS)] + [0.0, *OFFSETS], dtype=rows.dtype, device=place)
    each = torch.arange(n, device=place)
    own = rows.gather(1, dimensions[:, None])
    points = own + scale[dimensions, None] * offsets  # [n, P]
    cdf = along(density.conditional_cdf, each.repeat_interleave(len(offsets)), points.flatten()).view(n, -1)
    faults = cdf[:, 0].abs() + (1 - cdf[:, -1]).abs()
    which = each.repeat_interleave(len(offsets) - 1)
    left, right = points[:, :-1].flatten(), points[:, 1:].flatten()
    start, mass = cdf[:, :-1].flatten(), cdf.diff(dim=1).flatten()
    for refinement in range(REFINEMENTS + 1):
        half = (right - left).double() / 2
        nodes = left.double()[:, None] + half[:, None] * (1 + abscissae)  # [I, NODES]
        log_p = along(density.conditional_log_prob, which.repeat_interleave(NODES), nodes.flatten().to(rows.dtype))
        difference = (half * (log_p.view(-1, NODES).exp() @ weights) - mass).abs()
        # An interval of next to no mass may be as far off as one that holds a hundredth.
        open_ = ~(difference <= tolerance * mass.abs().clamp_min(0.01))
        crowded = torch.bincount(which[open_], minlength=n) > INTERVALS
        edges = left[:, None] + (right - left)[:, None] * shares  # [I, PARTS + 1]
        edges[:, -1] = right
        divisible = (edges.diff(dim=1) > 0).all(1) & ~crowded[which]
        if refinement == REFINEMENTS:
            divisible = torch.zeros_like(divisible)
        faults.index_add_(0, which[~open_ | ~divisible], difference[~open_ | ~divisible])
        which, edges, start, mass = (part[open_ & divisible] for part in (which, edges, start, mass))
        if not len(which):
            break
        inner = along(density.conditional_cdf, which.repeat_interleave(PARTS - 1), edges[:, 1:-1].flatten())
        levels = torch.cat([start[:, None], inner.view(-1, PARTS - 1), (start + mass)[:, None]], 1)
        start, mass = levels[:, :-1].flatten(), levels.diff(dim=1).flatten()
        left, right = edges[:, :-1].flatten(), edges[:, 1:].flatten()
        which = which.repeat_interleave(PARTS)
    return faults


def ks_distance(uniforms: Tensor) -> float:
    """Largest Kolmogorov-Smirnov distance of the columns of [n, m] from uniform on [0, 1]; NaN if one is NaN."""
    ordered = np.sort(np.asarray(uniforms.double().cpu()), axis=0)
    steps = np.arange(len(ordered) + 1)[:, None] / len(ordered)
    return float(np.maximum(steps[1:] - ordered, ordered - steps[:-1]).max())


def ks_bound(n: int, tests: int) -> float:
    """The distance that the largest of `tests` correct ones of `n` values exceeds with probability SIGNIFICANCE."""
    return float(stats.kstwo.isf(SIGNIFICANCE / tests, n))
