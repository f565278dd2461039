"""Nearest neighbours, exactly, in blocks of bounded memory; shared by the metrics that count balls and distances."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lde_bench.arrays import Rows, row_blocks
from lde_bench.evaluation.nulls import HALVINGS, halvings, null_of_halves, with_null
from lde_bench.evaluation.sample_measures import Measure, SampleSets, mean_and_error, share_error

#: Rows whose distances to a whole set are held at once.
BLOCK_ROWS = 1024

#: Rows of each set that the ball-counting metrics take: their nulls need all the distances between three times as many.
ROWS = 2000

#: Of two sets of items, the distances [B, M]. An item is a row of coordinates, or the index of a row.
Distance = Callable[[Tensor, Tensor], Tensor]


def points(*sets: np.ndarray) -> list[Tensor]:
    """The sets in float64, shifted alike so that the first is centred: a matrix product then rounds least."""
    centre = sets[0].mean(0, dtype=np.float64)
    return [torch.from_numpy(rows - centre) for rows in sets]


def euclidean(x: Tensor, y: Tensor) -> Tensor:
    """Distances between rows, x [B, D] and y [M, D] in float64 to float32 [B, M].

    One matrix product in float64. What is left after |x|^2 + |y|^2 - 2 xy cancels is rounding below
    (D + 8) 2^-53 (|x| + |y|)^2 (derived in `lde_bench.evaluation.parzen`); such a distance is 0 exactly. Rounding the
    others to float32 hides the order of summation, so that equal distances compare as equal.
    """
    scale = x.square().sum(1)[:, None] + y.square().sum(1)
    squares = torch.addmm(scale, x, y.T, alpha=-2)
    cancelled = squares < 2.04 * (x.shape[1] + 8) * 2.0**-53 * scale
    return squares.masked_fill_(cancelled, 0).sqrt_().float()


def pairwise(*sets: np.ndarray, block_rows: int = BLOCK_ROWS) -> Tensor:
    """The distances between all rows of the sets, one set after the other: float32 [N, N].

    Two blocks of rows at once are in float64: all of them would be gigabytes of colour images.
    """
    centre = sets[0].mean(0, dtype=np.float64)  # as in `points`
    blocks = [rows[block] for rows in sets for block in row_blocks(rows, most=block_rows)]
    starts = np.cumsum([0, *map(len, blocks)])
    places = [slice(start, stop) for start, stop in itertools.pairwise(starts.tolist())]
    table = torch.empty(int(starts[-1]), int(starts[-1]))
    for i, (here, block) in enumerate(zip(places, blocks, strict=True)):
        x = torch.from_numpy(block - centre)
        for there, other in zip(places[: i + 1], blocks, strict=False):
            distances = euclidean(x, torch.from_numpy(other - centre))
            table[here, there], table[there, here] = distances, distances.T
    return table


def radii(items: Tensor, k: int, distance: Distance = euclidean, block_rows: int = BLOCK_ROWS) -> Tensor:
    """The distance of each item to its k-th nearest other one, [n]."""
    # The nearest of k + 1 is the item itself, or one that is equal to it.
    parts = [distance(block, items).topk(k + 1, 1, largest=False).values[:, k] for block in items.split(block_rows)]
    return torch.cat(parts)


def count_balls(
    *,
    centres: Tensor,
    limits: Tensor,
    items: Tensor,
    distance: Distance = euclidean,
    block_rows: int = BLOCK_ROWS,
) -> tuple[Tensor, Tensor]:
    """Closed balls of radius `limits` [n] around `centres`: how many hold each item [m]; the items in each [n]."""
    holding = torch.zeros(len(items), dtype=torch.int64)
    held = []
    for block, radius in zip(centres.split(block_rows), limits.split(block_rows), strict=True):
        inside = distance(block, items) <= radius[:, None]  # [B, m]
        holding += inside.sum(0)
        held.append(inside.sum(1))
    return holding, torch.cat(held)


def nearest(queries: np.ndarray, items: Rows, block_rows: int = BLOCK_ROWS) -> tuple[np.ndarray, np.ndarray]:
    """The distance of each query [n, D] to the nearest item [m, D], float64 [n], and which one that is, int64 [n].

    Memory does not grow with m.
    """
    distance = torch.full((len(queries),), torch.inf)
    which = torch.zeros(len(queries), dtype=torch.int64)
    centre = queries.mean(0, dtype=np.float64)
    x = torch.from_numpy(queries - centre)
    for block in row_blocks(items, most=block_rows):
        here, index = euclidean(x, torch.from_numpy(items[block] - centre)).min(1)
        which = torch.where(here < distance, index + block.start, which)
        distance = torch.minimum(distance, here)
    return distance.double().numpy(), which.numpy()


def nearest_distances(queries: np.ndarray, items: Rows, block_rows: int = BLOCK_ROWS) -> np.ndarray:
    """The distance of each query [n, D] to the nearest item [m, D]: float64 [n]."""
    return nearest(queries, items, block_rows)[0]


#: Real items, generated items and the distance between any two of them, to the values per item of each figure, truth
#: values where the figure is a share.
PerItem = Callable[[Tensor, Tensor, Distance], dict[str, Tensor]]


def ball_measures(sets: SampleSets, metric: str, per_item: PerItem) -> dict[str, Measure]:
    """The figures of a metric that is a mean over items, each with its null.

    Value and null have the same number of rows on both sides, on which such figures depend.

    Args:
        sets: what is measured.
        metric: its name.
        per_item: of the metric.
    """
    generator = sets.generator(metric)
    chosen = sets.equal_points(ROWS, generator)
    n = len(chosen.test)
    (values,) = _values_of_parts(per_item, chosen.test, chosen.samples, np.arange(n)[None])
    draws = []
    if chosen.validation is not None:
        halves = halvings(n, HALVINGS, generator).reshape(2 * HALVINGS, n)
        draws = _values_of_parts(per_item, chosen.test, chosen.validation, halves)
    figures = {}
    for name, part in values.items():
        null = None
        if draws:
            null = null_of_halves(np.reshape([draw[name].double().mean().item() for draw in draws], (-1, 2)))
            null = null.within(0.0, 1.0 if part.dtype == torch.bool else math.inf)
        value, error = mean_and_error(part.double().numpy())
        figures[name] = with_null(
            value,
            share_error(value, len(part)) if part.dtype == torch.bool else error,
            null,
            f"{n} held-out items and {n} samples, {sets.space.words}; error over items, the other set held fixed",
            f"{HALVINGS} random halvings of {2 * n} validation items",
        )
    return figures


def _values_of_parts(
    per_item: PerItem, real: np.ndarray, others: np.ndarray, parts: np.ndarray
) -> list[dict[str, Tensor]]:
    """The values per item between `real` [n, F] and each of the `parts` [P, n] of `others`, by one table."""
    table = pairwise(real, others)

    def looked_up(x: Tensor, y: Tensor) -> Tensor:
        return table[x[:, None], y]

    n = len(real)
    return [per_item(torch.arange(n), n + torch.from_numpy(part), looked_up) for part in parts]
