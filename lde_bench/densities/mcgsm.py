"""Mixtures of conditional Gaussian scale mixtures: the strong classical model of image patches.

Theis, Hosseini, Bethge 2012, PLoS ONE 7(7), e39857; Theis and Bethge 2015, arXiv 1506.03478,
in its factorised form. One model per dimension, on the numbers before it:

    p(c, s | x_<i)      proportional to  exp(eta_cs - 1/2 e^alpha_cs x_<i' K_c x_<i),  K_c = sum_n beta_cn^2 b_n b_n'
    p(x_i | x_<i, c, s) = N(x_i; a_c' x_<i, e^-alpha_cs)

A component c is a direction and a way to predict, a scale s a contrast: the gates infer the contrast from the energy of
the past, and the same precision e^alpha then says how far x_i may stray. The authors' code learns neither a_c nor K_c
on pixels: it whitens the past and standardises what a linear regression leaves of x_i. Both are the Cholesky factor of
the training covariance, z = m + L e: e_<i is the past whitened, e_i the residual in units of its deviation.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lde_bench.densities.base import LOG_2PI, Density
from lde_bench.densities.mixture import Mixture
from lde_bench.densities.triangular import cholesky, moments
from lde_bench.training.batches import Batches
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan

#: Rows from which the covariance and the contrasts are estimated.
START_ROWS = 300_000
#: Deviations of what tells components apart at the start, in whitened units.
START_NOISE = 0.1
#: Least contrast of a component at the start, in whitened units: rows may repeat.
SMALLEST_CONTRAST = 1e-3


class _LogMixture(torch.autograd.Function):
    """log sum_cs exp(eta - 1/2 e^alpha (q + r) + alpha / 2) - log sum_cs exp(eta - 1/2 e^alpha q).

    Differentiated by hand: autograd would keep and reread a dozen tensors of [B, C, S], which are most of the work; two
    suffice.
    """

    @staticmethod
    def forward(ctx: Any, energy: Tensor, residual: Tensor, eta: Tensor, alpha: Tensor) -> Tensor:
        """Energies q [B, C], squared residuals r [B, C], eta [C, S], alpha [C, S] -> [B]."""
        half = -0.5 * alpha.exp()
        gates = torch.addcmul(eta, energy.unsqueeze(-1), half)  # [B, C, S]
        joint = torch.addcmul(gates, residual.unsqueeze(-1), half).add_(0.5 * alpha)
        parts = []
        for terms in (joint, gates):
            rows = terms.flatten(1)
            top = rows.amax(1, keepdim=True)
            total = rows.sub_(top).exp_().sum(1, keepdim=True)
            rows.div_(total)  # what was a logarithm is now a posterior weight
            parts.append((top + total.log()).squeeze(1))
        ctx.save_for_backward(energy, residual, half, joint, gates)
        return parts[0] - parts[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        energy, residual, half, after, before = ctx.saved_tensors
        after = after * gradient[:, None, None]
        moved = torch.addcmul(after, before, gradient[:, None, None], value=-1)
        for_residual = torch.einsum("bcs,cs->bc", after, half)
        for_energy = torch.einsum("bcs,cs->bc", moved, half)
        # d half / d alpha = half, and alpha / 2 is the logarithm of a standard deviation.
        for_half = torch.einsum("bcs,bc->cs", moved, energy) + torch.einsum("bcs,bc->cs", after, residual)
        return for_energy, for_residual, moved.sum(0), for_half * half + 0.5 * after.sum(0)


class MCGSM(Density):
    """Mixtures of conditional Gaussian scale mixtures, as published but for the optimiser (Adam, not L-BFGS).

    Args:
        features: D.
        components: C, each with its own predictor a_c and gate K_c.
        scales: S, contrasts per component; a conditional is a mixture of C * S Gaussians.
        quadratic_features: N, directions b_n that the gates of one dimension share.
    """

    mean: Tensor
    factor: Tensor

    name = "mcgsm"
    place = 30
    replayable = True
    input = "Cholesky"
    card = Card(
        summary="mixtures of conditional Gaussian scale mixtures, one per dimension, C components of S scales",
        source="Theis, Hosseini, Bethge 2012, PLoS ONE 7(7) e39857; Theis, Bethge 2015, arXiv 1506.03478",
        sample_cost="every conditional once: one forward pass in all",
        differences="published: components=128 (4 scales, 48 quadratic features), each dimension up to 2000 steps of "
        "L-BFGS on 1,000,000 patches; here all dimensions at once by Adam with averaged weights, started from a "
        "Gaussian scale mixture",
        bibtex=("theis2012mixtures", "theis2015generative"),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(
            steps=250,
            batch_size=256,
            rate=1e-2,
            warmup=20,
            average=0.95,
            validate_every=125,
            reference_seconds=45,
        ),
        "standard": Plan(
            steps=3_600,
            batch_size=256,
            rate=1e-2,
            clip=10.0,
            average=0.995,
            validate_every=500,
            reference_seconds=130,
        ),
        "paper": Plan(
            steps=100_000,
            batch_size=2048,
            rate=1e-2,
            average=0.999,
            validate_every=2000,
            bf16=False,
            reference_seconds=1e5,
        ),
    }
    autoregressive = True
    equivariant = True
    # The energies are sums of squares under an exponential: bfloat16 would lose the digits that choose a component.
    trains_in_bf16 = False

    def __init__(self, features: int, components: int = 32, scales: int = 4, quadratic_features: int = 48) -> None:
        super().__init__(features)
        self.components = positive_integer("components", components)
        self.scales = positive_integer("scales", scales)
        self.quadratic_features = positive_integer("quadratic_features", quadratic_features)
        past = self.features * (self.features - 1) // 2
        # Row by row of the strictly lower triangle: i of them for dimension i, counted from 0.
        self.predictors = nn.Parameter(torch.zeros(past, self.components))  # a
        self.directions = nn.Parameter(torch.zeros(past, self.quadratic_features))  # b
        self.loadings = nn.Parameter(torch.zeros(self.features - 1, self.quadratic_features, self.components))  # beta
        self.log_weights = nn.Parameter(torch.zeros(self.features, self.components, self.scales))  # eta
        self.log_precisions = nn.Parameter(torch.zeros(self.features, self.components, self.scales))  # alpha
        #: The first dimension has no past to predict it from: its components have means.
        self.first_means = nn.Parameter(torch.zeros(self.components))
        self.register_buffer("mean", torch.zeros(self.features))
        self.register_buffer("factor", torch.eye(self.features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for start in (self.predictors, self.first_means):
            nn.init.normal_(start, std=START_NOISE)
        with torch.no_grad():
            self._start(torch.ones(self.components * self.scales))

    def prepare(self, batches: Batches) -> None:
        rows = batches.take(START_ROWS)
        mean, covariance = moments(rows)
        self.mean.copy_(mean)
        self.factor.copy_(cholesky(covariance, self.name))
        contrast = self._whiten(torch.as_tensor(rows).to(self.mean)).square().mean(-1).sqrt()
        share = (torch.arange(self.components * self.scales) + 0.5) / (self.components * self.scales)
        # By NumPy: torch's quantile refuses more than 2^24 numbers.
        levels = np.quantile(contrast.cpu().numpy(), share.numpy())
        with torch.no_grad():
            self._start(torch.as_tensor(levels).clamp_min(SMALLEST_CONTRAST))

    def _start(self, contrasts: Tensor) -> None:
        """Make every conditional that of one Gaussian scale mixture of these deviations [S * C], all as likely.

        Each component gets contrasts of the whole range, interleaved with those of the others.
        """
        alpha = -2 * contrasts.to(self.mean).log().view(self.scales, self.components).t()  # [C, S]
        self.log_precisions.copy_(alpha.expand_as(self.log_precisions))
        directions = []
        for i in range(self.features):
            seen = min(i, self.quadratic_features)
            # The likelihood of the i numbers before, as far as N orthonormal directions see them.
            self.log_weights[i] = 0.5 * seen * alpha
            frame = torch.randn(i, self.quadratic_features)
            frame[:, :seen] = torch.linalg.qr(frame[:, :seen])[0]
            frame[:, seen:] /= math.sqrt(max(i, 1))
            directions.append(frame)
            if i > 0:
                strength = torch.full((self.quadratic_features, 1), START_NOISE)
                strength[:seen] = 1.0
                noise = torch.randn(self.quadratic_features, self.components)
                self.loadings[i - 1] = strength * (1 + START_NOISE * noise)
        self.directions.copy_(torch.cat(directions))

    def _whiten(self, x: Tensor) -> Tensor:
        """e of x = m + L e: [B, D] -> [B, D]."""
        return torch.linalg.solve_triangular(self.factor.t(), x - self.mean, upper=True, left=False)

    def _parts(self) -> list[tuple[Tensor, Tensor]]:
        """Split the parameters into a [i, C] and b [i, N] of every dimension i."""
        sizes = list(range(self.features))
        return list(zip(self.predictors.split(sizes), self.directions.split(sizes), strict=True))

    def _experts(self, i: int, e: Tensor, part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Energies e_<i' K_c e_<i and means a_c' e_<i of dimension i: each [B, C]."""
        if i == 0:
            means = self.first_means.expand(len(e), -1)
            return torch.zeros_like(means), means
        past = e[:, :i]
        predictors, directions = part
        return (past @ directions).square() @ self.loadings[i - 1].square(), past @ predictors

    def _mixture(self, i: int, e: Tensor, part: tuple[Tensor, Tensor]) -> Mixture:
        """p(e_i | e_<i) as C * S Gaussians: [B, C * S]."""
        energy, means = self._experts(i, e, part)
        alpha = self.log_precisions[i]
        gates = self.log_weights[i] - 0.5 * alpha.exp() * energy.unsqueeze(-1)  # [B, C, S]
        means = means.unsqueeze(-1).expand_as(gates)
        log_scales = (-0.5 * alpha).expand_as(gates)
        return Mixture(gates.flatten(1), means.flatten(1), log_scales.flatten(1))

    def conditional_log_prob(self, x: Tensor) -> Tensor:
        e = self._whiten(x)
        terms = []
        for i, part in enumerate(self._parts()):
            energy, means = self._experts(i, e, part)
            residual = (e[:, i, None] - means).square()
            terms.append(_LogMixture.apply(energy, residual, self.log_weights[i], self.log_precisions[i]))
        return torch.stack(terms, -1) - self.factor.diagonal().log() - 0.5 * LOG_2PI

    def conditional_cdf(self, x: Tensor) -> Tensor:
        e = self._whiten(x)
        return torch.stack([self._mixture(i, e, part).cdf(e[:, i]) for i, part in enumerate(self._parts())], -1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conditional_log_prob(x).sum(-1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        e = torch.zeros(n, self.features, dtype=self.dtype, device=self.device)
        for i, part in enumerate(self._parts()):
            e[:, i] = self._mixture(i, e, part).sample(generator)
        return self.mean + e @ self.factor.t()
