"""The mixture head, written once: K univariate Gaussians per dimension (Bishop 1994; Yoo et al. 2020, eq. 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from lde_bench.densities.base import LOG_2PI, Density, Input
from lde_bench.errors import InputError
from lde_bench.training.batches import Batches
from lde_bench.training.model import positive_integer, positive_number

FLOAT32 = torch.finfo(torch.float32)

#: Training rows from which a unit is taken.
UNIT_ROWS = 100_000

#: Bound on log sigma inside a network. exp(+-14) spans 12 orders of magnitude, more than any data here, and its
#: square stays finite in float32; it bounds the network's output, never the density.
LOG_SCALE_BOUND = 14.0

#: Standard deviations below a mean from which on the logarithm of a Gaussian's probability is that of its series.
FAR = 20.0

#: Intervals are narrow whose width times 1 + their distance from the mean, both in deviations, is below.
NARROW = 1e-2


def initial_outputs(components: int) -> Tensor:
    """Network outputs [3K] that start a dimension as K distinct Gaussians around zero: biases of a last layer."""
    spread = torch.linspace(-1, 1, components) if components > 1 else torch.zeros(1)
    return torch.cat([torch.zeros(components), 0.1 * spread, 1.5 * spread - 0.5 * (components > 1)])


class Mixture(NamedTuple):
    """Mixture parameters, each [..., K]; methods take and give [...]."""

    logits: Tensor
    means: Tensor
    log_scales: Tensor

    @classmethod
    def from_head(cls, outputs: Tensor) -> Self:
        """Split network outputs [..., 3K]; the mixture is computed in float32 or better whatever the network used."""
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
        logits, means, log_scales = outputs.chunk(3, dim=-1)
        return cls(logits, means, log_scales.clamp(-LOG_SCALE_BOUND, LOG_SCALE_BOUND))

    def rescaled(self, log_scale: Tensor) -> Mixture:
        """The mixture of s y where y follows this one and s = exp(log_scale) [...]; its log-determinant is counted."""
        log_scale = log_scale.unsqueeze(-1)
        return Mixture(self.logits, self.means * log_scale.exp(), self.log_scales + log_scale)

    def shifted(self, by: Tensor) -> Mixture:
        """The mixture of y + b where y follows this one: b [...]."""
        return Mixture(self.logits, self.means + by.unsqueeze(-1), self.log_scales)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, by log-sum-exp: [...] -> [...]."""
        standard = (x.unsqueeze(-1) - self.means) * torch.exp(-self.log_scales)  # [..., K]
        terms = self.logits - 0.5 * standard.square() - self.log_scales
        return torch.logsumexp(terms, -1) - torch.logsumexp(self.logits, -1) - 0.5 * LOG_2PI

    def cdf(self, x: Tensor) -> Tensor:
        """P(X <= x): [...] -> [...]."""
        standard = (x.unsqueeze(-1) - self.means) * torch.exp(-self.log_scales)
        return (torch.softmax(self.logits, -1) * torch.special.ndtr(standard)).sum(-1)

    def log_between(self, low: Tensor, high: Tensor) -> Tensor:
        """log P(low < X <= high): two of [...] -> [...]; also of narrow intervals, and of those far out."""
        inverse = torch.exp(-self.log_scales)
        below, above = ((edge.unsqueeze(-1) - self.means) * inverse for edge in (low, high))  # [..., K]
        terms = _log_normal_between(below, above, (high - low).unsqueeze(-1) * inverse)
        return torch.logsumexp(torch.log_softmax(self.logits, -1) + terms, -1)

    def sample(self, generator: torch.Generator) -> Tensor:
        """One independent draw per leading index: [...]."""
        # Gumbel-max picks a component for every row on its own, whatever the leading shape.
        uniform = torch.rand(self.logits.shape, generator=generator, dtype=self.logits.dtype, device=self.logits.device)
        tiny = torch.finfo(self.logits.dtype).tiny
        gumbel = -torch.log((-torch.log(uniform.clamp_min(tiny))).clamp_min(tiny))
        component = (self.logits + gumbel).argmax(-1, keepdim=True)
        mean = self.means.gather(-1, component).squeeze(-1)
        scale = self.log_scales.gather(-1, component).squeeze(-1).exp()
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + scale * noise


def _log_normal_between(below: Tensor, above: Tensor, width: Tensor) -> Tensor:
    """log P(below < Z <= above) of a standard normal Z; `width` is above - below, without the rounding of either."""
    right = below + above > 0  # mirrored, so that the differences are those of small numbers
    below, above = torch.where(right, -above, below), torch.where(right, -below, above)
    middle = (below + above) / 2
    # The density in the middle times the width, where it hardly changes within: off by (width middle)^2 / 24.
    narrow = width * (1 - middle) < NARROW
    flat = -0.5 * middle.square() - 0.5 * LOG_2PI + torch.log(width)
    log_above = _log_ndtr(above)
    far = above < -FAR
    # Far out both logarithms are large and their difference is not. Elsewhere the quotient is 1: even where nothing
    # reads it a gradient of 0/0 would be nan.
    ratio = width * middle - torch.log(torch.where(far, below, 1) / torch.where(far, above, 1))
    ratio = torch.where(far, ratio, _log_ndtr(below) - log_above)
    wide = log_above + torch.log(-torch.expm1(torch.where(narrow, -1, ratio)))
    return torch.where(narrow, flat, wide)


def _log_ndtr(x: Tensor) -> Tensor:
    """log P(Z <= x) of a standard normal Z, with a gradient that is right far out too.

    That of torch 2.13 loses its digits from x = -20 on in float32, and is 0 or infinite from -30,000 on.
    """
    tail = x.clamp_max(-FAR)
    over = tail.reciprocal().square()
    series = -0.5 * tail.square() - torch.log(-tail) - 0.5 * LOG_2PI + torch.log1p(over * (3 * over - 1))
    return torch.where(x < -FAR, series, torch.special.log_ndtr(x.clamp_min(-FAR)))


class AutoregressiveMixture(Density):
    """p(x) = prod_i p(x_i | x_<i), each conditional a mixture of K Gaussians (Uria et al. 2013, arXiv 1306.0186).

    A subclass gives `conditionals`. Sampling runs the network once per dimension unless the subclass knows better.

    Args:
        features: D.
        components: K.
    """

    autoregressive = True

    def __init__(self, features: int, components: int = 10) -> None:
        super().__init__(features)
        self.components = positive_integer("components", components)

    def conditionals(self, x: Tensor) -> Mixture:
        """The mixtures p(. | x_<i) for all i: [B, D] -> parameters [B, D, K]; those of i use x_<i alone."""
        raise TypeError(f"{type(self).__name__} does not define conditionals")

    def conditional_log_prob(self, x: Tensor) -> Tensor:
        return self.conditionals(x).log_prob(x)

    def conditional_cdf(self, x: Tensor) -> Tensor:
        return self.conditionals(x).cdf(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.conditional_log_prob(x).sum(-1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        x = torch.zeros(n, self.features, dtype=self.dtype, device=self.device)
        for i in range(self.features):
            mixture = self.conditionals(x)
            x[:, i] = Mixture(*(part[:, i] for part in mixture)).sample(generator)
        return x


class ScaledMixture(AutoregressiveMixture):
    """An autoregressive mixture that works in a unit of its own, one number for all dimensions: x = unit y.

    Networks start with sigmas of about 1; of data with a deviation of 0.1 the first steps would do nothing but shrink
    them. One scalar changes no family of densities whose first layer and head are linear: the weights could take it up.
    A unit for each dimension could not be taken up by a convolution, which has the same weights for all of them.

    The unit is the standard deviation within the columns of the training rows, of all together, rounded to a power of
    two: dividing by it is exact, and data of about unit scale, such as whitened ones, stay as they are.

    A subclass gives `conditionals_in_unit`.

    Args:
        features: D.
        components: K.
        unit: the unit, where it is not to be that of the training rows; 1 leaves the rows as they are.

    Raises:
        InputError: `unit` is no number above 0, or float32 does not hold it.
    """

    input = "scalar unit"

    unit: Tensor

    def __init__(self, features: int, components: int, unit: float | None) -> None:
        super().__init__(features, components)
        self.fixed_unit = None if unit is None else positive_number("unit", unit)
        if self.fixed_unit is not None and not FLOAT32.tiny <= self.fixed_unit <= FLOAT32.max:
            raise InputError(
                f"unit = {unit:g} is no number of float32; give one from {FLOAT32.tiny:.2g} to {FLOAT32.max:.2g}."
            )
        self.register_buffer("unit", torch.tensor(1.0 if self.fixed_unit is None else self.fixed_unit))

    @classmethod
    def input_under(cls, arguments: Mapping[str, Any]) -> Input | None:
        return "raw" if arguments.get("unit") == 1 else cls.input

    def conditionals_in_unit(self, y: Tensor) -> Mixture:
        """The mixtures p(. | y_<i) for all i, in units of `unit`: [B, D] -> parameters [B, D, K]."""
        raise TypeError(f"{type(self).__name__} does not define conditionals_in_unit")

    def conditionals(self, x: Tensor) -> Mixture:
        return self.conditionals_in_unit(x / self.unit).rescaled(self.unit.log())

    def prepare(self, batches: Batches) -> None:
        if self.fixed_unit is None:
            rows = np.asarray(batches.take(UNIT_ROWS), dtype=np.float64)
            scale = math.sqrt(rows.var(0).mean())
            self.unit.fill_(2.0 ** round(math.log2(scale)) if scale > 0 else 1.0)

    def treatment(self) -> dict[str, Any]:
        return {"unit": "power of two"} if self.fixed_unit is None else {}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Files of before hold none: those models worked in the unit of the data.
        state_dict.setdefault(f"{prefix}unit", torch.ones_like(self.unit))
        super()._load_from_state_dict(state_dict, prefix, *rest)
