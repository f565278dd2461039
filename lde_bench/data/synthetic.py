"""Synthetic densities whose true log-likelihood is known exactly, for checking models and evaluation.

`gaussian-correlated`, `ring` and `scale-mixture` have no source but this file. The correlated ones are separable
first-order autoregressions on a grid, written as recursions: exact, and free of linear-algebra libraries whose
rounding differs between machines. Rows come one after another from one stream per split, so a smaller split is a
prefix of a larger, and any size may be asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from lde_bench.data.base import SPLITS, Dataset, DatasetEntry, Request
from lde_bench.memory import check_memory
from lde_bench.seeds import derive_seed

VERSION = "1"
DEFAULT_SIZES = {"train": 100_000, "validation": 10_000, "test": 20_000}


class Density(Protocol):
    """A density that can be sampled and evaluated exactly; rows have `features` numbers."""

    @property
    def features(self) -> int: ...

    def sample(self, n: int, normal: np.random.Generator, choice: np.random.Generator) -> np.ndarray:
        """float64 [n, d]; rows are taken in order from the two streams."""

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """float64 [n], nats."""


def _logsumexp(terms: np.ndarray) -> np.ndarray:
    top = terms.max(axis=-1, keepdims=True)
    return (top + np.log(np.exp(terms - top).sum(axis=-1, keepdims=True)))[..., 0]


@dataclass(frozen=True)
class ScaleMixture:
    """z = s g: g a unit-variance Gaussian field on a grid, s drawn uniformly from `scales` (one scale: a Gaussian).

    The correlation of two cells is correlation ** (their distance in city blocks), so whitening is a first difference
    along each axis, and log det of the correlation matrix is sum over axes of
    (m - 1) (cells / m) log(1 - correlation^2) with m the axis length.
    """

    grid: tuple[int, int]
    correlation: float
    scales: tuple[float, ...]

    @property
    def features(self) -> int:
        return math.prod(self.grid)

    def sample(self, n: int, normal: np.random.Generator, choice: np.random.Generator) -> np.ndarray:
        field = normal.standard_normal((n, *self.grid))
        fresh = math.sqrt(1 - self.correlation**2)
        for axis in (1, 2):
            cells = np.moveaxis(field, axis, 0)
            for i in range(1, len(cells)):
                cells[i] = self.correlation * cells[i - 1] + fresh * cells[i]
        scale = np.array(self.scales)[(choice.random(n) * len(self.scales)).astype(int)]
        return field.reshape(n, -1) * scale[:, None]

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        field = np.array(x, dtype=np.float64).reshape(len(x), *self.grid)
        fresh = math.sqrt(1 - self.correlation**2)
        log_det = 0.0
        for axis in (1, 2):
            cells = np.moveaxis(field, axis, 0)
            cells[1:] = (cells[1:] - self.correlation * cells[:-1]) / fresh
            log_det += (1 - 1 / len(cells)) * math.prod(self.grid) * math.log(fresh)
        square = (field**2).sum(axis=(1, 2))[:, None]
        scales, d = np.array(self.scales), math.prod(self.grid)
        terms = -0.5 * square / scales**2 - d * np.log(scales) - math.log(len(scales))
        return _logsumexp(terms) - log_det - 0.5 * d * math.log(2 * math.pi)


@dataclass(frozen=True)
class Ring:
    """Eight round Gaussians of standard deviation `width`, evenly on the unit circle, with equal weights."""

    width: float
    features: ClassVar[int] = 2

    @property
    def _centres(self) -> np.ndarray:
        half = math.sqrt(0.5)
        quarter = np.array([[1.0, 0.0], [half, half], [0.0, 1.0], [-half, half]])
        return np.concatenate([quarter, -quarter])

    def sample(self, n: int, normal: np.random.Generator, choice: np.random.Generator) -> np.ndarray:
        centre = self._centres[(choice.random(n) * 8).astype(int)]
        return centre + self.width * normal.standard_normal((n, 2))

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        offset = np.asarray(x, dtype=np.float64)[:, None, :] - self._centres
        terms = -0.5 * (offset**2).sum(axis=-1) / self.width**2
        return _logsumexp(terms) - math.log(8 * 2 * math.pi * self.width**2)


def _loader(name: str, density: Density) -> Callable[[Request], Dataset]:
    def load(request: Request) -> Dataset:
        arrays: dict[str, np.ndarray] = {}
        for split in SPLITS:
            asked = getattr(request, split)
            streams = (
                np.random.Generator(np.random.PCG64(derive_seed("synthetic", name, VERSION, request.seed, split, of)))
                for of in ("normal", "choice")
            )
            n = DEFAULT_SIZES[split] if asked is None else asked
            # As float64, scaled, and as float32.
            check_memory(f"{n:,} {split} rows", 20 * n * density.features, f"ask for fewer: a smaller {split}.")
            arrays[split] = density.sample(n, *streams).astype(np.float32)
        return Dataset.of(name, VERSION, request.seed, arrays, true_log_prob=density.log_prob)

    return load


def _entry(name: str, description: str, density: Density) -> DatasetEntry:
    source = "lde-bench, exact log-density"
    load = _loader(name, density)
    return DatasetEntry(name, VERSION, description, source, load, reads_files=False, is_drawn=True)


DATASETS = (
    _entry("gaussian-correlated", "8-D Gaussian, correlated as a 2x4 grid", ScaleMixture((2, 4), 0.8, (1.0,))),
    _entry("ring", "2-D mixture of eight Gaussians on a circle", Ring(width=0.1)),
    _entry(
        "scale-mixture",
        "63-D Gaussian scale mixture, correlated as a 7x9 grid, heavy-tailed like image patches",
        ScaleMixture((7, 9), 0.9, (0.125, 0.25, 0.5, 1.0)),
    ),
)
