"""Bijections of R^D that flows are stacked from: scales, BatchNorm, an LU-factored linear map, and what zuko gives.

A bijection is a module with `encode(x) -> (y, log_abs_det)` and `decode(y) -> x`. This is the one module that knows
zuko, and it imports it when the first flow is built: zuko switches torch.distributions' validation off for the whole
process when it is imported, which nobody who uses this package asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lde_bench.process import process_unchanged

#: Decay of the running statistics of BatchNorm, per training step.
MOMENTUM = 0.05
#: What `BatchNorm` adds to a variance, as published.
EPSILON = 1e-5
#: Standard deviation of the first weights where there is one feature and no network.
LONE_SCALE = 0.1
#: Conditioners see their inputs cut off here. Flow variables have about unit scale, so training hardly meets it, but a
#: network's outputs then stay bounded a thousand standard deviations out, and log p finite in float32.
CONDITIONER_BOUND = 30.0


def import_zuko() -> ModuleType:
    """zuko, imported without its change to torch."""
    with process_unchanged():
        import zuko
    return zuko


class Bijection(nn.Module):
    """An invertible map of R^D whose log |det| is known."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y = f(x) and log |det df/dx|: [B, D] -> [B, D], [B]."""
        raise TypeError(f"{type(self).__name__} does not define encode")

    def decode(self, y: Tensor) -> Tensor:
        """x = f^-1(y): [B, D] -> [B, D]."""
        raise TypeError(f"{type(self).__name__} does not define decode")

    def reset_parameters(self) -> None:
        """Fresh random weights from torch's global generator."""


class Rescale(Bijection):
    """y = exp(s) x, one scale per feature."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(features))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.log_scale)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def decode(self, y: Tensor) -> Tensor:
        return y * torch.exp(-self.log_scale)


class BatchNorm(Bijection):
    """y = exp(log_gamma) (x - m) / sqrt(v) + beta (Papamakarios et al. 2017, arXiv 1705.07057, appendix B).

    In training m and v are those of the batch, gradients flow through them, and the log-determinant is counted. In
    evaluation they are running averages: one row's log p is its own business.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.log_gamma = nn.Parameter(torch.zeros(features))
        self.beta = nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))

    def reset_parameters(self) -> None:
        for zero in (self.log_gamma, self.beta, self.mean):
            nn.init.zeros_(zero)
        nn.init.ones_(self.variance)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = self.mean, self.variance
        if self.training:
            variance, mean = torch.var_mean(x, 0, correction=0)
            variance = variance + EPSILON
            with torch.no_grad():
                self.mean.lerp_(mean, MOMENTUM)
                self.variance.lerp_(variance, MOMENTUM)
        log_scale = self.log_gamma - 0.5 * variance.log()
        return (x - mean) * log_scale.exp() + self.beta, log_scale.sum().expand(len(x))

    def decode(self, y: Tensor) -> Tensor:
        return (y - self.beta) * torch.exp(0.5 * self.variance.log() - self.log_gamma) + self.mean


class LULinear(Bijection):
    """y = L U x + b with L unit lower triangular and U's diagonal positive; starts as the identity.

    Oliva et al. 2018, arXiv 1801.09819; as between the splines of Durkan et al. 2019, arXiv 1906.04032.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        #: Below its diagonal L, above it U, on it the logarithm of U's.
        self.factors = nn.Parameter(torch.zeros(features, features))
        self.bias = nn.Parameter(torch.zeros(features))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.factors)
        nn.init.zeros_(self.bias)

    def _factors(self) -> tuple[Tensor, Tensor]:
        diagonal = self.factors.diagonal()
        lower = self.factors.tril(-1) + torch.diag(torch.ones_like(diagonal))
        return lower, self.factors.triu(1) + torch.diag(diagonal.exp())

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        with torch.autocast(x.device.type, enabled=False):
            return x @ (lower @ upper).t() + self.bias, self.factors.diagonal().sum().expand(len(x))

    def decode(self, y: Tensor) -> Tensor:
        lower, upper = self._factors()
        half = torch.linalg.solve_triangular(lower.t(), y - self.bias, upper=True, left=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper.t(), half, upper=False, left=False)


class ZukoBijection(Bijection):
    """A lazy transformation of zuko without context.

    Args:
        make: builds it; called once more for fresh weights.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.make = make
        self.lazy = make()
        for module in self.lazy.modules():  # masks and orders: they follow from the arguments, and some share memory
            for name, buffer in module.named_buffers(recurse=False):
                module.register_buffer(name, buffer, persistent=False)

    def reset_parameters(self) -> None:
        self.lazy.load_state_dict(self.make().state_dict(), strict=False)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.lazy().call_and_ladj(x)

    def decode(self, y: Tensor) -> Tensor:
        return self.lazy().inv(y)


class _Conditioner(nn.Module):
    """A network under a transform: cut-off inputs in, float32 or better out, whatever precision it ran in."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.network(x.clamp(-CONDITIONER_BOUND, CONDITIONER_BOUND))
        return outputs if outputs.dtype == torch.float64 else outputs.float()


class ScaleAndShift(nn.Module):
    """The two networks of an affine coupling: tanh for the log-scales, relu for the shifts: [B, in] -> [B, 2 out].

    Papamakarios et al. 2017, arXiv 1705.07057, section 4. Outputs alternate shift, log-scale, as zuko takes them.
    """

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        mlp = import_zuko().nn.MLP
        self.shift = mlp(inputs, outputs, hidden, activation=nn.ReLU)
        self.log_scale = mlp(inputs, outputs, hidden, activation=nn.Tanh)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((self.shift(x), self.log_scale(x)), -1).flatten(-2)


def affine_coupling(mask: Tensor, hidden: Sequence[int]) -> ZukoBijection:
    """y_a = x_a, y_b = x_b exp(s(x_a)) + t(x_a), a where `mask` [D] is true (Dinh et al. 2016, arXiv 1605.08803)."""

    def make() -> nn.Module:
        features = len(mask)
        coupling: nn.Module = import_zuko().flows.coupling.GeneralCouplingTransform(features, mask=mask)
        if features > 1:  # one feature has nothing to be conditioned on: zuko gives a learnt shift and scale
            kept = int(mask.sum())
            coupling.hyper = _Conditioner(ScaleAndShift(kept, features - kept, hidden))
        return coupling

    return ZukoBijection(make)


def _masked(order: Tensor, hidden: Sequence[int], **options: Any) -> ZukoBijection:
    def make() -> nn.Module:
        module = import_zuko().flows.autoregressive
        transform: Any = module.MaskedAutoregressiveTransform(
            len(order), order=order, hidden_features=hidden, **options
        )
        if len(order) > 1:
            transform.hyper = _Conditioner(transform.hyper)
        else:  # one feature has nothing to be conditioned on: zuko gives learnt numbers, drawn from N(0, 1), too wild
            with torch.no_grad():
                for parameter in transform.parameters():
                    parameter.mul_(LONE_SCALE)
        return transform

    return ZukoBijection(make)


def affine_autoregressive(order: Tensor, hidden: Sequence[int]) -> ZukoBijection:
    """y_i = x_i exp(a_i) + b_i with a_i, b_i of the features before i in `order` [D] (arXiv 1705.07057, section 3)."""
    return _masked(order, hidden)


def spline_coupling(order: Tensor, hidden: Sequence[int], bins: int) -> ZukoBijection:
    """Monotonic rational-quadratic splines on [-5, 5], of the later half of `order` [D] conditioned on the earlier.

    The earlier half goes through splines of its own that are conditioned on nothing (Durkan et al. 2019, arXiv
    1906.04032, sections 3.1 and 4.1). Residual conditioners, one block for each entry of `hidden`.
    """
    spline = import_zuko().transforms.MonotonicRQSTransform
    shapes = [(bins,), (bins,), (bins - 1,)]
    return _masked(order, hidden, passes=2, univariate=spline, shapes=shapes, residual=True)
