"""The parts of a report that are of samples of images: windows, how far other measures agree, sample sheets."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lde_bench.data import load_dataset
from lde_bench.data.cache import cache_folder
from lde_bench.errors import InputError
from lde_bench.report.against import against_published
from lde_bench.report.document import Block, Figure, Grid, Items, Line, Paragraph, Picture, Strong
from lde_bench.report.samples import CODES, encoder_marks, measure_names, wording
from lde_bench.report.section import Section, part, row_title
from lde_bench.report.sheet import DASH, decimal
from lde_bench.report.tables import Row
from lde_bench.runs.record import DatasetInfo
from lde_bench.runs.rows import is_reference

#: From here a rank correlation is called agreement in the words; the figures stand beside them.
AGREES = 0.5

#: Fewer rows than this have no order to speak of.
LEAST_ROWS = 4

#: Up to so many rows p is exact, over all orders; above, by Student's t.
EXACT_ROWS = 9


def sample_results(section: Section) -> list[Block]:
    """Behind the table: its rows as a picture, the published figures, and whether the other measures agree."""
    from lde_bench.report.figures import draw
    from lde_bench.report.pictures import to_svg

    table = section.table
    alt = f"{table.score} of every row" + (", with the published figures" if section.published else "")
    picture = Picture(f"{section.name}-rows", "svg", to_svg(draw(table)), alt)
    rows = part(section, "The rows at a glance", Figure([(picture, "")], f"{alt}."))
    published = against_published(section) if section.published else []
    return [*rows, *published, *agreement(section), *windows(section)]


# ---- agreement


def agreement(section: Section) -> list[Block]:
    """Whether the Parzen log-likelihood puts the models in the order in which the other measures put them."""
    title = "Does the order of the Parzen figures agree with the other measures?"
    models = [row for row in section.table.rows if not is_reference(row.method) and row.samples]
    if len(models) < LEAST_ROWS:
        return part(section, title, Paragraph(f"Fewer than {LEAST_ROWS} models: there is no order to compare."))
    lines: list[list[Line]] = []
    verdicts: dict[str, list[str]] = {"agrees with": [], "runs against": [], "says little of": []}
    for name, better, rows in _comparisons(models):
        correlation, p_value = rank_correlation(rows, name.partition(" [")[0], better)
        if correlation is not None:
            verdict = "says little of" if abs(correlation) < AGREES else "agrees with"
            verdicts["runs against" if correlation <= -AGREES else verdict].append(_header(name))
        way = {"null": "at its null"}.get(better, better)
        lines.append([_header(name), way, str(len(rows)), decimal(correlation), decimal(p_value, 3)])
    told = [f"{verdict} {', '.join(names)}" for verdict, names in verdicts.items() if names]
    words = (
        f"Over the {len(models)} models here the order of the Parzen figures {_sentence(told)}: Spearman's rank "
        f"correlation, each measure turned so that better is higher; from {AGREES} on it is called agreement."
        if told
        else "No other measure of these samples gives an order to compare."
    )
    grid = Grid(["measure", "better", "models", "rank correlation", "p"], lines, left=2)
    chance = (
        "p: two-sided, of so strong a correlation between unrelated orders; with few models even a strong one may be "
        f"chance. {DASH}: all models alike."
    )
    references = [line for row in section.table.rows if (line := _reference_line(row, models))]
    blocks: list[Block] = [Paragraph(words), grid, Paragraph(chance)]
    return part(section, title, *blocks, *([Items(references)] if references else []))


def _comparisons(models: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """Measures that say which way is better, with the rows that have them; nats of codes by encoder."""
    found: list[tuple[str, str, list[Row]]] = []
    for name in measure_names(models):
        rows = [row for row in models if row.samples and name in row.samples.measures]
        groups = {name: rows}
        if name == CODES:
            groups = {
                f"{name} {mark}": [row for row in rows if row.samples and row.samples.encoders == encoders]
                for encoders, mark in encoder_marks(models).items()
            }
        better = wording(name).better
        found += [(title, better, of) for title, of in groups.items() if better and len(of) >= LEAST_ROWS]
    return found


def _header(name: str) -> str:
    plain, bracket, mark = name.partition(" [")
    return wording(plain).header + bracket + mark


def rank_correlation(rows: Sequence[Row], name: str, better: str) -> tuple[float | None, float | None]:
    """Spearman's, between the log-likelihoods of rows and a measure turned so that better is higher, and its two-sided
    p; None where all rows are alike.
    """
    from scipy.stats import permutation_test, rankdata, spearmanr

    measures = [row.samples.measures[name] for row in rows if row.samples]
    values = np.array([measure.value for measure in measures])
    if better == "null":
        values = -np.abs(values - np.array([measure.null or 0.0 for measure in measures]))
    elif better == "lower":
        values = -values
    nats = np.array([row.test_nats for row in rows])
    if np.ptp(values) == 0 or np.ptp(nats) == 0:
        return None, None
    result = spearmanr(nats, values)
    if len(rows) > EXACT_ROWS:
        return float(result.statistic), float(result.pvalue)
    ranks = rankdata(nats) - (len(rows) + 1) / 2

    def product(other: np.ndarray, axis: int) -> np.ndarray:
        # The correlation up to a factor, as ranks keep their mean and variance in every order.
        return (other * ranks).sum(axis)

    exact = permutation_test(
        (rankdata(values),), product, permutation_type="pairings", vectorized=True, n_resamples=np.inf
    )
    return float(result.statistic), float(exact.pvalue)


def _sentence(told: Sequence[str]) -> str:
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def _reference_line(row: Row, models: Sequence[Row]) -> str:
    if not is_reference(row.method):
        return ""
    above = sum(row.test_nats > model.test_nats for model in models)
    return f"{row.label}, which models nothing, has a higher Parzen figure than {above} of the {len(models)} models."


# ---- windows and samples


def windows(section: Section) -> list[Block]:
    """The curves over sigma and over the number of samples, of the first trial of every row."""
    from lde_bench.report.pictures import draw_windows, to_svg

    curves = [
        (row_title(row), result.parzen)
        for row in section.table.rows
        if (result := section.trials(row)[0].result) and result.parzen
    ]
    if not curves:
        return []
    figure, below = draw_windows(curves)
    alt = "Parzen log-likelihood of validation images against sigma and against the number of samples"
    picture = Picture(f"{section.name}-windows", "svg", to_svg(figure), alt)
    caption = (
        f"Parzen log-likelihood of validation {section.table.items}, first trial of each row. Left: over the grid of "
        "sigma, with the one chosen as a point; at a point on the edge of its curve the grid is too short. Right: at "
        "that sigma, of the first so many samples; a curve that still rises has not seen enough of them."
    )
    if below:
        caption += f" Too far below to be drawn: {', '.join(below)}."
    return part(section, "The window: sigma and the number of samples", Figure([(picture, "")], caption))


def sample_sheets(section: Section, cache_dir: Path | None) -> list[Block]:
    """Ten by ten samples of every row, beside real test images where the dataset is at hand."""
    from lde_bench.report.pictures import draw_images, sheet_width

    title = "Samples"
    sheets: list[tuple[str, np.ndarray]] = []
    for row in section.table.rows:
        kept = (
            samples for samples in section.kept_samples(row) if math.isqrt(samples.shape[1]) ** 2 == samples.shape[1]
        )
        if (samples := next(kept, None)) is not None:
            sheets.append((row_title(row), samples))
    without = [name for name in map(row_title, section.table.rows) if name not in dict(sheets)]
    if not sheets:
        return part(section, title, Paragraph("No samples were kept beside these records."))
    real = real_images(section.data, cache_dir)
    if real is not None:
        sheets.insert(0, ("test images", real))
    pictures = [
        (Picture(f"{section.name}-samples-{number}", "png", draw_images(images), f"100 images: {name}"), name)
        for number, (name, images) in enumerate(sheets)
    ]
    caption = "The first 100 samples of a trial, not selected; black is 0, white 1."
    if real is None:
        caption += " Real images are left out: the dataset is not at hand, and nothing is downloaded here."
    if without:
        caption += f" No samples were kept of {', '.join(without)}."
    width = max(sheet_width(images.shape[1]) for _, images in sheets)
    return part(section, title, Figure(pictures, caption, width))


def real_images(data: DatasetInfo, cache_dir: Path | None) -> np.ndarray | None:
    """The first 100 test images of the very dataset of the records; None where it is not on this machine."""
    named = os.environ.get("LDE_BENCH_DATA")
    for place in [*([Path(named)] if named else []), cache_folder(cache_dir)]:
        try:
            # A folder that is named is the only place looked at: nothing is downloaded.
            dataset = load_dataset(data.name, data_dir=place, cache_dir=cache_dir)
        except InputError:
            continue
        if dataset.content_hash == data.content_hash:
            return dataset.test[:100]
    return None


def strong_note(section: Section) -> Paragraph:
    """What the figures of a section are, before any of them."""
    return Paragraph(
        (
            Strong("These are figures of samples, not of models"),
            f": {section.table.score}s of windows around samples, beside better-founded measures of the same samples.",
        )
    )
