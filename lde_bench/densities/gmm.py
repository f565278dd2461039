"""A mixture of full-covariance Gaussians, fitted by expectation maximisation: stepwise on minibatches of large data.

EM: Dempster, Laird and Rubin 1977. Stepwise (online) EM: Cappe and Moulines 2009, arXiv 0712.4273, equation 12: the
sufficient statistics follow s <- (1 - g_t) s + g_t s(batch) with g_t = (t + 2)^-kappa, and each M-step is exact. A
batch that holds the whole training set gets g_t = 1, which is plain EM.

The M-step is the maximum a posteriori one under a conjugate prior worth `PRIOR_ROWS` rows with the mean and the
covariance of the data (Fraley and Raftery 2007): a component on a single row keeps a width, one on no row falls back to
the data's own Gaussian, and the fit does not depend on the scale or the axes of the data. A component left with fewer
rows than a covariance needs takes over half of the heaviest one during the first half of the training.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lde_bench.densities.mixture import positive_integer
from lde_bench.densities.triangular import TriangularGaussians, cholesky, invert, moments
from lde_bench.errors import InputError
from lde_bench.training.batches import Batches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, ModuleLearner, clone_state
from lde_bench.training.model import Card
from lde_bench.training.plan import Plan

INITS = ("auto", "kmeans++", "scale")

#: Weight of the prior in rows. Patches have real components a hundred times narrower than the data; at 5,000 rows a
#: component the prior adds 2e-7 of the data's variance.
PRIOR_ROWS = 1e-3

#: Exponent of the step size; anything in (0.5, 1] converges.
KAPPA = 0.6

#: Responsibilities below this are left out of the statistics (a partial E-step, Neal and Hinton 1998): on patches a
#: row has a handful of live components out of hundreds, and the M-step costs next to nothing.
LEAST_RESPONSIBILITY = 1e-6

#: Rows of an E-step's block.
BLOCK_ROWS = 1024

#: Rows that the initialisation sees, more where there are many components, and its trial iterations under `auto`.
INIT_ROWS = 20_000
TRIAL_ITERATIONS = 2
LLOYD_ITERATIONS = 10

#: Share of a component's second moment along its own seed row under `scale`.
SCALE_SPIKE = 0.2


class Statistics(NamedTuple):
    """Sufficient statistics, per row of data and about the prior's mean, in float64."""

    counts: Tensor  # [K]
    sums: Tensor  # [K, D]
    scatters: Tensor  # [K, D, D]

    def towards(self, other: Statistics, share: float) -> Statistics:
        return Statistics(*(torch.lerp(mine, theirs, share) for mine, theirs in zip(self, other, strict=True)))


class Prior(NamedTuple):
    """What `prepare` learns of the data."""

    mean: Tensor  # [D]
    covariance: Tensor  # [D, D]
    rows: int | None  # distinct training rows; None where they are drawn afresh


class GMM(TriangularGaussians):
    """sum_k w_k N(x; m_k, S_k) with full covariances, by expectation maximisation.

    The E-step runs in float32 (bfloat16 would lose the narrow components), statistics and M-step in float64.

    Args:
        features: D.
        components: K.
        init: `kmeans++` (Arthur and Vassilvitskii 2007, then Lloyd, on whitened rows); `scale` (every component at the
            data's mean, with the contrast and a little of the direction of a random row: patches are a scale mixture);
            `auto` tries both for a few iterations on a subset and keeps the one that scores better on held-out rows.
    """

    name = "gmm"
    place = 20
    by_gradient = False
    rows = ("gmm:components=200",)
    card = Card(
        summary="mixture of K full-covariance Gaussians by (stepwise) expectation maximisation",
        source="Dempster, Laird, Rubin 1977; stepwise: Cappe and Moulines 2009, arXiv 0712.4273; on patches: Zoran and "
        "Weiss 2011",
        sample_cost="one triangular solve",
        differences="the cited EM for patches has no prior; here one worth a thousandth of a row keeps components from "
        "falling on single rows, one that dies takes half of the heaviest, responsibilities below 1e-6 count as 0, and "
        "of two starts that is taken which scores better on held-out training rows",
        bibtex=("dempster1977maximum", "cappe2009online", "zoran2011learning"),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(steps=100, batch_size=10_000, validate_every=20, bf16=False, reference_seconds=5),
        "standard": Plan(steps=400, batch_size=20_000, validate_every=50, bf16=False, reference_seconds=32),
        "paper": Plan(steps=5000, batch_size=50_000, validate_every=100, bf16=False, reference_seconds=300),
    }

    def __init__(self, features: int, components: int = 10, init: str = "auto") -> None:
        super().__init__(features, positive_integer("components", components))
        if init not in INITS:
            raise InputError(f"gmm: init '{init}' is unknown; choose one of {', '.join(INITS)}.")
        self.init = init
        self.logits = nn.Parameter(torch.zeros(components))
        self._prior: Prior | None = None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        self.logits.zero_()
        self._set_components(torch.randn_like(self.means), torch.eye(self.features).expand(self.components, -1, -1))

    @property
    def size(self) -> float:
        return max(1.0, self.components / 10)  # the E-step grows with them

    def log_weights(self) -> Tensor:
        return torch.log_softmax(self.logits, -1)

    def prepare(self, batches: Batches) -> None:
        sample = torch.as_tensor(batches.take(max(INIT_ROWS, 100 * self.components)))
        mean, covariance = moments(sample.numpy())
        factor = cholesky(covariance, self.name)
        self._prior = Prior(mean, covariance, batches.size)
        white = torch.linalg.solve_triangular(factor.t(), sample.double() - mean, upper=True, left=False)
        rows = sample.to(self.means)
        trials = []
        for init in INITS[1:] if self.init == "auto" else (self.init,):
            weights, means, covariances = STARTS[init](white, self.components)
            self._set_mixture(weights, mean + means @ factor.t(), factor @ torch.linalg.cholesky(covariances))
            if self.init == "auto":
                start = clone_state(self)
                # Stepwise on one half (which is less than all rows, so the start is not forgotten) and scored on the
                # other: with few rows a component, plain EM and its training score prefer the start that overfits
                # sooner, k-means++ on patches at K = 200.
                learnt, held_out = rows[::2], rows[1::2]
                trial = ExpectationMaximisation(self, self._prior._replace(rows=len(rows)))
                for iteration in range(TRIAL_ITERATIONS):
                    trial.step(learnt, iteration, 1.0)
                trials.append((trial.score(held_out), start))
        if trials:
            # The start, not what the trial made of it.
            self.load_state_dict(max(trials, key=lambda trial: trial[0])[1])

    def _set_mixture(self, weights: Tensor, means: Tensor, factors: Tensor) -> None:
        with torch.no_grad():
            self.logits.copy_(weights.log())
        self._set_components(means, factors)

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        assert self._prior is not None
        # Of a stream, every row is a new one.
        rows = self._prior.rows or plan.steps * plan.batch_size
        return ExpectationMaximisation(self, self._prior._replace(rows=rows))


class ExpectationMaximisation(ModuleLearner):
    """The learner of a `GMM`: one E-step on the batch, one step of the statistics, one exact M-step."""

    module: GMM

    def __init__(self, model: GMM, prior: Prior) -> None:
        assert prior.rows is not None
        super().__init__(model)
        self.centre = prior.mean.to(model.device)
        self.prior_covariance = prior.covariance.to(model.device)
        self.rows = prior.rows
        self.statistics = self._implied()

    @torch.no_grad()
    def _implied(self) -> Statistics:
        """The statistics of which the model's present parameters are the M-step."""
        factors = invert(self.module._whitening().double())
        weights = self.module.log_weights().double().exp()
        means = self.module.means.double() - self.centre
        return _pooled(weights, means, factors @ factors.mT)

    @torch.no_grad()
    def step(self, batch: Tensor, step: int, progress: float) -> float:
        log_likelihood, statistics = self._expect(batch)
        share = 1.0 if len(batch) >= self.rows else (step + 2) ** -KAPPA
        self.statistics = self.statistics.towards(statistics, share)
        if progress < 0.5:
            self._revive()
        self._maximise()
        return -log_likelihood

    def _expect(self, batch: Tensor) -> tuple[float, Statistics]:
        """The E-step: mean log-likelihood of the batch, and its statistics."""
        joint = torch.cat([self.module.joint_log_prob(block) for block in batch.split(BLOCK_ROWS)])
        log_likelihood = torch.logsumexp(joint, -1, keepdim=True)
        responsibilities = (joint - log_likelihood).exp_().t().contiguous()  # [K, B]
        centred = batch.double() - self.centre
        statistics = Statistics(*(torch.zeros_like(part) for part in self.statistics))
        for k, responsibility in enumerate(responsibilities):
            live = (responsibility > LEAST_RESPONSIBILITY).nonzero().squeeze(-1)
            share = responsibility[live].double() / len(batch)
            rows = centred[live]
            statistics.counts[k] = share.sum()
            statistics.sums[k] = share @ rows
            statistics.scatters[k] = (rows.t() * share) @ rows
        return log_likelihood.double().mean().item(), statistics

    def _maximise(self) -> None:
        """The M-step, maximum a posteriori under the prior."""
        counts, sums, scatters = self.statistics
        prior = PRIOR_ROWS / self.rows
        counts = counts + prior
        means = sums / counts[:, None]
        covariances = (scatters + prior * self.prior_covariance) / counts[:, None, None] - _outer(means)
        self.module._set_mixture(counts / counts.sum(), self.centre + means, torch.linalg.cholesky(covariances))

    def _revive(self) -> None:
        """Give each component with fewer rows than a covariance needs half of the heaviest one."""
        needed = (self.module.features + 1) / self.rows
        counts, sums, scatters = self.statistics
        for dead in (counts < needed).nonzero().squeeze(-1).tolist():
            donor = int(counts.argmax())
            if counts[donor] < 2 * needed:
                return
            mean = sums[donor] / counts[donor]
            covariance = scatters[donor] / counts[donor] - _outer(mean)
            variances, directions = torch.linalg.eigh(covariance)
            # Two halves, half a standard deviation to either side along the widest direction, that together have
            # the mean and the covariance of the whole.
            offset = 0.5 * variances[-1].clamp_min(0).sqrt() * directions[:, -1]
            halves = _pooled(
                counts[donor].div(2).expand(2), torch.stack([mean - offset, mean + offset]), covariance - _outer(offset)
            )
            for mine, new in zip(self.statistics, halves, strict=True):
                mine[[donor, dead]] = new

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "statistics": list(self.statistics)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.statistics = Statistics(*(part.to(self.centre) for part in state["statistics"]))


def _outer(vectors: Tensor) -> Tensor:
    """v v^T: [..., D] -> [..., D, D]."""
    return vectors.unsqueeze(-1) * vectors.unsqueeze(-2)


def _pooled(weights: Tensor, means: Tensor, covariances: Tensor) -> Statistics:
    """The statistics of components with these weights [K], means [K, D] and covariances [..., D, D]."""
    return Statistics(weights, weights[:, None] * means, weights[:, None, None] * (covariances + _outer(means)))


def _start_kmeans(white: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and covariances from greedy k-means++ seeds and a few Lloyd iterations on rows [n, D]."""
    n, features = white.shape
    tries = 2 + int(math.log(components))
    centres = white[torch.randint(n, (1,))]
    nearest = torch.cdist(white, centres).squeeze(-1).square()
    while len(centres) < components:
        # Where all rows are centres already, any row will do.
        odds = nearest if nearest.sum() > 0 else torch.ones_like(nearest)
        candidates = white[torch.multinomial(odds, tries, replacement=True)]
        distances = torch.minimum(nearest[:, None], torch.cdist(white, candidates).square())  # [n, tries]
        best = int(distances.sum(0).argmin())
        centres, nearest = torch.cat([centres, candidates[best, None]]), distances[:, best]
    for _ in range(LLOYD_ITERATIONS):
        members = torch.nn.functional.one_hot(torch.cdist(white, centres).argmin(-1), components).to(white)
        counts = members.sum(0)
        centres = torch.where(counts[:, None] > 0, members.t() @ white / counts.clamp_min(1)[:, None], centres)
    label = torch.cdist(white, centres).argmin(-1)
    counts = torch.bincount(label, minlength=components).to(white)
    residuals = white - centres[label]
    pooled = residuals.t() @ residuals / n
    # Small clusters borrow the shape of all clusters; a trace of the data's own covariance covers exact duplicates.
    shared = (features + 1) * (pooled + 1e-3 * torch.eye(features).to(white))
    scatters = torch.stack([(part := residuals[label == k]).t() @ part for k in range(components)])
    covariances = (scatters + shared) / (counts + features + 1)[:, None, None]
    return (counts + 1) / (n + components), centres, covariances


def _start_scales(white: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and covariances of a scale mixture: each with the contrast and direction of a random row."""
    n, features = white.shape
    seeds = white[torch.randint(n, (components,))]
    power = seeds.square().mean(-1).clamp_min(1e-6)
    round_part = power[:, None, None] * torch.eye(features).to(white)
    covariances = (1 - SCALE_SPIKE) * round_part + SCALE_SPIKE * _outer(seeds)
    return torch.full((components,), 1 / components).to(white), torch.zeros_like(seeds), covariances


STARTS = {"kmeans++": _start_kmeans, "scale": _start_scales}
