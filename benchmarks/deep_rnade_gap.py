"""Why Deep RNADE lags behind: the same network, freed of one of its tasks at a time.

    python benchmarks/deep_rnade_gap.py --seconds 120 --threads 1

Rows: patches, and draws of one Gaussian with the mean and covariance of patches, whose log-likelihood is known exactly
and asks for linear predictions alone. Columns: trained for all orderings, as published; for the growing sets of one
ordering; and for all orderings behind Cholesky whitening, after which no dimension of the Gaussian tells of another.
Every run has the same CPU seconds of training, the plan of `standard` made shorter, and is scored on the exact
log-likelihood of 1,024 validation rows under the sequential ordering.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from lde_bench.data import load_dataset
from lde_bench.densities import create, deep_rnade
from lde_bench.densities.spec import parse_method
from lde_bench.errors import LdeBenchError
from lde_bench.experiments.bsds300 import PROFILES
from lde_bench.progress import say
from lde_bench.seeds import derive_generator, derive_seed
from lde_bench.training.plan import Budget

ROWS, COVARIANCE_ROWS = 300_000, 100_000

BUDGET = Budget.of("standard")


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


def nats(method: str, one_ordering: bool, train: np.ndarray, validation: np.ndarray, seconds: float) -> float:
    """The validation log-likelihood after so many CPU seconds of training."""
    density = create(parse_method(method), train.shape[1])
    drawn = growing_seen if one_ordering else deep_rnade.random_seen
    with mock.patch.object(deep_rnade, "random_seen", drawn):
        density.fit(
            train,
            validation,
            seed=derive_seed("deep-rnade-gap", method, 0),
            profile=BUDGET.profile,
            seconds=seconds,
            clock="cpu",
            plan=density.plan(BUDGET).stretched(seconds / 600),
        )
    state = density.training_state
    assert state is not None
    assert state.best_score is not None
    return state.best_score


def measure(seconds: float) -> None:
    patches = load_dataset("bsds300", validation=PROFILES["standard"].validation, progress=True)
    train = np.asarray(patches.train[:ROWS], dtype=np.float32)
    validation = np.asarray(patches.validation, dtype=np.float32)
    drawn, log_prob = gaussian_like(np.asarray(train[:COVARIANCE_ROWS], dtype=np.float64), ROWS, "rows")
    cut = len(drawn) - len(validation)
    stride = max(1, len(validation) // deep_rnade.SCORE_ROWS)
    scored = drawn[cut:][::stride][: deep_rnade.SCORE_ROWS]
    print(f"Gaussian, exact: {log_prob(scored.astype(np.float64)).mean():.2f} nats", flush=True)
    for name, rows, held_out in (("Gaussian", drawn[:cut], drawn[cut:]), ("patches", train, validation)):
        for told, method, one_ordering in (
            ("all orderings", "deep-rnade:components=10", False),
            ("one ordering", "deep-rnade:components=10", True),
            ("all orderings, whitened", "deep-rnade+w:components=10", False),
        ):
            found = nats(method, one_ordering, rows, held_out, seconds)
            print(f"{name}, {told}: {found:.2f} nats", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU seconds of training a run")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    try:
        say(f"6 runs of {asked.seconds:g} CPU seconds each, and their evaluation")
        measure(asked.seconds)
    except LdeBenchError as error:
        say(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
