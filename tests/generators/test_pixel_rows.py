"""Models of images are trained on pixels that lie on disk, and measured on them, as on the array of their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lde_bench.arrays import PixelRows
from lde_bench.data.image_cache import StoredPixels
from lde_bench.errors import InputError
from lde_bench.generators import create_generator
from lde_bench.generators.autoencoder import Autoencoder
from lde_bench.training import learner, model

SHAPE = (3, 8, 8)


@pytest.fixture
def pixels(tmp_path: Path) -> PixelRows:
    """Three hundred images in a file, behind a header of seven bytes."""
    drawn = np.random.default_rng(0).integers(0, 256, (300, 192), np.uint8)
    (tmp_path / "pixels").write_bytes(b"header:" + drawn.tobytes())
    return PixelRows(StoredPixels(tmp_path / "pixels", 7, drawn.shape))


def fitted(method: str, train: Any, validation: Any = None) -> Any:
    made = create_generator(method, SHAPE)
    return made.fit(train, validation, seed=3, steps=4, device="cpu", precision="fp32", compile=False)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ae", "aae", "vae", "gan", "ae+gaussian", "gmmn+ae", "kmeans", "train-samples"])
def test_training_on_pixels_is_training_on_their_values_to_the_bit(method: str, pixels: PixelRows) -> None:
    held_out = pixels.first(40)
    lazy, whole = fitted(method, pixels, held_out), fitted(method, pixels[:], held_out[:])
    states = lazy.state_dict(), whole.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert lazy.training_state.best_score == whole.training_state.best_score


def test_codes_and_reconstructions_are_made_block_by_block(pixels: PixelRows, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fitted("ae", pixels)
    assert isinstance(made, Autoencoder)
    codes, again = made.codes(pixels[:]), made.reconstructs(pixels[:])
    monkeypatch.setattr(learner, "EVALUATION_NUMBERS", 192 * 70)
    seen: list[int] = []
    encode = made.encode
    monkeypatch.setattr(made, "encode", lambda x: (seen.append(len(x)), encode(x))[1])
    np.testing.assert_allclose(made.codes(pixels), codes, atol=1e-5)
    assert seen == [70, 70, 70, 70, 20]
    np.testing.assert_allclose(made.reconstructs(pixels), again, atol=1e-5)


def test_samples_of_large_images_are_drawn_in_smaller_blocks(
    pixels: PixelRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fitted("vae", pixels)
    monkeypatch.setattr(model, "SAMPLE_NUMBERS", 192 * 30)
    drawn: list[int] = []
    draw = made.draw
    monkeypatch.setattr(made, "draw", lambda n, generator: (drawn.append(n), draw(n, generator))[1])
    samples = made.sample(70, seed=1)
    assert drawn == [30, 30, 10]
    assert samples.shape == (70, 192)
    np.testing.assert_array_equal(made.sample(30, seed=1), samples[:30])


def test_pixels_of_another_size_are_refused(pixels: PixelRows) -> None:
    with pytest.raises(InputError, match=r"ae: the training array should be \[n, 768\], got \[300, 192\]"):
        create_generator("ae", (3, 16, 16)).fit(pixels, steps=1)
    with pytest.raises(InputError, match=r"ae: the validation array should be \[n, 192\], got \[300, 48\]"):
        create_generator("ae", SHAPE).fit(pixels, PixelRows(np.zeros((300, 48), np.uint8)), steps=1)
    with pytest.raises(InputError, match="ae: the training array is empty"):
        create_generator("ae", SHAPE).fit(pixels.first(0), steps=1)
