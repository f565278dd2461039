from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal
from sklearn.mixture import GaussianMixture

import lde_bench as lb
from lde_bench.densities.gmm import GMM, KAPPA, ExpectationMaximisation
from lde_bench.errors import InputError
from lde_bench.training import loop
from lde_bench.training.batches import ArrayBatches, FreshBatches
from lde_bench.training.plan import Plan


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def ring(n: int, seed: int = 0, centres: int = 8, radius: float = 3.0, width: float = 0.2) -> np.ndarray:
    """Rows of `centres` round Gaussians on a circle."""
    generator = np.random.default_rng(seed)
    angle = 2 * np.pi * generator.integers(centres, size=n) / centres
    return np.c_[np.cos(angle), np.sin(angle)] * radius + width * generator.normal(size=(n, 2))


def scale_mixture(n: int, features: int = 8, seed: int = 0) -> np.ndarray:
    """Rows of one mean and two contrasts, a hundred to one, behind a fixed correlation."""
    generator = np.random.default_rng(seed)
    factor = np.tril(np.random.default_rng(5).normal(size=(features, features))) + 2 * np.eye(features)
    contrast = np.where(generator.random(n) < 0.5, 1.0, 0.01)[:, None]
    return contrast * (generator.normal(size=(n, features)) @ factor.T)


def covariances(model: GMM) -> np.ndarray:
    factors = np.linalg.inv(model._whitening().detach().double().numpy())
    return factors @ factors.transpose(0, 2, 1)


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_log_prob_is_that_of_scikit_learn_and_scipy_with_the_same_parameters():
    rows = scale_mixture(600, 6)
    theirs = GaussianMixture(4, random_state=0).fit(rows)
    ours = lb.create("gmm", features=6, components=4).double()
    ours._set_mixture(
        torch.as_tensor(theirs.weights_),
        torch.as_tensor(theirs.means_),
        torch.linalg.cholesky(torch.as_tensor(theirs.covariances_)),
    )
    np.testing.assert_allclose(ours.log_prob(rows), theirs.score_samples(rows), rtol=1e-9)
    parts = [
        np.log(w) + multivariate_normal(m, s).logpdf(rows)
        for w, m, s in zip(theirs.weights_, theirs.means_, theirs.covariances_, strict=True)
    ]
    np.testing.assert_allclose(ours.log_prob(rows), np.logaddexp.reduce(parts), rtol=1e-9)


@pytest.mark.parametrize("init", ["kmeans++", "scale"])
def test_full_batch_em_never_lowers_the_likelihood(init):
    rows = torch.as_tensor(np.concatenate([scale_mixture(800, 4), scale_mixture(400, 4, seed=1) + 5]))
    model = lb.create("gmm", features=4, components=5, init=init).double()
    scores: list[float] = []
    step = ExpectationMaximisation.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExpectationMaximisation, "step", lambda *a: scores.append(-step(*a)) or -scores[-1])
        model.fit(rows.numpy(), steps=40)
    assert len(scores) == 40
    assert scores[-1] > scores[0] + 0.1
    # The prior is part of what rises, the left-out responsibilities may cost a millionth.
    assert np.diff(scores).min() > -1e-5


@pytest.mark.slow
def test_a_known_mixture_is_found_again():
    model = lb.create("gmm", features=2, components=8).fit(ring(20_000), seed=1)
    angle = 2 * np.pi * np.arange(8) / 8
    centres = 3 * np.c_[np.cos(angle), np.sin(angle)]
    means = model.means.detach().numpy()
    distance = np.linalg.norm(centres[:, None] - means[None], axis=-1)
    assert sorted(distance.argmin(1)) == list(range(8))
    assert distance.min(1).max() < 0.03
    np.testing.assert_allclose(model.log_weights().exp().detach().numpy(), 1 / 8, atol=0.01)
    np.testing.assert_allclose(covariances(model), np.broadcast_to(0.04 * np.eye(2), (8, 2, 2)), atol=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_it_is_as_good_as_scikit_learn_on_the_ring(seed):
    train, test = ring(5000), ring(5000, seed=1)
    theirs = GaussianMixture(8, n_init=3, random_state=seed).fit(train).score(test)
    ours = lb.create("gmm", features=2, components=8).fit(train, seed=seed).log_prob(test).mean()
    assert ours > theirs - 0.01


@pytest.mark.slow
def test_components_of_very_different_scale_are_found():
    train, test = scale_mixture(20_000), scale_mixture(5000, seed=1)
    factor = np.tril(np.random.default_rng(5).normal(size=(8, 8))) + 2 * np.eye(8)
    covariance = factor @ factor.T
    truth = np.logaddexp(
        multivariate_normal(np.zeros(8), covariance).logpdf(test),
        multivariate_normal(np.zeros(8), 1e-4 * covariance).logpdf(test),
    ) - np.log(2)
    fitted = lb.create("gmm", features=8, components=2).fit(train).log_prob(test)
    assert fitted.mean() == pytest.approx(truth.mean(), abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("init", ["auto", "kmeans++", "scale"])
@pytest.mark.parametrize("case", ["few rows", "duplicates", "outliers"])
def test_no_component_collapses(case, init):
    if case == "few rows":
        rows = ring(20)
    elif case == "duplicates":
        rows = np.repeat(ring(30), 20, axis=0)
    else:
        rows = np.concatenate([ring(500), [[1e3, 0.0], [0.0, -1e3]]])
    model = lb.create("gmm", features=2, components=30, init=init).fit(rows, steps=100)
    spread = np.cov(rows.T)
    # In the data's own units, no component is narrower than the prior on one heap of duplicates allows.
    widths = np.linalg.eigvals(np.linalg.solve(spread, covariances(model))).real
    assert widths.min() > 1e-6
    assert torch.isfinite(model.log_weights()).all()
    held_out = model.log_prob(ring(500, seed=3))
    assert np.isfinite(held_out).all()
    assert np.isfinite(model.sample(100)).all()


def test_a_starved_component_takes_over_half_of_the_heaviest_one():
    rows = ring(4000)
    model = lb.create("gmm", features=2, components=4, init="kmeans++").double()
    model.fit(rows, steps=1)
    with torch.no_grad():
        model.means[0] = 1e4  # sees nothing
    batch = torch.as_tensor(rows)
    em = ExpectationMaximisation(model, model._prior)
    em.step(batch, 0, 1.0)
    before = model.log_weights().exp().detach().numpy()
    assert before[0] < 1e-6
    em.step(batch, 1, 0.0)
    after = model.log_weights().exp().detach().numpy()
    assert after[0] == pytest.approx(before.max() / 2, rel=0.2)
    assert after.sum() == pytest.approx(1)


def test_splitting_a_component_keeps_the_moments_of_the_whole():
    model = lb.create("gmm", features=3, components=3, init="kmeans++").double()
    model.fit(scale_mixture(2000, 3), steps=2)
    em = ExpectationMaximisation(model, model._prior)
    for part in em.statistics:
        part[0] = 0
    heaviest = float(em.statistics.counts.max())
    before = [part.sum(0).clone() for part in em.statistics]
    em._revive()
    assert float(em.statistics.counts[0]) == pytest.approx(heaviest / 2)
    for mine, theirs in zip(em.statistics, before, strict=True):
        torch.testing.assert_close(mine.sum(0), theirs)


@pytest.mark.parametrize("components", [4, 120])
def test_the_automatic_start_suits_the_data_even_with_few_rows_a_component(components):
    contrasts = np.exp(np.random.default_rng(1).normal(size=(3000, 1)))
    patches = contrasts * np.random.default_rng(2).normal(size=(3000, 20))
    model = lb.create("gmm", features=20, components=components)
    model.prepare(ArrayBatches(patches.astype(np.float32), 0))
    assert (model.means.std(0) < 1e-6).all(), "a scale mixture wants the scale start"
    model = lb.create("gmm", features=2, components=8)
    model.prepare(ArrayBatches(ring(2000).astype(np.float32), 0))
    assert (model.means.std(0) > 1).all(), "a ring wants the k-means++ start"


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif("LDE_BENCH_DATA" not in os.environ, reason="LDE_BENCH_DATA names no folder of real photographs")
def test_the_automatic_start_on_real_patches_is_the_scale_start_even_at_200_components():
    patches = lb.load_dataset("bsds300", train=20_000, validation=100, test=100).train
    model = lb.create("gmm", features=63, components=200)
    model.prepare(ArrayBatches(patches, 0))
    # Plain EM scored on its own training rows takes k-means++ here, 20 nats worse on other rows.
    assert (model.means.std(0) < 1e-6).all()


@pytest.mark.slow
def test_minibatches_end_close_to_full_batches():
    train, test = scale_mixture(20_000, 4), scale_mixture(5000, 4, seed=1)
    model = lb.create("gmm", features=4, components=4)
    full = model.fit(train, steps=60, seed=0).log_prob(test).mean()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GMM, "plans", {"quick": smaller_batches(100)})
        small = model.fit(train, steps=400, seed=0).log_prob(test).mean()
    # Statistics that forget all but the last batch lose 0.11 nats.
    assert small == pytest.approx(full, abs=0.03)


def smaller_batches(batch_size: int) -> Plan:
    return replace(GMM.plans["quick"], batch_size=batch_size)


@pytest.mark.slow
def test_float32_stays_close_to_float64_with_narrow_components_far_from_zero():
    rows = np.concatenate([ring(2000, width=0.001), ring(2000, seed=1, width=1.0)]) + 50
    model = lb.create("gmm", features=2, components=16).fit(rows)
    single = model.log_prob(rows.astype(np.float32))
    double = model.double().log_prob(rows.astype(np.float32))
    np.testing.assert_allclose(single, double, atol=0.01)
    assert abs(single.mean() - double.mean()) < 1e-4


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    rows = scale_mixture(3000, 3)
    first, again, other = (
        lb.create("gmm", features=3, components=3).fit(rows, seed=seed, steps=5) for seed in (0, 0, 1)
    )
    assert_same_weights(first, again)
    assert not torch.equal(first.means, other.means)


def test_a_killed_run_continues_to_identical_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(GMM, "plans", {"quick": smaller_batches(300)})
    rows, held_out = scale_mixture(2000, 3), scale_mixture(500, 3, seed=1)
    whole = lb.create("gmm", features=3, components=4).fit(rows, held_out, steps=40)

    def kill(progress: loop.Progress) -> None:
        if progress.step == 23:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        lb.create("gmm", features=3, components=4).fit(
            rows, held_out, steps=40, checkpoint=checkpoint, on_progress=kill
        )
    messages: list[str] = []
    resumed = lb.create("gmm", features=3, components=4).fit(
        rows, held_out, steps=40, checkpoint=checkpoint, notify=messages.append
    )
    assert messages == ["continuing from step 23 of 40"]
    assert_same_weights(whole, resumed)


def test_a_stream_of_fresh_rows_is_fitted_too(monkeypatch):
    monkeypatch.setattr(GMM, "plans", {"quick": smaller_batches(2000)})
    stream = FreshBatches(lambda n, g: ring(n, seed=int(g.integers(2**31))).astype(np.float32), 2, seed=0)
    model = lb.create("gmm", features=2, components=8).fit(stream, steps=30)
    truth = -np.log(8) - np.log(2 * np.pi * 0.04) - 1
    assert model.log_prob(ring(5000, seed=9)).mean() == pytest.approx(truth, abs=0.05)


def test_save_and_load_round_trip(tmp_path):
    rows = ring(500)
    model = lb.create("gmm", features=2, components=3, init="kmeans++").fit(rows, steps=5)
    model.save(tmp_path / "gmm.safetensors")
    loaded = lb.load_density(tmp_path / "gmm.safetensors")
    assert loaded.init == "kmeans++"
    np.testing.assert_array_equal(loaded.log_prob(rows), model.log_prob(rows))


def test_behind_whitening_it_works_and_agrees():
    rows, test = scale_mixture(5000, 4) + 2, scale_mixture(2000, 4, seed=1) + 2
    plain = lb.create("gmm", features=4, components=3).double().fit(rows, steps=30).log_prob(test)
    white = lb.create("gmm+w", features=4, components=3).double().fit(rows, steps=30).log_prob(test)
    np.testing.assert_allclose(white, plain, atol=1e-6)


def test_samples_follow_the_density_at_batch_above_one():
    model = lb.create("gmm", features=2, components=8).double().fit(ring(5000), steps=30)
    samples = model.sample(6000, seed=2)
    cdf = model.conditional_cdf(torch.as_tensor(samples)).detach().numpy()
    assert min(kstest(cdf[:, i], "uniform").pvalue for i in range(2)) > 1e-3
    means = model.means.detach().numpy()
    nearest = np.linalg.norm(samples[:, None] - means[None], axis=-1).argmin(1)
    np.testing.assert_allclose(
        np.bincount(nearest, minlength=8) / 6000, model.log_weights().exp().detach().numpy(), atol=0.025
    )
    assert abs(np.corrcoef(nearest[:-1], nearest[1:])[0, 1]) < 0.05
    np.testing.assert_array_equal(samples[:100], model.sample(6000, seed=2)[:100])


def test_conditionals_sum_to_the_joint_and_see_only_the_past():
    model = lb.create("gmm", features=5, components=3).double()
    rows = torch.randn(40, 5, dtype=torch.float64)
    conditionals = model.conditional_log_prob(rows)
    torch.testing.assert_close(conditionals.sum(-1), model.log_prob(rows))
    jacobian = torch.autograd.functional.jacobian(lambda x: model.conditional_log_prob(x).sum(0), rows)
    seen = jacobian.abs().sum(1)  # [D, D]
    assert (seen.triu(1) == 0).all()
    assert (seen.tril() != 0).sum() == 15


def test_a_conditional_cdf_is_the_integral_of_the_conditional_density():
    model = lb.create("gmm", features=2, components=4).double().fit(ring(2000), steps=10)
    grid = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    rows = torch.stack([torch.full_like(grid, 2.0), grid], -1)
    density = model.conditional_log_prob(rows)[:, 1].exp()
    integral = torch.cumulative_trapezoid(density, grid)
    torch.testing.assert_close(integral, model.conditional_cdf(rows)[1:, 1], rtol=0, atol=1e-5)


def test_every_parameter_gets_a_gradient_and_is_counted_before_the_fit():
    model = lb.create("gmm", features=4, components=3)
    assert model.parameter_count() == 3 * (1 + 4 + 10)
    model.log_prob(torch.randn(50, 4)).sum().backward()
    assert all((parameter.grad != 0).all() for parameter in model.parameters())


def test_one_feature_and_one_component_work():
    rows = np.random.default_rng(0).normal(3, 2, (1000, 1))
    model = lb.create("gmm", features=1, components=1).double().fit(rows, steps=3)
    gaussian = lb.create("gaussian", features=1).double().fit(rows)
    np.testing.assert_allclose(model.log_prob(rows), gaussian.log_prob(rows), atol=1e-4)


@pytest.mark.parametrize("arguments", [{"components": 0}, {"components": "ten"}, {"init": "kmeans"}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(InputError):
        lb.create("gmm", features=2, **arguments)


def test_a_singular_covariance_is_one_clear_sentence():
    rows = np.ones((50, 3)) * np.arange(50)[:, None]
    with pytest.raises(InputError, match="gmm: the covariance of the training rows is singular"):
        lb.create("gmm", features=3, components=2).fit(rows)


def test_a_step_on_a_part_of_the_rows_moves_the_statistics_by_its_share():
    model = lb.create("gmm", features=2, components=4, init="kmeans++").double()
    model.fit(ring(2000), steps=1)
    em, batch = ExpectationMaximisation(model, model._prior), torch.as_tensor(ring(500, seed=1))
    before, (_, seen) = em.statistics, em._expect(batch)
    em.step(batch, 6, 1.0)
    for mine, old, new in zip(em.statistics, before, seen, strict=True):
        torch.testing.assert_close(mine, old + (new - old) * 8.0**-KAPPA)
