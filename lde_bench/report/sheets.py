"""Sheets of samples: 8x8 patches, and whole images, beside real ones where these are at hand."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np

from lde_bench.data import load_recorded
from lde_bench.data.cache import cache_folder, named_data_folder, stored_test_rows
from lde_bench.data.patches import FEATURES
from lde_bench.errors import InputError
from lde_bench.report.document import Block, Figure, Paragraph, Picture
from lde_bench.report.rows import Row
from lde_bench.report.section import Section, part, row_title
from lde_bench.runs.record import DatasetInfo
from lde_bench.runs.rows import is_image
from lde_bench.runs.store import RunPaths

log = logging.getLogger(__name__)


def sample_sheets(section: Section, cache_dir: Path | None) -> list[Block]:
    """Samples of every row of patches or of images; nothing of data that are no pictures."""
    if section.table.is_patch:
        return patch_sheets(section, cache_dir)
    return image_sheets(section, cache_dir) if is_image(section.data) else []


def patch_sheets(section: Section, cache_dir: Path | None) -> list[Block]:
    """Sixty-four samples of every row of patches, beside test patches where they are at hand."""
    from lde_bench.report.plots import draw_patches, grey_range

    title = "Samples"
    rows = [(row, samples) for row in section.table.rows if (samples := _row_samples(section, row)) is not None]
    without = [row_title(row) for row in section.table.rows if row.run_ids not in [shown.run_ids for shown, _ in rows]]
    if not rows:
        return part(section, title, Paragraph("No samples and no weights were kept beside these records."))
    first = next(iter(section.runs.values()))[1].dataset
    true = stored_test_rows(first.name, first.version, first.seed, 64, cache_dir)
    sheets = [] if true is None else [("test patches", true)]
    sheets += [(row_title(row), samples) for row, samples in rows]
    scale = grey_range(sheets[0][1] if true is not None else np.concatenate([sheet for _, sheet in sheets]))
    pictures = [
        (Picture(f"{section.name}-samples-{number}", "png", draw_patches(sheet, scale), f"64 patches: {name}"), name)
        for number, (name, sheet) in enumerate(sheets)
    ]
    caption = (
        "64 patches of 8 x 8 pixels each: the 63 modelled numbers and the pixel that makes their sum zero. One grey "
        f"scale for all: black is {scale:.2f} below the patch mean, white {scale:.2f} above it, where 1 is the whole "
        "range of brightness."
    )
    if true is None:
        caption += (
            " True patches are left out: the prepared dataset is not in the cache, and nothing is downloaded here."
        )
    if without:
        caption += f" Neither samples nor weights were kept of {', '.join(without)}."
    return part(section, title, Figure(pictures, caption))


def _row_samples(section: Section, row: Row) -> np.ndarray | None:
    """64 samples [64, 63] of the first trial of a row that has any, kept or drawn from its weights; else None."""
    from lde_bench.densities import load_density

    if (kept := next((each for each in section.kept_samples(row) if each.shape[1] == FEATURES), None)) is not None:
        return kept
    for path, record in (section.runs[run_id] for run_id in row.run_ids):
        paths = RunPaths(path.parent, record.run_id)
        if not paths.weights.is_file():
            continue
        try:
            return np.asarray(load_density(paths.checked_weights(record)).sample(64, seed=0))
        except InputError as error:  # damaged, of another version, or of a model that is not here
            log.info("The report does without samples of %s", error)
            continue
    return None


def image_sheets(section: Section, cache_dir: Path | None) -> list[Block]:
    """Ten by ten samples of every row, beside real test images where the dataset is at hand."""
    from lde_bench.report.plots import draw_images, sheet_width, square_shape

    title = "Samples"
    sheets: list[tuple[str, np.ndarray]] = []
    shape = None
    for row in section.table.rows:
        kept = (samples for samples in section.kept_samples(row) if square_shape(samples.shape[1]))
        if (samples := next(kept, None)) is not None:
            shape = square_shape(samples.shape[1])
            sheets.append((row_title(row), samples))
    without = [name for name in map(row_title, section.table.rows) if name not in dict(sheets)]
    if not sheets or shape is None:
        return part(section, title, Paragraph("No samples were kept beside these records."))
    real = real_images(section.data, cache_dir)
    if real is not None:
        sheets.insert(0, ("test images", real))
    pictures = [
        (Picture(f"{section.name}-samples-{number}", "png", draw_images(images, shape), f"100 images: {name}"), name)
        for number, (name, images) in enumerate(sheets)
    ]
    caption = "The first 100 samples of a trial, not selected; black is 0, white 1."
    if real is None:
        caption += " Real images are left out: the dataset is not at hand, and nothing is downloaded here."
    if without:
        caption += f" No samples were kept of {', '.join(without)}."
    return part(section, title, Figure(pictures, caption, sheet_width(shape[2])))


def real_images(data: DatasetInfo, cache_dir: Path | None) -> np.ndarray | None:
    """The first 100 test images of the very dataset of the records; None where it is not on this machine."""
    for place in (named_data_folder, partial(cache_folder, cache_dir)):
        try:
            if (folder := place()) is None:
                continue
            # A folder that is named is the only place looked at: nothing is downloaded.
            dataset = load_recorded(data.name, data.version, data_dir=folder, cache_dir=cache_dir)
        except InputError:
            continue
        if dataset.content_hash == data.content_hash:
            return np.asarray(dataset.test[:100])
    return None
