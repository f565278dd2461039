"""`lde-bench sample`: samples of the trained model that a record tells of, as a picture or as an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lde_bench.data.patches import SIDE, complete
from lde_bench.errors import InputError
from lde_bench.evaluation.interpolation import STEPS, decoded, walk
from lde_bench.files import atomic_path, check_writable, write_bytes_atomic
from lde_bench.generators import load_any
from lde_bench.generators.base import Generator
from lde_bench.progress import say
from lde_bench.report.plots import as_pictures, draw_sheet, grey_range, square_shape
from lde_bench.report.sheets import real_images
from lde_bench.runs import Record, RunPaths
from lde_bench.runs.find import find_side
from lde_bench.runs.rows import is_image, is_patch
from lde_bench.training.model import Model

#: On one sheet, 50 by 50.
MOST_ON_A_SHEET = 2_500


def run_sample(name: str, number: int, output: Path, seed: int, results_dir: Path) -> int:
    """Write `number` samples of the model of a record; see `find_side` for what `name` may be.

    Raises:
        InputError: there is no such record, its weights are not kept, its model cannot be sampled or holds fewer, the
            number is below 1, or the samples cannot be shown or written as asked.
        LawBroken: the trained model breaks a law.
    """
    if number < 1:
        raise InputError(f"number = {number} is not a whole number from 1 up; give for example -n 64.")
    kind = output.suffix.lower()
    if kind not in (".png", ".npy"):
        raise InputError(f"{output}: what to write is told by .png (a picture) or .npy (an array); give one of them.")
    # Of several trials of a method, the first.
    paths, record = find_side(name, results_dir).trials[0]
    if kind == ".png":
        _check_picture(record, number)
    check_writable(output)
    model = load_trained_model(paths, record)
    samples = model.sample(number, seed=seed)
    if kind == ".png":
        images = as_images(samples, _shape_of(model, record))
        write_bytes_atomic(output, draw_sheet(images))
    else:
        with atomic_path(output) as temporary, temporary.open("wb") as handle:
            np.save(handle, samples, allow_pickle=False)
    say(f"written: {output}")
    return 0


def run_walks(name: str, number: int, output: Path, seed: int, results_dir: Path) -> int:
    """Draw `number` walks between the codes of two images of the model of a record, one a line; see `find_side`.

    The images are drawn with the seed from test images, where the dataset is on this machine, else from samples.

    Raises:
        InputError: see `run_sample`; or the model is no autoencoder, or there are no images to walk between.
        LawBroken: the trained model breaks a law.
    """
    if number < 1:
        raise InputError(f"number = {number} is not a whole number from 1 up; give for example -n 8.")
    if output.suffix.lower() != ".png":
        raise InputError(f"{output}: walks are drawn as a picture; give -o a name that ends in .png.")
    paths, record = find_side(name, results_dir).trials[0]
    if not is_image(record.dataset):
        raise InputError(
            f"{record.run_id}: is no model of images, and has no codes to walk between; name another record."
        )
    check_writable(output)
    model = load_trained_model(paths, record)
    coder = model.coder if isinstance(model, Generator) else None
    if not isinstance(model, Generator) or coder is None:
        raise InputError(
            f"{record.run_id}: {model.name} has no encoder to walk between codes with; name an autoencoder."
        )
    codes = coder.codes(_ends(model, record, 2 * number, seed))
    walks = walk(codes[:number], codes[number:], lambda z: decoded(coder, z))
    images = as_pictures(walks.images.reshape(number * STEPS, -1), model.image_shape)
    write_bytes_atomic(output, draw_sheet(images, STEPS))
    say(f"written: {output}")
    return 0


def _ends(model: Generator, record: Record, count: int, seed: int) -> np.ndarray:
    """Images to walk between, [count, D]."""
    real = real_images(record.dataset, None)
    if real is not None:
        return real[np.random.default_rng(seed).integers(len(real), size=count)]
    if model.has_no_prior:
        raise InputError(
            f"{record.run_id}: {model.name} draws no images and {record.dataset.name} is not at hand, so that there is "
            "nothing to walk between; set LDE_BENCH_DATA to the folder that holds it."
        )
    say(f"{record.dataset.name} is not at hand: the walks are between samples.")
    return model.sample(count, seed=seed)


def load_trained_model(paths: RunPaths, record: Record) -> Model:
    """The model of a record from the weights beside it.

    Raises:
        InputError: they are not kept, are those of another record, or are damaged.
    """
    return load_any(paths.checked_weights(record))


def as_images(samples: np.ndarray, image_shape: tuple[int, int, int] | None) -> np.ndarray:
    """Samples [n, D] as pictures uint8 [n, H, W], or [n, H, W, 3] in colour: of images as they are, of 8x8 patches
    (`image_shape` None) grey for 0, and black or white beyond what 99 % of all pixels keep to.
    """
    if image_shape is not None:
        return as_pictures(samples, image_shape)
    whole = complete(samples.astype(np.float32))
    return as_pictures(0.5 * (1 + whole / grey_range(samples)), (1, SIDE, SIDE))


def _shape_of(model: Model, record: Record) -> tuple[int, int, int] | None:
    """(C, H, W) of its samples; None of patches."""
    if isinstance(model, Generator):
        return model.image_shape
    if is_patch(record.dataset):
        return None
    shape = square_shape(model.features)
    assert shape is not None  # as `_check_picture` saw
    return shape


def _check_picture(record: Record, number: int) -> None:
    if not is_image(record.dataset) and not is_patch(record.dataset):
        raise InputError(
            f"{record.run_id}: is of {record.dataset.name}, whose rows are no pictures; give -o a name that ends in "
            ".npy."
        )
    if is_image(record.dataset) and record.features is not None and square_shape(record.features) is None:
        raise InputError(
            f"{record.run_id}: its rows of {record.features} numbers are no square image; give -o a name that ends in "
            ".npy."
        )
    if number > MOST_ON_A_SHEET:
        raise InputError(
            f"number = {number} is more than the {MOST_ON_A_SHEET:,} that fit a picture; ask for fewer, or give -o a "
            "name that ends in .npy."
        )
