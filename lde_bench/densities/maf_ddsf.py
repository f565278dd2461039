"""Neural autoregressive flow: deep dense sigmoidal transforms under masked networks ("MAF-DDSF").

Huang, Krueger, Lacoste, Courville 2018, arXiv 1804.00779; sizes and initial weights as in their code, CW-Huang/torchkit
and CW-Huang/NAF.

Where that code squeezes the sigmoids' sum into (delta/2, 1 - delta/2) before the logit, which bounds u to about +-14.5
and leaves a density that integrates to a little less than one, everything here is a difference of two log-sum-exps: the
transform is onto R, and nothing is clipped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.densities.bijections import CONDITIONER_BOUND, Bijection, Rescale
from lde_bench.densities.flow import Flow
from lde_bench.densities.masked import MaskedLinear, hidden_degrees, input_degrees
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan

#: What keeps a slope positive: a = softplus(.) + SLOPE_FLOOR, as published.
SLOPE_FLOOR = 1e-6
#: What makes a = 1 where the network gives 0.
SLOPE_SHIFT = math.log(math.expm1(1 - SLOPE_FLOOR))
#: Range of the first weights of the transform and of what feeds it: every transform starts close to the identity.
FIRST_WEIGHT = 1e-3
#: Features that the masked network gives a dimension, per sigmoid layer: 3 for every D hidden units.
CODE_MULTIPLIER = 3
#: Most steps of an inversion. Bisection alone halves float64's widest useful bracket to its last bit in about 70.
INVERSION_STEPS = 100


class SigmoidLayer(nn.Module):
    """One layer of a deep dense sigmoidal flow: y_o = logit(sum_k w_ok sigmoid(a_k sum_j u_kj x_j + b_k)), eq. 9.

    Rows of u and w are softmaxes, a > 0: every y rises with every x. The pseudo-parameters a, b and one term per column
    of u and w come from the conditioner, shared by all rows; a matrix is learnt besides.

    Args:
        inputs: j; with one input u is 1 and has no parameters.
        sigmoids: k.
        outputs: o.
    """

    def __init__(self, inputs: int, sigmoids: int, outputs: int) -> None:
        super().__init__()
        self.sizes = [sigmoids, sigmoids, sigmoids, inputs if inputs > 1 else 0]
        self.u = nn.Parameter(torch.empty(sigmoids, inputs)) if inputs > 1 else None
        self.w = nn.Parameter(torch.empty(outputs, sigmoids))

    @property
    def codes(self) -> int:
        """Pseudo-parameters per dimension."""
        return sum(self.sizes)

    def reset_parameters(self) -> None:
        for weight in self.parameters():
            nn.init.uniform_(weight, -FIRST_WEIGHT, FIRST_WEIGHT)

    def forward(self, x: Tensor, log_slope: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """y and log dy/dt of x and log dx/dt: [..., inputs], twice, and codes [..., P] -> [..., outputs], twice."""
        slope, shift, w_code, u_code = codes.split(self.sizes, -1)
        a = F.softplus(slope + SLOPE_SHIFT) + SLOPE_FLOOR
        if self.u is not None:
            mix = self.u.softmax(-1)
            share = torch.softmax(u_code, -1)
            total = share @ mix.t()  # softmax(u_kj + c_j) = mix_kj share_j / total_k
            x = ((share * x) @ mix.t()) / total
            log_slope = _log_mix(u_code.log_softmax(-1) + log_slope, mix) - total.log()
        inner = a * x + shift  # [..., sigmoids]
        log_on, log_off = F.logsigmoid(inner), F.logsigmoid(-inner)
        mix = self.w.softmax(-1)
        # sum_k w_ok sigmoid(.) over sum_k w_ok (1 - sigmoid(.)): the norm of w cancels.
        on, off = _log_mix(w_code + log_on, mix), _log_mix(w_code + log_off, mix)
        rise = _log_mix(w_code + log_on + log_off + a.log() + log_slope, mix)
        return on - off, rise + _log_mix(w_code, mix) - on - off


def _log_mix(x: Tensor, mix: Tensor) -> Tensor:
    """log sum_k mix_ok exp(x_k) for positive `mix` [O, K]: [..., K] -> [..., O]."""
    top = x.detach().amax(-1, keepdim=True)
    return torch.log(torch.exp(x - top) @ mix.t()) + top


class SigmoidTransform(Bijection):
    """y_i = T(x_i; c_i(x_<i)): a stack of `SigmoidLayer` for every dimension, its codes from a masked network.

    Args:
        features: D.
        hidden: units of a hidden layer of the masked network (elu).
        layers: its hidden layers.
        sigmoids: sigmoids of a layer of the transform.
        depth: layers of the transform.
        reverse: takes the dimensions in reversed order.
    """

    def __init__(self, features: int, hidden: int, layers: int, sigmoids: int, depth: int, reverse: bool) -> None:
        super().__init__()
        self.features = features
        self.reverse = reverse
        widths = [1, *[sigmoids] * (depth - 1), 1]
        self.sigmoid_layers = nn.ModuleList(
            SigmoidLayer(inputs, sigmoids, outputs) for inputs, outputs in itertools.pairwise(widths)
        )
        self.code_sizes = [layer.codes for layer in self.sigmoid_layers if isinstance(layer, SigmoidLayer)]
        degrees, sources = hidden_degrees(features, hidden), input_degrees(features)
        stack: list[nn.Module] = []
        for _ in range(layers):
            stack += [MaskedLinear(sources, degrees), nn.ELU()]
            sources = degrees
        self.hidden = nn.Sequential(*stack)
        #: Features that the masked network gives each dimension, from which one shared map makes the codes.
        self.summaries = CODE_MULTIPLIER * max(1, hidden // features) * depth
        self.outputs = MaskedLinear(degrees, input_degrees(features).repeat_interleave(self.summaries), strict=True)
        self.codes = nn.Linear(self.summaries, sum(self.code_sizes))

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | SigmoidLayer):
                module.reset_parameters()
        nn.init.uniform_(self.codes.weight, -FIRST_WEIGHT, FIRST_WEIGHT)
        nn.init.zeros_(self.codes.bias)

    def _codes(self, x: Tensor, chosen: slice = slice(None)) -> Tensor:
        """Codes of the chosen dimensions, which look at earlier ones alone: [B, D] -> [B, chosen, P]."""
        h = self.hidden(x.clamp(-CONDITIONER_BOUND, CONDITIONER_BOUND))
        weight = (self.outputs.weight * self.outputs.mask).unflatten(0, (self.features, -1))[chosen].flatten(0, 1)
        summaries = F.linear(h, weight, self.outputs.bias.unflatten(0, (self.features, -1))[chosen].flatten())
        with torch.autocast(x.device.type, enabled=False):
            return self.codes(summaries.to(x.dtype).unflatten(-1, (-1, self.summaries)))

    def _rise(self, x: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """y and log dy/dx per dimension: [B, d] and codes [B, d, P] -> [B, d], twice."""
        with torch.autocast(x.device.type, enabled=False):
            y, log_slope = x.unsqueeze(-1), x.new_zeros(*x.shape, 1)
            for layer, own in zip(self.sigmoid_layers, codes.split(self.code_sizes, -1), strict=True):
                y, log_slope = layer(y, log_slope, own)
            return y.squeeze(-1), log_slope.squeeze(-1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.flip(-1) if self.reverse else x
        y, log_slope = self._rise(x, self._codes(x))
        return y.flip(-1) if self.reverse else y, log_slope.sum(-1)

    @torch.no_grad()
    def decode(self, y: Tensor) -> Tensor:
        y = y.flip(-1) if self.reverse else y
        x = torch.zeros_like(y)
        for i in range(self.features):
            one = slice(i, i + 1)
            codes = self._codes(x, one)
            x[:, one] = inverse_of_increasing(lambda t, codes=codes: self._rise(t, codes), y[:, one])  # type: ignore[misc]
        return x.flip(-1) if self.reverse else x


def inverse_of_increasing(function: Callable[[Tensor], tuple[Tensor, Tensor]], y: Tensor) -> Tensor:
    """x with f(x) = y, elementwise, to the resolution of the dtype, for an increasing f from R onto R.

    Newton's steps inside a bracket; where one leaves it or the bracket does not shrink by half, a bisection.

    Args:
        function: f and log f'.
    """
    low, high = y - 1, y + 1
    width = torch.full_like(y, 2.0)
    for _ in range(INVERSION_STEPS):
        under, over = function(low)[0] > y, function(high)[0] < y
        if not (under | over).any():
            break
        low, high = torch.where(under, low - width, low), torch.where(over, high + width, high)
        width = 2 * width
    x = 0.5 * (low + high)
    for step in range(INVERSION_STEPS):
        value, log_slope = function(x)
        low, high = torch.where(value < y, x, low), torch.where(value < y, high, x)
        middle = 0.5 * (low + high)
        guess = x - (value - y) * torch.exp(-log_slope)
        trusted = (guess > low) & (guess < high) & (step % 3 != 2)  # every third step halves the bracket whatever comes
        following = torch.where(value == y, x, torch.where(trusted, guess, middle))  # exact ones stay where they are
        settled = (following - x).abs() <= 2 * torch.finfo(y.dtype).eps * (1 + x.abs())
        x = following
        if (settled | (value == y)).all():
            break
    return x


class Affine(Rescale):
    """y = exp(s) x + b, elementwise: what the published flow ends with."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.shift = nn.Parameter(torch.zeros(features))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.zeros_(self.shift)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = super().encode(x)
        return y + self.shift, log_det

    def decode(self, y: Tensor) -> Tensor:
        return super().decode(y - self.shift)


class MafDdsf(Flow):
    """MAF-DDSF: `transforms` sigmoidal ones in alternating order, and an affine map, over a standard normal.

    Args:
        features: D.
        transforms: flows of the published code.
        hidden: units of a hidden layer of a masked network.
        layers: hidden layers of a masked network.
        sigmoids: sigmoids of a layer of a transform.
        depth: layers of a transform.
    """

    name = "maf-ddsf"
    place = 90
    replayable = True
    rows = ("maf-ddsf", "maf-ddsf+w")
    card = Card(
        summary="neural autoregressive flow, deep dense sigmoidal transforms under masked networks",
        source="Huang, Krueger, Lacoste, Courville 2018, arXiv 1804.00779",
        sample_cost="per transform one pass of its network per dimension (5 x D passes), and Newton's method",
        differences="hidden=256 (published 1024: 36.8 M parameters, hidden=1024 here 36.6 M); no weight normalisation, "
        "no delta in the logit (ours is onto R); networks see inputs cut off at 30, inputs standardised; quick, "
        "standard, long: a larger cosine rate",
        bibtex=("huang2018neural", "papamakarios2017masked"),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(
            steps=120,
            batch_size=256,
            rate=5e-3,
            clip=1.0,
            average=0.95,
            warmup=30,
            validate_every=60,
            reference_seconds=60,
        ),
        "standard": Plan(
            steps=1_450,
            batch_size=256,
            rate=1.5e-2,
            clip=0.1,
            average=0.99,
            validate_every=250,
            reference_seconds=240,
        ),
        # Adam 1e-4, batch 100, clipped at 5, Polyak averaging; stop after 30 epochs of 10,000 steps without a gain.
        "paper": Plan(
            steps=4_000_000,
            batch_size=100,
            rate=1e-4,
            clip=5.0,
            of_nats=True,
            average=0.999,
            schedule="constant",
            validate_every=10_000,
            patience=30,
            bf16=False,
            reference_seconds=2e6,
        ),
    }

    def __init__(
        self, features: int, transforms: int = 5, hidden: int = 256, layers: int = 2, sigmoids: int = 16, depth: int = 2
    ) -> None:
        features = positive_integer("features", features)
        sizes = {"hidden": hidden, "layers": layers, "sigmoids": sigmoids, "depth": depth}
        sizes = {what: positive_integer(what, value) for what, value in sizes.items()}
        stack = [
            SigmoidTransform(features, **sizes, reverse=index % 2 == 1)
            for index in range(positive_integer("transforms", transforms))
        ]
        super().__init__(features, [*stack, Affine(features)])
        self.reset_parameters()
