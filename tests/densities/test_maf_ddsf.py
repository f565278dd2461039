"""MAF-DDSF: rising, onto R, its slope exact, its inverse an inverse, its size the published one up to what is said."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import lde_bench as lb
from lde_bench.densities import maf_ddsf
from lde_bench.densities.maf_ddsf import MafDdsf, SigmoidLayer, SigmoidTransform, inverse_of_increasing


def awake(features: int, dtype: torch.dtype = torch.float64, share: float = 1.0, **arguments: int) -> MafDdsf:
    """A small flow whose weights and biases are all random, away from the identity it starts at."""
    small = {"transforms": 2, "hidden": 16, "layers": 1, "sigmoids": 4, "depth": 2, **arguments}
    torch.manual_seed(features)
    density = lb.create("maf-ddsf", features=features, **small).to(dtype)
    assert isinstance(density, MafDdsf)
    generator = torch.Generator().manual_seed(features)
    with torch.no_grad():
        for parameter in density.parameters():
            # Wider weights make sigmoids so far apart that the flat between them is below the resolution of u.
            width = share * (0.1 if parameter.shape[-1] == 16 else 0.4)
            parameter.add_(width * torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return density


def rows(n: int, features: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(n), dtype=dtype)


def published_transform(transform: SigmoidTransform, x: Tensor, codes: Tensor) -> Tensor:
    """y of one dimension as the published code has it, with delta = 0: plain sums, softmaxes per entry, a logit."""
    h = x.unsqueeze(-1)  # [n, 1]
    start = 0
    for layer in transform.sigmoid_layers:
        k = len(layer.w[0])
        a = torch.nn.functional.softplus(codes[:, start : start + k] + maf_ddsf.SLOPE_SHIFT) + 1e-6
        b, w_code = codes[:, start + k : start + 2 * k], codes[:, start + 2 * k : start + 3 * k]
        start += 3 * k
        mixed = h
        if layer.u is not None:
            u = torch.softmax(layer.u[None] + codes[:, None, start : start + h.shape[1]], -1)  # [n, k, inputs]
            start += h.shape[1]
            mixed = (u * h.unsqueeze(1)).sum(-1)
        w = torch.softmax(layer.w[None] + w_code.unsqueeze(1), -1)  # [n, outputs, k]
        h = torch.logit((w * torch.sigmoid(a * mixed + b).unsqueeze(1)).sum(-1))
    return h.squeeze(-1)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_transform_is_the_published_one_without_its_delta(depth):
    transform = awake(1, depth=depth).layers[0]
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    codes = rows(33, transform.codes.out_features)
    y, _ = transform._rise(x.unsqueeze(-1), codes.unsqueeze(1))
    torch.testing.assert_close(y.squeeze(-1), published_transform(transform, x, codes), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_slope_is_the_derivative_and_positive(depth):
    transform = awake(1, depth=depth).layers[0]
    x = torch.linspace(-60, 60, 241, dtype=torch.float64).unsqueeze(-1).requires_grad_()
    codes = 2 * rows(241, transform.codes.out_features).unsqueeze(1)
    y, log_slope = transform._rise(x, codes)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert (slope > 0).all()
    torch.testing.assert_close(log_slope, slope.log(), rtol=1e-9, atol=1e-9)


def test_the_log_determinant_is_that_of_autograd():
    density, x = awake(5, transforms=3), rows(4, 5)
    u, log_abs_det = density.encode(x)
    for b in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda row: density.encode(row[None])[0][0], x[b])
        torch.testing.assert_close(log_abs_det[b], torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-10, atol=1e-10)
    assert u.shape == x.shape


def test_transforms_look_forwards_and_backwards_in_turn():
    for index, keep in ((0, torch.tril), (1, torch.triu)):
        transform = awake(5).layers[index]
        jacobian = torch.autograd.functional.jacobian(lambda row, t=transform: t.encode(row[None])[0][0], rows(1, 5)[0])
        assert torch.equal(jacobian, keep(jacobian))
        assert (jacobian.diagonal(1 if index else -1) != 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e3, 1e6])
def test_far_inputs_stay_finite_and_in_order(dtype, size):
    density = awake(3, dtype)
    x = size * torch.tensor([[-1.0, 1, -1], [1, 1, 1], [-1, -1, -1]], dtype=dtype)
    u, log_abs_det = density.encode(x)
    assert torch.isfinite(u).all()
    assert torch.isfinite(log_abs_det).all()
    # Onto R: what the published delta bounds to +-14.5 goes on rising here.
    transform = density.layers[0]
    codes = rows(3, transform.codes.out_features, dtype).unsqueeze(1).expand(-1, 3, -1)
    near, far = transform._rise(x, codes)[0], transform._rise(2 * x, codes)[0]
    assert ((far - near).sign() == x.sign()).all()
    assert (far.abs() > 15).all()


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "share", "tolerance"), [(torch.float64, 1.0, 1e-9), (torch.float32, 0.5, 1e-4)])
def test_decoding_inverts_encoding(dtype, share, tolerance):
    density, x = awake(6, dtype, share, transforms=3), rows(50, 6, dtype)
    density.mean += 0.5
    density.scale *= 3
    u, _ = density.encode(x)
    torch.testing.assert_close(density.decode(u), x, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(density.encode(density.decode(x))[0], x, rtol=tolerance, atol=tolerance)


def test_the_inverse_of_a_function_with_flats_and_far_values():
    def steps(x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 0.9999 * torch.sin(x), torch.log1p(0.9999 * torch.cos(x))

    x = torch.linspace(-300, 300, 4001, dtype=torch.float64)
    torch.testing.assert_close(inverse_of_increasing(steps, steps(x)[0]), x, rtol=1e-9, atol=1e-9)


def test_a_number_alone_is_inverted_as_in_company():
    # In company the slowest number decides when to stop; alone, an exact value may be met at a step that bisects.
    def bent(x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 0.5 * torch.exp(0.7 * x), torch.log1p(0.35 * torch.exp(0.7 * x))

    x = torch.linspace(-3, 3, 100)
    alone = torch.cat([inverse_of_increasing(bent, bent(each)[0]) for each in x.split(1)])
    torch.testing.assert_close(alone, x, rtol=1e-5, atol=1e-5)


def mass(features: int, points: int) -> float:
    """The integral of p on a grid that is fine at the centre and reaches e^8 / 2 on either side."""
    t = torch.linspace(-8, 8, points, dtype=torch.float64)
    axis, slope = torch.sinh(t), torch.cosh(t) * (t[1] - t[0])
    grid = torch.cartesian_prod(*[axis] * features).reshape(-1, features)
    weight = torch.cartesian_prod(*[slope] * features).reshape(-1, features).prod(-1)
    with torch.no_grad():
        return (awake(features, share=0.5).log_prob(grid).exp() * weight).sum().item()


@pytest.mark.slow
@pytest.mark.parametrize(("features", "points"), [(1, 4001), (2, 401)])
def test_it_integrates_to_one(features, points):
    assert mass(features, points) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("fault", ["slope of the logit", "log a", "earlier layers"])
def test_a_dropped_part_of_the_log_derivative_breaks_the_integral(fault, monkeypatch):
    forward = SigmoidLayer.forward

    def broken(self: SigmoidLayer, x: Tensor, log_slope: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        if fault == "earlier layers":
            return forward(self, x, torch.zeros_like(log_slope), codes)
        y, rise = forward(self, x, log_slope, codes)
        if fault == "slope of the logit":  # log y (1 - y), of y before the logit
            return y, rise + torch.nn.functional.logsigmoid(y) + torch.nn.functional.logsigmoid(-y)
        a = torch.nn.functional.softplus(codes.split(self.sizes, -1)[0] + maf_ddsf.SLOPE_SHIFT)
        return y, rise - a.log().mean(-1, keepdim=True)

    monkeypatch.setattr(SigmoidLayer, "forward", broken)
    assert abs(mass(1, 4001) - 1) > 0.02


@pytest.mark.slow
def test_parameters_at_the_published_size_are_the_published_ones_less_what_the_card_leaves_out():
    features, hidden, flows, sigmoids, depth = 63, 1024, 5, 16, 2
    summaries = 3 * (hidden // features) * depth
    units = hidden + hidden + features * summaries
    network = features * hidden + hidden * hidden + hidden * features * summaries
    codes = (3 * sigmoids + 1) + (3 * sigmoids + sigmoids)
    matrices = sigmoids * 1 + sigmoids * sigmoids + sigmoids * sigmoids + 1 * sigmoids  # u, w of both layers
    # CW-Huang/torchkit: a direction per weight; per unit scale and bias, each with a weight on a constant context.
    transform = network + 4 * units + (summaries + 1) * codes + matrices
    residual = 3 * features + (features * features + 2 * features) + 3 * features  # a map of the context to D numbers
    published = flows * transform + 2 * residual
    assert published == 36_759_591  # "36.8 M parameters"

    density = lb.create("maf-ddsf", features=features, hidden=hidden)
    norms_and_context = 3 * units
    one_input = (summaries + 1) + sigmoids  # the softmax over the first layer's one input
    left_out = flows * (norms_and_context + one_input) + 2 * (residual - features)
    assert density.parameter_count() == published - left_out == 36_628_766
    assert lb.create("maf-ddsf", features=features).parameter_count() == 2_370_566


def test_it_starts_close_to_the_identity():
    x = rows(20, 4, torch.float32)
    u, log_abs_det = lb.create("maf-ddsf", features=4).encode(x)
    assert (u - x).abs().max() < 0.1
    assert log_abs_det.abs().max() < 0.1
    assert math.isclose(maf_ddsf.SLOPE_SHIFT, math.log(math.e - 1), abs_tol=1e-5)
