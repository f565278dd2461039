"""The Latent Density Estimator: dilated causal convolutions under a mixture-density head.

Yoo, Lee and Kwak, "Unpriortized Autoencoder For Image Generation", ICIP 2020, arXiv 1902.04294, section 3.3. The
network is that of the authors' public code: L = ceil(log2 D) kernel-2 convolutions with dilation 1, 2, 4, ... and
16, 32, 64, ... channels, each followed by BatchNorm and LeakyReLU(0.2), and a 1x1 convolution to 3K outputs.

Layout. The paper convolves a sequence of 2^L zeros followed by z_1 ... z_{D-1}, with a second input channel that tells
zeros from data. Two observations make the same numbers several times as cheap on a CPU:

* Kept as [time, batch, channel], a shift in time is a view and a layer is one matrix product per tap.
* A column that has seen zeros alone is one and the same vector for every sample and every such time step. It is
  computed once ("the blank"), and enters the statistics of BatchNorm with the number of its copies.

tests/densities/test_lde.py holds both against a plain Conv1d transcription, in training and in evaluation mode.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.densities.mixture import Mixture, ScaledMixture
from lde_bench.training.model import Card
from lde_bench.training.plan import Plan

FIRST_CHANNELS = 16
WEIGHT_SCALE = 0.02
SLOPE = 0.2

#: Shares of the 200 epochs on codes at which the rate is halved.
CODE_HALVINGS = (15 / 200, 35 / 200, 60 / 200, 100 / 200)


class _CausalProduct(torch.autograd.Function):
    """h_t W_1' + h_{t-d} W_0' + b in time-major layout, where h before the first step is the blank.

    Written by hand because concatenating the taps costs as much memory traffic as the products themselves.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, blank: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        """[T, B, C], [C], [C', 2C], [C'] -> [T, B, C']."""
        ctx.save_for_backward(h, blank, weight)
        ctx.dilation = dilation
        earlier, later = weight.chunk(2, 1)
        out = torch.addmm(bias, h.flatten(0, 1), later.t()).unflatten(0, h.shape[:2])
        out[dilation:].flatten(0, 1).addmm_(h[:-dilation].flatten(0, 1), earlier.t())
        out[:dilation] += earlier @ blank
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        h, blank, weight = ctx.saved_tensors
        dilation = ctx.dilation
        earlier, later = weight.chunk(2, 1)
        gradient = gradient.contiguous()
        flat = gradient.flatten(0, 1)
        after = gradient[dilation:].flatten(0, 1)  # of the time steps whose earlier tap is data
        on_blank = gradient[:dilation].sum((0, 1))  # of those whose earlier tap is the blank: [C']
        for_h = None
        if ctx.needs_input_grad[0]:
            for_h = flat @ later
            for_h[: len(after)].addmm_(after, earlier)
            for_h = for_h.view_as(h)
        for_earlier = after.t() @ h[:-dilation].flatten(0, 1) + torch.outer(on_blank, blank)
        for_weight = torch.cat([for_earlier, flat.t() @ h.flatten(0, 1)], 1)
        return for_h, on_blank @ earlier, for_weight, flat.sum(0), None


class _NormAct(torch.autograd.Function):
    """BatchNorm in training mode, then LeakyReLU(0.2), over data rows and `copies` copies of one blank row.

    Ioffe and Szegedy 2015, arXiv 1502.03167. Returns the normalised rows and blank, and the batch's mean and variance.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, blank: Tensor, weight: Tensor, bias: Tensor, copies: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[N, C], [C], [C], [C] -> [N, C], [C], [C], [C]."""
        total = len(rows) + copies
        blank = blank.to(weight.dtype)
        # The running statistics that it takes are given for their dtype alone: what it writes into them is lost under
        # torch.compile, which is not told that it writes. What it returns are mean and biased variance.
        like = torch.zeros_like(weight)
        mean, var = torch.batch_norm_update_stats(rows, like, like.clone(), 0.0)
        step = (blank - mean) * (copies / total)
        var = (len(rows) * var + copies * (blank - mean) * (blank - mean - step)) / total
        mean = mean + step
        scale = torch.rsqrt(var + eps)
        out = F.leaky_relu_(F.batch_norm(rows, mean, var, weight, bias, eps=eps), SLOPE)
        blank_out = F.leaky_relu((blank - mean) * scale * weight + bias, SLOPE)
        ctx.save_for_backward(rows, blank, weight, mean, var, out, blank_out)
        ctx.copies, ctx.eps = copies, eps
        ctx.mark_non_differentiable(mean, var)
        return out, blank_out, mean, var

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, on_blank: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        rows, blank, weight, mean, var, out, blank_out = ctx.saved_tensors
        total = len(rows) + ctx.copies
        scale = torch.rsqrt(var + ctx.eps)
        on_blank = torch.where(blank_out > 0, on_blank, SLOPE * on_blank)
        gradient = torch.ops.aten.leaky_relu_backward(gradient, out, SLOPE, True)
        # Through the affine map alone, mean and variance held fixed ...
        for_rows, for_weight, for_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, rows, weight, mean, var, mean, scale, False, ctx.eps, [True, True, True]
        )
        standard = (blank - mean) * scale
        for_weight = for_weight + on_blank * standard
        for_bias = for_bias + on_blank
        # ... then through the mean and the variance, to which every row contributes 1 / total: for a row x it is
        # -(offset + slope x).
        slope = weight * scale.square() * for_weight / total
        offset = weight * scale * for_bias / total - slope * mean
        for_rows = for_rows.addcmul_(rows, slope.to(rows.dtype), value=-1).sub_(offset.to(rows.dtype))
        for_blank = weight * scale * on_blank - ctx.copies * (offset + slope * blank)
        return for_rows, for_blank, for_weight, for_bias, None, None


class CausalLayer(nn.Module):
    """One kernel-2 convolution in time with a dilation, then BatchNorm and LeakyReLU(0.2)."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        # Input columns of `linear`: first those of the earlier time step, then those of the later one.
        self.linear = nn.Linear(2 * inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, h: Tensor, blank: Tensor, blanks: int) -> tuple[Tensor, Tensor]:
        """Data columns [T, B, C] and the blank [C], which stands `blanks` times before them in the layer's output.

        Returns the same for the next layer: [T, B, C'] and [C'].
        """
        blank_out = self.linear(torch.cat([blank, blank]))
        if len(h) == 0:  # a single feature has no past: one constant column, nothing to normalise
            return h.new_zeros(0, h.shape[1], len(blank_out)), self._activate(blank_out)
        inputs: tuple[Tensor, ...] = (h, blank, self.linear.weight, self.linear.bias)
        device = h.device.type
        if torch.is_autocast_enabled(device):
            # Autocast knows no products that are written by hand: cast for it, and keep it out.
            inputs = tuple(part.to(torch.get_autocast_dtype(device)) for part in inputs)
        with torch.autocast(device, enabled=False):
            h_out = _CausalProduct.apply(*inputs, self.dilation)
        if not self.training:
            return self._activate(h_out), self._activate(blank_out)
        samples = h.shape[1]
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        assert norm.momentum is not None
        rows, blank_out, mean, var = _NormAct.apply(
            h_out.flatten(0, 1), blank_out, norm.weight, norm.bias, blanks * samples, norm.eps
        )
        with torch.no_grad():
            total = (len(h) + blanks) * samples
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(var * (total / max(total - 1, 1)), norm.momentum)
            norm.num_batches_tracked += 1
        return rows.view(h_out.shape), blank_out

    def pair(self, earlier: Tensor, later: Tensor) -> Tensor:
        """The layer at one time step, given its two inputs [B, C], in evaluation mode: [B, C']."""
        return self._activate(self.linear(torch.cat([earlier, later], -1)))

    def _activate(self, h: Tensor) -> Tensor:
        """BatchNorm with the running statistics, then LeakyReLU: [..., C'] -> [..., C']."""
        norm = self.norm
        rows = F.batch_norm(
            h.reshape(-1, h.shape[-1]),
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            eps=norm.eps,
        )
        return F.leaky_relu(rows, SLOPE).view(h.shape)


class LDE(ScaledMixture):
    """Latent Density Estimator (arXiv 1902.04294): the published network, in a unit of its own (`ScaledMixture`).

    Args:
        features: D; the network has ceil(log2 D) layers.
        components: K, Gaussians per dimension.
        unit: one number that the rows are divided by, that of the training rows unless given; 1 is as published.
    """

    name = "lde"
    place = 110
    replayable = True
    rows = ("lde", "lde+w")
    card = Card(
        summary="Latent Density Estimator: dilated causal convolutions, K Gaussians per dimension",
        source="Yoo, Lee, Kwak 2020, ICIP, arXiv 1902.04294",
        sample_cost="one column of the network per dimension (causal state is kept), about one forward pass in all",
        differences="one scalar unit (published: none; unit=1), which leaves the family of densities as it is; 1 M "
        "training patches unless fresh (published: 2.7 M); quick, standard, long: fewer steps, Adam with beta1 0.9 "
        "(published: 0.5), a cosine rate, clipping and averaged weights; paper: as published but without the 1e-12 "
        "inside the logarithm, and validated on validation patches",
        bibtex=("yoo2020unpriortized",),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(
            steps=300,
            batch_size=128,
            rate=1.5e-3,
            warmup=50,
            clip=0.5,
            average=0.98,
            validate_every=100,
            reference_seconds=45,
        ),
        "standard": Plan(
            steps=1_500,
            batch_size=128,
            rate=1.5e-3,
            clip=10.0,
            average=0.995,
            validate_every=250,
            reference_seconds=160,
        ),
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
            compile=True,
            reference_seconds=1.2e6,
        ),
    }

    # Standard: codes are few numbers and a step costs little. Paper: 200 epochs, halved at the 15th, 35th, 60th, 100th.
    code_plans: ClassVar[dict[str, Plan]] = {
        "standard": Plan(
            steps=5_500,
            batch_size=512,
            rate=2e-3,
            clip=0.5,
            average=0.995,
            validate_every=500,
            reference_seconds=440,
        ),
        "paper": Plan(
            steps=86_000,
            rows=55_000,  # MNIST
            batch_size=128,
            rate=2e-4,
            betas=(0.5, 0.999),
            schedule="halving",
            halve_at=CODE_HALVINGS,
            validate_every=430,
            bf16=False,
            reference_seconds=1_800,
        ),
    }
    # Every number is a position, and channels double with the layers: a step costs a hundred times that of 8 numbers.
    # Paper: 200 epochs of the codes of CelebA, 1,272 steps each.
    wide_code_plans: ClassVar[dict[str, Plan]] = {
        "standard": Plan(
            steps=400,
            batch_size=64,
            rate=1.5e-3,
            warmup=50,
            clip=0.5,
            average=0.98,
            validate_every=50,
            reference_seconds=60,
        ),
        "paper": Plan(
            steps=254_400,
            rows=162_770,
            batch_size=128,
            rate=2e-4,
            betas=(0.5, 0.999),
            schedule="halving",
            halve_at=CODE_HALVINGS,
            validate_every=1_272,
            bf16=False,
            reference_seconds=200_000,
        ),
    }

    def __init__(self, features: int, components: int = 10, unit: float | None = None) -> None:
        super().__init__(features, components, unit)
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

    def _causal_layers(self) -> Iterator[CausalLayer]:
        for layer in self.layers:
            assert isinstance(layer, CausalLayer)
            yield layer

    def conditionals_in_unit(self, y: Tensor) -> Mixture:
        z = y.t()[:-1]  # the last z is seen by none: [D - 1, B]
        h = torch.stack([z, torch.ones_like(z)], -1)  # (z, mask): [D - 1, B, 2]
        blank = y.new_zeros(2)
        for layer in self._causal_layers():
            # The 2^L zeros in front lose as many columns as the layer looks back.
            h, blank = layer(h, blank, blanks=self.padding + 1 - 2 * layer.dilation)
        # z_1 has seen nothing but zeros, z_i has seen z_<i. Joined behind the head, where the columns are narrow.
        first = self.head(blank).expand(1, y.shape[0], -1)
        mixture = Mixture.from_head(torch.cat([first, self.head(h)]))  # [D, B, K]
        return Mixture(*(part.transpose(0, 1) for part in mixture))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Samples with the causal state kept: each dimension costs one new column per layer."""
        past = []  # per layer, its last `dilation` input columns
        blank = torch.zeros(1, 2, dtype=self.dtype, device=self.device)
        for layer in self._causal_layers():
            past.append(deque([blank.expand(n, -1)] * layer.dilation, maxlen=layer.dilation))
            blank = layer.pair(blank, blank)
        y = torch.empty(n, self.features, dtype=self.dtype, device=self.device)
        column = y.new_zeros(n, 2)  # the last of the zeros in front
        for i in range(self.features):
            for layer, columns in zip(self._causal_layers(), past, strict=True):
                earlier = columns[0]
                columns.append(column)
                column = layer.pair(earlier, column)
            y[:, i] = Mixture.from_head(self.head(column)).sample(generator)
            column = torch.stack([y[:, i], torch.ones_like(y[:, i])], -1)
        return self.unit * y
