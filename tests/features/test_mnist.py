"""The space of digits: the shipped classifier, its recipe, and blur, which is a virtue in pixels and a fault here."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.ndimage import gaussian_filter
from scipy.signal import correlate

from lde_bench.data import load_dataset
from lde_bench.errors import InputError
from lde_bench.evaluation.density_coverage import density_coverage
from lde_bench.evaluation.frechet import frechet_distance
from lde_bench.evaluation.kernel_distance import kernel_distance
from lde_bench.evaluation.precision_recall import precision_recall
from lde_bench.features import feature_space, kept
from lde_bench.features import mnist_network as network
from lde_bench.features.mnist_network import IMAGE_SHAPE, WEIGHTS, MnistClassifier, mnist_classifier
from lde_bench.features.mnist_training import Recipe, accuracy, packed, train_classifier

SPACE = feature_space("mnist")


def header() -> dict:
    with safe_open(WEIGHTS, framework="np") as file:
        return json.loads(file.metadata()["lde_bench"])


@pytest.fixture
def images() -> np.ndarray:
    """Blots, as dark and as large as digits."""
    noise = np.random.default_rng(0).normal(size=(4, 28, 28))
    blots = np.clip(4 * gaussian_filter(noise, (0, 2, 2)), 0, 1)
    return blots.reshape(4, -1).astype(np.float32)


def test_features_and_classes_are_those_of_an_independent_computation(images):
    with safe_open(WEIGHTS, framework="np") as file:
        w = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118 (no dict)

    def convolved(x: np.ndarray, layer: str) -> np.ndarray:
        maps = [correlate(x, kernel, "valid")[0] for kernel in w[f"{layer}.weight"]]
        return np.stack(maps) + w[f"{layer}.bias"][:, None, None]

    for image, features in zip(images, SPACE.features(images, IMAGE_SHAPE), strict=True):
        x = np.maximum(
            convolved(image.reshape(IMAGE_SHAPE).astype(np.float64), "conv1")[:, ::2, ::2], 0
        )  # [16, 12, 12]
        x = np.maximum(convolved(x, "conv2"), 0).reshape(32, 5, 2, 5, 2).max((2, 4))  # [32, 5, 5]
        x = np.maximum(convolved(x, "conv3"), 0).ravel()  # [576]
        x = np.maximum(w["hidden.weight"] @ x + w["hidden.bias"], 0)
        np.testing.assert_allclose(features, x, rtol=1e-4, atol=1e-5)
        assert (features > 0).any()
        assert SPACE.classes(features[None]) == [np.argmax(w["digit.weight"] @ x + w["digit.bias"])]


def test_the_file_is_small_and_says_how_it_was_made():
    assert WEIGHTS.stat().st_size < 300_000
    assert sum(value.numel() for value in MnistClassifier().parameters()) == 61_130
    told = header()
    assert Recipe(**told["recipe"]) == Recipe()
    assert told["training_images"] == 55_000
    assert told["test_accuracy"] >= 0.993
    assert SPACE.label in SPACE.words


def test_reading_it_draws_no_random_numbers_and_it_cannot_be_trained_on():
    mnist_classifier.cache_clear()
    before = torch.get_rng_state()
    classifier = mnist_classifier()
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(value.requires_grad for value in classifier.parameters())


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_damaged_file_is_refused_in_one_sentence(damage, tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    if damage == "flipped":
        content = bytearray(WEIGHTS.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    monkeypatch.setattr(network, "WEIGHTS", path)
    mnist_classifier.cache_clear()
    with pytest.raises(InputError, match=r"weights.safetensors: .*; install lde-bench again"):
        mnist_classifier()


def test_other_images_than_digits_are_refused_before_any_training():
    SPACE.check(IMAGE_SHAPE)
    with pytest.raises(InputError, match=r"images \(1, 28, 28\), got \(1, 48, 48\); .* --features pixels or vgg"):
        SPACE.check((1, 48, 48))
    with pytest.raises(InputError, match=r"rows \[2, 783\] are no images of \[1, 28, 28\]; give \[n, 784\]"):
        SPACE.features(np.zeros((2, 783)), IMAGE_SHAPE)


@pytest.mark.slow
def test_the_recipe_gives_the_same_bytes_again_whatever_was_drawn_before_and_draws_none_itself(images):
    labels = np.arange(4)

    def trained(recipe: Recipe) -> bytes:
        return packed(train_classifier(images, labels, recipe), {"seed": recipe.seed})

    recipe = Recipe(epochs=2, batch=3)
    first = trained(recipe)
    before = torch.get_rng_state()
    assert trained(recipe) == first
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert trained(recipe) == first
    assert trained(replace(recipe, seed=1)) != first


@pytest.mark.slow
def test_the_recipe_learns_the_digits_of_scikit_learn():
    digits = load_dataset("digits8x8")

    def enlarged(rows: np.ndarray) -> np.ndarray:
        return np.kron(rows.reshape(-1, 8, 8), np.ones((1, 3, 3))).astype(np.float32)

    def framed(rows: np.ndarray) -> np.ndarray:
        return np.pad(enlarged(rows), ((0, 0), (2, 2), (2, 2))).reshape(-1, 784)

    classifier = train_classifier(framed(digits.train), digits.train_labels, Recipe(epochs=6, batch=32))
    assert accuracy(classifier, framed(digits.test), digits.test_labels) > 0.9


@pytest.mark.slow
@pytest.mark.real_data
def test_the_shipped_classifier_is_as_accurate_as_its_file_says(data_dir):
    mnist = load_dataset("mnist", data_dir=data_dir)
    told = header()
    assert told["dataset"] == ["mnist", mnist.version, mnist.content_hash]
    assert accuracy(mnist_classifier(), mnist.test, mnist.test_labels) == pytest.approx(told["test_accuracy"], abs=2e-4)


@pytest.mark.slow
@pytest.mark.real_data
def test_on_digits_blur_passes_for_a_virtue_in_pixels_and_is_far_off_in_features(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_cache_dir", tmp_path)
    mnist = load_dataset("mnist", data_dir=data_dir)
    real, sharp = np.split(mnist.test[np.random.default_rng(0).permutation(10_000)[:2000]], 2)
    blurred = gaussian_filter(sharp.reshape(-1, 28, 28), (0, 2, 2)).reshape(sharp.shape)

    def measured(space: str) -> list[dict[str, float]]:
        points = [feature_space(space).features(rows, IMAGE_SHAPE) for rows in (real, sharp, blurred)]
        names = ("precision", "recall", "density", "coverage")
        return [
            {
                **dict(zip(names, precision_recall(**sets) + density_coverage(**sets), strict=True)),
                "frechet": frechet_distance(**sets),
                "kernel": kernel_distance(**sets)[0],
            }
            for sets in ({"real": points[0], "generated": generated} for generated in points[1:])
        ]

    before, after = measured("pixels")
    assert before["precision"] < 0.9 < 0.99 < after["precision"]
    assert after["density"] > 10 * before["density"]
    assert after["coverage"] > 0.7
    before, after = measured("mnist")
    assert (
        after["density"] < 1.5 * before["density"]
    )  # blots crowd together, so that precision alone is fooled here too
    assert after["coverage"] < 0.1 < 0.9 < before["coverage"]
    assert after["recall"] < 0.1 < 0.8 < before["recall"]
    assert after["frechet"] > 50 * before["frechet"]
    assert abs(before["kernel"]) < 0.05 * after["kernel"]
