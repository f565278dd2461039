"""A plain transcription of the LDE, layer by layer as the paper draws it: the reference for speed and for numbers.

Yoo, Lee and Kwak 2020, arXiv 1902.04294, section 3.3: Conv1d over the zero-padded sequence, BatchNorm1d, LeakyReLU,
and a 1x1 convolution to 3K outputs. Nothing here is meant to be fast; `lde_bench.densities.lde` makes the same numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.densities.lde import LDE, SLOPE, CausalLayer
from lde_bench.densities.mixture import AutoregressiveMixture, Mixture


class PlainLDE(AutoregressiveMixture):
    """The network of `lde`, with a copy of its weights and running statistics.

    It inherits the sampling that reruns the network once per dimension.
    """

    name = "plain-lde"

    def __init__(self, lde: LDE) -> None:
        super().__init__(lde.features, lde.components)
        self.padding = lde.padding
        stages: list[nn.Module] = []
        for layer in lde.layers:
            assert isinstance(layer, CausalLayer)
            norm = nn.BatchNorm1d(layer.linear.out_features, dtype=lde.dtype)
            norm.load_state_dict(layer.norm.state_dict())
            stages += [_convolution(layer.linear, 2, layer.dilation), norm, nn.LeakyReLU(SLOPE)]
        self.network = nn.Sequential(*stages, _convolution(lde.head, 1, 1))
        self.train(lde.training)

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, means and log-scales, each [B, K, D]."""
        value = F.pad(x, (self.padding, 0))
        mask = F.pad(torch.ones_like(x), (self.padding, 0))
        columns = torch.stack([value, mask], 1)[:, :, :-1]  # the last column is seen by no conditional
        logits, means, log_scales = self.network(columns).chunk(3, 1)
        return logits, means, log_scales

    def conditionals(self, x: Tensor) -> Mixture:
        return Mixture(*(part.transpose(1, 2) for part in self.outputs(x)))

    def forward(self, x: Tensor) -> Tensor:
        logits, means, log_scales = self.outputs(x)
        standard = (x.unsqueeze(1) - means) * torch.exp(-log_scales)
        terms = F.log_softmax(logits, 1) - 0.5 * standard.square() - log_scales - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(terms, 1).sum(-1)


@torch.no_grad()
def _convolution(linear: nn.Linear, taps: int, dilation: int) -> nn.Conv1d:
    """`linear`, whose input columns are those of the earlier tap followed by those of the later one, as a Conv1d."""
    channels = linear.in_features // taps
    convolution = nn.Conv1d(channels, linear.out_features, taps, dilation=dilation, dtype=linear.weight.dtype)
    convolution.weight.copy_(torch.stack(linear.weight.chunk(taps, 1), -1))
    assert convolution.bias is not None
    convolution.bias.copy_(linear.bias)
    return convolution
