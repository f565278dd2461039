"""A trained density in the units of its data: every part of its contract, and the float64 that far data need."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lde_bench as lb
from lde_bench.data.unit import Unit
from lde_bench.densities import density_classes
from lde_bench.densities.standardised import Standardised
from lde_bench.errors import InputError
from lde_bench.evaluation.laws import measures

UNIT = Unit(np.array([1.7e9, -3.0]), np.array([2.0, 1e-3]))
ROWS = np.random.default_rng(0).normal(size=(64, 2))
X = UNIT.undo(ROWS)


@pytest.fixture(params=["gaussian", "real-nvp"])
def pair(request):
    inner = lb.create(request.param, features=2).fit(ROWS, seed=0, steps=3)
    return inner, Standardised(inner, UNIT)


def test_log_p_is_that_of_the_standardised_rows_less_the_log_determinant(pair):
    inner, density = pair
    shift = np.log(2.0) + np.log(1e-3)
    want = inner.log_prob(ROWS) - shift
    # A float64 of 1.7e9 is off by 1e-7 of a deviation.
    np.testing.assert_allclose(density.log_prob(X), want, atol=1e-4)
    np.testing.assert_allclose(density.log_prob(torch.as_tensor(X)).detach().numpy(), want, atol=1e-4)
    assert density.name == inner.name
    assert density.parameter_count() == inner.parameter_count()


def test_it_is_a_density_with_conditionals_and_samples():
    near = Unit(np.array([5.0, -3.0]), np.array([2.0, 0.1]))
    inner = lb.create("gaussian", features=2).fit(ROWS)
    density, rows = Standardised(inner, near), torch.as_tensor(near.undo(ROWS), dtype=torch.float32)
    for law in (measures.normalised, measures.chain_rule):
        assert law(density, rows).passed
    cdf = inner.conditional_cdf(torch.as_tensor(ROWS).float())
    np.testing.assert_allclose(density.conditional_cdf(rows).detach(), cdf.detach(), atol=1e-5)
    samples = density.sample(500, seed=1)
    assert np.abs((samples.mean(0) - near.mean) / near.scale).max() < 0.5


@pytest.mark.slow
def test_a_flow_is_undone_in_the_units_of_the_data():
    density = Standardised(lb.create("real-nvp", features=2).fit(ROWS, seed=0, steps=3), UNIT)
    u, log_abs_det = density.encode(torch.as_tensor(X))
    np.testing.assert_allclose(density.decode(u).detach(), X, atol=1e-4)
    inner = density.base.encode(torch.as_tensor(ROWS).float())[1]
    np.testing.assert_allclose(log_abs_det.detach(), inner.detach() - UNIT.log_det, atol=1e-4)


def test_saved_and_loaded_it_answers_the_same(pair, tmp_path):
    _, density = pair
    density.save(tmp_path / "d.safetensors")
    loaded = lb.load_density(tmp_path / "d.safetensors")
    np.testing.assert_array_equal(loaded.log_prob(X), density.log_prob(X))
    np.testing.assert_array_equal(loaded.sample(5, seed=3), density.sample(5, seed=3))
    samples = loaded.sample(200, seed=3)
    assert samples.dtype == np.float64
    assert 0.5 < samples[:, 0].std() / 2.0 < 2.0
    with pytest.raises(InputError, match=r"should be \[n, 2\]"):
        loaded.log_prob(X[:, :1])


def test_it_is_made_after_training_and_no_method_spells_it(pair):
    _, density = pair
    before = density.log_prob(X)
    with pytest.raises(InputError, match="is trained already"):
        density.fit(X, seed=0)
    np.testing.assert_array_equal(density.log_prob(X), before)
    assert Standardised not in density_classes().values()
