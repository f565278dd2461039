"""Feature spaces: found by name, computed in blocks, kept for real images, and better than pixels for faces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lde_bench.arrays import PixelRows
from lde_bench.data import load_dataset
from lde_bench.errors import InputError
from lde_bench.evaluation.density_coverage import density_coverage
from lde_bench.evaluation.precision_recall import precision_recall
from lde_bench.features import feature_space, feature_spaces, kept, network_space, space_words, vgg
from lde_bench.features import vgg19 as network
from lde_bench.features.pixels import PIXELS
from lde_bench.features.vgg import Vgg
from lde_bench.features.vgg19 import Vgg19

SHAPE = (3, 8, 8)


@pytest.fixture(autouse=True)
def made_up_network(vgg_weights, monkeypatch):
    """The space has made-up weights, and its own cache folder."""
    monkeypatch.setattr(vgg, "vgg19", lambda device: Vgg19(vgg_weights))


@pytest.fixture
def pixels() -> PixelRows:
    return PixelRows(np.random.default_rng(0).integers(0, 256, (11, 192), dtype=np.uint8))


def test_spaces_are_found_by_themselves_and_say_what_they_are():
    assert list(feature_spaces()) == ["mnist", "pixels", "vgg"]
    for name, kind in feature_spaces().items():
        assert isinstance(feature_space(name), kind)
        assert space_words(kind.label) == kind.words
    assert "vgg19-relu3_1" in Vgg.words
    assert space_words("a space that is gone") == "a space that is gone"
    with pytest.raises(InputError, match="feature space 'vg' is unknown; did you mean 'vgg'"):
        feature_space("vg")


def test_features_are_the_mean_over_positions_of_the_last_layer_behind_its_relu(pixels, vgg_weights):
    rows = np.asarray(pixels)
    conv3_1 = Vgg19(vgg_weights)(torch.from_numpy(rows).view(-1, *SHAPE))[2].numpy()
    features = feature_space("vgg").features(rows, SHAPE)
    assert (features.dtype, features.shape) == (np.float32, (11, 256))
    np.testing.assert_allclose(features, np.maximum(conv3_1, 0).mean((2, 3)), rtol=1e-5)


def test_a_grey_image_has_the_features_of_the_same_image_in_colour():
    grey = np.random.default_rng(1).random((2, 48 * 48), dtype=np.float32)
    colour = feature_space("vgg").features(np.tile(grey, 3), (3, 48, 48))
    np.testing.assert_allclose(feature_space("vgg").features(grey, (1, 48, 48)), colour, rtol=1e-5)


def test_blocks_and_bytes_for_pixels_change_nothing(pixels, monkeypatch):
    whole = feature_space("vgg").features(np.asarray(pixels), SHAPE)
    monkeypatch.setattr(network_space, "BLOCK_IMAGES", 4)
    np.testing.assert_allclose(feature_space("vgg").features(pixels, SHAPE), whole, rtol=1e-5)


def test_features_of_real_images_are_computed_once_and_those_of_others_anew(pixels, monkeypatch):
    space = feature_space("vgg")
    first = space.real_features(pixels, SHAPE)
    calls = []
    monkeypatch.setattr(Vgg, "features", lambda self, rows, shape: calls.append(len(rows)) or first[: len(rows)])
    assert np.array_equal(space.real_features(pixels, SHAPE), first)
    assert calls == []
    space.real_features(pixels[1:], SHAPE)
    space.real_features(np.asarray(pixels), (1, 8, 24))  # the same numbers are other images
    assert calls == [10, 11]


def test_features_of_another_device_or_torch_are_not_taken_for_these(pixels, monkeypatch):
    space = feature_space("vgg")
    first = space.real_features(pixels, SHAPE)
    calls = []
    monkeypatch.setattr(Vgg, "features", lambda self, rows, shape: calls.append(len(rows)) or first)
    other = feature_space("vgg", "meta")
    other.real_features(pixels, SHAPE)
    other.real_features(pixels, SHAPE)
    assert calls == [11]
    monkeypatch.setattr(network_space.torch, "__version__", "0.0")
    space.real_features(pixels, SHAPE)
    assert calls == [11, 11]


def test_damaged_features_are_told_and_computed_anew(pixels, caplog):
    space = feature_space("vgg")
    first = space.real_features(pixels, SHAPE)
    (path,) = kept.kept_path("x").parent.glob("vgg19-relu3_1-*.npz")
    path.write_bytes(path.read_bytes()[:-100])
    assert np.array_equal(space.real_features(pixels, SHAPE), first)
    assert "it is made again" in caplog.text
    np.savez(path, features=first[:3])  # of other rows
    assert np.array_equal(space.real_features(pixels, SHAPE), first)


def test_pixels_are_the_rows_themselves(pixels):
    assert PIXELS.real_features(pixels, None) is pixels
    assert np.array_equal(PIXELS.features(pixels, None), np.asarray(pixels))


@pytest.mark.parametrize(
    ("rows", "shape", "message"),
    [
        (np.zeros((2, 192)), None, r"give image_shape=\(channels, height, width\)"),
        (np.zeros((2, 191)), SHAPE, r"rows \[2, 191\] are no images of \[3, 8, 8\]; give \[n, 192\]"),
        (np.zeros((2, 12)), (3, 2, 2), r"expected images \(3, H, W\) or \(1, H, W\) with sides of 4 or more"),
    ],
)
def test_rows_that_are_no_images_are_refused_in_one_sentence(rows, shape, message):
    for compute in (feature_space("vgg").features, feature_space("vgg").real_features):
        with pytest.raises(InputError, match=message):
            compute(rows, shape)


def test_what_cannot_be_computed_is_found_out_before_any_training(monkeypatch):
    space = feature_space("vgg")
    space.check(SHAPE)
    with pytest.raises(InputError, match="with sides of 4 or more"):
        space.check((3, 2, 2))
    monkeypatch.setattr(vgg, "vgg19", network.vgg19)
    with pytest.raises(InputError, match=r"--vgg FILE.*compare in --features pixels"):
        space.check(SHAPE)
    PIXELS.check((1, 1, 1))


@pytest.mark.slow
@pytest.mark.real_data
def test_on_faces_blur_passes_for_a_virtue_in_pixels_and_not_in_features(real_vgg_weights, data_dir, monkeypatch):
    monkeypatch.setattr(vgg, "vgg19", lambda device: Vgg19(real_vgg_weights))
    faces = load_dataset("faces48", data_dir=data_dir)
    images = faces.train[np.random.default_rng(0).permutation(len(faces.train))[:1200]]
    real, sharp = images[:600], images[600:]
    blurred = gaussian_filter(sharp.reshape(-1, 48, 48), (0, 2, 2)).reshape(sharp.shape)

    def measured(space: str) -> list[dict[str, float]]:
        points = [feature_space(space).features(rows, faces.image_shape) for rows in (real, sharp, blurred)]
        names = ("precision", "recall", "density", "coverage")
        return [
            dict(zip(names, precision_recall(**sets) + density_coverage(**sets), strict=True))
            for sets in ({"real": points[0], "generated": generated} for generated in points[1:])
        ]

    before, after = measured("pixels")
    for figure in ("precision", "density", "coverage"):
        assert after[figure] > before[figure], figure
    assert before["precision"] < 0.7 < 0.95 < after["precision"]
    before, after = measured("vgg")
    for figure in after:
        assert after[figure] < 0.1 < 0.7 < before[figure], figure


def test_no_images_have_no_features():
    assert feature_space("mnist").features(np.zeros((0, 784), np.float32), (1, 28, 28)).shape[0] == 0
