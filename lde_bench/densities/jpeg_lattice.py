"""A residual MADE of a patch at a known place of the JPEG grid, whose conditionals know the steps of the file.

A block of a JPEG file is n_vu q_vu C_v C_u^T summed over frequencies v, u, with C_u the cosines, whole numbers n and
fixed steps q (Wallace 1992, "The JPEG Still Picture Compression Standard"). So the cosines of a whole block stand at
multiples of q, but for the rounding of brightness and the noise of dequantisation, and a smooth density leaves about
log(q / 1.9) nats of each unsaid, q in grey levels.

Of a block of which a patch shows L_r rows and L_c columns, frequencies below L_r and L_c are seen through matrices of
the parts of the cosines, C = Q R in each direction. In the orthonormal coordinates Q^T x the noise is that of a pixel,
and coordinate i is R_ii q_i n_i plus what the higher frequencies j add to it, sum_j R_ij q_j n_j. With the highest
frequencies first, these n_j are known from the coordinates before, by rounding one after the other: the nearest plane
of Babai 1986 ("On Lovasz' lattice reduction and the nearest lattice point problem"). Where the steps are too fine to
be told from noise, the coordinate is shrunk instead of rounded. Frequencies from L_r or L_c on, which the part cannot
tell from others, are taken for zero, as most of them are; where they are not, the coordinates leave the lattice and
the smooth part of the density has them. The patch's other pixels, parts of other blocks, come last, as the cosines of
those parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.data.patches import FEATURES, GREY_LEVELS, SIDE, Offset, complete
from lde_bench.densities.base import LOG_2PI
from lde_bench.densities.masked import MaskedLinear, input_degrees
from lde_bench.densities.mixture import Mixture
from lde_bench.densities.resmade_mog import ResidualMade
from lde_bench.densities.triangular import cholesky, moments
from lde_bench.training.batches import Batches

#: The steps of luminance in grey levels, by vertical and horizontal frequency: table K.1 of ITU-T T.81 at a quality of
#: 95, as the files of BSDS300 have it. Files of other steps have a density too, which the network learns to be smooth.
STEPS = np.array(
    [
        [2, 1, 1, 2, 2, 4, 5, 6],
        [1, 1, 1, 2, 3, 6, 6, 6],
        [1, 1, 2, 2, 4, 6, 7, 6],
        [1, 2, 2, 3, 5, 9, 8, 6],
        [2, 2, 4, 6, 7, 11, 10, 8],
        [2, 4, 6, 6, 8, 10, 11, 9],
        [5, 6, 8, 9, 10, 12, 12, 10],
        [7, 9, 10, 10, 11, 10, 10, 10],
    ]
)

#: Standard deviation of what stands around a multiple of the steps: the noise of dequantisation (1 / sqrt(12) grey
#: levels) and the rounding of colours and of grey (0.35, measured on the training photographs).
NOISE = math.hypot(12**-0.5, 0.35) / GREY_LEVELS

#: A coordinate is rounded where its step is so many deviations of its noise: at 3.5 one in twelve goes to a neighbour.
VISIBLE = 3.5

#: Bound on asinh of a number of steps, as the network sees it: 1,490 steps, of which a block has at most 1,024.
SEEN = 8.0

#: Training rows from which covariance and shrinkage are taken.
ROWS = 200_000


class Coordinates(NamedTuple):
    """What a patch is at one place of the grid.

    `matrix` is T of T x, float64 [63, 63]. `lattice` [63, 63] is lower triangular: a number n_j adds
    `lattice[i, j]` n_j to coordinate i, in units of the pixels; a coordinate of another block has zeros.
    """

    matrix: np.ndarray
    lattice: np.ndarray

    @classmethod
    def at(cls, offset: Offset) -> Coordinates:
        """Those of a patch whose corner lies at row and column `offset`, of 0 to 4 each, of a block.

        Raises:
            ValueError: another offset; of a block that ends before the middle of the patch, flip the patch.
        """
        if not all(0 <= start <= SIDE // 2 for start in offset):
            raise ValueError(f"a patch at {offset} begins too late in its block")
        rows, columns = (_line(start) for start in offset)
        seen = np.outer(rows.seen, columns.seen).ravel()
        frequency = (rows.frequencies[:, None] + columns.frequencies).ravel()
        rank = np.where(seen, -frequency, 10 + frequency)  # of the block from the highest down, then all others
        # All 64 pixels sum to zero, so the mean of the block's part, the last of the block, follows from the others.
        rank[0] = np.inf
        order = np.argsort(rank, kind="stable")[:FEATURES]
        weights = np.kron(rows.triangle, columns.triangle) * np.where(seen, STEPS.ravel() / GREY_LEVELS, 0)
        matrix = np.kron(rows.directions, columns.directions)[order] @ complete(np.eye(FEATURES)).T
        return cls(matrix, weights[np.ix_(order, order)])


class _Line(NamedTuple):
    """One direction of a patch: orthonormal `directions` [8, 8], `triangle` R [8, 8] of the block's part, which are of
    that part (`seen` [8]), and their `frequencies` [8], below 1.
    """

    directions: np.ndarray
    triangle: np.ndarray
    seen: np.ndarray
    frequencies: np.ndarray


def _line(start: int) -> _Line:
    length = SIDE - start
    directions, triangle = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    q, r = np.linalg.qr(dct(np.eye(SIDE), axis=0, norm="ortho")[:length, start:].T)
    r[np.abs(r) < 1e-12] = 0  # of a whole block R is the unit matrix, and nothing has to be decoded first
    signs = np.sign(r.diagonal())
    directions[:length, :length] = (q * signs).T
    triangle[:length, :length] = r * signs[:, None]
    if start:
        directions[length:, length:] = dct(np.eye(start), axis=0, norm="ortho")
    frequencies = np.concatenate([np.arange(part) / max(part, 1) for part in (length, start)])
    return _Line(directions, triangle, np.arange(SIDE) < length, frequencies)


class LatticeMixture(NamedTuple):
    """p(x) = (1 - a) m(x) + a sum_n P_m(cell n) t(x - shift - n step), per dimension; methods take and give [...].

    m is a mixture of Gaussians, P_m the probability that it gives the cell of one step around a multiple, and t a
    Gaussian of standard deviation `sigma` steps cut off at the borders of the cell. Where `step` is 0, p is m.
    """

    smooth: Mixture  # [..., K]
    logits: Tensor  # of a: [...]
    log_sigma: Tensor  # of t, in steps: [...]
    shift: Tensor
    step: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats."""
        smooth = self.smooth.log_prob(x)
        on, step, place, centre = self._cell(x)
        edges = self.shift + (centre - 0.5) * step, self.shift + (centre + 0.5) * step
        within = -0.5 * ((place - centre) / self.log_sigma.exp()).square() - self.log_sigma - 0.5 * LOG_2PI
        stepped = self.smooth.log_between(*edges) + within - self._share_kept().log() - step.log()
        both = torch.logaddexp(F.logsigmoid(-self.logits) + smooth, F.logsigmoid(self.logits) + stepped)
        return torch.where(on, both, smooth)

    def cdf(self, x: Tensor) -> Tensor:
        """P(X <= x)."""
        smooth = self.smooth.cdf(x)
        on, step, place, centre = self._cell(x)
        low = self.smooth.cdf(self.shift + (centre - 0.5) * step)
        high = self.smooth.cdf(self.shift + (centre + 0.5) * step)
        sigma = self.log_sigma.exp()
        part = (torch.special.ndtr((place - centre) / sigma) - torch.special.ndtr(-0.5 / sigma)) / self._share_kept()
        share = torch.sigmoid(self.logits)
        return torch.where(on, (1 - share) * smooth + share * (low + (high - low) * part), smooth)

    def sample(self, generator: torch.Generator) -> Tensor:
        """One independent draw per leading index."""
        smooth = self.smooth.sample(generator)
        on, step, _, centre = self._cell(smooth)
        first, second = torch.rand((2, *smooth.shape), generator=generator, dtype=smooth.dtype, device=smooth.device)
        sigma = self.log_sigma.exp()
        edge = torch.special.ndtr(-0.5 / sigma)
        second = second.clamp_min(torch.finfo(second.dtype).tiny)
        inside = torch.special.ndtri(edge + (1 - 2 * edge) * second).clamp(-0.5 / sigma, 0.5 / sigma) * sigma
        stepped = self.shift + (centre + inside) * step
        return torch.where(on & (first < torch.sigmoid(self.logits)), stepped, smooth)

    def _cell(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Whether there are steps, the step or 1, x in steps, and the middle of its cell in steps."""
        on = self.step > 0
        step = torch.where(on, self.step, torch.ones_like(self.step))
        place = (x - self.shift) / step
        return on, step, place, place.round()

    def _share_kept(self) -> Tensor:
        """What share of the Gaussian around a multiple lies within its cell."""
        return torch.erf(0.5 / (math.sqrt(2) * self.log_sigma.exp()))


class LatticeMade(ResidualMade):
    """Residual MADE of `Coordinates` whose conditionals are `LatticeMixture`; a part of `+jpeg`, no row of its own.

    Args:
        offset: row and column of the patch's corner in a block, at most 4 each.
        components: K, Gaussians per dimension.
        hidden: width of the residual stream.
        blocks: residual blocks of two masked layers each.
    """

    step: Tensor
    added: Tensor
    rounded: Tensor
    shrink: Tensor
    mean: Tensor
    factor: Tensor

    replayable = True

    def __init__(self, offset: Offset, components: int = 10, hidden: int = 512, blocks: int = 2) -> None:
        super().__init__(FEATURES, components, hidden, blocks, views=3)
        self.gates = MaskedLinear(self.degrees, input_degrees(FEATURES).repeat_interleave(2), strict=True)
        self.log_sigma = nn.Parameter(torch.zeros(FEATURES))
        lattice = torch.from_numpy(Coordinates.at(offset).lattice)
        step = lattice.diagonal()
        on = torch.where(step > 0, step, 1)
        added = (lattice - step.diag()) / on
        # Coordinates that need the same number of others before them are decoded together.
        depth = torch.zeros(FEATURES, dtype=torch.long)
        for i in range(FEATURES):
            needed = added[i].nonzero().ravel()
            if len(needed):
                depth[i] = depth[needed].max() + 1
        self.depth = 1 + int(depth.max())
        for level in range(self.depth):
            self.register_buffer(f"level{level}", ((depth == level) & (step > 0)).nonzero().ravel(), persistent=False)
        self.register_buffer("step", step.float())
        self.register_buffer("added", added.float())
        self.register_buffer("rounded", step > VISIBLE * NOISE)
        self.register_buffer("shrink", torch.ones(FEATURES))
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("factor", torch.eye(FEATURES))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            self.gates.weight.mul_(0.1)
            self.gates.bias.copy_(torch.tensor([-3.0, 0.0]).repeat(FEATURES))
            # Of steps finer than the noise nothing is seen: a cell is filled almost evenly.
            step = torch.where(self.step > 0, self.step, 1)
            self.log_sigma.copy_((NOISE / step).log().clamp(max=-1))

    def prepare(self, batches: Batches) -> None:
        rows = batches.take(ROWS)
        mean, covariance = moments(rows)
        self.mean.copy_(mean)
        self.factor.copy_(cholesky(covariance, "+jpeg"))
        x = torch.as_tensor(rows).to(self.mean)
        found, error = torch.zeros_like(x), torch.zeros_like(self.step)
        for mine in self.levels():
            # The error of what is subtracted adds to the noise.
            noise = NOISE**2 + self.added[mine].square() @ error
            left = x[:, mine] - found @ self.added[mine].t()
            variance = left.var(0)
            self.rounded[mine] = self.step[mine] > VISIBLE * noise.sqrt()
            self.shrink[mine] = (1 - noise / variance).clamp(0, 1)
            found[:, mine] = self._decoded(left, mine)
            error[mine] = torch.where(self.rounded[mine], 0, self.shrink[mine] * noise)

    def levels(self) -> Iterator[Tensor]:
        """The coordinates of the block, those together that need the same number of others before them."""
        return (self.get_buffer(f"level{level}") for level in range(self.depth))

    def _decoded(self, left: Tensor, mine: Tensor) -> Tensor:
        """What the numbers of coordinates `mine` add to them, of what is `left` of these: [B, m] -> [B, m]."""
        step, rounded, shrink = (each.index_select(0, mine) for each in (self.step, self.rounded, self.shrink))
        return torch.where(rounded, (left / step).round() * step, left * shrink)

    def shifts(self, x: Tensor) -> Tensor:
        """What the numbers of the coordinates before add to each: [B, D] -> [B, D]."""
        found, shifts = torch.zeros_like(x), torch.zeros_like(x)
        for mine in self.levels():
            shift = found @ self.added.index_select(0, mine).t()
            own = self._decoded(x.index_select(1, mine) - shift, mine)
            shifts, found = shifts.index_copy(1, mine, shift), found.index_copy(1, mine, own)
        return shifts

    def conditionals(self, x: Tensor) -> LatticeMixture:  # type: ignore[override] # it has the methods of a mixture
        # Rounded to bf16 the coordinates would lose their place on the lattice.
        with torch.autocast(x.device.type, enabled=False):
            shifts = self.shifts(x)
            white = torch.linalg.solve_triangular(self.factor.t(), x - self.mean, upper=True, left=False)
            scale = self.factor.diagonal()
            expected = x - white * scale  # of x_i, linear in those before
            past = F.pad(white.square().cumsum(-1)[:, :-1], (1, 0))
            count = torch.arange(1, FEATURES + 1, device=x.device, dtype=x.dtype)
            log_scale = 0.5 * torch.log((past + 1) / count)
            # What is not rounded has no place on a lattice that a network could use.
            unit = torch.where(self.rounded, self.step, 4 * NOISE)
            place = (x - torch.where(self.rounded, shifts, 0)) / unit
            wave = torch.where(self.rounded, torch.cos(2 * math.pi * place), 0)
            # Bounded, or a scale that grows with its logarithm would make samples run away.
            size = torch.asinh(place).clamp(-SEEN, SEEN)
            seen = torch.cat([white * torch.exp(-log_scale), size, wave], -1)  # [B, 3 D]
        h = self.trunk(seen)
        smooth = Mixture.from_head(self.outputs(h)).rescaled(log_scale).rescaled(scale.log()).shifted(expected)
        gates = self.gates(h)
        logits, change = (gates if x.dtype == torch.float64 else gates.float()).unflatten(-1, (FEATURES, 2)).unbind(-1)
        log_sigma = (self.log_sigma + change.clamp(-3, 3)).clamp(-5, 1)
        return LatticeMixture(smooth, logits, log_sigma, shifts, self.step.expand_as(x))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        x = torch.zeros(n, FEATURES, dtype=self.dtype, device=self.device)
        for i in range(FEATURES):
            smooth, *others = self.conditionals(x)
            own = LatticeMixture(Mixture(*(part[:, i] for part in smooth)), *(part[:, i] for part in others))
            x[:, i] = own.sample(generator)
        return x
