"""Why Deep RNADE lags behind: the same network, freed of one of its tasks at a time.

    python benchmarks/deep_rnade_gap.py --seconds 120 --threads 1

Rows: patches, and draws of one Gaussian with the mean and covariance of patches, whose log-likelihood is known exactly
and asks for linear predictions alone. Columns: trained for all orderings, as published; for the growing sets of one
ordering; and for all orderings behind Cholesky whitening, after which no dimension of the Gaussian tells of another.
Every run has the same CPU seconds of training, the plan of `standard` made shorter, and is scored on the exact
log-likelihood of 1,024 validation rows under the sequential ordering.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from short_runs import main, nats, patches
from torch import Tensor

from lde_bench.densities import create, deep_rnade
from lde_bench.seeds import derive_generator, derive_seed

ROWS, COVARIANCE_ROWS = 300_000, 100_000

#: What a run is called, its method, and whether it sees the sets of one ordering alone.
RUNS = (
    ("all orderings", "deep-rnade:components=10", False),
    ("one ordering", "deep-rnade:components=10", True),
    ("all orderings, whitened", "deep-rnade+w:components=10", False),
)


def growing_seen(rows: int, features: int, device: torch.device) -> Tensor:
    """The first d dimensions for every row, d dealt out evenly as `random_seen` does: bool [B, D]."""
    size = (torch.randint(features, (1,), device=device) + torch.arange(rows, device=device)) % features
    return torch.arange(features, device=device) < size.unsqueeze(-1)


def gaussian_like(rows: np.ndarray, count: int, what: str) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Draws [count, D] of the Gaussian with the moments of `rows` [n, D], and its log density in nats."""
    mean, factor = rows.mean(0), np.linalg.cholesky(np.cov(rows.T))
    noise = derive_generator(0, "deep-rnade-gap", what).standard_normal((count, len(mean)))
    log_volume = np.log(factor.diagonal()).sum() + 0.5 * len(mean) * np.log(2 * np.pi)

    def log_prob(x: np.ndarray) -> np.ndarray:
        return -0.5 * np.square(np.linalg.solve(factor, (x - mean).T)).sum(0) - log_volume

    return (mean + noise @ factor.T).astype(np.float32), log_prob


def measure(seed: int, seconds: float) -> None:
    train, validation = patches(ROWS)
    drawn, log_prob = gaussian_like(np.asarray(train[:COVARIANCE_ROWS], dtype=np.float64), ROWS, "rows")
    cut = len(drawn) - len(validation)
    stride = max(1, len(validation) // deep_rnade.SCORE_ROWS)
    scored = drawn[cut:][::stride][: deep_rnade.SCORE_ROWS]
    print(f"Gaussian, exact: {log_prob(scored.astype(np.float64)).mean():.2f} nats", flush=True)
    for name, rows, held_out in (("Gaussian", drawn[:cut], drawn[cut:]), ("patches", train, validation)):
        for told, method, one_ordering in RUNS:
            density = create(method, train.shape[1])
            seen = growing_seen if one_ordering else deep_rnade.random_seen
            with mock.patch.object(deep_rnade, "random_seen", seen):
                found = nats(density, rows, held_out, derive_seed("deep-rnade-gap", method, seed), seconds)
            print(f"{name}, {told}: {found:.2f} nats", flush=True)


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", measure))
