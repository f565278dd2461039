"""The integral of a density that only evaluates, by importance sampling: in any number of dimensions, with its error.

The draws x come from a proposal q whose density is known exactly, so the weights w = p(x) / q(x) have the integral of p
as their mean, whatever q is. Two things are made of them:

- an estimate with its standard error, which says nothing where few draws carry all the weight;
- a verdict that holds whatever the weights look like. If p integrates to at most 1, so is the mean of w >= 0 at most 1,
  and the wealth prod_i (1 + l (w_i - 1)) of a bet l in (0, 1) on larger weights exceeds 1 / a with a probability of at
  most a (Ville's inequality; Waudby-Smith and Ramdas 2024, JRSS B 86(1), arXiv 2010.09686). An integral that grows
  without bound as the proposal widens, as that of a bounded anomaly score, is the clearest case.

The same bet on q(x) / p(x) at samples of the model finds an integral below 1. Without a sampler nothing can: what is
missing may lie where the proposal does not look.

The proposal is a mixture of multivariate Student t distributions: Gaussian mixtures fitted to the training rows and to
the model's samples, with heavy and with light tails; the whole cloud, wide and very wide; a narrow one around every
training row, of the width that the model itself has there. Their weights are adapted to the model on draws that are
then thrown away (Cappe, Douc, Guillin, Marin, Robert 2008, Statistics and Computing 18, arXiv 0710.4242); the wide ones
keep a share of them (a defensive mixture: Hesterberg 1995, Technometrics 37(2)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lde_bench.densities import create
from lde_bench.densities.base import Density
from lde_bench.densities.triangular import TriangularGaussians, invert
from lde_bench.evaluation.laws.quadrature import SIGNIFICANCE, log_prob_in_blocks

#: Training rows that the proposal is made of.
ROWS = 5000
#: Samples of the model that the proposal is made of, and those that a deficit is bet on with.
SAMPLES = 2000
#: Components of a fitted Gaussian mixture, at most, and the rows that each needs per feature.
COMPONENTS, ROWS_PER_FEATURE = 8, 20
#: Iterations of expectation maximisation: a proposal need not be the best one.
EM_STEPS = 10
#: Degrees of freedom of the t distributions around fitted components and around single rows.
DEGREES, ROW_DEGREES = (3.0, 30.0), 10.0
#: Reach of the t distributions of one degree around the whole cloud, in its standard deviations, and their least share.
WIDE, WIDE_SHARE = (1.0, 10.0, 1000.0), 0.05
#: Rows from which the model's own width is measured.
WIDTH_ROWS = 12
#: Draws and rounds that adapt the proposal; draws that estimate, more of them while the error is above what is wanted.
ADAPTING, ROUNDS = 1024, 4
DRAWS, WANTED_ERROR = (2048, 8192), 0.015
#: Weight of the last round's shares beside the new ones.
INERTIA = 0.3
#: Bets, each a share of the wealth.
BETS = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
#: Draws whose densities under the proposal are computed at once.
BLOCK = 512
#: Logarithm of what a bet must make of its stake.
DECISIVE = -math.log(SIGNIFICANCE)
#: Iterations of the bridge, which converges in a few.
BRIDGE_ITERATIONS = 30
#: Nats by which an integral may be off before anything is bet on it: far less than tells two models apart.
LEAST_EFFECT = 0.01


@dataclass(frozen=True)
class Students:
    """An equal mixture of multivariate Student t distributions of one shape: centres [m, D], factor [D, D] lower."""

    centres: Tensor
    factor: Tensor
    degrees: float

    def log_prob(self, z: Tensor) -> Tensor:
        """[n, D] -> [n] nats."""
        features, degrees = z.shape[1], self.degrees
        constant = (
            math.lgamma((degrees + features) / 2)
            - math.lgamma(degrees / 2)
            - features / 2 * math.log(degrees * math.pi)
            - self.factor.diagonal().log().sum()
            - math.log(len(self.centres))
        )
        middle = self.centres.mean(0)
        white, centres = (
            torch.linalg.solve_triangular(self.factor.t(), rows - middle, upper=True, left=False)
            for rows in (z, self.centres)
        )
        mixed = []
        for block in white.split(BLOCK):
            tails = torch.log1p((torch.cdist(block, centres) / degrees**0.5).square())  # [b, m]
            mixed.append(torch.logsumexp(-(degrees + features) / 2 * tails, 1))
        return torch.cat(mixed) + constant

    def draw(self, n: int, generator: np.random.Generator) -> Tensor:
        """`n` draws [n, D]."""
        centres = self.centres[torch.as_tensor(generator.integers(len(self.centres), size=n))]
        normal = torch.as_tensor(generator.normal(size=tuple(centres.shape)))
        stretch = torch.as_tensor(generator.chisquare(self.degrees, (n, 1)) / self.degrees).rsqrt()
        return centres + (normal * stretch) @ self.factor.t()


@dataclass(frozen=True)
class Proposal:
    """A mixture of `parts` with logarithms of weights [P], of rows brought to unit scale; `wide` of them are last."""

    parts: Sequence[Students]
    log_weights: Tensor
    mean: Tensor  # [D]
    scale: Tensor  # [D]

    def joint_log_prob(self, x: Tensor) -> Tensor:
        """log of weight times density of every part: [n, D] -> [n, P] nats, of x and not of the rows of unit scale."""
        z = (x - self.mean) / self.scale
        each = torch.stack([part.log_prob(z) for part in self.parts], 1)
        return each + self.log_weights - self.scale.log().sum()

    def log_prob(self, x: Tensor) -> Tensor:
        """[n, D] -> [n] nats."""
        return torch.logsumexp(self.joint_log_prob(x), 1)

    def draw(self, n: int, generator: np.random.Generator) -> Tensor:
        """`n` independent draws [n, D]."""
        weights = self.log_weights.exp().numpy()
        which = torch.as_tensor(generator.choice(len(self.parts), size=n, p=weights / weights.sum()))
        z = torch.empty(n, len(self.mean), dtype=torch.float64)
        for index, part in enumerate(self.parts):
            chosen = which == index
            z[chosen] = part.draw(int(chosen.sum()), generator)
        return self.mean + z * self.scale

    def adapted(self, weights: Tensor) -> Proposal:
        """With other weights [P] of its parts; the wide ones keep their share."""
        floor = torch.zeros(len(self.parts), dtype=torch.float64)
        floor[-len(WIDE) :] = WIDE_SHARE / len(WIDE)
        mixed = floor + (1 - WIDE_SHARE) * weights / weights.sum()
        return Proposal(self.parts, mixed.log(), self.mean, self.scale)


class Estimate(NamedTuple):
    """The logarithm of an integral in nats, and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Integral:
    """What was found: the `estimate`, from `draws`, and the verdicts that the bets give.

    `excess`: p integrates to more than 1. `deficit`: to less, or the model's samples are not those of p.
    """

    estimate: Estimate
    draws: int
    excess: bool
    deficit: bool


@torch.no_grad()
def integrate(density: Density, rows: Tensor, seed: int) -> Integral:
    """The integral of p by importance sampling around `rows` [n, D] and, where the density samples, its own samples."""
    generator = np.random.default_rng(seed)
    centres = rows[torch.as_tensor(generator.permutation(len(rows))[:ROWS], device=rows.device)]
    drawn = centres.new_zeros(0, density.features)
    if "samples" not in density.lacks:
        # Shuffled: the mixtures of scikit-learn give theirs one component after the other.
        shuffled = torch.as_tensor(generator.permutation(2 * SAMPLES))
        drawn = torch.as_tensor(density.sample(2 * SAMPLES, seed))[shuffled].to(rows)
    proposal = _adapt(density, _propose(density, centres, drawn[:SAMPLES], seed), generator)
    # At the samples, the same ratio: they tell how much of p the draws miss.
    own = drawn[SAMPLES:].double().cpu()
    at_samples = _log_weights(density, proposal, own) if len(own) else own.new_zeros(0)
    log_weights = torch.zeros(0, dtype=torch.float64)
    for draws in DRAWS:
        more = proposal.draw(draws - len(log_weights), generator)
        log_weights = torch.cat([log_weights, _log_weights(density, proposal, more)])
        found = _bridge(log_weights, at_samples) if len(at_samples) else _mean(log_weights)
        excess = _wealth(log_weights)
        if found.error <= WANTED_ERROR or excess >= DECISIVE:
            break
    if excess >= DECISIVE:
        return Integral(_mean(log_weights), draws, excess=True, deficit=False)
    if len(at_samples) and _wealth(-at_samples) >= DECISIVE:
        reciprocal = _mean(-at_samples)
        return Integral(reciprocal._replace(value=-reciprocal.value), SAMPLES, excess=False, deficit=True)
    return Integral(found, draws, excess=False, deficit=False)


def _log_weights(density: Density, proposal: Proposal, x: Tensor) -> Tensor:
    """log p(x) / q(x): [n, D] -> [n]; where p is no number, as beyond the range of float32, it counts as none."""
    log_p = log_prob_in_blocks(density, x.to(density.device, density.dtype)).double().cpu()
    return torch.where(log_p.isnan(), -torch.inf, log_p - proposal.log_prob(x))


def _mean(log_weights: Tensor) -> Estimate:
    """The logarithm of the mean weight."""
    top = log_weights.max()
    if not torch.isfinite(top):
        return Estimate(top.item(), math.inf)
    weights = (log_weights - top).exp()
    return Estimate((weights.mean().log() + top).item(), _relative_error(weights))


def _relative_error(values: Tensor) -> float:
    return (values.std() / values.mean() / len(values) ** 0.5).item()


def _bridge(at_draws: Tensor, at_samples: Tensor) -> Estimate:
    """The logarithm of the integral of p from log p / q at draws of q and at samples of p.

    The optimal bridge of Meng and Wong 1996, Statistica Sinica 6: its two means are of bounded terms, so it needs q and
    p to overlap, not q to cover p. Error: Fruehwirth-Schnatter 2004, The Econometrics Journal 7(1), equation 23.
    """
    share = torch.tensor([len(at_draws), len(at_samples)], dtype=torch.float64)
    log_share = (share / share.sum()).log()
    value = _mean(at_draws).value
    if not math.isfinite(value):
        return Estimate(value, math.inf)
    for _ in range(BRIDGE_ITERATIONS):
        # p / (s_1 q Z + s_2 p) at draws, q / (s_1 q Z + s_2 p) at samples, with p over its last integral Z.
        above = -torch.logaddexp(log_share[0] - (at_draws - value), log_share[1].expand_as(at_draws))
        below = -torch.logaddexp(log_share[0].expand_as(at_samples), log_share[1] + (at_samples - value))
        value += (torch.logsumexp(above, 0) - torch.logsumexp(below, 0) - (share[0] / share[1]).log()).item()
    error = math.hypot(_relative_error(above.exp()), _relative_error(below.exp()))
    return Estimate(value, error)


def _wealth(log_weights: Tensor) -> float:
    """The logarithm of what bets on a mean weight above 1, each with an equal part of a stake of 1, end with."""
    weights = log_weights - LEAST_EFFECT
    ends = [(torch.logaddexp(weights + math.log(bet), weights.new_tensor(math.log1p(-bet)))).sum() for bet in BETS]
    return (torch.logsumexp(torch.stack(ends), 0) - math.log(len(BETS))).item()


# -- the proposal ------------------------------------------------------------------------------------------------------


def _propose(density: Density, rows: Tensor, drawn: Tensor, seed: int) -> Proposal:
    features = density.features
    x, own = rows.double().cpu(), drawn.double().cpu()
    scale = x.std(0)
    scale = torch.where(scale > 0, scale, 1.0)
    mean = x.mean(0)
    parts: list[Students] = []
    shares: list[Tensor] = []
    for cloud in (x, own):
        if len(cloud):
            centres, factors, weights = _gaussians((cloud - mean) / scale, seed)
            for degrees in DEGREES:
                parts += [Students(c[None], f, degrees) for c, f in zip(centres, factors, strict=True)]
                shares.append(weights / len(DEGREES))
    z = (x - mean) / scale
    if width := _own_width(density, x):
        parts.append(Students(z, torch.diag(width / scale), ROW_DEGREES))
        shares.append(torch.ones(1, dtype=torch.float64))
    factor = _factor(z)
    parts += [Students(torch.zeros(1, features, dtype=torch.float64), reach * factor, 1.0) for reach in WIDE]
    kept = torch.cat([*shares, torch.zeros(len(WIDE), dtype=torch.float64)])
    return Proposal(parts, torch.zeros(len(parts)), mean, scale).adapted(kept)


def _factor(z: Tensor) -> Tensor:
    """Lower Cholesky factor of a covariance of rows of about unit scale, which may be singular."""
    covariance = torch.cov(z.t()).reshape(z.shape[1], z.shape[1])
    return torch.linalg.cholesky(covariance + 1e-6 * torch.eye(z.shape[1], dtype=z.dtype))


def _gaussians(z: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A mixture of Gaussians fitted to rows [n, D]: means [K, D], Cholesky factors [K, D, D] and weights [K]."""
    n, features = z.shape
    components = max(1, min(COMPONENTS, n // (ROWS_PER_FEATURE * features)))
    if components == 1:
        return z.mean(0, keepdim=True), _factor(z).unsqueeze(0), torch.ones(1, dtype=torch.float64)
    # Jitter gives rows that repeat, or lie in a plane, a width.
    jitter = np.random.default_rng(seed).normal(scale=1e-3, size=tuple(z.shape))
    fitted = create("gmm", features, components=components).fit(
        (z.numpy() + jitter).astype(np.float32), seed=seed, steps=EM_STEPS, device="cpu", compile=False
    )
    assert isinstance(fitted, TriangularGaussians)
    factors = invert(fitted._whitening().detach().double())
    return fitted.means.detach().double(), factors, fitted.log_weights().detach().double().exp()


def _own_width(density: Density, x: Tensor) -> float:
    """The distance from a row at which p falls by half a nat, in the median over rows and directions; 0 for none."""
    few = x[:WIDTH_ROWS]
    directions = torch.as_tensor(np.random.default_rng(0).normal(size=tuple(few.shape)))
    directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    steps = x.std(0).max() * 2.0 ** torch.arange(4, -24, -1, dtype=torch.float64)
    offsets = torch.cat([steps, -steps, steps.new_zeros(1)])
    lines = few[:, None] + offsets[:, None] * directions[:, None]  # [R, S, D]
    log_p = (
        log_prob_in_blocks(density, lines.flatten(0, 1).to(density.device, density.dtype))
        .double()
        .cpu()
        .view(len(few), -1)
    )
    there, back = log_p[:, : len(steps)], log_p[:, len(steps) : -1]
    drop = log_p[:, -1:] - (there + back) / 2  # a slope falls out
    # The largest step at which p has not fallen by more than half a nat, and the parabola through it.
    inside = (drop <= 0.5) & (drop > 1e-3)
    found = inside.any(1)
    first = inside.int().argmax(1)
    width = steps[first] * (0.5 / drop.gather(1, first[:, None]).squeeze(1)).sqrt()
    return width[found].median().item() if found.any() else 0.0


def _adapt(density: Density, proposal: Proposal, generator: np.random.Generator) -> Proposal:
    """The parts weighted by how much of p each explains, on draws that nothing else uses."""
    for _ in range(ROUNDS):
        x = proposal.draw(ADAPTING, generator)
        joint = proposal.joint_log_prob(x)
        log_q = torch.logsumexp(joint, 1)
        log_p = log_prob_in_blocks(density, x.to(density.device, density.dtype)).double().cpu()
        log_weights = torch.where(log_p.isnan(), -torch.inf, log_p - log_q)
        if not torch.isfinite(log_weights.max()):
            break
        shares = (log_weights.softmax(0)[:, None] * (joint - log_q[:, None]).exp()).sum(0)
        # What one round does not see is not lost at once.
        proposal = proposal.adapted(shares + INERTIA * proposal.log_weights.exp())
    return proposal
