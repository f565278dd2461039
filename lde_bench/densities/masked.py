"""Masked linear layers: the parts of MADE (Germain et al. 2015, arXiv 1502.03509, section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.densities.mixture import initial_outputs


def hidden_degrees(features: int, width: int) -> Tensor:
    """Degrees 1 ... D-1 dealt out in turn, so that every past is seen by as many hidden units as any other: [width]."""
    return torch.arange(width) % max(1, features - 1) + 1


def input_degrees(features: int) -> Tensor:
    """Dimension i has degree i, counted from 1: [D]."""
    return torch.arange(1, features + 1)


class MaskedLinear(nn.Linear):
    """A linear layer whose unit of degree b sees inputs of degree a only where a <= b (strictly: a < b).

    Args:
        sources: degrees of the inputs, [in].
        targets: degrees of the outputs, [out].
        strict: for the last layer, whose output i may see inputs before i alone.
    """

    mask: Tensor

    def __init__(self, sources: Tensor, targets: Tensor, strict: bool = False) -> None:
        super().__init__(len(sources), len(targets))
        seen = sources[None] < targets[:, None] if strict else sources[None] <= targets[:, None]
        # Derived from the degrees, so it is not part of a saved model.
        self.register_buffer("mask", seen.to(self.weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MixtureOutputs(MaskedLinear):
    """Last layer of a MADE with a mixture head: [B, width] -> [B, D, 3K], those of dimension i from degrees < i."""

    def __init__(self, sources: Tensor, features: int, components: int) -> None:
        super().__init__(sources, input_degrees(features).repeat_interleave(3 * components), strict=True)
        self.features = features
        self.components = components

    def start(self, weight_scale: float) -> None:
        """Small weights, and biases that start every dimension as K distinct Gaussians around zero."""
        with torch.no_grad():
            self.weight.mul_(weight_scale)
            self.bias.copy_(initial_outputs(self.components).repeat(self.features))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).unflatten(-1, (self.features, -1))
