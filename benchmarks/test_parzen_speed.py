"""The Parzen window against one bare matrix product of its size, and against scikit-learn's KernelDensity."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from races import Timing
from sklearn.neighbors import KernelDensity

from lde_bench.data import load_dataset
from lde_bench.evaluation.parzen import parzen_curve

#: The size of MNIST's evaluation, with the paper's grid.
ITEMS, PIXELS = 10_000, 784
GRID = np.arange(0.1, 0.3, 0.01)
#: KernelDensity is timed on so few test items and one sigma; its time is proportional to both.
FEW = 200
#: Ours takes at most twice as long as the product.
PRODUCT_TARGET = 0.5
KERNEL_DENSITY_TARGET = 50.0


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    """Test items and samples: MNIST's test and training images, or without them digits with noise as wide as sigma."""
    if os.environ.get("LDE_BENCH_DATA"):
        data = load_dataset("mnist", train=ITEMS, test=ITEMS)
        return np.asarray(data.test), np.asarray(data.train)
    print("MNIST is not at hand (LDE_BENCH_DATA): 100 templates with noise stand in")
    draw = np.random.default_rng(0)
    templates = draw.random((100, PIXELS), dtype=np.float32)
    test, samples = (
        templates[draw.integers(100, size=ITEMS)] + 0.2 * draw.standard_normal((ITEMS, PIXELS), dtype=np.float32)
        for _ in range(2)
    )
    return test, samples


def test_the_window_agrees_with_kernel_density(images: tuple[np.ndarray, np.ndarray]) -> None:
    test, samples = (each[:300].astype(np.float64) for each in images)
    ours = parzen_curve(test, samples, GRID[[0, -1]])
    for sigma, curve in zip(GRID[[0, -1]], ours, strict=True):
        # One leaf: with more, its bounds in 784 dimensions drop what they should not.
        exact = KernelDensity(bandwidth=sigma, rtol=0, atol=0, leaf_size=len(samples)).fit(samples)
        np.testing.assert_allclose(curve, exact.score_samples(test), rtol=1e-6)


@pytest.mark.parametrize("threads", sorted({1, torch.get_num_threads()}), ids="threads{}".format, indirect=True)
def test_the_whole_grid_against_one_product(
    timing: Timing, threads: int, images: tuple[np.ndarray, np.ndarray]
) -> None:
    test, samples = images
    left, right = torch.from_numpy(test), torch.from_numpy(samples).T.contiguous()
    timing.race(
        f"Parzen, {len(GRID)} sigmas, against a bare fp32 product",
        lambda: left @ right,
        lambda: parzen_curve(test, samples, GRID),
        len(test),
        rounds=5,
        target=PRODUCT_TARGET,
    )


@pytest.mark.parametrize("threads", [1], ids="threads{}".format, indirect=True)
def test_the_whole_grid_against_kernel_density(
    timing: Timing, threads: int, images: tuple[np.ndarray, np.ndarray]
) -> None:
    test, samples = images
    exact = KernelDensity(bandwidth=GRID[0], rtol=0, atol=0, leaf_size=len(samples)).fit(samples)
    timing.race(
        f"Parzen, {len(GRID)} sigmas, against KernelDensity",
        lambda: exact.score_samples(test[:FEW]),
        lambda: parzen_curve(test, samples, GRID),
        len(test),
        rounds=3,
        target=KERNEL_DENSITY_TARGET,
        scale=len(test) / FEW * len(GRID),
    )
