from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from scipy.fft import dctn, idctn
from scipy.stats import kstest, norm
from torch import Tensor

from lde_bench.data import bsds300
from lde_bench.data.patches import FEATURES, GREY_LEVELS, SIDE, Offset, complete
from lde_bench.densities.jpeg_grid import PLACES
from lde_bench.densities.jpeg_lattice import NOISE, STEPS, VISIBLE, Coordinates, LatticeMade, LatticeMixture
from lde_bench.densities.mixture import Mixture
from lde_bench.densities.resmade_mog import ResMadeMog
from lde_bench.evaluation.laws.measures import normalisation
from lde_bench.training.batches import ArrayBatches


def patches(offset: Offset, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Patches whose corner lies at `offset` of blocks that hold only frequencies that the patch can tell, and the
    numbers of the block it begins in: float64 [n, 63], [n, 8, 8].
    """
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-3, 4, size=(n, SIDE, SIDE)).astype(float)
    numbers[:, SIDE - offset[0] :] = 0
    numbers[:, :, SIDE - offset[1] :] = 0
    photograph = rng.normal(0, 9, (n, 2 * SIDE, 2 * SIDE))
    photograph[:, :SIDE, :SIDE] = idctn(numbers * STEPS, axes=(1, 2), norm="ortho")
    rows = photograph[:, offset[0] :, offset[1] :][:, :SIDE, :SIDE].reshape(n, -1) / GREY_LEVELS
    return (rows - rows.mean(1, keepdims=True))[:, :FEATURES], numbers


def random_density(offset: Offset, seed: int) -> LatticeMade:
    torch.manual_seed(seed)
    density = LatticeMade(offset, components=3, hidden=64)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
        density.gates.bias.add_(3)  # about half of each conditional stands on the lattice
    density.factor.copy_(torch.eye(FEATURES) * 0.02 + torch.randn(FEATURES, FEATURES).tril(-1) * 0.001)
    density.rounded &= density.step > 0.01
    density.shrink.fill_(0.5)
    return density.double().eval()


def test_coordinates_of_a_whole_block_are_its_cosines_from_the_highest_down():
    x = np.random.default_rng(1).normal(size=(20, FEATURES))
    found, expected = (
        x @ Coordinates.at((0, 0)).matrix.T,
        dctn(complete(x).reshape(-1, 8, 8), axes=(1, 2), norm="ortho"),
    )
    np.testing.assert_allclose(found[:, 0], expected[:, 7, 7], atol=1e-12)
    np.testing.assert_allclose(found[:, -2:], expected[:, [0, 1], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(np.sort(found), np.sort(expected.reshape(20, -1)[:, 1:]), atol=1e-12)


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_coordinates_keep_noise_as_it_is_and_need_none_but_those_before(place):
    coordinates = Coordinates.at(place)
    pixels = coordinates.matrix @ np.linalg.pinv(complete(np.eye(FEATURES)).T)  # of all 64 that sum to zero
    lengths = np.square(pixels).sum(1)
    assert (lengths < 1 + 1e-9).all(), "a coordinate has more noise than a pixel"
    assert np.abs(np.triu(coordinates.lattice, 1)).max() == 0
    assert (coordinates.lattice.diagonal() > 0).sum() == (SIDE - place[0]) * (SIDE - place[1]) - 1
    assert np.linalg.cond(coordinates.matrix) < 100


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_the_numbers_of_a_block_are_decoded_from_the_part_that_is_seen(place):
    rows, numbers = patches(place, 50)
    density = LatticeMade(place, components=2, hidden=63).double()
    density.rounded.fill_(True)
    x = torch.from_numpy(rows @ Coordinates.at(place).matrix.T)
    on = density.step > 0
    found = ((x - density.shifts(x)) / density.step)[:, on].numpy()
    np.testing.assert_allclose(found, found.round(), atol=1e-3)
    seen = numbers[:, : SIDE - place[0], : SIDE - place[1]].reshape(len(rows), -1)[:, 1:]
    np.testing.assert_array_equal(np.sort(found.round()), np.sort(seen))


def test_a_step_too_fine_to_be_seen_is_shrunk_and_not_rounded():
    density = LatticeMade((0, 1), components=2, hidden=63).double()
    fine = (density.step > 0) & ~density.rounded
    assert 0 < fine.sum() < 20
    x = torch.from_numpy(np.random.default_rng(2).normal(0, 0.05, (20, FEATURES)))
    needing, first = (int(found) for found in ((density.added != 0) & fine).nonzero()[0])
    moved = x.clone()
    moved[:, first] += 1e-5
    density.shrink[first] = 0.25
    change = (density.shifts(moved) - density.shifts(x))[:, needing]
    torch.testing.assert_close(change, torch.full_like(change, 0.25e-5 * float(density.added[needing, first])))


def one(seed: int, n: int, step: float = 0.4, share: float = 0.6) -> LatticeMixture:
    """One conditional, n times over."""
    rng = np.random.default_rng(seed)
    parts = [torch.from_numpy(rng.normal(size=3)).expand(n, -1) for _ in range(3)]
    tensor = [torch.full((n,), value, dtype=torch.float64) for value in (np.log(share / (1 - share)), -1.2, 0.13, step)]
    return LatticeMixture(Mixture(*parts), *tensor)


@pytest.mark.parametrize("step", [0.4, 0.02, 0.0])
def test_the_density_of_a_conditional_integrates_to_its_cdf(step):
    grid = torch.linspace(-30, 30, 1_200_001, dtype=torch.float64)
    conditional = one(3, len(grid), step)
    width = float(grid[1] - grid[0])
    total = torch.cumsum(conditional.log_prob(grid).exp(), 0) * width
    assert float(total[-1]) == pytest.approx(1, abs=1e-4)
    assert float((total - conditional.cdf(grid)).abs().max()) < 2e-4


def test_draws_of_a_conditional_follow_its_cdf():
    conditional = one(4, 20_000)
    x = conditional.sample(torch.Generator().manual_seed(0))
    assert kstest(conditional.cdf(x).numpy(), "uniform").pvalue > 1e-3
    wrong = conditional._replace(log_sigma=conditional.log_sigma - 0.3)
    assert kstest(wrong.cdf(x).numpy(), "uniform").pvalue < 1e-3


def exact_log_between(low: float, high: float) -> float:
    """That of a standard normal, by quadrature around the middle, where nothing is small."""
    middle, half = (low + high) / 2, (high - low) / 2
    points, weights = np.polynomial.legendre.leggauss(400)
    rises = np.exp(-half * points * (middle + half * points / 2))
    return float(norm.logpdf(middle) + np.log(half * (weights @ rises)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 3e-5)], ids=str)
@pytest.mark.parametrize("centre", [0.0, 6.0, -6.0, 19.99, 30.0, -30.0, 300.0])
@pytest.mark.parametrize("width", [1e-4, 1e-3, 0.02, 0.2, 3.0])
def test_the_probability_of_an_interval_and_its_slope(centre, width, dtype, tolerance):
    low, high = (torch.tensor(centre + side * width / 2, dtype=dtype) for side in (-1, 1))
    mean = torch.zeros(1, dtype=dtype, requires_grad=True)
    found = Mixture(torch.zeros(1, dtype=dtype), mean, torch.zeros(1, dtype=dtype)).log_between(low, high)
    expected = exact_log_between(float(low.double()), float(high.double()))
    # A step of the edges within rounding is as much as this.
    slack = 4 * torch.finfo(dtype).eps * (1 + abs(centre)) * (1 / width + abs(centre))
    assert float(found.detach()) == pytest.approx(expected, rel=tolerance, abs=tolerance + slack)
    slope = norm.pdf(float(low)) - norm.pdf(float(high))
    if slope and abs(centre) < 30:
        (gradient,) = torch.autograd.grad(found, mean)
        assert float(gradient) == pytest.approx(slope / np.exp(expected), rel=1e-2, abs=slack)


def test_an_interval_far_from_a_narrow_gaussian_leaves_every_gradient_finite():
    # Of 47,000 standard deviations the derivative of torch's log_ndtr is 0 or infinite in float32.
    low = torch.linspace(4.1, 4.2, 64)
    parts = [torch.tensor([0.0, 0.0]), torch.tensor([4.8438, 0.0]), torch.tensor([-11.173, 0.0])]
    mixture = Mixture(*(part.expand(64, 2).clone().requires_grad_() for part in parts))
    found = mixture.log_between(low, low + 0.004)
    expected = np.log(0.5 * (norm.cdf(low + 0.004) - norm.cdf(low)))
    np.testing.assert_allclose(found.detach(), expected, atol=1e-3)
    for gradient in torch.autograd.grad(found.sum(), list(mixture)):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_an_interval_that_begins_or_ends_at_a_mean_leaves_its_gradient_finite(low):
    mean = torch.zeros(1, requires_grad=True)
    found = Mixture(torch.zeros(1), mean, torch.zeros(1)).log_between(torch.tensor(low), torch.tensor(low + 1))
    (gradient,) = torch.autograd.grad(found, mean)
    slope = norm.pdf(low) - norm.pdf(low + 1)
    assert float(gradient) == pytest.approx(slope / (norm.cdf(low + 1) - norm.cdf(low)), rel=1e-5)


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 1)])
def test_no_conditional_sees_what_comes_after(place):
    density = random_density(place, 5)
    x = torch.as_tensor(density.sample(20, seed=0))
    for at in (5, 30, 60):
        moved = x.clone()
        moved[:, at:] += 0.02
        with torch.no_grad():
            change = density.conditional_log_prob(moved) - density.conditional_log_prob(x)
        assert float(change[:, :at].abs().max()) == 0
        assert float(change[:, at + 1 :].abs().max()) > 0


@pytest.mark.parametrize("place", [(0, 0), (1, 1)])
def test_samples_follow_their_own_conditionals(place):
    density = random_density(place, 6)
    x = torch.as_tensor(density.sample(1500, seed=1))
    levels = density.conditional_cdf(x).detach().numpy()
    assert kstest(levels.ravel(), "uniform").pvalue > 1e-3
    assert min(kstest(column, "uniform").pvalue for column in levels.T) > 1e-3 / FEATURES


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_it_is_held_to_what_makes_a_chain_a_density(place):
    density = random_density(place, 10)
    rows = torch.as_tensor(density.sample(40, seed=4))
    result = normalisation(density, rows, rows, seed=0)
    assert result.passed, result.detail
    density.log_sigma.requires_grad_(False).add_(0.1)
    density.gates.bias.requires_grad_(False).add_(0.1)
    assert normalisation(density, rows, rows, seed=0).passed, "at any weights"


def test_in_bf16_the_lattice_stays_where_it_is():
    density = random_density((0, 1), 7).float()
    x = torch.as_tensor(density.sample(200, seed=2))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = density.conditionals(x)
    with torch.no_grad():
        exact = density.conditionals(x)
    torch.testing.assert_close(rough.shift, exact.shift, rtol=0, atol=0)
    assert rough.smooth.means.dtype == torch.float32


def test_it_learns_that_numbers_are_whole(monkeypatch):
    monkeypatch.setattr("lde_bench.densities.jpeg_lattice.ROWS", 4000)
    rows, _ = patches((0, 0), 4000, seed=3)
    rng = np.random.default_rng(4)
    matrix = Coordinates.at((0, 0)).matrix
    x = (rows @ matrix.T + rng.normal(0, NOISE, rows.shape)).astype(np.float32)
    torch.manual_seed(0)
    density = LatticeMade((0, 0), components=2, hidden=64)
    density.fit(ArrayBatches(x, 0), steps=150, seed=0, device="cpu", plan=ResMadeMog.plans["quick"])
    steps = Coordinates.at((0, 0)).lattice.diagonal()
    off = x.copy()
    off[:, :20] += 0.5 * steps[:20]  # the highest ones have steps of ten times the noise
    assert density.log_prob(x[:500]).mean() > density.log_prob(off[:500].astype(np.float32)).mean() + 40


def test_steps_are_those_of_the_files_of_bsds300(data_dir):
    files = bsds300.find(data_dir)
    assert files is not None
    for data in files.jpegs.values():
        photograph = Image.open(io.BytesIO(data))
        assert isinstance(photograph, JpegImageFile)
        np.testing.assert_array_equal(np.reshape(photograph.quantization[0], (8, 8)), STEPS)


def gradients(density: LatticeMade, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(density(leaf).sum(), leaf)[0]


def test_gradients_are_those_of_differences():
    density = random_density((0, 1), 8)
    x = torch.as_tensor(density.sample(5, seed=3))
    direction = torch.from_numpy(np.random.default_rng(9).normal(size=x.shape))
    tiny = 1e-9
    with torch.no_grad():
        slope = (density(x + tiny * direction) - density(x - tiny * direction)) / (2 * tiny)
    torch.testing.assert_close((gradients(density, x) * direction).sum(1), slope, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 1)])
def test_what_is_rounded_and_what_is_shrunk_follows_from_the_noise_coordinate_by_coordinate(place):
    rng, lattice = np.random.default_rng(0), Coordinates.at(place).lattice
    rows = rng.integers(-3, 4, size=(3000, FEATURES)) @ lattice.T + rng.normal(0, NOISE, (3000, FEATURES))
    density = LatticeMade(place, components=2, hidden=63).double()
    density.prepare(ArrayBatches(rows, 0))
    added, step = density.added.numpy(), density.step.numpy()
    found, error = np.zeros_like(rows), np.zeros(FEATURES)
    for i in np.flatnonzero(step):
        noise = NOISE**2 + added[i] ** 2 @ error
        left = rows[:, i] - found @ added[i]
        shrink = np.clip(1 - noise / left.var(ddof=1), 0, 1)
        rounded = step[i] > VISIBLE * noise**0.5
        assert bool(density.rounded[i]) == rounded, i
        assert float(density.shrink[i]) == pytest.approx(shrink, rel=1e-5, abs=1e-5), i
        found[:, i] = np.round(left / step[i]) * step[i] if rounded else shrink * left
        error[i] = 0 if rounded else shrink * noise
