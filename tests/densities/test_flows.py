"""Flows built on zuko: what they compute, what they are made of, and the laws that catch a wrong one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

import lde_bench as lb
from lde_bench.densities import bijections, maf_mog, real_nvp
from lde_bench.densities.bijections import BatchNorm, LULinear, ZukoBijection, affine_coupling
from lde_bench.densities.flow import Flow, alternating_orders
from lde_bench.errors import InputError
from lde_bench.evaluation.laws import check, quadrature, trial_laws
from lde_bench.evaluation.laws.suite import skewed_rows

SMALL = {
    "real-nvp": "real-nvp:hidden=16,layers=1,transforms=4",
    "maf-mog": "maf-mog:components=3,hidden=16,layers=1,transforms=3",
    "nsf": "nsf:hidden=16,blocks=1,transforms=3",
}
FLOWS = pytest.mark.parametrize("method", list(SMALL.values()), ids=list(SMALL))
LAWS = ["inverse", "log_determinant"]


def fitted(method: str, features: int, **budget: int) -> Flow:
    density = lb.create(method, features)
    rows = skewed_rows(300, features, 0)
    density.fit(rows, rows[:100], seed=1, steps=budget.get("steps", 12), device="cpu", precision="fp32")
    assert isinstance(density, Flow)
    return density


# -- what they compute -----------------------------------------------------------------------------------------


@FLOWS
@pytest.mark.parametrize("features", [1, 2, 63])
def test_encode_and_decode_undo_each_other_and_the_determinant_is_that_of_the_jacobian(method, features):
    flow = fitted(method, features, steps=3).double()
    x = torch.as_tensor(skewed_rows(3, features, 5)).double()
    u, log_abs_det = flow.encode(x)
    torch.testing.assert_close(flow.decode(u), x, rtol=1e-9, atol=1e-9)
    jacobian = torch.autograd.functional.jacobian(lambda row: flow.encode(row[None])[0][0], x[0])
    torch.testing.assert_close(log_abs_det[0], torch.linalg.slogdet(jacobian)[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(flow.log_prob(x), flow.base_log_prob(u) + log_abs_det)


@pytest.mark.slow
@FLOWS
def test_training_raises_the_likelihood_of_rows_it_has_not_seen(method):
    density = lb.create(method, 3)
    rows = skewed_rows(2200, 3, 0)
    density.fit(rows[:2000], seed=0, steps=5, device="cpu", precision="fp32")
    before = density.log_prob(rows[2000:]).mean()
    density.fit(rows[:2000], seed=0, steps=150, device="cpu", precision="fp32")
    assert density.log_prob(rows[2000:]).mean() > before + 0.05


@pytest.mark.slow
@FLOWS
def test_the_seed_alone_decides_the_weights(method):
    first, again = fitted(method, 3), fitted(method, 3)
    rows = skewed_rows(20, 3, 4)
    np.testing.assert_array_equal(first.log_prob(rows), again.log_prob(rows))
    other = lb.create(method, 3).fit(skewed_rows(300, 3, 0), seed=2, steps=12, device="cpu", precision="fp32")
    assert not np.allclose(first.log_prob(rows), other.log_prob(rows))


@FLOWS
def test_a_unit_of_measurement_changes_log_prob_by_its_log_determinant(method):
    # Powers of two: the standardised rows are the same to the bit, and so is the training.
    rows, scales = skewed_rows(300, 3, 0), np.array([8, 0.25, 2], dtype=np.float32)
    one, other = (lb.create(method, 3).fit(x, seed=0, steps=8, precision="fp32") for x in (rows, rows * scales))
    np.testing.assert_allclose(other.log_prob(rows * scales), one.log_prob(rows) - np.log(scales).sum(), atol=1e-4)


@FLOWS
def test_a_constant_feature_leaves_log_prob_finite(method):
    rows = skewed_rows(300, 3, 0)
    rows[:, 1] = 2.5
    density = lb.create(method, 3).fit(rows, seed=0, steps=5, precision="fp32")
    assert np.isfinite(density.log_prob(rows)).all()


@FLOWS
def test_a_flow_is_saved_and_loaded_to_the_bit_without_its_masks(method, tmp_path):
    flow = fitted(method, 5)
    flow.save(tmp_path / "flow")
    rows = skewed_rows(10, 5, 1)
    loaded = lb.load_density(tmp_path / "flow")
    np.testing.assert_array_equal(loaded.log_prob(rows), flow.log_prob(rows))
    np.testing.assert_array_equal(loaded.sample(5, seed=3), flow.sample(5, seed=3))
    assert not any("mask" in name or "order" in name for name in flow.state_dict())


@pytest.mark.slow
@FLOWS
def test_the_average_of_the_weights_covers_the_statistics_of_batch_norm(method):
    flow = fitted(method, 3, steps=40)
    assert flow.plans["quick"].average is not None
    for layer in flow.layers:
        if isinstance(layer, BatchNorm):
            assert not torch.equal(layer.mean, torch.zeros(3))
            assert (layer.variance > 0).all()


@FLOWS
def test_bf16_training_keeps_the_flow_variables_in_float32(method):
    flow = lb.create(method, 4)
    with torch.autocast("cpu", torch.bfloat16):
        u, log_abs_det = flow.train().encode(torch.randn(8, 4))
    assert u.dtype == log_abs_det.dtype == torch.float32


@pytest.mark.slow
@FLOWS
def test_a_trained_flow_is_held_to_the_laws_of_flows(method):
    verdict = trial_laws(fitted(method, 5), skewed_rows(60, 5, 2))
    assert set(LAWS) <= set(verdict)
    assert all(law.passed for law in verdict.values())


@pytest.mark.slow
@FLOWS
def test_a_whitened_flow_obeys_the_laws_of_flows(method):
    whitened = method.replace(":", "+w:")
    assert [(law, result.passed) for law, result in check(whitened, laws=LAWS).items()] == [(law, True) for law in LAWS]
    assert not check("gaussian", laws=LAWS)


# -- what they are made of -------------------------------------------------------------------------------------


def test_real_nvp_has_the_parameters_of_its_published_settings():
    # Papamakarios et al. 2017: 10 couplings, 2 hidden layers of 512; two networks each, from the half that is kept
    # (31 or 32 of 63) to the other; a scale and a shift of every feature in every BatchNorm.
    def network(kept: int, changed: int) -> int:
        return (kept + 1) * 512 + 513 * 512 + 513 * changed

    expected = 5 * 2 * (network(31, 32) + network(32, 31)) + 10 * 2 * 63
    assert lb.create("real-nvp", 63).parameter_count() == expected == 5_910_370


def test_maf_mog_has_the_parameters_of_its_published_settings():
    # Papamakarios et al. 2017: 5 MADEs of 2 hidden layers of 512 to a scale and a shift, and one to 10 Gaussians.
    def made(outputs: int) -> int:
        return 64 * 512 + 513 * 512 + 513 * outputs

    expected = 5 * (made(2 * 63) + 2 * 63) + made(3 * 10 * 63)
    assert lb.create("maf-mog", 63).parameter_count() == expected == 3_065_934


def test_nsf_has_the_parameters_of_the_authors_defaults():
    # Durkan et al. 2019, experiments/uci.py: 10 steps, 8 bins (23 numbers a spline), residual blocks 2 x 256, and 11
    # linear maps. zuko masks the input and output layers where the published code has half as many weights.
    conditioner = 64 * 256 + 2 * 2 * 257 * 256 + 257 * 63 * 23
    expected = 10 * conditioner + 11 * (63 * 63 + 63)
    assert lb.create("nsf", 63).parameter_count() == expected == 6_563_802


def test_the_orders_alternate_and_end_in_the_reverse_of_the_base():
    orders = [order.tolist() for order in alternating_orders(3, 5)]
    assert orders == [[2, 1, 0], [0, 1, 2], [2, 1, 0], [0, 1, 2], [2, 1, 0]]


def test_the_networks_of_a_flow_take_the_features_in_turns():
    # A stack that always conditions on the same features is a density all the same: no law would tell.
    maf = lb.create("maf-mog:hidden=8,layers=1,transforms=4", 5)
    orders = [layer.lazy.order.tolist() for layer in maf.layers if isinstance(layer, ZukoBijection)]
    assert orders == [order.tolist() for order in alternating_orders(5, 4)]
    nsf = lb.create("nsf:hidden=8,blocks=1", 63)
    later = torch.stack([layer.lazy.order for layer in nsf.layers if isinstance(layer, ZukoBijection)])  # [10, 63]
    assert (later.sum(1) == 31).all()
    assert later.unique(dim=0).shape == later.shape
    assert later.any(0).all()
    assert not later.all(0).any()


@pytest.mark.parametrize("method", ["real-nvp:transforms=0", "maf-mog:hidden=0", "nsf:bins=0", "nsf:blocks=1.5"])
def test_a_bad_size_is_an_input_error(method):
    with pytest.raises(InputError, match="is not a whole number from 1 up"):
        lb.create(method, 3)


# -- the layers that are ours ----------------------------------------------------------------------------------


def test_batch_norm_normalises_a_batch_and_lets_gradients_through_its_statistics():
    layer = BatchNorm(3).double().train()
    x = (5 + 3 * torch.randn(50, 3, dtype=torch.float64)).requires_grad_()
    y, log_abs_det = layer.encode(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(3, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(log_abs_det[0], -0.5 * (x.var(0, correction=0) + bijections.EPSILON).log().sum())
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.abs().max() < 1e-12  # the sum of normalised values does not depend on x: statistics took part


def test_batch_norm_evaluates_with_statistics_that_no_batch_changes():
    layer = BatchNorm(3).train()
    for _ in range(300):
        layer.encode(5 + 3 * torch.randn(200, 3))
    layer.eval()
    x = torch.randn(10, 3)
    whole = layer.encode(x)[0]
    assert torch.equal(whole[:1], layer.encode(x[:1])[0])
    torch.testing.assert_close(layer.decode(whole), x, rtol=1e-4, atol=1e-4)
    assert layer.mean == pytest.approx([5, 5, 5], abs=0.2)
    assert layer.variance == pytest.approx([9, 9, 9], rel=0.1)


def test_the_linear_map_is_the_product_of_its_factors():
    torch.manual_seed(0)
    layer = LULinear(4).double()
    with torch.no_grad():
        layer.factors.normal_()
        layer.bias.normal_()
    x = torch.randn(6, 4, dtype=torch.float64)
    y, log_abs_det = layer.encode(x)
    jacobian = torch.autograd.functional.jacobian(lambda row: layer.encode(row[None])[0][0], x[0])
    torch.testing.assert_close(log_abs_det[0], torch.linalg.slogdet(jacobian)[1])
    torch.testing.assert_close(layer.decode(y), x)


def test_a_coupling_scales_by_its_tanh_network_and_shifts_by_its_relu_network():
    torch.manual_seed(0)
    coupling = affine_coupling(torch.tensor([True, False, True, False]), [8]).double()
    networks = coupling.lazy.hyper.network
    assert [type(network[1]) for network in (networks.log_scale, networks.shift)] == [torch.nn.Tanh, torch.nn.ReLU]
    x = torch.randn(6, 4, dtype=torch.float64)
    x[0, 0] = 1e3
    kept, changed = x[:, ::2], x[:, 1::2]
    seen = kept.clamp(-30, 30)
    log_scale = networks.log_scale(seen)
    log_scale = log_scale / (1 + (log_scale / np.log(1e-3)).abs())  # zuko's bound, 6.9
    y, log_abs_det = coupling.encode(x)
    torch.testing.assert_close(y[:, ::2], kept)
    torch.testing.assert_close(y[:, 1::2], changed * log_scale.exp() + networks.shift(seen))
    torch.testing.assert_close(log_abs_det, log_scale.sum(-1))


# -- zuko's switch ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
def test_building_a_flow_leaves_the_validation_of_torch_distributions_as_it_was(before):
    code = f"""
import sys, torch
from torch.distributions import Distribution
Distribution.set_default_validate_args({before})
import lde_bench as lb
from lde_bench.densities import density_names
density_names()
assert "zuko" not in sys.modules, "zuko was imported before a flow was built"
lb.create("nsf:hidden=8,blocks=1,transforms=1", 3).sample(2)
assert "zuko" in sys.modules
assert Distribution._validate_args is {before}
try:
    torch.distributions.Normal(0.0, -1.0)
    print("accepted")
except ValueError:
    print("refused")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["refused" if before else "accepted"]


# -- mutations: each is a fault, and the law that must find it ---------------------------------------------------


class NoLogDeterminant(BatchNorm):
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_abs_det = super().encode(x)
        return y, torch.zeros_like(log_abs_det)


class WrongSign(BatchNorm):
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_abs_det = super().encode(x)
        return y, -log_abs_det


class ForgetsItsShift(BatchNorm):
    def decode(self, y: Tensor) -> Tensor:
        return super().decode(y + self.beta)


class BatchStatistics(BatchNorm):
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.training = True
        return super().encode(x)


class Right(BatchNorm):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("module", [real_nvp, maf_mog])
@pytest.mark.parametrize(
    ("layer", "law"),
    [
        (NoLogDeterminant, "log_determinant"),
        (NoLogDeterminant, "normalised"),
        (WrongSign, "log_determinant"),
        (ForgetsItsShift, "inverse"),
        (BatchStatistics, "batch_split"),
        (Right, None),
    ],
)
def test_a_wrong_batch_norm_breaks_the_law(monkeypatch, module, layer, law):
    monkeypatch.setattr(module, "BatchNorm", layer)
    monkeypatch.setitem(quadrature.GRIDS, 2, quadrature.GRIDS[2][:1])  # where the right layer passes
    kind = real_nvp.RealNvp if module is real_nvp else maf_mog.MafMog
    results = check(
        lambda features: kind(features, transforms=2, hidden=16, layers=1), laws=[law] if law else [*LAWS, "normalised"]
    )
    assert all(result.passed is (law is None) for result in results.values())


class WrongScale(real_nvp.RealNvp):
    """The standardisation's log-determinant counted with the wrong sign."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, log_abs_det = super().encode(x)
        return u, log_abs_det + 2 * self.scale.log().sum()


class NotANumber(real_nvp.RealNvp):
    def decode(self, u: Tensor) -> Tensor:
        x = super().decode(u)
        return torch.cat([x[:1] * torch.nan, x[1:]])


@pytest.mark.parametrize(("kind", "law"), [(WrongScale, "log_determinant"), (NotANumber, "inverse")])
def test_a_wrong_flow_breaks_the_law(kind, law):
    (result,) = check(lambda features: kind(features, transforms=2, hidden=16, layers=1), laws=[law]).values()
    assert not result.passed
