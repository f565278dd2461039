"""Masked linear layers: the parts of MADE (Germain et al. 2015, arXiv 1502.03509, section 4.1).

Half of a mask's entries are zeros. Where units stand in the order of their degrees these zeros lie above the diagonal,
and most of them are left out of the products: the outputs are computed in a few blocks, each from the inputs that the
last of its outputs sees.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.densities.mixture import initial_outputs

#: Blocks of a layer's outputs, and the zeros that they must leave out: of fewer, the calls cost more than the zeros.
BLOCKS, ZEROS = 4, 2**15


def hidden_degrees(features: int, width: int) -> Tensor:
    """Degrees 1 ... D-1 in order, each as often as any other, so that no past is seen by more units: [width]."""
    return (torch.arange(width) % max(1, features - 1) + 1).sort().values


def input_degrees(features: int) -> Tensor:
    """Dimension i has degree i, counted from 1: [D]."""
    return torch.arange(1, features + 1)


class MaskedLinear(nn.Linear):
    """A linear layer whose unit of degree b sees inputs of degree a only where a <= b (strictly: a < b).

    Degrees may stand in any order; in rising order a product costs about 5/8 of an unmasked one.

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
        #: Of each block: its outputs, and the inputs up to the last one that any of them sees.
        self.blocks = [(len(rows), _seen_inputs(rows)) for rows in seen.tensor_split(BLOCKS)]
        if seen.numel() - sum(outputs * inputs for outputs, inputs in self.blocks) < ZEROS:
            self.blocks = [(self.out_features, self.in_features)]

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.mask
        if x.is_cuda:  # a launch more costs more than zeros
            return F.linear(x, weight, self.bias)
        outputs, inputs = zip(*self.blocks, strict=True)
        parts = zip(weight.split(outputs), self.bias.split(outputs), inputs, strict=True)
        return torch.cat([F.linear(x[..., :count], rows[:, :count], bias) for rows, bias, count in parts], -1)


def _seen_inputs(mask: Tensor) -> int:
    """The inputs up to the last one that some output sees: bool [out, in] -> at most `in`."""
    seen = mask.any(0).nonzero()
    return int(seen[-1]) + 1 if len(seen) else 0


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
