"""Moments of the training rows, and full-covariance Gaussian components stored by their whitening transforms.

A component N(m, S) with S = L L^T is stored as m and the lower-triangular A = L^-1, like scikit-learn's
`precisions_cholesky_`: e = A (x - m) is standard normal and log det A is the sum of the logs of A's diagonal, so the
density costs one matrix product over all components and no solve. A is triangular, hence e_i depends on x_1 ... x_i
alone and each conditional p(x_i | x_<i) is there for free.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from lde_bench.densities.base import LOG_2PI, Density
from lde_bench.errors import InputError
from lde_bench.training.batches import Batches

#: Rows turned to float64 at once.
CHUNK_ROWS = 65_536

#: Training rows from which mean and scale of every feature are taken.
STANDARDISE_ROWS = 100_000

#: Features of a block of the product A x: a matter of speed alone (twice as fast as one block at D = 63, K = 200).
BLOCK_FEATURES = 32

#: Share of a feature's variance that the features before it must leave unexplained. Float32 rounding of an exact
#: linear combination leaves about 1e-15.
UNEXPLAINED_SHARE = 1e-12


def moments(rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean [D] and maximum-likelihood covariance [D, D] of `rows` [n, D], in float64, two passes, bounded memory.

    That of a constant column is 0, and not what its mean was rounded by.
    """
    chunks = [rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS)]
    mean = np.sum([chunk.sum(0, dtype=np.float64) for chunk in chunks], axis=0) / len(rows)
    scatter = np.zeros((rows.shape[1], rows.shape[1]))
    for chunk in chunks:
        centred = chunk.astype(np.float64) - mean
        scatter += centred.T @ centred
    constant = rows_are_constant(rows)
    scatter[constant] = scatter[:, constant] = 0.0
    return torch.as_tensor(mean), torch.as_tensor(scatter / len(rows))


def rows_are_constant(rows: np.ndarray) -> np.ndarray:
    """Which columns of `rows` [n, D] hold one value: bool [D]."""
    return (rows == rows[:1]).all(0)


def standardisation(batches: Batches) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every feature of the training rows, 1 for a constant one: float64 [D] each."""
    rows = np.asarray(batches.take(STANDARDISE_ROWS), dtype=np.float64)
    scale = rows.std(0)
    return torch.as_tensor(rows.mean(0)), torch.as_tensor(np.where(rows_are_constant(rows), 1.0, scale))


def cholesky(covariance: Tensor, what: str) -> Tensor:
    """Lower Cholesky factor of a covariance [D, D].

    Raises:
        InputError: it is singular; `what` says whose covariance it is.
    """
    factor, failed_at = torch.linalg.cholesky_ex(covariance)
    left = factor.diagonal().square() > UNEXPLAINED_SHARE * covariance.diagonal()
    if failed_at or not left.all():
        feature = int(failed_at) - 1 if failed_at else int(left.int().argmin())
        raise InputError(
            f"{what}: the covariance of the training rows is singular, feature {feature} is constant or a linear "
            "combination of those before it; remove it or give more rows."
        )
    return factor


def invert(factor: Tensor) -> Tensor:
    """Inverses of lower-triangular matrices: [..., D, D] -> [..., D, D]."""
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)


class TriangularGaussians(Density):
    """A mixture of K full-covariance Gaussians; a subclass says with which weights.

    Args:
        features: D.
        components: K.
    """

    input = "any"
    autoregressive = True
    equivariant = True
    trains_in_bf16 = False

    def __init__(self, features: int, components: int) -> None:
        super().__init__(features)
        self.components = components
        self.means = nn.Parameter(torch.zeros(components, self.features))
        #: The lower triangles of A, row by row.
        self.transforms = nn.Parameter(torch.zeros(components, self.features * (self.features + 1) // 2))

    def log_weights(self) -> Tensor:
        """Logarithms of the mixture weights: [K]."""
        raise TypeError(f"{type(self).__name__} does not define log_weights")

    def _triangle(self) -> Tensor:
        return torch.tril_indices(self.features, self.features, device=self.device)

    def _whitening(self) -> Tensor:
        """A of every component: [K, D, D]."""
        row, column = self._triangle()
        full = self.transforms.new_zeros(self.components, self.features, self.features)
        full[:, row, column] = self.transforms
        return full

    @torch.no_grad()
    def _set_components(self, means: Tensor, factors: Tensor) -> None:
        """Means [K, D] and Cholesky factors of the covariances [K, D, D]."""
        row, column = self._triangle()
        self.means.copy_(means)
        self.transforms.copy_(invert(factors.to(self.device))[:, row, column])

    def _standardised(self, x: Tensor) -> Iterator[Tensor]:
        """e = A (x - m) [B, K, D], in blocks of its last axis: half of A is zeros, most of which a block skips."""
        whitening = self._whitening()
        # Subtracting a point amid the components first keeps digits where the data lie far from zero.
        centre = self.means.detach().mean(0)
        offset = torch.einsum("kij,kj->ki", whitening, self.means - centre)
        x = x - centre
        for start in range(0, self.features, BLOCK_FEATURES):
            stop = min(self.features, start + BLOCK_FEATURES)
            rows = whitening[:, start:stop, :stop].flatten(0, 1)  # [K * block, stop]
            e = torch.addmm(-offset[:, start:stop].flatten(), x[:, :stop], rows.t())
            yield e.view(len(x), self.components, stop - start)

    def _log_scales(self) -> Tensor:
        """log A_ii: [K, D]."""
        diagonal = (torch.arange(self.features, device=self.device) + 1).cumsum(0) - 1
        return self.transforms[:, diagonal].log()

    def joint_log_prob(self, x: Tensor) -> Tensor:
        """log of weight times density of every component at x: [B, D] -> [B, K]."""
        joint = self.log_weights() + self._log_scales().sum(-1) - 0.5 * self.features * LOG_2PI
        for e in self._standardised(x):
            # The norm and its square make no copy of e: several times as fast as squaring and summing.
            joint = joint - 0.5 * torch.linalg.vector_norm(e, dim=-1).square()
        return joint

    def forward(self, x: Tensor) -> Tensor:
        return torch.logsumexp(self.joint_log_prob(x), -1)

    def _conditionals(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log P(k | x_<i), log p(x_i | x_<i, k) and e_i, each [B, K, D]."""
        e = torch.cat(list(self._standardised(x)), -1)
        terms = self._log_scales() - 0.5 * e.square() - 0.5 * LOG_2PI
        seen = torch.nn.functional.pad(terms.cumsum(-1)[..., :-1], (1, 0))
        return torch.log_softmax(self.log_weights().unsqueeze(-1) + seen, 1), terms, e

    def conditional_log_prob(self, x: Tensor) -> Tensor:
        """log p(x_i | x_<i) in nats: [B, D] -> [B, D]."""
        log_responsibilities, terms, _ = self._conditionals(x)
        return torch.logsumexp(log_responsibilities + terms, 1)

    def conditional_cdf(self, x: Tensor) -> Tensor:
        """P(X_i <= x_i | x_<i): [B, D] -> [B, D]."""
        log_responsibilities, _, e = self._conditionals(x)
        return (log_responsibilities.exp() * torch.special.ndtr(e)).sum(1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(n, self.features, generator=generator, dtype=self.dtype, device=self.device)
        component = torch.multinomial(self.log_weights().exp(), n, replacement=True, generator=generator)
        whitening = self._whitening()
        x = torch.empty_like(noise)
        for k in component.unique().tolist():
            chosen = component == k
            x[chosen] = self.means[k] + torch.linalg.solve_triangular(
                whitening[k].t(), noise[chosen], upper=True, left=False
            )
        return x
