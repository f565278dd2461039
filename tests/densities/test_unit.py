"""The one unit of the densities that start at unit scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import lde_bench as lb
from lde_bench.errors import InputError
from lde_bench.training.plan import Budget

METHODS = ("lde", "made-mog:hidden=16")


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def rows(rng):
    return (0.11 * rng.standard_normal((400, 5)) + 0.02).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_another_unit_of_the_data_changes_the_log_likelihood_by_its_logarithm_alone(method, rows):
    one, other = (lb.create(method, features=5, components=2).fit(8.0**e * rows, steps=5, seed=1) for e in (0, 1))
    assert one.unit.item() == 0.125
    assert other.unit.item() == 1.0
    shifted = np.asarray(one.log_prob(rows)) - 5 * math.log(8)
    np.testing.assert_allclose(np.asarray(other.log_prob(8 * rows)), shifted, rtol=1e-5)
    np.testing.assert_allclose(other.sample(50, seed=2), 8 * one.sample(50, seed=2), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_data_of_about_unit_scale_stay_as_they_are(method, rng):
    rows = 1.2 * rng.standard_normal((400, 5))
    separator = "," if ":" in method else ":"
    own, raw = (lb.create(text, features=5).fit(rows, steps=3) for text in (method, f"{method}{separator}unit=1"))
    assert own.unit.item() == 1.0
    np.testing.assert_array_equal(own.log_prob(rows), raw.log_prob(rows))


def test_a_unit_that_is_given_stays_and_a_constant_zero_has_none(rows):
    assert lb.create("lde:unit=0.5", features=5).fit(rows, steps=1).unit.item() == 0.5
    assert lb.create("lde", features=5).fit(0 * rows, steps=1).unit.item() == 1.0
    for bad in ("0", "-1", "nan", "true", "x"):
        with pytest.raises(InputError, match=r"unit = .* is no number above 0"):
            lb.create(f"lde:unit={bad}", features=5)


def test_a_model_of_before_worked_in_the_unit_of_the_data(rows, tmp_path):
    model = lb.create("lde:unit=1", features=5, components=2).fit(rows, steps=2)
    path = tmp_path / "old.safetensors"
    model.save(path)
    tensors = load_file(path)
    del tensors["unit"]
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    save_file(tensors, path, {**header, "lde_bench": header["lde_bench"].replace(",unit=1", "").replace("unit=1,", "")})
    np.testing.assert_array_equal(lb.load_density(path).log_prob(rows), model.log_prob(rows))


def test_runs_of_another_unit_have_another_name_and_those_of_whitened_rows_the_name_of_before():
    budget = Budget.of("standard")
    told = {
        text: lb.create(text, features=5).describe_training(budget, "fp32", torch.device("cpu"))
        for text in ("lde", "lde:unit=1", "lde+w", "lde+w+ens", "lde+ens", "made-mog+ens")
    }
    assert all("unit" in told.pop(text) for text in ("lde+ens", "made-mog+ens"))
    assert "unit" not in told.pop("lde+w+ens")
    assert "unit" in told["lde"]
    assert told["lde:unit=1"] == told["lde+w"] == {key: told["lde"][key] for key in ("plan", "precision")}


def test_a_unit_that_float32_does_not_hold_is_refused_and_any_kind_of_number_taken():
    for unit in (1e-50, 1e39):
        with pytest.raises(InputError, match="is no number of float32"):
            lb.create("made-mog", 3, unit=unit)
    assert lb.create("made-mog", 3, unit=np.float32(0.5)).unit == lb.create("made-mog", 3, unit=0.5).unit


@pytest.mark.parametrize("method", ["lde", "made-mog:hidden=16"])
def test_the_unit_is_of_the_deviations_within_columns_and_not_of_the_distance_between_them(method):
    rows = 0.11 * np.random.default_rng(5).normal(size=(400, 5)) + 10 * np.arange(5)
    assert lb.create(method, features=5).fit(rows.astype(np.float32), steps=1).unit.item() == 0.125
