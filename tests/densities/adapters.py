"""Classes of users' own, good and bad: none of them knows of lde-bench."""

from __future__ import annotations

import math
import sys

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


# -- classes that do more than they should -----------------------------------------------------------------------------


class InPlace(TensorsOnly):
    """Changes every array that it is given."""

    def fit(self, train, validation=None):
        super().fit(train, 1)
        train.sub_(train.mean(0))
        if validation is not None:
            validation.zero_()

    def log_prob(self, x):
        value = super().log_prob(x)
        x.zero_()
        return value


class InPlaceModule(Returns):
    """Changes the batches that our loop gives it."""

    def log_prob(self, x):
        value = Returns.forward(self).log_prob(x.clone())
        x.zero_()
        return value


class OneBuffer(Diagonal):
    """Gives the same memory again and again."""

    def log_prob(self, x):
        if not hasattr(self, "memory"):
            self.memory = np.empty(100_000, np.float32)
        value = self.memory[: len(x)]
        value[:] = Diagonal.log_prob(self, x)
        return value


class Leaves(Diagonal):
    """Ends the program, once it sees the data."""

    def fit(self, train):
        if len(train) > 256:
            sys.exit(0)
        super().fit(train)


class LeavesAtOnce(Diagonal):
    def fit(self, train):
        sys.exit(0)


class LeavesWhenMade(Diagonal):
    def __init__(self):
        sys.exit(0)


class LeavesWhenAsked(Diagonal):
    def log_prob(self, x):
        sys.exit(0)


class LeavesAsModule(Returns):
    def log_prob(self, x):
        sys.exit(0)


class Talks(Diagonal):
    """Prints the loss."""

    def __init__(self) -> None:
        super().__init__()
        print("made")

    def fit(self, train):
        print("epoch 1, loss 3.2")
        super().fit(train)

    def log_prob(self, x):
        print("asked")
        return super().log_prob(x)


class Tied(Returns):
    """Two names for one parameter, a buffer that is a view of another, and one across its memory."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.same = self.mean
        self.register_buffer("whole", torch.arange(6.0))
        self.register_buffer("part", self.whole[2:4])
        self.register_buffer("across", torch.arange(6.0).reshape(2, 3).t())


class Rows(nn.Module):
    """Keeps its training rows: the shape of its weights is that of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(0))

    def fit(self, train):
        self.rows = torch.as_tensor(train)

    def log_prob(self, x):
        each = torch.distributions.Normal(self.rows, 1.0).log_prob(x.unsqueeze(1)).sum(-1)
        return each.logsumexp(1) - math.log(len(self.rows))


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


class TakesAnyNumber(NoFit):
    """Its training array is one of those behind the star, and another argument is needed."""

    def fit(self, *arrays, epochs):
        pass


class OfTheClass(Diagonal):
    @classmethod
    def fit(cls, train):
        pass

    def log_prob(self, x):
        return np.zeros(len(x)) * 1j


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
