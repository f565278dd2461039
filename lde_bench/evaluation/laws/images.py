"""Laws of a model of images: what its samples and its reconstructions must keep whatever it has learnt.

`image_laws` holds a trained model to those that take no time, `check_images` one of every kind to all of them after a
few training steps on 8x8 digits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lde_bench.arrays import Rows
from lde_bench.data import Dataset, load_dataset
from lde_bench.evaluation.interpolation import decoded
from lde_bench.evaluation.law import Law, judge
from lde_bench.evaluation.laws.suite import trial_laws
from lde_bench.generators import create_generator, load_generator
from lde_bench.generators.base import Coder, Generator

#: Samples and images that are looked at.
ROWS = 64

#: Reconstructions one by one differ from those all at once by rounding in float32 alone.
BLOCK_BOUND = 1e-4

#: Of the short fits: images they are made on, and their steps.
IMAGES = "digits8x8"
STEPS = 6


def image_laws(model: Generator, images: Rows) -> dict[str, Law]:
    """The verdicts by name of the law; `images` [n, D] are real ones."""
    laws: dict[str, Law] = {}
    if not model.has_no_prior:
        laws |= {"pixels": judge(lambda: _pixels(model)), "seed": judge(lambda: _seed(model))}
    if model.reconstructs is not None:
        laws["batch"] = judge(lambda: _batch(model, images[:ROWS]))
    return laws


def check_images(method: str) -> dict[str, Law]:
    """Hold a model of images to every law that applies to it, after a few training steps on 8x8 images.

    An autoencoder without a prior is held to those of its codes; one with a density of its codes to those that a trial
    holds the density to as well, as `density.<law>`.

    Raises:
        InputError: see `lde_bench.generators.create_generator`.
    """
    data = load_dataset(IMAGES)
    model = _fitted(method, data)
    rows = data.validation[:ROWS]
    laws: dict[str, Callable[[], Law]] = {}
    coder = model.coder
    if coder is not None:
        laws |= {
            "code_batch": lambda: _code_batch(coder, rows),
            "code_permutation": lambda: _code_permutation(coder, rows),
            "decode_batch": lambda: _decode_batch(coder, rows),
        }
    if "weights" not in model.lacks:
        laws["round_trip"] = lambda: _round_trip(model, rows)
        laws["fit_seed"] = lambda: _fit_seed(model, _fitted(method, data))
    results = image_laws(model, rows) | {law: judge(measure) for law, measure in laws.items()}
    if coder is not None and model.code_density is not None:
        found = trial_laws(model.code_density, coder.codes(data.validation))
        results |= {f"density.{law}": verdict for law, verdict in found.items()}
    return results


def _fitted(method: str, data: Dataset) -> Generator:
    assert data.image_shape is not None
    model = create_generator(method, data.image_shape)
    return model.fit(data.train, data.validation, steps=STEPS, device="cpu", precision="fp32", compile=False)


def _code_batch(model: Coder, images: np.ndarray) -> Law:
    whole = model.codes(images)
    alone = np.concatenate([model.codes(image[None]) for image in images])
    return _alike(whole, alone, "images encoded one by one")


def _code_permutation(model: Coder, images: np.ndarray) -> Law:
    order = np.random.default_rng(0).permutation(len(images))
    return _alike(model.codes(images)[order], model.codes(images[order]), "images in another order")


def _decode_batch(model: Coder, images: np.ndarray) -> Law:
    codes = model.codes(images)
    alone = np.concatenate([decoded(model, code[None]) for code in codes])
    return _alike(decoded(model, codes), alone, "codes decoded one by one")


def _round_trip(model: Generator, images: np.ndarray) -> Law:
    """What is saved and loaded gives the same, to the bit."""
    with tempfile.TemporaryDirectory(prefix="lde-bench-check-") as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        loaded = load_generator(path)
    pairs = [] if model.has_no_prior else [(_some(model, 0), _some(loaded, 0))]
    if model.reconstructs is not None and loaded.reconstructs is not None:
        pairs.append((model.reconstructs(images), loaded.reconstructs(images)))
    change = float(np.max([np.abs(one - other).max() for one, other in pairs]))  # NaN stays NaN
    return Law.of(change, 0.0, "samples and reconstructions after saving and loading, per pixel")


def _fit_seed(model: Generator, again: Generator) -> Law:
    """A training is decided by its seed, to the bit."""
    one, other = model.state_dict(), again.state_dict()
    changes = [float((one[name].double() - other[name].double()).abs().max()) for name in one if one[name].numel()]
    change = float(np.max(changes))  # NaN stays NaN
    return Law.of(change, 0.0, "weights of two fits with one seed")


def _alike(one: np.ndarray, other: np.ndarray, detail: str) -> Law:
    change = np.abs(one - other).max() / max(1.0, float(np.abs(one).max()))
    return Law.of(change, BLOCK_BOUND, f"{detail}, largest relative difference")


def _pixels(model: Generator) -> Law:
    samples = _some(model, 0)
    outside = int(np.count_nonzero(~((samples >= 0) & (samples <= 1))))
    return Law.of(outside, 0.0, f"sampled pixels outside [0, 1] or not finite, of {samples.size:,}")


def _seed(model: Generator) -> Law:
    first, again, other = _some(model, 1), _some(model, 1), _some(model, 2)
    if np.array_equal(first, other):
        return Law.of(1.0, 0.0, "two seeds gave the same samples")
    change = float(np.abs(first - again).max())
    return Law.of(change, 0.0, "the same seed twice, largest difference of a pixel")


def _batch(model: Generator, images: np.ndarray) -> Law:
    assert model.reconstructs is not None
    whole = model.reconstructs(images)
    alone = np.concatenate([model.reconstructs(image[None]) for image in images])
    return Law.of(np.abs(whole - alone).max(), BLOCK_BOUND, "images reconstructed one by one, per pixel")


def _some(model: Generator, seed: int) -> np.ndarray:
    return model.sample(min(ROWS, model.most_samples or ROWS), seed=seed)
