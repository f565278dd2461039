"""The unit of a user's own data: each column is centred and scaled once, in float64, before the cast to float32.

A density does not depend on the units of the data: where p is the density of z = (x - m) / s, that of x is
log p(x) = log p(z) - sum log s. Models are trained on z, all log-likelihoods that are reported are those of x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lde_bench.errors import InputError


@dataclass(frozen=True, eq=False)
class Unit:
    """Origin and scale of every column: `mean` and `scale`, float64 [D]."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, owner: str, train: np.ndarray) -> Unit:
        """Take mean and standard deviation of the columns of the training rows, float64 [n, D].

        Raises:
            InputError: a column holds one value only; `owner` says whose.
        """
        constant = train.max(0) == train.min(0)
        if constant.any():
            column = int(constant.argmax())
            raise InputError(
                f"{owner}: column {column} of 'train' is {train[0, column]:g} in every row and has no density; remove "
                "the column or give more rows."
            )
        # By powers of two, which round nothing, so that neither sums nor squares leave the range of float64.
        _, exponent = np.frexp(np.abs(train).max(0))
        small = np.ldexp(train, -exponent)
        return cls(np.ldexp(small.mean(0), exponent), np.ldexp(small.std(0), exponent))

    @property
    def log_det(self) -> float:
        """The sum of log scale: how many nats log p(z) exceeds log p(x)."""
        return float(np.log(self.scale).sum())

    def apply(self, x: np.ndarray) -> np.ndarray:
        """z = (x - mean) / scale: [n, D] -> float64 [n, D]."""
        with np.errstate(over="ignore"):  # whoever casts the result looks for infinities
            return (np.asarray(x, dtype=np.float64) - self.mean) / self.scale

    def undo(self, z: np.ndarray) -> np.ndarray:
        """x = mean + scale z: [n, D] -> float64 [n, D]."""
        return self.mean + self.scale * np.asarray(z, dtype=np.float64)
