from __future__ import annotations

import numpy as np
import pytest
import torch

import lde_bench as lb
from lde_bench.densities.whitened import Whitened
from lde_bench.errors import InputError
from lde_bench.evaluation.laws.suite import skewed_rows

ROWS = skewed_rows(400, 6, 0)


@pytest.fixture(scope="module")
def fitted() -> Whitened:
    density = lb.create("made-mog+w", 6, components=3, hidden=32).fit(ROWS, steps=20, device="cpu")
    assert isinstance(density, Whitened)
    return density.double()


def test_the_factor_is_the_cholesky_factor_of_the_training_covariance(fitted):
    covariance = np.cov(ROWS.T.astype(np.float64), bias=True)
    np.testing.assert_allclose(fitted.factor, np.linalg.cholesky(covariance), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(fitted.mean, ROWS.mean(0, dtype=np.float64), rtol=1e-6, atol=1e-7)


def test_whitened_rows_have_unit_covariance_and_no_mean(fitted):
    white = fitted._inverse(torch.as_tensor(ROWS).double()).numpy()
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-5)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-5)


def test_log_prob_is_that_of_the_base_and_the_log_determinant_of_the_jacobian(fitted):
    z = torch.as_tensor(ROWS[:5]).double()
    for row in z:
        jacobian = torch.autograd.functional.jacobian(lambda x: fitted._inverse(x[None])[0], row)
        expected = fitted.base.log_prob(fitted._inverse(row[None])) + torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(fitted.log_prob(row[None]), expected, rtol=1e-12, atol=1e-12)


def test_a_change_of_units_changes_log_prob_by_its_log_determinant():
    # The whitened rows, and so the trained base, are the same; only the determinant differs.
    scales = np.array([8, 0.25, 1, 4, 0.5, 2], dtype=np.float32)  # powers of two: exact in float32
    one = lb.create("made-mog+w", 6, components=3, hidden=32).fit(ROWS, seed=1, steps=20, device="cpu")
    other = lb.create("made-mog+w", 6, components=3, hidden=32).fit(ROWS * scales, seed=1, steps=20, device="cpu")
    np.testing.assert_allclose(
        other.log_prob(ROWS * scales), one.log_prob(ROWS) - np.log(scales).sum(), rtol=1e-4, atol=1e-4
    )


def test_the_training_loss_and_the_curve_are_those_of_the_data_and_not_of_the_whitened_rows():
    losses: list[float] = []
    density = lb.create("made-mog+w", 6, components=3, hidden=32)
    density.fit(
        ROWS, ROWS, steps=30, device="cpu", precision="fp32", on_progress=lambda progress: losses.append(progress.loss)
    )
    mean = density.log_prob(ROWS).mean()
    assert density.training_state.best_score == pytest.approx(mean, abs=1e-3)
    assert -losses[-1] == pytest.approx(mean, abs=1.5)
    log_determinant = density.factor.diagonal().log().sum().item()
    assert abs(log_determinant) > 3  # so that the two lines above can fail


def test_samples_have_the_mean_and_the_covariance_of_the_data_under_a_standard_normal_base():
    density = lb.create("gaussian+w", 6).fit(ROWS, device="cpu")
    drawn = density.sample(40_000, seed=0)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(ROWS.T), rtol=0.1, atol=0.2)
    np.testing.assert_allclose(drawn.mean(0), ROWS.mean(0), atol=0.1)


def test_a_gaussian_does_not_notice_whitening():
    plain, whitened = (lb.create(name, 6).fit(ROWS, device="cpu") for name in ("gaussian", "gaussian+w"))
    np.testing.assert_allclose(whitened.log_prob(ROWS), plain.log_prob(ROWS), atol=1e-3)


def test_whiten_cholesky_and_the_suffix_are_the_same_density():
    suffix, argument = lb.create("lde+w", 6), lb.create("lde", 6, whiten="cholesky")
    assert suffix.config == argument.config
    assert isinstance(argument, Whitened)
    assert lb.create("lde+w", 6, whiten="cholesky").config == suffix.config


def test_an_unknown_whitening_is_an_input_error():
    with pytest.raises(InputError, match="whiten = 'zca' is unknown"):
        lb.create("lde", 6, whiten="zca")


@pytest.mark.parametrize("method", ["gaussian+sym+w", "gaussian+sym+ens+w"])
def test_whitening_what_needs_pixels_is_an_input_error(method):
    with pytest.raises(InputError, match=r"whiten inside, as in lde\+w\+sym"):
        lb.create(method, 63)
    with pytest.raises(InputError, match="whiten inside"):
        lb.create(method.removesuffix("+w"), 63, whiten="cholesky")
    assert lb.create("gaussian+w+sym", 63, whiten="cholesky").config["method"] == "gaussian+w+sym"


def test_only_the_weights_of_the_base_are_counted():
    assert lb.create("lde+w", 6).parameter_count() == lb.create("lde", 6).parameter_count()


@pytest.mark.parametrize("fault", ["constant", "dependent", "one row"])
def test_a_singular_covariance_is_an_input_error(fault):
    rows = ROWS.copy()
    if fault == "constant":
        rows[:, 3] = 1.5
    elif fault == "dependent":
        rows[:, 3] = rows[:, 0] + rows[:, 1]
    else:
        rows = rows[:1]
    with pytest.raises(InputError, match=r"whitening: the covariance .* singular"):
        lb.create("lde+w", 6).fit(rows, steps=1)
