"""The base of every density: what it accepts, what it refuses, and the trial's own bookkeeping."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lde_bench as lb
from lde_bench.densities.lde import LDE
from lde_bench.errors import InputError


def test_log_prob_takes_views_of_any_stride_and_read_only_arrays() -> None:
    density = lb.create("gaussian", features=3)
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    x.setflags(write=False)
    expected = density.log_prob(x)
    np.testing.assert_allclose(density.log_prob(x[::-1]), expected[::-1])
    np.testing.assert_allclose(density.log_prob(np.asfortranarray(x)), expected)


def test_a_tensor_of_another_dtype_is_converted_and_keeps_its_gradient() -> None:
    density = lb.create("gaussian", features=2)
    x = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    density.log_prob(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, -torch.ones(4, 2, dtype=torch.float64))


def test_fit_takes_tensors_with_gradients_lists_and_reversed_arrays() -> None:
    rows = np.random.default_rng(1).normal(size=(50, 2))
    fits = [
        lb.create("gaussian", features=2).fit(given)
        for given in (rows, rows.tolist(), torch.tensor(rows, requires_grad=True), rows[::-1])
    ]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.log_prob(rows[:5]), fits[0].log_prob(rows[:5]), rtol=1e-5)


def test_a_density_that_nothing_could_make_again_is_not_saved(tmp_path: pytest.TempPathFactory) -> None:
    with pytest.raises(InputError, match=r"lde_bench\.create"):
        LDE(4, 2).save(f"{tmp_path}/lde.safetensors")


@pytest.mark.parametrize("features", [1, 2])
def test_the_lde_trains_on_batches_of_a_single_row(features: int) -> None:
    density = lb.create("lde", features=features, components=2)
    density.fit(np.ones((1, features)), steps=3, precision="fp32")
    assert np.isfinite(density.log_prob(np.ones((1, features)))).all()


def test_a_bf16_training_step_is_close_to_a_float32_one() -> None:
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    density = lb.create("lde", features=8, components=3)
    gradients = []
    for enabled in (False, True):
        density.train().zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            density(x).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in density.parameters() if p.grad is not None]))
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98


@pytest.mark.parametrize("method", ["lde", "maf-mog", "real-nvp", "nsf", "nsf+w", "gaussian+neg", "resmade-mog+ens"])
def test_no_rows_have_no_log_likelihoods(method: str) -> None:
    density = lb.create(method, features=2)
    x = torch.zeros(0, 2, requires_grad=True)
    assert density.log_prob(x).shape == (0,)
    assert density.log_prob(np.zeros((0, 2))).shape == (0,)
    density.log_prob(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("method", ["lde", "made-mog:hidden=8", "maf-mog:hidden=8"])
def test_a_model_in_float64_is_trained_in_float64_whatever_is_asked_for(method: str) -> None:
    rows = np.random.default_rng(0).normal(size=(64, 3))
    density = lb.create(method, features=3, components=2).double().fit(rows, steps=2, precision="bf16", device="cpu")
    assert density.training_setup["precision"] == "fp32"
    assert density.log_prob(rows).dtype == np.float64


def test_numbers_of_features_of_any_kind_are_kept_beside_the_weights(tmp_path) -> None:
    density = lb.create("made-mog:hidden=8", features=np.int64(3))
    density.save(tmp_path / "a.safetensors")
    x = np.zeros((2, 3), np.float32)
    np.testing.assert_array_equal(lb.load_density(tmp_path / "a.safetensors").log_prob(x), density.log_prob(x))


def test_what_is_no_name_of_a_method_is_refused() -> None:
    for method in (5, None):
        with pytest.raises(InputError, match="is no name of a density; give for example 'lde'"):
            lb.create(method, features=3)
