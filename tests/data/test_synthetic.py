from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from lde_bench.data import datasets, load_dataset, synthetic
from lde_bench.data.synthetic import Ring, ScaleMixture

NAMES = [entry.name for entry in synthetic.DATASETS]


def grid_correlation(grid: tuple[int, int], correlation: float) -> np.ndarray:
    cells = np.indices(grid).reshape(2, -1).T
    return correlation ** np.abs(cells[:, None] - cells[None]).sum(axis=-1)


@pytest.mark.parametrize("name", NAMES)
def test_they_load_with_a_true_density_and_no_photographs(name):
    data = load_dataset(name, train=500, validation=50, test=60)
    assert data.sizes == {"train": 500, "validation": 50, "test": 60}
    assert data.features == {"gaussian-correlated": 8, "ring": 2, "scale-mixture": 63}[name]
    assert (data.is_patch, data.fresh, data.test_groups) == (False, None, None)
    log_prob = data.true_log_prob(data.test)
    assert log_prob.shape == (60,)
    assert log_prob.dtype == np.float64


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes_and_prefixes(name):
    large = load_dataset(name, train=5000, validation=10, test=10)
    small = load_dataset(name, train=777, validation=10, test=10)
    np.testing.assert_array_equal(small.train, large.train[:777])
    again = load_dataset(name, train=777, validation=10, test=10)
    assert again.content_hash == small.content_hash != large.content_hash
    other = load_dataset(name, train=777, validation=10, test=10, seed=1)
    assert not np.isclose(other.train, small.train).any(axis=1).all()
    assert not np.array_equal(large.train[:10], large.test)


@pytest.mark.parametrize(("grid", "correlation"), [((2, 4), 0.8), ((7, 9), 0.9), ((1, 1), 0.3), ((3, 2), -0.5)])
def test_the_gaussian_density_is_the_closed_form(grid, correlation):
    d = grid[0] * grid[1]
    x = np.random.default_rng(0).normal(size=(20, d))
    exact = multivariate_normal(np.zeros(d), grid_correlation(grid, correlation)).logpdf(x)
    made = ScaleMixture(grid, correlation, (1.0,)).log_prob(x)
    np.testing.assert_allclose(made, exact, rtol=1e-10)


def test_the_scale_mixture_density_is_the_closed_form():
    scales = (0.5, 1.0, 3.0)
    x = np.random.default_rng(0).normal(size=(20, 8))
    parts = [multivariate_normal(np.zeros(8), s**2 * grid_correlation((2, 4), 0.8)).logpdf(x) for s in scales]
    made = ScaleMixture((2, 4), 0.8, scales).log_prob(x)
    np.testing.assert_allclose(made, np.log(np.mean(np.exp(parts), axis=0)), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("density", [Ring(0.1), ScaleMixture((1, 2), 0.8, (0.25, 1.0))])
def test_two_dimensional_densities_integrate_to_one(density):
    axis = np.linspace(-8, 8, 1601)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    total = np.exp(density.log_prob(points)).sum() * (axis[1] - axis[0]) ** 2
    assert abs(total - 1) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian-correlated", "scale-mixture"])
def test_samples_have_the_covariance_of_the_density(name):
    data = load_dataset(name, train=50_000, validation=1, test=1)
    density = {e.name: e for e in synthetic.DATASETS}[name]
    grid, correlation, scales = {
        "gaussian-correlated": ((2, 4), 0.8, (1.0,)),
        "scale-mixture": ((7, 9), 0.9, (0.125, 0.25, 0.5, 1.0)),
    }[density.name]
    exact = grid_correlation(grid, correlation) * np.mean(np.square(scales))
    np.testing.assert_allclose(np.cov(data.train, rowvar=False), exact, atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_density(name):
    # E over the data of d/dx_j log p is 0 and of x_j d/dx_j log p is -1 for any density that vanishes at infinity.
    data = load_dataset(name, train=1, validation=1, test=20_000)
    x, step = data.test.astype(np.float64), 1e-5
    for j in range(0, data.features, 9):
        shift = np.zeros(data.features)
        shift[j] = step
        slope = (data.true_log_prob(x + shift) - data.true_log_prob(x - shift)) / (2 * step)
        for value, expected in ((slope, 0), (x[:, j] * slope, -1)):
            assert abs(value.mean() - expected) < 5 * value.std() / np.sqrt(len(x))


def test_every_dataset_is_listed_with_its_source():
    assert {"bsds300", "bsds300-hdf5", "natural8x8", *NAMES} <= set(datasets())
    for name, entry in datasets().items():
        assert entry.name == name
        assert entry.version
        assert entry.description
        assert entry.source
