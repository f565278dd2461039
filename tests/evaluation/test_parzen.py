from __future__ import annotations

import functools
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.neighbors import KernelDensity

import lde_bench as lb
from lde_bench.errors import InputError
from lde_bench.evaluation import parzen
from lde_bench.evaluation.parzen import WindowSums, parzen_log_prob, parzen_sums, select_sigma


@pytest.fixture
def points() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.normal(size=(37, 5)).astype(np.float32), generator.normal(size=(80, 5)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_agrees_with_scikit_learn(points, sigma):
    test, samples = points
    kernel = KernelDensity(bandwidth=sigma, rtol=0, atol=0).fit(samples.astype(np.float64))
    expected = kernel.score_samples(test.astype(np.float64))
    np.testing.assert_allclose(parzen_log_prob(test, samples, sigma), expected, rtol=1e-10)


def test_agrees_with_scikit_learn_on_images():
    # One leaf for all samples: with more, the bounds of scikit-learn's trees cancel in 784 dimensions, and the figures
    # of rtol = atol = 0 are wrong by hundreds of nats.
    generator = np.random.default_rng(3)
    centres = generator.uniform(size=(40, 784))
    test, samples = (np.clip(centres[generator.integers(40, size=n)] + 0.05 * generator.normal(size=(n, 784)), 0, 1)
                     for n in (60, 500))  # fmt: skip
    for sigma in (0.01, 0.2):
        kernel = KernelDensity(bandwidth=sigma, rtol=0, atol=0, leaf_size=len(samples)).fit(samples)
        np.testing.assert_allclose(
            parzen_log_prob(test, samples, sigma), kernel.score_samples(test), rtol=1e-10, atol=1e-9
        )


def plain(test: np.ndarray, samples: np.ndarray, sigma: float) -> np.ndarray:
    squares = cdist(test.astype(float), samples.astype(float), "sqeuclidean")
    constant = np.log(len(samples)) + test.shape[1] * np.log(sigma * np.sqrt(2 * np.pi))
    return logsumexp(-0.5 * squares / sigma**2, axis=1) - constant


@pytest.mark.parametrize("features", [1, 3, 200])
@pytest.mark.parametrize("offset", [0.0, 30.0, 3e4])
def test_nothing_that_matters_is_left_out(features, offset):
    # Clusters so tight and so far from the origin that the float32 product cannot tell their members apart.
    generator = np.random.default_rng(features)
    centres = 20 * generator.normal(size=(5, features)) + offset
    test, samples = (centres[generator.integers(5, size=n)] + 1e-3 * generator.normal(size=(n, features))
                     for n in (50, 400))  # fmt: skip
    for sigma in (1e-4, 1e-3, 0.1, 50.0):
        np.testing.assert_allclose(
            parzen_log_prob(test, samples, sigma), plain(test, samples, sigma), rtol=1e-9, atol=1e-7
        )


def test_the_bound_on_the_products_error_holds_and_is_not_idle():
    generator = np.random.default_rng(5)
    for features in (1, 10, 784):
        for scale in (1e-3, 1.0, 1e3):
            x, y = (torch.from_numpy(scale * generator.normal(size=(200, features))) for _ in range(2))
            y += x  # close pairs on the diagonal
            single = (
                x.square().sum(1).float()[:, None] + y.square().sum(1).float() - 2 * (x.float() @ y.float().T)
            ).double()
            error = (single - torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()).abs()
            bound = parzen._product_error(features, x.norm(dim=1)[:, None] + y.norm(dim=1))
            assert (error <= bound).all()
            assert error.max() > bound.median() / 1e4


def test_the_whole_grid_in_one_pass_is_each_sigma_on_its_own(points):
    test, samples = points
    grid = np.array([0.01, 0.1, 0.5, 4.0])
    expected = [parzen_log_prob(test, samples, sigma) for sigma in grid]
    np.testing.assert_allclose(parzen.parzen_curve(test, samples, grid), expected, rtol=1e-13)


def test_samples_on_disk_are_read_in_blocks(points, tmp_path, monkeypatch):
    test, samples = points
    on_disk = np.memmap(tmp_path / "samples.bin", dtype=np.float32, mode="w+", shape=samples.shape)
    on_disk[:] = samples
    expected = parzen_log_prob(test, samples, 0.2)
    monkeypatch.setattr(parzen, "SAMPLE_ROWS", 16)
    read = []

    class Watched:
        shape, dtype = on_disk.shape, on_disk.dtype

        def __getitem__(self, rows):
            read.append(on_disk[rows].shape[0])
            return on_disk[rows]

    np.testing.assert_allclose(parzen_log_prob(test, Watched(), 0.2), expected, rtol=1e-13)
    assert max(read) == 16
    assert sum(read) == 16 + len(samples)


def test_sums_over_blocks_of_samples_join_to_the_window_of_all(points):
    test, samples = points
    samples[:20] += 40  # a block that is far from every test item
    grid = [0.01, 0.3, 4.0]
    whole = parzen.parzen_curve(test, samples, grid)
    parts = [parzen_sums(test, samples[first : first + 20], grid) for first in range(0, 80, 20)]
    joined = functools.reduce(WindowSums.join, reversed(parts))
    np.testing.assert_allclose(joined.log_prob(), whole, rtol=1e-12)
    np.testing.assert_allclose(joined.log_prob()[1], plain(test, samples, 0.3), rtol=1e-10)
    for other, told in (
        (parzen_sums(test[1:], samples, grid), "items"),
        (parzen_sums(test, samples, [1, 2, 3]), "sig"),
    ):
        with pytest.raises(InputError, match=told):
            joined.join(other)


@pytest.mark.slow
def test_sums_of_other_processes_join_to_the_window_of_one():
    generator = np.random.default_rng(4)
    test, samples = generator.uniform(size=(50, 64)), generator.uniform(size=(6000, 64))
    whole = parzen.parzen_curve(test, samples, [0.1, 0.2])
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        blocks = np.array_split(samples, 3)
        parts = pool.map(parzen_sums, [test] * 3, blocks, [[0.1, 0.2]] * 3)
        joined = functools.reduce(WindowSums.join, parts)
    np.testing.assert_allclose(joined.log_prob(), whole, rtol=1e-12)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_close_pairs_and_whole_rows_give_the_same(points, monkeypatch, share):
    test, samples = points
    monkeypatch.setattr(parzen, "DENSE", share)
    np.testing.assert_allclose(parzen_log_prob(test, samples, 0.3), plain(test, samples, 0.3), rtol=1e-12)


def test_a_lowered_float32_product_is_not_used(points):
    test, samples = points
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        np.testing.assert_allclose(parzen_log_prob(test, samples, 0.2), plain(test, samples, 0.2), rtol=1e-12)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_one_sample_is_a_gaussian_around_it():
    test, sigma = np.array([[1.0, 2.0, -1.0]]), 0.4
    sample = np.array([[0.5, 2.5, 0.0]])
    expected = -0.5 * 1.5 / sigma**2 - 3 * np.log(sigma) - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(parzen_log_prob(test, sample, sigma), [expected], rtol=1e-14)


def test_it_is_a_density_in_one_dimension():
    samples = np.random.default_rng(1).normal(size=(20, 1))
    grid = np.linspace(-10, 10, 20_001)
    mass = trapezoid(np.exp(parzen_log_prob(grid[:, None], samples, 0.1)), grid)
    assert mass == pytest.approx(1, abs=1e-9)


def test_duplicated_samples_change_nothing(points):
    test, samples = points
    np.testing.assert_allclose(
        parzen_log_prob(test, np.repeat(samples, 3, axis=0), 0.2), parzen_log_prob(test, samples, 0.2), rtol=1e-13
    )


def test_the_order_of_samples_and_of_test_items_does_not_matter(points):
    test, samples = points
    expected = parzen_log_prob(test, samples, 0.2)
    np.testing.assert_allclose(parzen_log_prob(test, samples[::-1], 0.2), expected, rtol=1e-13)
    np.testing.assert_array_equal(parzen_log_prob(test[::-1], samples, 0.2), expected[::-1])


def test_blocks_of_test_items_and_of_samples_do_not_matter(points, monkeypatch):
    test, samples = points
    expected = parzen_log_prob(test, samples, 0.2)
    np.testing.assert_array_equal(
        np.concatenate([parzen_log_prob(part, samples, 0.2) for part in np.array_split(test, 6)]), expected
    )
    monkeypatch.setattr(parzen, "SAMPLE_ROWS", 7)
    monkeypatch.setattr(parzen, "TEST_ROWS", 5)
    np.testing.assert_allclose(parzen_log_prob(test, samples, 0.2), expected, rtol=1e-13)


def test_close_points_far_from_the_origin_keep_their_digits():
    # |x|^2 - 2xy + |y|^2 would lose all sixteen digits here.
    test, sample = np.array([[1e8, 1e8]]), np.array([[1e8 + 0.5, 1e8]])
    expected = -0.5 * 0.25 / 0.25 - 2 * np.log(0.5) - np.log(2 * np.pi)
    np.testing.assert_allclose(parzen_log_prob(test, sample, 0.5), [expected], rtol=1e-14)


def test_far_away_it_is_finite():
    assert np.isfinite(parzen_log_prob(np.full((1, 10), 1e6), np.zeros((3, 10)), 1e-3)).all()


def test_the_selected_sigma_has_the_best_mean_validation_score(points):
    validation, samples = points
    grid = np.array([0.1, 0.3, 0.6, 1.0, 3.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sigma, curve = select_sigma(validation, samples, grid)
    expected = [parzen_log_prob(validation, samples, s).mean() for s in grid]
    np.testing.assert_allclose(curve, expected, rtol=1e-13)
    assert sigma == grid[np.argmax(expected)]


@pytest.mark.parametrize("grid", [[0.01, 0.02, 0.03], [5.0, 6.0, 7.0], [7.0, 6.0, 5.0]])
def test_a_best_sigma_at_the_edge_of_the_grid_is_told(points, grid):
    with pytest.warns(UserWarning, match="edge of the grid"):
        select_sigma(*points, np.array(grid))


@pytest.mark.parametrize("sigma", [0, -0.1, np.nan, np.inf, 1e-200])
def test_a_sigma_that_is_no_positive_number_is_refused(points, sigma):
    with pytest.raises(InputError, match="positive number"):
        parzen_log_prob(*points, sigma)


@pytest.mark.parametrize(
    ("test", "samples", "message"),
    [
        (np.zeros((3, 2)), np.array([[0.0, np.nan]]), "1 rows of the samples array hold NaN"),
        (np.full((3, 2), np.inf), np.zeros((3, 2)), "3 rows of the test array hold NaN"),
        (np.zeros((3, 2)), np.zeros((3, 4)), "2 features and the samples 4"),
        (np.zeros((0, 2)), np.zeros((3, 2)), "test array should be"),
        (np.zeros((3, 2)), np.zeros((0, 2)), "samples array should be"),
        (np.zeros(3), np.zeros((3, 1)), "test array should be"),
    ],
)
def test_bad_arrays_are_refused_in_a_sentence(test, samples, message):
    with pytest.raises(InputError, match=message):
        parzen_log_prob(test, samples, 0.1)


def test_an_empty_grid_is_refused(points):
    with pytest.raises(InputError, match="grid of sigmas is empty"):
        select_sigma(*points, np.array([]))


def test_it_is_reached_from_the_package():
    assert lb.parzen_log_prob is parzen_log_prob
    assert lb.select_sigma is select_sigma
