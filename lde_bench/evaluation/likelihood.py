"""Log-likelihood of a density on held-out items: the mean, its standard errors, and the mean of every photograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lde_bench.errors import TrainingDiverged
from lde_bench.evaluation.statistics import GroupMeans, naive_standard_error


class HasLogProb(Protocol):
    """Anything with a log-density: [n, D] -> [n] nats."""

    def log_prob(self, x: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Likelihood:
    """Log-likelihoods in nats: of every item [n], their mean, and by photograph where the items have one, else by block
    (`GroupMeans.of_blocks`).
    """

    items: np.ndarray
    mean: float
    standard_error: float
    groups: GroupMeans | None
    blocks: GroupMeans | None


def evaluate(
    density: HasLogProb, rows: np.ndarray, groups: np.ndarray | None, what: str = "test", log_det: float = 0.0
) -> Likelihood:
    """Log-likelihood of `rows` [n, D], `groups` int64 [n] saying which photograph each came from.

    `log_det` nats, those of the change of variables that made the rows, are subtracted from that of each.

    Raises:
        TrainingDiverged: see `summarise`.
    """
    return summarise(np.asarray(density.log_prob(rows), dtype=np.float64) - log_det, groups, what)


def summarise(log_likelihoods: np.ndarray, groups: np.ndarray | None, what: str = "test") -> Likelihood:
    """What is reported of the log-likelihoods of items [n], in nats; `groups` as in `evaluate`.

    Sums are taken in float64. Nothing is dropped:

    Raises:
        TrainingDiverged: a log-likelihood is NaN or infinite; the message counts them.
    """
    items = np.asarray(log_likelihoods, dtype=np.float64)
    bad = ~np.isfinite(items)
    if bad.any():
        nan, infinite = int(np.isnan(items).sum()), int(np.isinf(items).sum())
        raise TrainingDiverged(
            f"{int(bad.sum())} of {len(items)} {what} log-likelihoods are not finite ({nan} NaN, {infinite} infinite; "
            f"the first is item {int(bad.argmax())}); the model is no usable density, try a lower rate or more data."
        )
    return Likelihood(
        items=items,
        mean=float(items.mean()),
        standard_error=naive_standard_error(items),
        groups=None if groups is None else GroupMeans.from_items(items, groups),
        blocks=GroupMeans.of_blocks(items) if groups is None else None,
    )
