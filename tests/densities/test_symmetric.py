from __future__ import annotations

import numpy as np
import pytest
import torch

import lde_bench as lb
from lde_bench.data.patches import FEATURES, SYMMETRIES, apply_symmetries
from lde_bench.densities.symmetric import Symmetric, _complete
from lde_bench.errors import InputError
from lde_bench.evaluation.laws import check
from lde_bench.evaluation.laws.suite import skewed_rows

ROWS = skewed_rows(200, FEATURES, 0)


@pytest.fixture(scope="module")
def fitted() -> Symmetric:
    density = lb.create("made-mog+w+sym", FEATURES, components=2, hidden=16).fit(ROWS, steps=5, device="cpu")
    assert isinstance(density, Symmetric)
    return density.double()


def images(x: np.ndarray) -> list[np.ndarray]:
    """The rows under each of the eight symmetries."""
    return [apply_symmetries(x, np.full(len(x), which)) for which in range(8)]


@pytest.mark.parametrize("which", range(8))
def test_every_symmetry_keeps_the_volume_of_the_63_numbers(fitted, which):
    matrix = _complete(torch.eye(FEATURES, dtype=torch.float64))[:, fitted.places[which]]
    assert abs(abs(torch.linalg.det(matrix).item()) - 1) < 1e-12
    # Of finite order, as the argument in the docstring says.
    assert torch.equal(torch.linalg.matrix_power(matrix, 4), torch.eye(FEATURES, dtype=torch.float64))


def test_the_eight_symmetries_are_different_and_the_first_is_none(fitted):
    assert len({tuple(place) for place in SYMMETRIES}) == 8
    assert fitted.places[0].tolist() == list(range(FEATURES))


def test_log_prob_is_the_log_of_the_mean_over_the_images(fitted):
    x = ROWS[:16].astype(np.float64)
    parts = np.stack([fitted.base.log_prob(image) for image in images(x)])
    np.testing.assert_allclose(fitted.log_prob(x), np.logaddexp.reduce(parts, 0) - np.log(8), rtol=1e-12)


def test_every_image_of_a_patch_is_as_likely_as_the_patch(fitted):
    x = ROWS[:16].astype(np.float64)
    whole = fitted.log_prob(x)
    for image in images(x):
        np.testing.assert_allclose(fitted.log_prob(image), whole, rtol=1e-11)
    # The law is not empty: the base does tell the images apart.
    assert np.abs(fitted.base.log_prob(images(x)[1]) - fitted.base.log_prob(x)).max() > 0.1


def power(x: np.ndarray) -> np.ndarray:
    """Mean square of each of the 64 pixels."""
    return (np.concatenate([x, -x.sum(1, keepdims=True)], 1) ** 2).mean(0)


@pytest.mark.slow
def test_samples_are_those_of_the_base_turned_at_random(fitted):
    drawn, plain = power(fitted.sample(4000, seed=3)), power(fitted.base.sample(4000, seed=4))
    expected = np.mean([plain[place] for place in SYMMETRIES], 0)
    np.testing.assert_allclose(drawn, expected, rtol=0.25)
    assert np.abs(np.log(plain / expected)).max() > np.log(2), "the base has no such symmetry"


def test_it_trains_exactly_as_what_it_wraps(fitted):
    plain = lb.create("made-mog+w", FEATURES, components=2, hidden=16).fit(ROWS, steps=5, device="cpu").double()
    np.testing.assert_array_equal(
        fitted.base.log_prob(ROWS.astype(np.float64)), plain.log_prob(ROWS.astype(np.float64))
    )
    assert fitted.parameter_count() == plain.parameter_count()


def test_it_is_saved_and_loaded_to_the_bit(fitted, tmp_path):
    fitted.save(tmp_path / "d")
    loaded = lb.load_density(tmp_path / "d")
    np.testing.assert_array_equal(loaded.log_prob(ROWS), fitted.log_prob(ROWS))
    np.testing.assert_array_equal(loaded.sample(5), fitted.sample(5))


@pytest.mark.parametrize("features", [1, 2, 62, 64])
def test_other_widths_are_an_input_error(features):
    with pytest.raises(InputError, match=f"63 features and not {features}; leave out"):
        lb.create("gaussian+sym", features)


@pytest.mark.slow
def test_it_passes_every_law_that_can_be_measured_at_its_one_width():
    results = check("gaussian+sym")
    assert [law for law, result in results.items() if not result.passed] == []
    assert {"batch_split", "permutation", "samples", "seeds", "float64", "round_trip", "contract"} <= set(results)


class Stretched(Symmetric):
    """Draws samples twice as large as it should."""

    name = "stretched"

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return 2 * super().draw(n, generator)


@pytest.mark.slow
def test_a_wrong_sampler_breaks_the_law_at_63_features():
    def make(features: int) -> Symmetric:
        return Stretched(lb.create("gaussian", features))

    make.only_features = FEATURES  # type: ignore[attr-defined]
    result = check(make, laws=["samples"])["samples"]
    assert not result.passed
