"""Sheets of samples: 8x8 patches, and whole images, beside real ones where these are at hand."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from lde_bench.data import load_recorded
from lde_bench.data.cache import cache_folder, named_data_folder, stored_test_rows
from lde_bench.data.patches import FEATURES
from lde_bench.errors import InputError
from lde_bench.report.document import Block, Figure, Paragraph, Picture
from lde_bench.report.earlier import Sheet, data_shown, run_shown
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
    shown = data_shown(section.data)
    samples = {number: found for number, row in enumerate(section.table.rows) if (found := _row_samples(section, row))}
    data = section.data
    true = stored_test_rows(data.name, data.version, data.seed, asdict(data.sizes), data.content_hash, 64, cache_dir)
    before = section.earlier.get(shown)
    scale = _earlier_scale(section, samples)
    if scale is None and not samples:
        return part(section, title, Paragraph("No samples and no weights were kept beside these records."))
    if scale is None and true is None and before is not None:
        scale = before.scale
    if scale is None:
        scale = grey_range(np.concatenate([drawn for _, drawn in samples.values()]) if true is None else true)
    scale = float(f"{scale:.9g}")  # as a sheet tells it
    sheets: list[tuple[str, Sheet]] = []
    if true is not None:
        sheets.append(("test patches", Sheet.of(draw_patches(true, scale), shown, scale)))
    elif before is not None and before.scale == scale:
        sheets.append(("test patches", before))
    known, without = len(sheets), []
    for number, row in enumerate(section.table.rows):
        if number in samples:
            shows, drawn = samples[number]
            sheets.append((row_title(row), Sheet.of(draw_patches(drawn, scale), shows, scale)))
        elif (earlier := section.earlier_sheet(row, scale)) is not None:
            sheets.append((row_title(row), earlier))
        else:
            without.append(row_title(row))
    caption = (
        "64 patches of 8 x 8 pixels each: the 63 modelled numbers and the pixel that makes their sum zero. One grey "
        f"scale for all: black is {scale:.2f} below the patch mean, white {scale:.2f} above it, where 1 is the whole "
        "range of brightness."
    )
    if not known:
        caption += (
            " True patches are left out: the prepared dataset is not in the cache, and nothing is downloaded here."
        )
    if without:
        caption += f" Neither samples nor weights were kept of {', '.join(without)}."
    return part(section, title, Figure(_pictures(section, sheets, "64 patches"), caption))


def _earlier_scale(section: Section, samples: Collection[int]) -> float | None:
    """The grey scale of what an earlier report shows of rows, by number, without `samples`: they cannot be drawn again
    in another.
    """
    for number, row in enumerate(section.table.rows):
        found = (section.earlier.get(run_shown(record)) for record in section.trials(row))
        scales = [sheet.scale for sheet in found if sheet is not None and sheet.scale is not None]
        if number not in samples and scales:
            return scales[0]
    return None


def _pictures(section: Section, sheets: Sequence[tuple[str, Sheet]], what: str) -> list[tuple[Picture, str]]:
    return [
        (Picture(f"{section.name}-samples-{sheet.name}", "png", sheet.data, f"{what}: {name}"), name)
        for name, sheet in sheets
    ]


def _row_samples(section: Section, row: Row) -> tuple[str, np.ndarray] | None:
    """64 samples [64, 63] of the first trial of a row that has any, kept or drawn from its weights, behind what they
    are of; else None.
    """
    from lde_bench.densities import load_density

    if (kept := next((each for each in section.kept_samples(row) if each[1].shape[1] == FEATURES), None)) is not None:
        return kept
    for path, record in (section.runs[run_id] for run_id in row.run_ids):
        paths = RunPaths(path.parent, record.run_id)
        if not paths.weights.is_file():
            continue
        try:
            drawn = np.asarray(load_density(paths.checked_weights(record)).sample(64, seed=0))
        except InputError as error:  # damaged, of another version, or of a model that is not here
            log.info("The report does without samples of %s", error)
            continue
        return run_shown(record), drawn
    return None


def image_sheets(section: Section, cache_dir: Path | None) -> list[Block]:
    """Ten by ten samples of every row, beside real test images where the dataset is at hand."""
    from lde_bench.report.plots import draw_images, square_shape

    title = "Samples"
    sheets: list[tuple[str, Sheet]] = []
    without = []
    for row in section.table.rows:
        kept = (each for each in section.kept_samples(row) if square_shape(each[1].shape[1]))
        if (found := next(kept, None)) is not None:
            shows, samples = found
            shape = square_shape(samples.shape[1])
            assert shape is not None
            sheets.append((row_title(row), Sheet.of(draw_images(samples, shape), shows)))
        elif (earlier := section.earlier_sheet(row)) is not None:
            sheets.append((row_title(row), earlier))
        else:
            without.append(row_title(row))
    if not sheets:
        return part(section, title, Paragraph("No samples were kept beside these records."))
    shown = data_shown(section.data)
    real = section.earlier.get(shown)
    images = real_images(section.data, cache_dir)
    if images is not None and (shape := square_shape(images.shape[1])) is not None:
        real = Sheet.of(draw_images(images, shape), shown)
    if real is not None:
        sheets.insert(0, ("test images", real))
    caption = "The first 100 samples of a trial, not selected; black is 0, white 1."
    if real is None:
        caption += " Real images are left out: the dataset is not at hand, and nothing is downloaded here."
    if without:
        caption += f" No samples were kept of {', '.join(without)}."
    return part(section, title, Figure(_pictures(section, sheets, "100 images"), caption, sheets[0][1].width))


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
