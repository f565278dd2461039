"""Annealed importance sampling of the log-likelihood of decoder-based models, and what it still lacks.

Wu, Burda, Salakhutdinov, Grosse 2017, arXiv 1611.04273: a model z ~ p(z) with a decoder is given a Gaussian
observation, p(x|z) = N(x; decode(z), sigma^2 I), and p(x) is estimated by annealed importance sampling from the prior
to the posterior (Neal 2001), whose transitions are those of Hamiltonian Monte Carlo (Neal 2011, arXiv 1206.1901). The
estimate is unbiased, so that its logarithm is in expectation below log p(x). Of an image that the model itself made an
exact draw of the posterior is known: the chain run backwards from it gives an upper bound, and the gap between the two
says how far from converged the figure is (Grosse, Ghahramani, Adams 2015, arXiv 1511.02543).

The path is that of the observation noise, from infinity down to sigma: p(z) N(x; decode(z), I / b) at precisions b from
0 to 1 / sigma^2, the geometric path of Wu et al. A run to a small sigma passes all larger ones, and gives their
likelihoods too.

Wu et al. take 16 chains of 10,000 distributions and 10 leapfrog steps. A row of a table has a minute and not days, so
that the path here is even in the information about z, not in b, and the transitions have the metric of Gauss and Newton
(Girolami, Calderhead 2011, J. R. Stat. Soc. B 73), whose step suits all directions of the code. Metric and step size
are found for each image by a chain that goes ahead and does not count: those that count know nothing of its draws, and
so leave their distributions exactly as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lde_bench.densities.base import LOG_2PI
from lde_bench.generators.decoder_model import DecoderModel

#: Numbers of images that chains are held against at once: more would leave the cache.
BLOCK_NUMBERS = 800_000

#: Draws of the prior that the scale of each latent dimension is taken from.
SCALE_DRAWS = 1_000

#: The least observation noise that is looked at, of pixels in [0, 1].
LEAST_SIGMA = 0.02

#: Variance of a pixel over images, about: what the path takes a decoder to explain.
PIXEL_VARIANCE = 1 / 16

#: Acceptance that the step size is led to, as in Wu et al., and how fast, in its logarithm.
ACCEPTANCE, ADAPTATION = 0.65, 0.2

#: Step size at first and at most, where the metric makes 1 the width of the distribution.
FIRST_SIZE, LARGEST_SIZE = 0.6, 1.2

#: Transitions between two looks at the decoder's slopes, and the difference that gives them, in the prior's scale.
METRIC_EVERY, DIFFERENCE = 5, 0.05


@dataclass(frozen=True)
class Annealing:
    """How long the chains are.

    Attributes:
        chains: of each image, whose weights are averaged.
        distributions: T, steps of the path from the prior to the posterior.
        leapfrog: gradients of a transition; one is Langevin's. For the same cost, a hundred distributions with one
            leave a VAE of MNIST a gap of 4.9 nats, sixty with two one of 6.8.
    """

    chains: int = 4
    distributions: int = 100
    leapfrog: int = 1


def noise_path(sigma: float, pixels: int, distributions: int) -> Tensor:
    """Precisions from 0 to 1 / sigma^2, even in log(1 + v b) with v the variance of an image: float64 [T + 1].

    As far as the decoder is linear, each step then adds as much to what is known of z. Wu et al.'s sigmoid is even in b
    near its ends: of a hundred distributions its first would weigh an image by several nats.
    """
    variance = PIXEL_VARIANCE * pixels
    share = torch.linspace(0, 1, distributions + 1, dtype=torch.float64)
    return torch.expm1(share * math.log1p(variance / sigma**2)) / variance


class Point(NamedTuple):
    """Where chains stand, and what a transition needs to know of it.

    Attributes:
        z: [B, Z].
        squared_error: |x - decode(z)|^2, [B], and its gradient `error_slope`, [B, Z].
        log_prior: log p(z) in nats, [B], and its gradient `prior_slope`, [B, Z].
    """

    z: Tensor
    squared_error: Tensor
    error_slope: Tensor
    log_prior: Tensor
    prior_slope: Tensor

    def log_density(self, precision: float) -> Tensor:
        """log p(z) - precision |x - decode(z)|^2 / 2: [B]."""
        return self.log_prior - 0.5 * precision * self.squared_error

    def slope(self, precision: float) -> Tensor:
        """Its gradient in z: [B, Z]."""
        return self.prior_slope - 0.5 * precision * self.error_slope


class Guide(Protocol):
    """Says how chains move."""

    def move(self, t: int, point: Point, precision: float) -> tuple[Tensor, Tensor]:
        """Give the size of the leapfrog steps of the transition behind step `t` of the path, [B], and A of its metric
        (A A^T)^-1, [B, Z, Z].
        """

    def hear(self, probability: Tensor) -> None:
        """Learn with what probability the transition was accepted, [B]."""


@dataclass(frozen=True)
class Moves:
    """Moves that are known before the chains run.

    Attributes:
        sizes: of steps, [T - 1, n].
        roots: of inverse metrics, [T - 1, n, Z, Z].
        chains: of each of the n images, which all move alike; the roots, the larger part of the memory, are held once.
    """

    sizes: Tensor
    roots: Tensor
    chains: int = 1

    def move(self, t: int, point: Point, precision: float) -> tuple[Tensor, Tensor]:
        return self.sizes[t - 1].repeat(self.chains), self.roots[t - 1].repeat(self.chains, 1, 1)

    def hear(self, probability: Tensor) -> None:
        """They stay what they are."""

    def reversed(self) -> Moves:
        """Those of the way back."""
        return replace(self, sizes=self.sizes.flip(0), roots=self.roots.flip(0))

    def of_chains(self, chains: int) -> Moves:
        """Those of `chains` of each image."""
        return replace(self, chains=chains)


class Scout:
    """Finds the moves on the way: the metric from the decoder's slopes where the chain stands, the size from how often
    it was accepted.

    A chain that it guides depends on its own past, and does not leave its distributions quite as they are.
    """

    def __init__(self, model: DecoderModel, scale: Tensor, images: int) -> None:
        self.model = model
        self.scale = scale
        self.sizes = [scale.new_full((images,), FIRST_SIZE)]
        self.roots: list[Tensor] = []
        self.information = scale.new_zeros(())

    def move(self, t: int, point: Point, precision: float) -> tuple[Tensor, Tensor]:
        if (t - 1) % METRIC_EVERY == 0:
            self.information = self._information(point.z)
        eye = torch.eye(len(self.scale), dtype=self.scale.dtype, device=self.scale.device)
        factor = torch.linalg.cholesky(eye + precision * self.information)
        inverse = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        self.roots.append(self.scale[:, None] * inverse.mT)
        return self.sizes[-1], self.roots[-1]

    def hear(self, probability: Tensor) -> None:
        self.sizes.append((self.sizes[-1] * torch.exp(ADAPTATION * (probability - ACCEPTANCE))).clamp(max=LARGEST_SIZE))

    def moves(self) -> Moves:
        """What it found."""
        return Moves(torch.stack(self.sizes[:-1]), torch.stack(self.roots))

    def _information(self, z: Tensor) -> Tensor:
        """J J^T of the slopes J [n, Z, D] of decode at z [n, Z], by differences, in the prior's scale: [n, Z, Z]."""
        moved = z[:, None] + DIFFERENCE * torch.diag(self.scale)  # [n, Z, Z]
        images = self.model.decode(moved.flatten(0, 1)).unflatten(0, moved.shape[:2])  # [n, Z, D]
        slopes = (images - self.model.decode(z)[:, None]) / DIFFERENCE
        return slopes @ slopes.mT


class Annealed(NamedTuple):
    """What chains met on a path of T steps.

    Attributes:
        log_weights: after each step, of the ratio of the normalisers of where the chain is and where it started:
            float64 [T + 1, B].
        acceptance: mean probability with which transitions were accepted.
    """

    log_weights: Tensor
    acceptance: float


class Sampler:
    """Chains of one model, each held against one image.

    Args:
        model: gives the distributions.
        leapfrog: gradients of a transition.
        generator: what is drawn.
    """

    def __init__(self, model: DecoderModel, leapfrog: int, generator: torch.Generator) -> None:
        self.model = model
        self.leapfrog = leapfrog
        self.generator = generator
        #: Of each latent dimension under the prior, [Z].
        self.scale = self.draw(SCALE_DRAWS).std(0)

    def draw(self, n: int) -> Tensor:
        """`n` draws of the prior, [n, Z]."""
        return self.model.draw(n, self.generator)

    def scout(self, x: Tensor, path: Tensor) -> tuple[Annealed, Scout]:
        """A chain of each image [n, D] along a rising path, and what found its moves."""
        scout = Scout(self.model, self.scale, len(x))
        return self.anneal(x, self.draw(len(x)), path, scout), scout

    def forwards(self, x: Tensor, path: Tensor, moves: Moves, chains: int) -> Annealed:
        """From the prior, `chains` of each image [n, D] by its `moves`: weights [T + 1, chains * n]."""
        many = x.repeat(chains, 1)
        return self.anneal(many, self.draw(len(many)), path, moves.of_chains(chains))

    def backwards(self, x: Tensor, z: Tensor, path: Tensor, moves: Moves, chains: int) -> Annealed:
        """The way back of `forwards`, from a draw of each image's posterior, z [n, Z]."""
        back = moves.reversed().of_chains(chains)
        return self.anneal(x.repeat(chains, 1), z.repeat(chains, 1), path.flip(0), back)

    def anneal(self, x: Tensor, z: Tensor, path: Tensor, guide: Guide) -> Annealed:
        """Run against images `x` [B, D] along precisions `path` [T + 1] from `z` [B, Z], draws of its first
        distribution.
        """
        point = self.at(x, z)
        log_weights = [torch.zeros(len(z), dtype=torch.float64, device=z.device)]
        acceptance = []
        last = len(path) - 1
        for t in range(1, last + 1):
            log_weights.append(log_weights[-1] - 0.5 * (path[t] - path[t - 1]) * point.squared_error.double())
            if t < last:  # what comes behind the last weight changes none
                precision = path[t].item()
                point, probability = self.move(x, point, precision, *guide.move(t, point, precision))
                guide.hear(probability)
                acceptance.append(probability.mean().item())
        return Annealed(torch.stack(log_weights), sum(acceptance) / max(1, len(acceptance)))

    def move(self, x: Tensor, point: Point, precision: float, size: Tensor, root: Tensor) -> tuple[Point, Tensor]:
        """A transition of Hamiltonian Monte Carlo that leaves p(z) N(x; decode(z), I / precision) as it is: where the
        chains stand then, and the probability with which the proposal was accepted, [B].
        """
        step = size[:, None, None] * root  # [B, Z, Z]
        momentum = torch.randn(point.z.shape, generator=self.generator, dtype=size.dtype, device=size.device)
        before = point.log_density(precision) - 0.5 * momentum.square().sum(1)
        proposal = point
        for _ in range(self.leapfrog):
            momentum = momentum + 0.5 * torch.einsum("bij,bi->bj", step, proposal.slope(precision))
            proposal = self.at(x, proposal.z + torch.einsum("bij,bj->bi", step, momentum))
            momentum = momentum + 0.5 * torch.einsum("bij,bi->bj", step, proposal.slope(precision))
        after = proposal.log_density(precision) - 0.5 * momentum.square().sum(1)
        # A proposal where a number is no longer finite is refused.
        probability = (after - before).nan_to_num(nan=-math.inf).clamp(max=0).exp()
        accepted = torch.rand(len(size), generator=self.generator, dtype=size.dtype, device=size.device) < probability
        return Point(*(_where(accepted, new, old) for new, old in zip(proposal, point, strict=True))), probability

    @torch.enable_grad()
    def at(self, x: Tensor, z: Tensor) -> Point:
        """The point of z [B, Z]."""
        z = z.detach().requires_grad_()
        squared_error = (self.model.decode(z) - x).square().sum(1)
        (error_slope,) = torch.autograd.grad(squared_error.sum(), z)
        log_prior = self.model.log_prior(z)
        (prior_slope,) = torch.autograd.grad(log_prior.sum(), z)
        return Point(z.detach(), squared_error.detach(), error_slope, log_prior.detach(), prior_slope)


def _where(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` in the rows that are `chosen` [B], else `old`."""
    return torch.where(chosen.view(-1, *(1,) * (new.ndim - 1)), new, old)


def log_mean_exp(values: Tensor) -> Tensor:
    """Over the first dimension: [C, ...] -> [...]."""
    return torch.logsumexp(values, 0) - math.log(len(values))


def log_peak(precision: Tensor, pixels: int) -> Tensor:
    """log N(x; x, I / precision) in nats, which the distributions of the path leave out."""
    return 0.5 * pixels * (precision.log() - LOG_2PI)


class Bounds(NamedTuple):
    """Lower bounds of log p(x) in nats, float64 [n], and the mean acceptance of the transitions behind them."""

    nats: Tensor
    acceptance: float


@dataclass(frozen=True)
class Estimator:
    """Annealed importance sampling of the equal mixture of decoder models.

    Attributes:
        models: that the mixture is made of; they share the chains of an image out, at least one each.
        annealing: how long the chains are.
        seed: of all that a method draws.
    """

    models: Sequence[DecoderModel]
    annealing: Annealing = Annealing()
    seed: int = 0

    @torch.no_grad()
    def choose_sigma(self, x: Tensor, least: float = LEAST_SIGMA) -> float:
        """The observation noise under which images [n, D] are likeliest, of all those of the path down to `least`.

        By one chain of each model an image, that finds its own step sizes. What such a chain lacks grows as sigma
        falls, so that the choice is on the wide side: of a linear Gaussian model by one step of the path of a hundred,
        4 %, by more of one that mixes badly. The bounds hold at whatever sigma is chosen.
        """
        path = noise_path(least, x.shape[1], self.annealing.distributions)
        total = torch.zeros(len(path), dtype=torch.float64)
        samplers = self._samplers()
        for block in self._blocks(x):
            runs = [sampler.scout(block, path)[0] for sampler in samplers]
            each = torch.stack([run.log_weights for run in runs])  # [models, T + 1, B]
            total += log_mean_exp(each).sum(1).cpu()
        mean = total / len(x) + log_peak(path, x.shape[1])  # -inf at the prior
        return float(path[mean.argmax()].rsqrt())

    @torch.no_grad()
    def lower_bounds(self, x: Tensor, sigma: float) -> Bounds:
        """Lower bounds, in expectation, of log p(x) in nats of images [n, D] under the observation noise `sigma`."""
        path = noise_path(sigma, x.shape[1], self.annealing.distributions)
        samplers = self._samplers()
        nats, acceptance = [], []
        for block in self._blocks(x):
            moves = [sampler.scout(block, path)[1].moves() for sampler in samplers]
            runs = [each.forwards(block, path, own, self.chains) for each, own in zip(samplers, moves, strict=True)]
            each = torch.cat([self._last_weights(run) for run in runs])  # [models * chains, B]
            nats.append(log_mean_exp(each) + log_peak(path[-1], x.shape[1]))
            acceptance += [run.acceptance for run in runs]
        return Bounds(torch.cat(nats), sum(acceptance) / len(acceptance))

    @torch.no_grad()
    def gaps(self, n: int, sigma: float) -> Tensor:
        """How far upper and lower bound of log p(x) lie apart on about `n` images of the models' own, in nats: [n].

        Each model makes its share, and is held to its own. The way back starts at the z that an image was made of, an
        exact draw of its posterior (Grosse et al. 2015, section 3).
        """
        gaps = []
        for sampler in self._samplers():
            z = sampler.draw(max(1, n // len(self.models)))
            mean = sampler.model.decode(z)
            x = mean + sigma * torch.randn(mean.shape, generator=sampler.generator, dtype=z.dtype, device=z.device)
            path = noise_path(sigma, x.shape[1], self.annealing.distributions)
            for made, source in zip(self._blocks(x), self._blocks(x, z), strict=True):
                moves = sampler.scout(made, path)[1].moves()
                lower = log_mean_exp(self._last_weights(sampler.forwards(made, path, moves, self.chains)))
                back = sampler.backwards(made, source, path, moves, self.chains)
                gaps.append(-log_mean_exp(self._last_weights(back)) - lower)
        return torch.cat(gaps)

    @property
    def chains(self) -> int:
        """How many chains each model has of each image."""
        return max(1, self.annealing.chains // len(self.models))

    def _last_weights(self, run: Annealed) -> Tensor:
        """Log weights at the end, by chain and image: [chains, n]."""
        return run.log_weights[-1].unflatten(0, (self.chains, -1))

    def _samplers(self) -> list[Sampler]:
        generator = torch.Generator(self.models[0].device).manual_seed(self.seed)
        return [Sampler(model, self.annealing.leapfrog, generator) for model in self.models]

    def _blocks(self, x: Tensor, rows: Tensor | None = None) -> tuple[Tensor, ...]:
        """Images [n, D], or what belongs to each, in as many as are worked on at once."""
        return (x if rows is None else rows).split(max(1, BLOCK_NUMBERS // (self.chains * x.shape[1])))
