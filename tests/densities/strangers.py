"""Classes of users' own, good and bad: none of them knows of lde-bench."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class Diagonal:
    """Independent Gaussians, in NumPy."""

    calls: list[dict[str, object]] = []  # noqa: RUF012 (what `fit` was given, for the tests)

    def __init__(self, width: float = 1.0) -> None:
        self.width = width

    def fit(self, train, validation=None, *, seed=None, steps=7, profile=None):
        rows = {"train": train.copy(), "validation": validation}
        Diagonal.calls.append({**rows, "seed": seed, "steps": steps, "profile": profile})
        self.mean, self.std = train.mean(0), self.width * train.std(0)

    def log_prob(self, x):
        z = (x - self.mean) / self.std
        return -0.5 * (z**2 + np.log(2 * np.pi)).sum(1) - np.log(self.std).sum()

    def sample(self, n, seed):
        return self.mean + self.std * np.random.default_rng(seed).normal(size=(n, len(self.mean)))


class TensorsOnly:
    """Independent Gaussians that take and give tensors, and draw from torch's global generator."""

    def fit(self, train, steps):
        self.steps = steps
        self.normal = torch.distributions.Independent(
            torch.distributions.Normal(train.mean(dim=0), train.std(dim=0)), 1
        )

    def log_prob(self, x):
        return self.normal.log_prob(x)

    def sample(self, n):
        return self.normal.sample((n,))


class Scaled(nn.Module):
    """A module with a fit of its own."""

    def __init__(self, features: int, random_state: int | None = None) -> None:
        super().__init__()
        self.random_state = random_state
        self.shift = nn.Parameter(torch.zeros(features))

    def fit(self, train):
        with torch.no_grad():
            self.shift.copy_(torch.as_tensor(train).mean(0))

    def log_prob(self, x):
        return torch.distributions.Normal(self.shift, 2.0).log_prob(x).sum(-1)


class Returns(nn.Module):
    """An `nn.Module` without `fit`, whose call returns a distribution."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(dim))
        self.log_std = nn.Parameter(torch.zeros(dim))

    def forward(self):
        return torch.distributions.Independent(torch.distributions.Normal(self.mean, self.log_std.exp()), 1)


# -- wrong densities: they keep the contract and break a law -----------------------------------------------------------


class BatchMean(Diagonal):
    """The mean over the batch for every row."""

    log_prob = None

    def score_samples(self, x):
        return np.full(len(x), Diagonal.log_prob(self, x).mean())


class Unnormalised(Diagonal):
    """The normalising constant is forgotten."""

    sample = None

    def log_prob(self, x):
        return -0.5 * (((x - self.mean) / self.std) ** 2).sum(1)


class TooLow(Diagonal):
    """A constant too small by half a nat, and no sampler."""

    sample = None

    def log_prob(self, x):
        return Diagonal.log_prob(self, x) - 0.5


# -- faults of the contract --------------------------------------------------------------------------------------------


class NoFit:
    def log_prob(self, x):
        return x.sum(1)


class NoDensity:
    def fit(self, train):
        pass


class NeedsMore:
    def __init__(self, folder):
        self.folder = folder

    fit = log_prob = NoDensity.fit


class NeedsLabels:
    def fit(self, train, labels):
        pass

    def log_prob(self, x):
        return x.sum(1)


class NoRows:
    def fit(self):
        pass

    log_prob = NoFit.log_prob


class PerFeature(Diagonal):
    def log_prob(self, x):
        return -0.5 * ((x - self.mean) / self.std) ** 2


class NotANumber(Diagonal):
    def log_prob(self, x):
        return Diagonal.log_prob(self, x) * np.nan


class Words(Diagonal):
    def log_prob(self, x):
        return "many nats"


class Stumbles(Diagonal):
    def fit(self, train):
        raise RuntimeError("no convergence.")


class NarrowSamples(Diagonal):
    def sample(self, n):
        return np.zeros((n, 1))


class Explodes(Diagonal):
    def __init__(self):
        raise OSError("no licence")


class NoDistribution(nn.Module):
    def forward(self):
        return torch.zeros(3)


class NoGradient(nn.Module):
    def forward(self):
        return torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)


a_function = NoFit.log_prob
