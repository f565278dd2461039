"""Laws of a trained model of images: what its samples and its reconstructions must keep whatever it has learnt."""

from __future__ import annotations

from typing import Any

import numpy as np

from lde_bench.evaluation.laws.result import LawResult, judge
from lde_bench.generators.base import Generator

#: Samples and images that are looked at.
ROWS = 64

#: Reconstructions one by one differ from those all at once by rounding in float32 alone.
BLOCK_BOUND = 1e-4


def image_laws(model: Generator, images: np.ndarray) -> dict[str, dict[str, Any]]:
    """The verdicts by name of the law, as a run record holds them; `images` [n, D] are real ones."""
    laws = [judge("pixels", lambda: _pixels(model)), judge("seed", lambda: _seed(model))]
    if model.reconstructs is not None:
        laws.append(judge("batch", lambda: _batch(model, images[:ROWS])))
    return {law.law: law.describe() for law in laws}


def _pixels(model: Generator) -> LawResult:
    samples = _some(model, 0)
    outside = int(np.count_nonzero(~((samples >= 0) & (samples <= 1))))
    return LawResult.of("pixels", outside, 0.0, f"sampled pixels outside [0, 1] or not finite, of {samples.size:,}")


def _seed(model: Generator) -> LawResult:
    first, again, other = _some(model, 1), _some(model, 1), _some(model, 2)
    if np.array_equal(first, other):
        return LawResult.of("seed", 1.0, 0.0, "two seeds gave the same samples")
    change = float(np.abs(first - again).max())
    change = float(np.abs(first - again).max())
    return LawResult.of("seed", change, 0.0, "the same seed twice, largest difference of a pixel")


def _batch(model: Generator, images: np.ndarray) -> LawResult:
    assert model.reconstructs is not None
    whole = model.reconstructs(images)
    alone = np.concatenate([model.reconstructs(image[None]) for image in images])
    return LawResult.of("batch", np.abs(whole - alone).max(), BLOCK_BOUND, "images reconstructed one by one, per pixel")


def _some(model: Generator, seed: int) -> np.ndarray:
    return model.sample(min(ROWS, model.most_samples or ROWS), seed=seed)
