"""The measures of samples beside a table's own score: the panel that shows them, and whether they agree with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from lde_bench.evaluation.sample_measures import Figure, Measure, sample_figures
from lde_bench.evaluation.statistics import two_standard_deviations
from lde_bench.features import space_words
from lde_bench.features.pixels import PIXELS
from lde_bench.report.document import Block, Grid, Items, Line, Notes, Paragraph
from lde_bench.report.numbers import DASH, decimal, error_text
from lde_bench.report.rows import Row, RowMeasure, by_space
from lde_bench.report.table import Column, Table
from lde_bench.runs.rows import is_reference, with_components

#: From here a rank correlation is called agreement in the words; the figures stand beside them.
AGREES = 0.5

#: Fewer rows than this have no order to speak of.
LEAST_ROWS = 4

#: Up to so many rows p is exact, over all orders; above, by Student's t.
EXACT_ROWS = 9

#: Title of the second panel.
TITLE = "The same samples by better-founded measures"

#: What stands behind a figure.
ERRORS = (
    "± after a measure: from three trials 2 standard deviations over them, of two both values stand there; SE behind "
    "it, and the ± of one trial, is the standard error over items, which says nothing of another seed."
)

#: The line of the nulls.
REAL = "real images"

#: Header of the mean of the ranks by all measures.
RANK = "mean rank"

#: Behind a figure that two sets of one distribution would hardly give.
OUTSIDE = "*"

#: How several trials are judged.
OF_TRIALS = ", of several trials by the mean of how far each is from its own, in half widths"

#: What the nulls are made of, by the version of the measures.
NULLS = {
    1: "splits of test and training images",
    2: "validation images in the place of the samples, with all that sets them apart from the test images",
}

#: The power of the classifier test is one of the test: it stands in a note.
POWER = "c2st_power"
#: Nats of the codes, which compare over one and the same encoder only.
CODES = "code_nats"
LETTERS = "these have one letter"


def wording(name: str) -> Figure:
    """How a figure is shown, one that no metric of this version gives too."""
    return sample_figures().get(name, Figure(name.replace("_", " "), ""))


# ---- the panel


def measure_names(rows: Sequence[Row]) -> list[str]:
    """The figures of the table that a row has, in order; those that no metric of this version gives come last."""
    present = dict.fromkeys(name for row in rows if row.samples for name in row.samples.measures)
    known = sample_figures()
    shown = [name for name in known if name in present and known[name].in_table]
    return [*shown, *(name for name in present if name not in known)]


def encoder_marks(rows: Sequence[Row]) -> dict[tuple[str, ...], str]:
    """A letter for each set of trained autoencoders, in order of first appearance."""
    found = list(dict.fromkeys(row.samples.encoders for row in rows if row.samples and row.samples.encoders))
    return {encoders: f"[{_letter(number)}]" for number, encoders in enumerate(found)}


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else str(number)


def measures_panel(rows: Sequence[Row]) -> list[Block]:
    """For each feature space one line a row, one column a measure, and what two sets of real images give; nothing
    without measures.
    """
    views = [row for row in by_space(rows) if row.samples]
    spaces = dict.fromkeys(row.samples.space for row in views if row.samples)
    return [
        block
        for space in spaces
        for block in _panel(
            [row for row in views if row.samples and row.samples.space == space], space, is_only=len(spaces) == 1
        )
    ]


def _panel(rows: Sequence[Row], space: str, *, is_only: bool) -> list[Block]:
    names, marks = measure_names(rows), encoder_marks(rows)
    if not names:
        return []
    ranked, ranks = _mean_ranks(rows, names)
    lines = [
        [
            with_components(row.label, row.components),
            *([decimal(ranks.get(number), 1)] if ranks else []),
            *(_marked_cell(row, name, wording(name).digits, marks) for name in names),
        ]
        for number, row in enumerate(rows)
    ]
    # Of the models' rows: a reference may hold fewer images, and its band is another.
    banded = [row for row in rows if not is_reference(row.method)] or rows
    lines.append([REAL, *([DASH] if ranks else []), *(_null_cell(banded, name) for name in names)])
    headers = ["method", *([RANK] if ranks else []), *(wording(name).header for name in names)]
    title = TITLE if space == PIXELS.label and is_only else f"{TITLE}, in {space}"
    notes = _measure_notes(rows, names, space)
    if ranks:
        told = ", ".join(wording(name).header for name in ranked)
        notes.append(f"{RANK}: of the models, by the distance from the null of {told}; inside a band all share a rank.")
    return [Grid(headers, lines, title=title, footer=1), Notes(notes)]


def _mean_ranks(rows: Sequence[Row], names: Sequence[str]) -> tuple[list[str], dict[int, float]]:
    """The measures with a null that all models of these rows have, and the mean of each model's ranks by their distance
    from it, by the number of its row; none of fewer than two models. Models inside the band of a null share a rank.
    """
    from scipy.stats import rankdata

    models = [number for number, row in enumerate(rows) if not is_reference(row.method)]
    distances = {
        name: [
            measure.distance_from_null if (measure := rows[number].measures.get(name)) else None for number in models
        ]
        for name in names
        if wording(name).better == "null"
    }
    ranked = [name for name, values in distances.items() if None not in values]
    if len(models) < 2 or not ranked:
        return [], {}
    # Inside the band which one is nearer is chance.
    ranks = np.mean([rankdata([max(1.0, each or 0.0) for each in distances[name]]) for name in ranked], axis=0)
    return ranked, dict(zip(models, ranks.tolist(), strict=True))


def measure_cell(measure: RowMeasure | None, digits: int) -> str:
    """A measure, marked where two sets of one distribution would hardly give it: of one trial with its standard error
    over items, of two with both values, of more with 2 standard deviations over them, and then with that error too.
    """
    if measure is None:
        return DASH
    error = None if measure.standard_error is None else error_text(measure.standard_error, digits)
    words = [] if error is None else [f"± {error}"]
    if len(measure.trials) > 1:
        spread = two_standard_deviations(measure.trials)
        both = ", ".join(f"{value:.{digits}f}" for value in measure.trials)
        behind = [] if error is None else [f"SE {error}"]
        words = [f"({both})" if spread is None else f"± {spread:.{digits}f}", *behind]
    return " ".join([f"{measure.value:.{digits}f}", *words, *([OUTSIDE] if is_outside(measure) else [])])


def _marked_cell(row: Row, name: str, digits: int, marks: Mapping[tuple[str, ...], str]) -> str:
    """A measure, and of nats of codes the letter of the autoencoder."""
    cell = measure_cell(row.measures.get(name), digits)
    if name == CODES and row.samples and row.samples.encoders in marks and name in row.measures:
        return f"{cell} {marks[row.samples.encoders]}"
    return cell


def measure_columns(table: Table) -> list[Column]:
    """A column for each figure of the table, by the name of its measure."""
    marks = encoder_marks(table.rows)

    def cell(name: str, digits: int) -> Callable[[Row], str]:
        return lambda row: _marked_cell(row, name, digits, marks)

    return [Column(figure.header, cell(name, figure.digits)) for name, figure in table.figures.items()]


def null_column(name: str, figure: Figure) -> Column:
    """The band that holds 95 % of what a measure gives of two sets of one distribution."""

    def cell(row: Row) -> str:
        measure = row.measures.get(name)
        if measure is None or measure.null_low is None or measure.null_high is None:
            return DASH
        return f"{measure.null_low:.{figure.digits}f} to {measure.null_high:.{figure.digits}f}"

    return Column(f"null of {figure.header}", cell)


def figure_notes(rows: Sequence[Row], figures: Mapping[str, Figure]) -> list[str]:
    """What the figures of measures are, how they were computed, and which way is better."""
    notes = [ERRORS]
    for name, figure in figures.items():
        details = dict.fromkeys(row.measures[name].detail for row in rows if name in row.measures)
        told = "; ".join(filter(None, [figure.meaning, *((LETTERS,) if name == CODES else details)]))
        notes.append(f"{figure.header}: {told}.")
    return [*notes, *_better_notes(figures.values()), *([_outside_note()] if _shows_null(rows, figures) else [])]


def _shows_null(rows: Sequence[Row], figures: Mapping[str, Figure]) -> bool:
    return any(measure.null is not None for row in rows for name, measure in row.measures.items() if name in figures)


def _better_notes(figures: Collection[Figure]) -> list[str]:
    """Which figures should be high, low, or at their null."""
    ways = {
        "higher": "Higher is better: {}.",
        "lower": "Lower is better: {}.",
        "null": "Best at its null, and at fault on either side: {}.",
    }
    headers = {way: [figure.header for figure in figures if figure.better == way] for way in ways}
    return [words.format(", ".join(headers[way])) for way, words in ways.items() if headers[way]]


def _outside_note() -> str:
    return f"{OUTSIDE}: outside the band that holds 95 % of the figures of its null{OF_TRIALS}."


def is_outside(measure: Measure) -> bool:
    """Whether two sets of one distribution give such a figure in less than 5 % of cases."""
    distance = measure.distance_from_null
    return distance is not None and distance > 1


def _null_cell(rows: Sequence[Row], name: str) -> str:
    bands = [
        (measure.null_low, measure.null_high)
        for row in rows
        if row.samples and (measure := row.samples.measures.get(name)) is not None
    ]
    low = min((low for low, _ in bands if low is not None), default=None)
    high = max((high for _, high in bands if high is not None), default=None)
    digits = wording(name).digits
    return DASH if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"


def _measure_notes(rows: Sequence[Row], names: Sequence[str], space: str) -> list[str]:
    notes = [f"Distances between images: those of {space_words(space)}.", ERRORS]
    figures = [wording(name) for name in names]
    notes += _better_notes(figures)
    meanings = {figure.header: figure.meaning for figure in figures if figure.meaning}
    if CODES in names:
        meanings[wording(CODES).header] += f"; {LETTERS}"
    notes += [f"{header}: {meaning}." for header, meaning in meanings.items()]
    versions = sorted({row.samples.version for row in rows if row.samples})
    null = " or ".join(NULLS.get(version, "real images") for version in versions)
    notes.append(
        f"{OUTSIDE}: outside the band that holds 95 % of the figures of {null}{OF_TRIALS}; the last line spans the "
        "bands of the models, each of which is judged by its own, as is a row of fewer images, whose band is another."
    )
    power = [m for row in rows if row.samples and (m := row.samples.measures.get(POWER)) is not None]
    if power:
        blind = "" if is_outside(power[0]) else ", so that here it cannot see even that"
        low, high = power[0].null_low, power[0].null_high
        band = "" if low is None or high is None else f" (real images: {low:.3f} to {high:.3f})"
        notes.append(
            "Power of the classifier two-sample test: real images, each mixed with 10 % of another, are told from test "
            f"images with accuracy {power[0].value:.3f}{band}{blind}."
        )
    return notes


# ---- agreement


def agreement(rows: Sequence[Row], score: str) -> list[Block]:
    """Whether the figures of a table, called `score`, put its models in the order in which the other measures do."""
    models = [row for row in rows if not is_reference(row.method) and row.samples]
    if len(models) < LEAST_ROWS:
        return [Paragraph(f"Fewer than {LEAST_ROWS} models: there is no order to compare.")]
    lines: list[list[Line]] = []
    verdicts: dict[str, list[str]] = {"agrees with": [], "runs against": [], "says little of": []}
    for name, better, of in _comparisons(by_space(models)):
        correlation, p_value = rank_correlation(of, name.partition(" [")[0], better)
        if correlation is not None:
            verdict = "says little of" if abs(correlation) < AGREES else "agrees with"
            verdicts["runs against" if correlation <= -AGREES else verdict].append(_header(name))
        way = {"null": "at its null"}.get(better, better)
        lines.append([_header(name), way, str(len(of)), decimal(correlation), decimal(p_value, 3)])
    told = [f"{verdict} {', '.join(names)}" for verdict, names in verdicts.items() if names]
    words = (
        f"Over the {len(models)} models here the order of the {score} figures {enumerated(told)}: Spearman's rank "
        "correlation, each measure turned so that better is higher; what is best at its null, by its distance from "
        f"that in half widths of its band. From {AGREES} on it is called agreement."
        if told
        else "No other measure of these samples gives an order to compare."
    )
    grid = Grid(["measure", "better", "models", "rank correlation", "p"], lines, left=2)
    chance = (
        "p: two-sided, of so strong a correlation between unrelated orders; with few models even a strong one may be "
        f"chance. {DASH}: all models alike."
    )
    references = [line for row in rows if (line := _reference_line(row, models, score))]
    return [Paragraph(words), grid, Paragraph(chance), *([Items(references)] if references else [])]


def _comparisons(models: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """Measures that say which way is better, with the rows that have them; nats of codes by encoder, others by feature
    space.
    """
    found: list[tuple[str, str, list[Row]]] = []
    for name in measure_names(models):
        better = wording(name).better
        rows = [row for row in models if (measure := row.measures.get(name)) and merit(measure, better) is not None]
        groups = {name: rows}
        if name == CODES:
            groups = {
                f"{name} {mark}": [row for row in rows if row.samples and row.samples.encoders == encoders]
                for encoders, mark in encoder_marks(models).items()
            }
        elif len(spaces := dict.fromkeys(row.samples.space for row in rows if row.samples)) > 1:
            groups = {
                f"{name} [{space}]": [row for row in rows if row.samples and row.samples.space == space]
                for space in spaces
            }
        found += [(title, better, of) for title, of in groups.items() if better and len(of) >= LEAST_ROWS]
    return found


def _header(name: str) -> str:
    plain, bracket, mark = name.partition(" [")
    return wording(plain).header + bracket + mark


def merit(measure: Measure, better: str) -> float | None:
    """A figure turned so that better is higher; None of what is best at its null and has none."""
    if better == "null":
        return None if measure.distance_from_null is None else -measure.distance_from_null
    return -measure.value if better == "lower" else measure.value


def rank_correlation(rows: Sequence[Row], name: str, better: str) -> tuple[float | None, float | None]:
    """Spearman's, between the log-likelihoods of rows and the `merit` of a measure that all have, and its two-sided p;
    None where all rows are alike.
    """
    from scipy.stats import permutation_test, rankdata, spearmanr

    values = np.array([merit(row.measures[name], better) for row in rows], dtype=np.float64)
    nats = np.array([row.nats for row in rows])
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


def enumerated(told: Sequence[str]) -> str:
    """One or more things as words have them: `a`, `a and b`, `a, b and c`."""
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def _reference_line(row: Row, models: Sequence[Row], score: str) -> str:
    if not is_reference(row.method):
        return ""
    above = sum(row.nats > model.nats for model in models)
    counts = {other.samples.count for other in (row, *models) if other.samples}
    of = "" if len(counts) == 1 or not row.samples or not row.samples.count else f" of its {row.samples.count:,} images"
    higher = f"has a higher {score} figure{of} than {above} of the {len(models)} models"
    return f"{row.label}, which models nothing, {higher}."
