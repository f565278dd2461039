"""The Latent Density Estimator: dilated causal convolutions under a mixture-density head.

Yoo, Lee and Kwak, "Unpriortized Autoencoder For Image Generation", ICIP 2020, arXiv 1902.04294, section 3.3. The
network is that of the authors' public code: L = ceil(log2 D) kernel-2 convolutions with dilation 1, 2, 4, ... and
16, 32, 64, ... channels, each followed by BatchNorm and LeakyReLU(0.2), and a 1x1 convolution to 3K outputs.

Layout. The paper's convolutions run over a sequence of 2^L zeros followed by z_1 ... z_{D-1}, with a second input
channel that tells zeros from data. Kept as [time, batch, channel], a shift in time is a view and a layer is one matrix
product, several times as fast on a CPU as the convolution; the numbers are the same (tests/densities/test_lde.py).
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.densities.base import Card
from lde_bench.densities.mixture import AutoregressiveMixture, Mixture
from lde_bench.training.plan import Plan

FIRST_CHANNELS = 16
WEIGHT_SCALE = 0.02


class CausalLayer(nn.Module):
    """One kernel-2 convolution in time with a dilation, then BatchNorm and LeakyReLU(0.2)."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        # Input columns of `linear`: first those of the earlier time step, then those of the later one.
        self.linear = nn.Linear(2 * inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, h: Tensor) -> Tensor:
        """[T, B, C] -> [T - dilation, B, C']."""
        return self.pair(h[: -self.dilation], h[self.dilation :])

    def pair(self, earlier: Tensor, later: Tensor) -> Tensor:
        """The layer at time steps given by their two inputs [..., C]: [..., C']."""
        h = self.linear(torch.cat([earlier, later], -1))
        # BatchNorm sees every (time, sample) pair as one row, as BatchNorm1d does behind a convolution.
        return F.leaky_relu(self.norm(h.flatten(0, -2)), 0.2).view(h.shape)


class LDE(AutoregressiveMixture):
    """Latent Density Estimator (arXiv 1902.04294), as published.

    Args:
        features: D; the network has ceil(log2 D) layers.
        components: K, Gaussians per dimension.
    """

    name = "lde"
    card = Card(
        summary="Latent Density Estimator: dilated causal convolutions, K Gaussians per dimension",
        source="Yoo, Lee, Kwak 2020, ICIP, arXiv 1902.04294",
        sample_cost="one column of the network per dimension (causal state is kept), about one forward pass in all",
        differences="quick and standard: fewer steps, Adam with a cosine rate and clipping; paper: as published but "
        "without the 1e-12 inside the logarithm, and validated on validation patches",
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(steps=450, batch_size=128, rate=1.5e-3, warmup=50, clip=0.5, average=0.98, validate_every=150),
        "standard": Plan(steps=3000, batch_size=256, rate=1.5e-3, clip=0.5, average=0.995, validate_every=300),
        # 250 epochs of the authors' 2.7 M patches at batch 128, halved every 30 epochs; Adam 1e-4 with beta1 0.5.
        "paper": Plan(
            steps=5_273_437,
            batch_size=128,
            rate=1e-4,
            betas=(0.5, 0.999),
            schedule="halving",
            halve_every=632_812,
            validate_every=21_094,
            bf16=False,
        ),
    }

    def __init__(self, features: int, components: int = 10) -> None:
        super().__init__(features, components)
        # ceil(log2 D), and one layer for the single feature that has no past at all.
        depth = max(1, (self.features - 1).bit_length())
        channels = [2, *(FIRST_CHANNELS << layer for layer in range(depth))]
        self.layers = nn.ModuleList(
            CausalLayer(channels[layer], channels[layer + 1], 1 << layer) for layer in range(depth)
        )
        self.padding = 1 << depth
        self.head = nn.Linear(channels[-1], 3 * self.components)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=WEIGHT_SCALE)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm1d):
                module.reset_parameters()
                module.reset_running_stats()

    def _columns(self, x: Tensor) -> Tensor:
        """Input columns (z, mask), zeros in front and the last z left out, which nothing may see: [T, B, 2]."""
        z = F.pad(x.t()[:-1], (0, 0, self.padding, 0))  # [T, B]
        mask = torch.zeros_like(z)
        mask[self.padding :] = 1
        return torch.stack([z, mask], -1)

    def conditionals(self, x: Tensor) -> Mixture:
        h = self._columns(x)  # [2^L + D - 1, B, 2]
        for layer in self.layers:
            h = layer(h)
        # The last layer leaves D time steps: h_i has seen z_<i.
        mixture = Mixture.from_head(self.head(h))  # [D, B, K]
        return Mixture(*(part.transpose(0, 1) for part in mixture))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Samples with the causal state kept: each dimension costs one new column per layer."""
        # Per layer, its last `dilation` input columns. Over the zeros in front they are the same for every sample, so
        # the network runs once, for one sample, over all of the zeros but the last.
        h = self._columns(torch.zeros(1, 1, dtype=self.dtype, device=self.device))[: self.padding - 1]
        past = []
        for layer in self.layers:
            past.append(deque((column.expand(n, -1) for column in h), maxlen=layer.dilation))
            h = layer(h) if len(h) > layer.dilation else h[:0]
        x = torch.empty(n, self.features, dtype=self.dtype, device=self.device)
        column = x.new_zeros(n, 2)  # the last of the zeros
        for i in range(self.features):
            for layer, columns in zip(self.layers, past, strict=True):
                earlier = columns[0]
                columns.append(column)
                column = layer.pair(earlier, column)
            x[:, i] = Mixture.from_head(self.head(column)).sample(generator)
            column = torch.stack([x[:, i], torch.ones_like(x[:, i])], -1)
        return x
