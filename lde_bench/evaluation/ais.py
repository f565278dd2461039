"""Annealed importance sampling of the log-likelihood of decoder-based models, and what it still lacks.

Wu, Burda, Salakhutdinov, Grosse 2017, arXiv 1611.04273: a model z ~ p(z) with a decoder is given a Gaussian
observation, p(x|z) = N(x; decode(z), sigma^2 I), and p(x) is estimated by annealed importance sampling (Neal 2001),
whose transitions are those of Hamiltonian Monte Carlo (Neal 2011, arXiv 1206.1901). The estimate is unbiased, so that
its logarithm is in expectation below log p(x). Of an image that the model itself made an exact draw of the posterior is
known: the chain run backwards from it gives an upper bound, and the gap between the two says how far from converged the
figure is (Grosse, Ghahramani, Adams 2015, arXiv 1511.02543).

Wu et al. anneal from the prior, with 16 chains of 10,000 distributions and 10 leapfrog steps. A row of a table has a
minute and not days, and a chain of a hundred distributions that comes from the prior of an autoencoder's codes, a
density of many hills, hardly ever finds the one where an image lies: of AE + LDE on MNIST it was 300 nats too low. Here
a chain starts where the image lies: at a Gaussian around the likeliest code, found from the code that the encoder gives
and from the nearest of many draws of the prior, with the curvature of Gauss and Newton there. One start in a thousand
is a draw of the prior all the same (a defensive mixture; Hesterberg 1995, Technometrics 37), so that a start is nowhere
less likely by more than 7 nats than under the prior. Any start that does not look at a chain's own draws leaves the
estimate unbiased; one that misses hills of the posterior makes it low, and the gap wide, which starts at a code that
the image was really made of. The gap is that of images as the model makes them: how well the search does on other ones
it does not tell.
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

#: Draws of the prior that the scale of each latent dimension is taken from, and the nearest one to an image.
PRIOR_DRAWS = 1_000

#: The observation noise that is looked at, of pixels in [0, 1]: this one, and so many times wider and wider.
LEAST_SIGMA, SIGMA_RATIO, SIGMAS = 0.02, 1.1, 33

#: Of the distributions of a path, and of the steps of a search, those that suffice to compare one noise with another.
CHOOSING_SHARE = 0.2

#: Acceptance that the step size is led to, as in Wu et al., and how fast, in its logarithm.
ACCEPTANCE, ADAPTATION = 0.65, 0.2

#: Step size at first and at most, where the metric makes 1 the width of the distribution.
FIRST_SIZE, LARGEST_SIZE = 0.6, 1.2

#: Steps of the search for the likeliest code at most, and the gain in nats of one behind which none is worth while.
SEARCH_STEPS, LEAST_GAIN = 40, 0.05

#: The difference that gives the decoder's slopes, in the prior's scale.
DIFFERENCE = 0.02

#: Damping of that search at first, least and at most, and by how much it falls with a step that helps; with one that
#: does not it rises by the square (Levenberg 1944, Marquardt 1963).
DAMPING, LEAST_DAMPING, MOST_DAMPING, EASE = 0.01, 1e-6, 1e6, 5.0

#: How many times as wide as the curvature says a start is: tails that the posterior has and the start lacks cost most.
WIDTH = 1.3

#: Share of the starts that are draws of the prior: those chains are lost, as a rule.
SPARE = 0.001


def sigma_ladder() -> list[float]:
    """The observation noise that is looked at, from wide to narrow."""
    return [LEAST_SIGMA * SIGMA_RATIO**step for step in reversed(range(SIGMAS))]


@dataclass(frozen=True)
class Annealing:
    """How long the chains are.

    Attributes:
        chains: of each image, whose weights are averaged.
        distributions: T, steps of the path from the start to the posterior.
        leapfrog: gradients of a transition; one is Langevin's.
    """

    chains: int = 4
    distributions: int = 100
    leapfrog: int = 1


@dataclass(frozen=True)
class Around:
    """A Gaussian around the likeliest code of each of n images.

    Attributes:
        mode: its means, [n, Z].
        root: A of the covariances A A^T that the curvature gives, [n, Z, Z]; the Gaussian is `WIDTH` times as wide.
    """

    mode: Tensor
    root: Tensor

    def of_chains(self, chains: int) -> Around:
        """Give each image `chains` of them, side by side."""
        return Around(self.mode.repeat(chains, 1), self.root.repeat(chains, 1, 1))

    def draw(self, generator: torch.Generator) -> Tensor:
        """One draw of each: [n, Z]."""
        noise = torch.randn(self.mode.shape, generator=generator, dtype=self.mode.dtype, device=self.mode.device)
        return self.mode + WIDTH * torch.einsum("nij,nj->ni", self.root, noise)

    def log_density(self, z: Tensor) -> Tensor:
        """In nats: [n, Z] -> [n]."""
        # The root is upper triangular.
        white = torch.linalg.solve_triangular(self.root, (z - self.mode)[..., None], upper=True)[..., 0] / WIDTH
        log_det = self.root.diagonal(dim1=1, dim2=2).log().sum(1) + z.shape[1] * math.log(WIDTH)
        return -0.5 * (white.square() + LOG_2PI).sum(1) - log_det


class Point(NamedTuple):
    """Where chains stand, and what a transition needs to know of it.

    Attributes:
        z: [B, Z].
        log_start: log density of the start in nats, [B], and its gradient `start_slope`, [B, Z].
        log_joint: log p(z) - |x - decode(z)|^2 / (2 sigma^2), [B], and its gradient `joint_slope`, [B, Z].
    """

    z: Tensor
    log_start: Tensor
    start_slope: Tensor
    log_joint: Tensor
    joint_slope: Tensor

    def log_density(self, share: float) -> Tensor:
        """Give the log density of the path, `share` of the way to the posterior: [B]."""
        return (1 - share) * self.log_start + share * self.log_joint

    def slope(self, share: float) -> Tensor:
        """Its gradient in z: [B, Z]."""
        return (1 - share) * self.start_slope + share * self.joint_slope


class Pace(Protocol):
    """Says how long the steps of chains are."""

    def size(self, t: int) -> Tensor:
        """Give the length of the leapfrog steps of the transition behind step `t` of the path: [B]."""

    def hear(self, probability: Tensor) -> None:
        """Learn with what probability the transition was accepted, [B]."""


@dataclass(frozen=True)
class Sizes:
    """A pace that is known before the chains run.

    Attributes:
        each: of every transition, [T - 1, n].
        chains: of each of the n images, which all go alike.
    """

    each: Tensor
    chains: int = 1

    def size(self, t: int) -> Tensor:
        return self.each[t - 1].repeat(self.chains)

    def hear(self, probability: Tensor) -> None:
        """They stay what they are."""

    def reversed(self) -> Sizes:
        """Turn the pace into that of the way back."""
        return replace(self, each=self.each.flip(0))

    def of_chains(self, chains: int) -> Sizes:
        """Give each image `chains` of them, side by side."""
        return replace(self, chains=chains)


class Scout:
    """Finds the pace on the way, from how often the chain was accepted.

    A chain that it guides depends on its own past, and does not leave its distributions quite as they are: one that
    goes ahead, and does not count.
    """

    def __init__(self, like: Tensor) -> None:
        self.each = [torch.full_like(like[:, 0], FIRST_SIZE)]

    def size(self, t: int) -> Tensor:
        return self.each[-1]

    def hear(self, probability: Tensor) -> None:
        self.each.append((self.each[-1] * torch.exp(ADAPTATION * (probability - ACCEPTANCE))).clamp(max=LARGEST_SIZE))

    def sizes(self) -> Sizes:
        """What it found."""
        return Sizes(torch.stack(self.each[:-1] or self.each))


class Annealed(NamedTuple):
    """What chains met on a path.

    Attributes:
        log_weights: of the ratio of the normalisers of where the chain is and where it started: float64 [B].
        acceptance: mean probability with which transitions were accepted.
    """

    log_weights: Tensor
    acceptance: float


class Slopes(NamedTuple):
    """What a posterior has at z [B, Z].

    Attributes:
        log_prior: log p(z) in nats, [B], and its gradient `prior_slope`, [B, Z].
        log_joint: log p(z) - |x - decode(z)|^2 / (2 sigma^2), [B], and its gradient `joint_slope`, [B, Z].
    """

    log_prior: Tensor
    prior_slope: Tensor
    log_joint: Tensor
    joint_slope: Tensor


@dataclass(frozen=True)
class Posterior:
    """p(z) N(x; decode(z), sigma^2 I) of one model and of images x [B, D], without its normaliser."""

    model: DecoderModel
    x: Tensor
    sigma: float

    def of_chains(self, chains: int) -> Posterior:
        """Give each image `chains` of them, side by side."""
        return replace(self, x=self.x.repeat(chains, 1))

    @torch.enable_grad()
    def slopes(self, z: Tensor) -> Slopes:
        """What is known of it at z [B, Z]."""
        z = z.detach().requires_grad_()
        log_prior = self.model.log_prior(z)
        (prior_slope,) = torch.autograd.grad(log_prior.sum(), z)
        log_likelihood = (self.model.decode(z) - self.x).square().sum(1) / (-2 * self.sigma**2)
        (slope,) = torch.autograd.grad(log_likelihood.sum(), z)
        log_prior, log_likelihood = log_prior.detach(), log_likelihood.detach()
        return Slopes(log_prior, prior_slope, log_prior + log_likelihood, prior_slope + slope)

    def information(self, z: Tensor, scale: Tensor) -> Tensor:
        """J J^T / sigma^2 of the slopes J [B, Z, D] of decode at z, by differences, in the prior's `scale` [Z], and 1
        of the prior, as of a Gaussian of that scale: [B, Z, Z].
        """
        moved = z[:, None] + DIFFERENCE * torch.diag(scale)  # [B, Z, Z]
        images = self.model.decode(moved.flatten(0, 1)).unflatten(0, moved.shape[:2])  # [B, Z, D]
        slopes = (images - self.model.decode(z)[:, None]) / DIFFERENCE
        return slopes @ slopes.mT / self.sigma**2 + torch.eye(len(scale), dtype=z.dtype, device=z.device)


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
        self.prior = model.draw(PRIOR_DRAWS, generator)
        #: Of each latent dimension under the prior, [Z].
        self.scale = self.prior.std(0)
        self.images = torch.cat([model.decode(each) for each in self.prior.split(100)])

    def first_codes(self, x: Tensor) -> list[Tensor]:
        """Where the search for the likeliest code of images [n, D] begins: each [n, Z]."""
        nearest = self.prior[torch.cdist(x, self.images).argmin(1)]
        return [nearest] if self.model.encode is None else [nearest, self.model.encode(x)]

    def around(self, posterior: Posterior, begin: Sequence[Tensor], steps: int = SEARCH_STEPS) -> Around:
        """A start around the likeliest code of each image: of those that are found from each of `begin` [n, Z] the one
        with the most of the posterior around it, as far as height and curvature tell. A search has at most `steps`.
        """
        found = [self._found(posterior, z, steps) for z in begin]
        heights = torch.stack([height for _, _, height in found]).nan_to_num(nan=-math.inf)  # [begin, n]
        best, images = heights.argmax(0), torch.arange(len(posterior.x), device=posterior.x.device)
        modes, roots = (torch.stack([each[part] for each in found])[best, images] for part in (0, 1))
        return Around(modes, roots)

    def _found(self, posterior: Posterior, z: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the search from z [n, Z] leads to: modes [n, Z], roots [n, Z, Z], and log of the mass there, [n]."""
        mode = self._climb(posterior, z, steps)
        eye = torch.eye(len(self.scale), dtype=mode.dtype, device=mode.device)
        factor, failed = torch.linalg.cholesky_ex(posterior.information(mode, self.scale))
        factor = torch.where((failed > 0)[:, None, None], eye, factor)
        inverse = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        mass = posterior.slopes(mode).log_joint - factor.diagonal(dim1=1, dim2=2).log().sum(1)
        return mode, self.scale[:, None] * inverse.mT, torch.where(failed > 0, -math.inf, mass)

    def _climb(self, posterior: Posterior, z: Tensor, steps: int = SEARCH_STEPS) -> Tensor:
        """The likeliest codes that damped steps of Gauss and Newton lead to from z [n, Z], each image by itself."""
        z = z.clone()
        _, _, height, slope = posterior.slopes(z)
        damping = torch.full_like(height, DAMPING)
        active = torch.arange(len(z), device=z.device)
        for _ in range(steps):
            part = replace(posterior, x=posterior.x[active])
            information = part.information(z[active], self.scale)
            ridge = torch.diag_embed(damping[active, None] * information.diagonal(dim1=1, dim2=2))
            step = torch.linalg.solve_ex(information + ridge, (self.scale * slope[active])[..., None])[0][..., 0]
            proposal = z[active] + self.scale * step
            _, _, there, new_slope = part.slopes(proposal)
            gain = there - height[active]
            better = gain > 0
            helped = active[better]
            z[helped], slope[helped], height[helped] = proposal[better], new_slope[better], there[better]
            eased = torch.where(better, damping[active] / EASE, damping[active] * EASE**2)
            damping[active] = eased.clamp(min=LEAST_DAMPING)
            ended = (better & (gain < LEAST_GAIN)) | (eased > MOST_DAMPING)
            active = active[~ended]
            if len(active) == 0:
                break
        return z

    def prepare(self, x: Tensor, sigma: float, distributions: int) -> Prepared:
        """All that chains against images [n, D] need to know, found without any draw of theirs."""
        posterior = Posterior(self.model, x, sigma)
        around = self.around(posterior, self.first_codes(x))
        return Prepared(posterior, around, self.scout(posterior, around, distributions)[1])

    def scout(self, posterior: Posterior, around: Around, distributions: int) -> tuple[Annealed, Sizes]:
        """A chain of each image that goes ahead, and the pace that it found."""
        scout = Scout(around.mode)
        start = around.draw(self.generator)
        return self.anneal(posterior, around, start, _path(distributions), scout), scout.sizes()

    def forwards(self, prepared: Prepared, distributions: int) -> Annealed:
        """From the start."""
        start = self._starts(prepared.around)
        return self.anneal(prepared.posterior, prepared.around, start, _path(distributions), prepared.sizes)

    def backwards(self, prepared: Prepared, z: Tensor, distributions: int) -> Annealed:
        """The way back of `forwards`, from draws of the posteriors, z [B, Z]."""
        path, back = _path(distributions).flip(0), prepared.sizes.reversed()
        return self.anneal(prepared.posterior, prepared.around, z, path, back)

    def _starts(self, around: Around) -> Tensor:
        """One draw of each start: [B, Z]."""
        z = around.draw(self.generator)
        spare = torch.rand(len(z), generator=self.generator, dtype=z.dtype, device=z.device) < SPARE
        z[spare] = self.model.draw(len(z), self.generator)[spare]
        return z

    def anneal(self, posterior: Posterior, around: Around, z: Tensor, path: Tensor, pace: Pace) -> Annealed:
        """Run along the shares `path` [T + 1] from `z` [B, Z], draws of its first distribution."""
        point = self.at(posterior, around, z)
        log_weights = torch.zeros(len(z), dtype=torch.float64, device=z.device)
        acceptance = []
        last = len(path) - 1
        for t in range(1, last + 1):
            log_weights += (path[t] - path[t - 1]) * (point.log_joint.double() - point.log_start.double())
            if t < last:  # what comes behind the last weight changes none
                point, probability = self.move(posterior, around, point, path[t].item(), pace.size(t))
                pace.hear(probability)
                acceptance.append(probability.mean().item())
        return Annealed(log_weights, sum(acceptance) / max(1, len(acceptance)))

    def move(
        self, posterior: Posterior, around: Around, point: Point, share: float, size: Tensor
    ) -> tuple[Point, Tensor]:
        """A transition of Hamiltonian Monte Carlo that leaves the distribution `share` of the way as it is: where the
        chains stand then, and the probability with which the proposal was accepted, [B].
        """
        step = size[:, None, None] * around.root  # [B, Z, Z]
        momentum = torch.randn(point.z.shape, generator=self.generator, dtype=size.dtype, device=size.device)
        before = point.log_density(share) - 0.5 * momentum.square().sum(1)
        proposal = point
        for _ in range(self.leapfrog):
            momentum = momentum + 0.5 * torch.einsum("bij,bi->bj", step, proposal.slope(share))
            proposal = self.at(posterior, around, proposal.z + torch.einsum("bij,bj->bi", step, momentum))
            momentum = momentum + 0.5 * torch.einsum("bij,bi->bj", step, proposal.slope(share))
        after = proposal.log_density(share) - 0.5 * momentum.square().sum(1)
        # A proposal where a number is no longer finite is refused.
        probability = (after - before).nan_to_num(nan=-math.inf).clamp(max=0).exp()
        accepted = torch.rand(len(size), generator=self.generator, dtype=size.dtype, device=size.device) < probability
        return Point(*(_where(accepted, new, old) for new, old in zip(proposal, point, strict=True))), probability

    def at(self, posterior: Posterior, around: Around, z: Tensor) -> Point:
        """The point of z [B, Z]."""
        log_prior, prior_slope, log_joint, joint_slope = posterior.slopes(z)
        white = torch.linalg.solve_triangular(around.root, (z - around.mode)[..., None], upper=True) / WIDTH**2
        near_slope = -torch.linalg.solve_triangular(around.root.mT, white, upper=False)[..., 0]
        near, spare = around.log_density(z) + math.log1p(-SPARE), log_prior + math.log(SPARE)
        log_start = torch.logaddexp(near, spare)
        share = (spare - log_start).exp()[:, None]  # of the prior in what is there
        start_slope = (1 - share) * near_slope + share * prior_slope
        return Point(z.detach(), log_start, start_slope, log_joint, joint_slope)


@dataclass(frozen=True)
class Prepared:
    """What chains need to know of the images that they are held against."""

    posterior: Posterior
    around: Around
    sizes: Sizes

    def of_chains(self, chains: int) -> Prepared:
        """Give each image `chains` of it, side by side."""
        return Prepared(self.posterior.of_chains(chains), self.around.of_chains(chains), self.sizes.of_chains(chains))


def _path(distributions: int) -> Tensor:
    """Shares of the way from the start to the posterior: float64 [T + 1]."""
    return torch.linspace(0, 1, distributions + 1, dtype=torch.float64)


def _where(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` in the rows that are `chosen` [B], else `old`."""
    return torch.where(chosen.view(-1, *(1,) * (new.ndim - 1)), new, old)


def log_mean_exp(values: Tensor) -> Tensor:
    """Over the first dimension: [C, ...] -> [...]."""
    return torch.logsumexp(values, 0) - math.log(len(values))


def log_peak(sigma: float, pixels: int) -> float:
    """log N(x; x, sigma^2 I) in nats, which the weights leave out."""
    return -pixels * (math.log(sigma) + 0.5 * LOG_2PI)


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
    def choose_sigma(self, x: Tensor) -> float:
        """The observation noise under which images [n, D] are likeliest, of the ladder from wide to narrow.

        By one short chain of each model an image, that finds its own step sizes. The ladder is left where two in a row
        were no better than the best. What a chain lacks grows as sigma falls, so that the choice is on the wide side;
        the bounds hold at whatever sigma is chosen.
        """
        distributions = max(2, round(CHOOSING_SHARE * self.annealing.distributions))
        steps = round(CHOOSING_SHARE * SEARCH_STEPS)
        samplers, blocks = self._samplers(), self._blocks(x)
        first = [[sampler.first_codes(block) for sampler in samplers] for block in blocks]
        modes: dict[tuple[int, int], list[Tensor]] = {}
        best, chosen, worse = -math.inf, math.nan, 0
        for sigma in sigma_ladder():
            nats = []
            for b, block in enumerate(blocks):
                each = []
                for number, sampler in enumerate(samplers):
                    posterior = Posterior(sampler.model, block, sigma)
                    around = sampler.around(posterior, [*first[b][number], *modes.get((b, number), [])], steps)
                    modes[b, number] = [around.mode]  # not far from that of the next sigma
                    each.append(sampler.scout(posterior, around, distributions)[0].log_weights)
                nats.append(log_mean_exp(torch.stack(each)))
            mean = torch.cat(nats).mean().item() + log_peak(sigma, x.shape[1])
            best, chosen, worse = (mean, sigma, 0) if mean > best else (best, chosen, worse + 1)
            if worse == 2:
                break
        return chosen

    @torch.no_grad()
    def lower_bounds(self, x: Tensor, sigma: float) -> Bounds:
        """Lower bounds, in expectation, of log p(x) in nats of images [n, D] under the observation noise `sigma`."""
        samplers, steps = self._samplers(), self.annealing.distributions
        nats, acceptance = [], []
        for block in self._blocks(x):
            prepared = [sampler.prepare(block, sigma, steps).of_chains(self.chains) for sampler in samplers]
            runs = [sampler.forwards(own, steps) for sampler, own in zip(samplers, prepared, strict=True)]
            each = torch.cat([self._by_chain(run) for run in runs])  # [models * chains, B]
            nats.append(log_mean_exp(each) + log_peak(sigma, x.shape[1]))
            acceptance += [run.acceptance for run in runs]
        return Bounds(torch.cat(nats), sum(acceptance) / len(acceptance))

    @torch.no_grad()
    def gaps(self, n: int, sigma: float) -> Tensor:
        """How far upper and lower bound of log p(x) lie apart on about `n` images of the models' own, in nats: [n].

        Each model makes its share, and is held to its own. The way back starts at the z that an image was made of, an
        exact draw of its posterior (Grosse et al. 2015, section 3); where it leads knows of the image alone.
        """
        gaps, steps = [], self.annealing.distributions
        for sampler in self._samplers():
            z = sampler.model.draw(max(1, n // len(self.models)), sampler.generator)
            mean = sampler.model.decode(z)
            x = mean + sigma * torch.randn(mean.shape, generator=sampler.generator, dtype=z.dtype, device=z.device)
            for made, source in zip(self._blocks(x), self._blocks(x, z), strict=True):
                prepared = sampler.prepare(made, sigma, steps).of_chains(self.chains)
                lower = log_mean_exp(self._by_chain(sampler.forwards(prepared, steps)))
                back = sampler.backwards(prepared, source.repeat(self.chains, 1), steps)
                gaps.append(-log_mean_exp(self._by_chain(back)) - lower)
        return torch.cat(gaps)

    @property
    def chains(self) -> int:
        """How many chains each model has of each image."""
        return max(1, self.annealing.chains // len(self.models))

    def _by_chain(self, run: Annealed) -> Tensor:
        """Log weights by chain and image: [chains, n]."""
        return run.log_weights.unflatten(0, (self.chains, -1))

    def _samplers(self) -> list[Sampler]:
        generator = torch.Generator(self.models[0].device).manual_seed(self.seed)
        return [Sampler(model, self.annealing.leapfrog, generator) for model in self.models]

    def _blocks(self, x: Tensor, rows: Tensor | None = None) -> tuple[Tensor, ...]:
        """Images [n, D], or what belongs to each, in as many as are worked on at once."""
        # As many at once as there are chains of each, or slopes.
        latent = self.models[0].draw(1, torch.Generator(self.models[0].device)).shape[1]
        return (x if rows is None else rows).split(max(1, BLOCK_NUMBERS // (max(self.chains, latent) * x.shape[1])))
