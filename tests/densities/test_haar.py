from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import nn

import lde_bench as lb
from lde_bench.data.patches import FEATURES, SIDE, complete
from lde_bench.densities.gaussian import Gaussian
from lde_bench.densities.haar import Haar, wavelets
from lde_bench.densities.masked import MaskedLinear
from lde_bench.densities.view_mixture import View
from lde_bench.errors import InputError
from lde_bench.training.batches import ArrayBatches
from lde_bench.training.device import Compiler
from lde_bench.training.model import TrainingRequest
from lde_bench.training.plan import Budget, Plan


def rows(n: int, seed: int = 0) -> np.ndarray:
    """Patches of random slopes and noise, each without its mean: float32 [n, 63]."""
    rng = np.random.default_rng(seed)
    ramp = np.arange(SIDE) - 3.5
    slopes = rng.normal(0, 0.05, (2, n, 1, 1))
    patches = slopes[0] * ramp[:, None] + slopes[1] * ramp + rng.laplace(0, 0.02, (n, SIDE, SIDE))
    flat = patches.reshape(n, -1)
    return (flat - flat.mean(1, keepdims=True))[:, :FEATURES].astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> Haar:
    density = lb.create("gaussian+haar", FEATURES).fit(rows(20_000), device="cpu")
    assert isinstance(density, Haar)
    return density.double()


def test_wavelets_are_those_of_the_definition_coarse_to_fine():
    x = rows(5).astype(float)
    pixels = complete(x).reshape(-1, SIDE, SIDE)
    found = x @ wavelets().T
    halves = np.stack([2 * half.sum((1, 2)) for half in (pixels[:, :, :4], pixels[:, :4])], 1)
    np.testing.assert_allclose(found[:, :2], halves / 8, atol=1e-6)
    corner = (pixels[:, 6, 6] - pixels[:, 6, 7] - pixels[:, 7, 6] + pixels[:, 7, 7]) / 2
    np.testing.assert_allclose(found[:, -1], corner, atol=1e-6)
    # The finest along a row and the coarsest but the mean along a column: two columns of the upper half.
    wide = (pixels[:, :4, 0] - pixels[:, :4, 1]).sum(1) - (pixels[:, 4:, 0] - pixels[:, 4:, 1]).sum(1)
    assert np.abs(found[:, 15:] - wide[:, None] / 4).max(0).argmin() < 24
    assert np.abs(found[:, 15:] - wide[:, None] / 4).max(0).min() < 1e-6
    # Orthonormal: no patch changes its length.
    np.testing.assert_allclose(np.square(found).sum(1), np.square(pixels).sum((1, 2)), rtol=1e-6)


def test_no_wavelet_is_finer_than_one_after_it():
    complete_of_unit = complete(np.eye(FEATURES)).T  # [64, 63]
    functions = (wavelets() @ np.linalg.pinv(complete_of_unit)).reshape(-1, SIDE, SIDE)
    seen = np.abs(functions) > 1e-9
    finer = np.minimum(seen.any(1).sum(1), seen.any(2).sum(1))  # the shorter side of what each covers, in pixels
    assert (np.diff(finer) <= 0).all()
    assert set(finer) == {8, 4, 2}


def test_the_log_determinant_is_that_of_63_numbers_for_64_pixels():
    # An orthonormal basis of the plane of zero sums: |det| of the completion is sqrt(64).
    (view,) = Haar.views
    assert view.log_det == pytest.approx(np.log(8), abs=1e-10)


def test_log_prob_is_that_of_two_gaussians_in_pixels(fitted):
    x = rows(50, 1).astype(float)
    terms = []
    for density, matrix in zip(fitted.each(), (np.eye(FEATURES), wavelets()), strict=True):
        whitening = density._whitening()[0].detach().numpy()
        turn = np.linalg.inv(matrix)
        covariance = turn @ np.linalg.inv(whitening.T @ whitening) @ turn.T
        mean = turn @ density.means[0].detach().numpy()
        terms.append(np.log(0.5) + multivariate_normal(mean, covariance, allow_singular=True).logpdf(x))
    np.testing.assert_allclose(fitted.log_prob(x), logsumexp(terms, 0), rtol=1e-6)


def test_samples_have_the_covariance_of_the_rows(fitted):
    drawn, expected = fitted.sample(40_000, seed=2), np.cov(rows(20_000).T)
    assert np.abs(np.cov(drawn.T) - expected).max() < 0.05 * np.abs(expected).max()


def test_both_learn_what_each_would_learn_alone(monkeypatch):
    def same(layer):
        """Else the weights of the second would depend on what the first drew."""
        generator = torch.Generator().manual_seed(0)
        nn.init.uniform_(layer.weight, -0.1, 0.1, generator)
        nn.init.zeros_(layer.bias)

    monkeypatch.setattr(MaskedLinear, "reset_parameters", same)
    plan = Plan(steps=12, batch_size=32, schedule="constant")
    method, arguments, seen = "made-mog+w", {"components": 2, "hidden": 16}, rows(500)
    views = [View.of(np.eye(FEATURES), 0.5), *Haar.views]
    both = lb.create(method + "+haar", FEATURES, **arguments).fit(seen, steps=12, seed=4, device="cpu", plan=plan)
    held_out = rows(50, 5)
    for view, density in zip(views, both.each(), strict=True):
        alone = lb.create(method, FEATURES, **arguments)
        alone.fit(view.batches(ArrayBatches(seen, 4)), steps=12, seed=4, device="cpu", plan=plan)
        np.testing.assert_allclose(
            density.log_prob(view.rows(held_out)), alone.log_prob(view.rows(held_out)), rtol=1e-4
        )


def test_each_is_told_of_the_validation_rows_as_it_sees_them():
    told = []

    class Asked(Gaussian):
        def request(self, request):
            told.append(request)

    density = Haar(Asked(FEATURES))
    x = torch.from_numpy(rows(5))
    density.request(TrainingRequest(3, Budget.of("quick"), x))
    density.request(TrainingRequest(3, Budget.of("quick"), None))
    np.testing.assert_array_equal(told[0].validation, x)
    np.testing.assert_allclose(told[1].validation, x.numpy() @ wavelets().T, atol=1e-6)
    assert [each.validation for each in told[2:]] == [None, None]
    assert told[0].seed == 3 != told[1].seed


def test_the_loss_of_a_step_is_the_mean_of_both_in_nats_of_the_pixels():
    torch.manual_seed(0)
    density = lb.create("made-mog+w+haar", FEATURES, components=2, hidden=16)
    x = torch.from_numpy(rows(64))
    (view,) = Haar.views
    pixels, other = density.each()
    with torch.no_grad():
        expected = -(pixels(x) + other(view.tensor(x)) + view.log_det).mean() / 2
    device = torch.device("cpu")
    learner = density.learner(Plan(steps=1), device, "fp32", Compiler(device, False, lambda message: None))
    assert learner.step(x, 0, 0.0) == pytest.approx(float(expected), rel=1e-5)


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("lde_bench.training.loop.CHECKPOINT_SECONDS", 0.0)
    seen, held_out = rows(300), rows(60, 6)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 7:
            raise Killed

    def fit(**more) -> np.ndarray:
        density = lb.create("made-mog+haar", FEATURES, components=2, hidden=8)
        return density.fit(seen, held_out, steps=15, device="cpu", notify=notices.append, **more).log_prob(held_out)

    notices: list[str] = []

    whole = fit()
    with pytest.raises(Killed):
        fit(checkpoint=tmp_path / "c", on_progress=kill)
    np.testing.assert_array_equal(fit(checkpoint=tmp_path / "c"), whole)
    assert notices == ["continuing from step 7 of 15"]


def test_it_is_saved_and_loaded(fitted, tmp_path):
    held_out = rows(20, 7)
    fitted.save(tmp_path / "d")
    np.testing.assert_array_equal(lb.load_density(tmp_path / "d").log_prob(held_out), fitted.log_prob(held_out))


def test_rows_that_are_no_patches_are_refused():
    with pytest.raises(InputError, match="leave out \\+haar"):
        lb.create("gaussian+haar", 4)


@pytest.mark.parametrize("method", ["lde+sym+haar", "lde+jpeg+haar"])
def test_what_needs_pixels_is_not_shown_wavelets(method):
    with pytest.raises(InputError, match="further inside, as in lde"):
        lb.create(method, FEATURES)


def test_a_place_of_the_jpeg_grid_has_one_density():
    density = lb.create("gaussian+haar+jpeg", FEATURES)
    assert [each.passes for each in density.each()] == [2] + [1] * 10
