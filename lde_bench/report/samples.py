"""What a table of samples has beside the log-likelihood of the Parzen window: the window, and the other measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lde_bench.report.published import PublishedFigure
from lde_bench.report.sheet import DASH, Panel
from lde_bench.runs.record import Measure, Record
from lde_bench.runs.rows import is_reference, with_components

if TYPE_CHECKING:
    from lde_bench.report.tables import Row

EXPERIMENT = "parzen"

#: Rows stand as in the paper's Table 2: the references, the older models, the paper's own; others behind.
ORDER = ("train-samples", "kmeans", "deep-gsn", "gan", "gmmn+ae", "aae", "vae", "vae-iaf", "evae", "ae", "iae")

#: Title of the second panel.
TITLE = "The same samples by better-founded measures"

#: Behind a figure that two sets of one distribution would hardly give.
OUTSIDE = "*"


def place(method: str) -> int:
    """Of a method in `ORDER`."""
    named = (
        number for number, name in enumerate(ORDER) if method == name or method.startswith((f"{name}+", f"{name}:"))
    )
    return next(named, len(ORDER))


@dataclass(frozen=True)
class Wording:
    """How a measure is printed, and which way it improves; `better` is empty of what says nothing about the samples."""

    header: str
    better: Literal["higher", "lower", "null", ""]
    digits: int = 3


#: The power of the classifier test is one of the test: it stands in a note.
POWER = "c2st_power"
#: Nats of the codes, which compare over one and the same encoder only.
CODES = "code_nats"

MEASURES = {
    "precision": Wording("precision", "higher"),
    "recall": Wording("recall", "higher"),
    "density": Wording("density", "higher"),
    "coverage": Wording("coverage", "higher"),
    "mmd2": Wording("MMD^2", "lower", 4),
    "c2st_accuracy": Wording("C2ST accuracy", "lower"),
    "memorisation_gap": Wording("memorisation gap", "null"),
    "reconstruction_mse": Wording("reconstruction MSE", "lower", 4),
    CODES: Wording("code log-likelihood (nats)", "higher", 2),
}


def wording(name: str) -> Wording:
    """Of a measure, one of a user's own too."""
    return MEASURES.get(name, Wording(name.replace("_", " "), ""))


@dataclass(frozen=True)
class Samples:
    """The samples of one row: means over its trials.

    Attributes:
        sigmas: of the window, by trial; `at_edge` says whether one is at an edge of its grid.
        count: how many samples the window stands on.
        published_nats: of the published model, and its printed +- as `published_plus_minus`; None where there is none.
        measures: by name; a value, error or null is None where a trial has none.
        encoders: the trained autoencoder of each trial whose codes have a density.
    """

    sigmas: tuple[float, ...]
    at_edge: bool
    count: int
    published_nats: float | None
    published_plus_minus: float | None
    measures: Mapping[str, Measure]
    encoders: tuple[str, ...]


def samples_of(trials: Sequence[Record], figures: Sequence[PublishedFigure]) -> Samples | None:
    """Of the trials of a row; None where they are not of samples."""
    results = [trial.result for trial in trials if trial.result]
    windows = [result.parzen for result in results if result.parzen]
    if not windows:
        return None
    record = trials[0]
    figure = next((f for f in figures if (f.method, f.components) == (record.method, record.components)), None)
    names = [name for name in results[0].measures if all(name in result.measures for result in results)]
    return Samples(
        sigmas=tuple(window.sigma for window in windows),
        at_edge=any(window.at_edge for window in windows),
        count=windows[0].samples,
        published_nats=None if figure is None else figure.test_nats,
        published_plus_minus=None if figure is None else figure.plus_minus,
        measures={name: _average([result.measures[name] for result in results]) for name in names},
        encoders=tuple(str(trial.training["encoder"]) for trial in trials if "encoder" in trial.training),
    )


def _average(measures: Sequence[Measure]) -> Measure:
    def mean(name: str) -> float | None:
        values = [getattr(measure, name) for measure in measures]
        return None if None in values else float(np.mean(values))

    value = float(np.mean([measure.value for measure in measures]))
    # Of the same test items in every trial: more trials do not make the error smaller.
    return Measure(value, mean("standard_error"), mean("null"), mean("null_low"), mean("null_high"), measures[0].detail)


def sigma_cell(samples: Samples | None) -> str:
    """Every sigma that was chosen, with a mark where one is at the edge of its grid."""
    if samples is None:
        return DASH
    told = ", ".join(f"{sigma:g}" for sigma in sorted({round(sigma, 6) for sigma in samples.sigmas}))
    return f"{told} (edge)" if samples.at_edge else told


def published_cell(samples: Samples | None) -> str:
    """The published figure with its printed +-."""
    return DASH if samples is None else published_text(samples.published_nats, samples.published_plus_minus)


def published_text(nats: float | None, plus_minus: float | None) -> str:
    """A published figure with its printed +-, where there are any."""
    if nats is None:
        return DASH
    return f"{nats:g}" if plus_minus is None else f"{nats:g} ± {plus_minus:g}"


def window_notes(rows: Sequence[Row], items: str, *, published: bool) -> list[str]:
    """What the figures of the window are, and are not."""
    references = [row.label for row in rows if is_reference(row.method)]
    shown = (
        f"{' and '.join(references)}, which model{_s(references)} nothing, show{_s(references)} it"
        if references
        else "reference rows such as train-samples and kmeans, which model nothing, would show it"
    )
    counts: dict[int, list[str]] = {}
    for row in rows:
        if row.samples:
            counts.setdefault(row.samples.count, []).append(with_components(row.label, row.components))
    notes = [
        f"Parzen log-likelihood: of test {items} under Gaussians of standard deviation sigma around a model's samples, "
        f"sigma chosen on validation {items}. It is a figure of the samples and their window, not of the model (Theis, "
        f"van den Oord, Bethge 2016, arXiv 1511.01844): {shown}.",
    ]
    if counts:
        usual = max(counts, key=lambda count: len(counts[count]))
        rest = "".join(f"; of {', '.join(names)} {count:,}" for count, names in counts.items() if count != usual)
        notes.append(f"Samples in the window: {usual:,}{rest}.")
    if any(row.samples and row.samples.at_edge for row in rows):
        notes.append("(edge): sigma is at the edge of its grid, and one beyond it may be better.")
    if references and len(references) < len(rows):
        notes.append(f"Best: of the models; {' and '.join(references)} cannot be it.")
    if published:
        notes.append(
            "Published: Table 2 of Yoo, Lee, Kwak 2020 (arXiv 1902.04294), its own rows and those it cites, ± as "
            "printed, the standard error."
        )
    return notes


# ---- the other measures


def _s(subjects: Sequence[str]) -> str:
    """Of a verb after one subject."""
    return "s" if len(subjects) == 1 else ""


def measure_names(rows: Sequence[Row]) -> list[str]:
    """The measures that a row has, those with a wording first."""
    present = dict.fromkeys(name for row in rows if row.samples for name in row.samples.measures)
    return [*(name for name in MEASURES if name in present), *(n for n in present if n not in MEASURES and n != POWER)]


def encoder_marks(rows: Sequence[Row]) -> dict[tuple[str, ...], str]:
    """A letter for each set of trained autoencoders, in order of first appearance."""
    found = list(dict.fromkeys(row.samples.encoders for row in rows if row.samples and row.samples.encoders))
    return {encoders: f"[{_letter(number)}]" for number, encoders in enumerate(found)}


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else str(number)


def measures_panel(rows: Sequence[Row]) -> Panel | None:
    """One line a row, one column a measure, and what two sets of real images give; None without measures."""
    names, marks = measure_names(rows), encoder_marks(rows)
    if not names:
        return None
    lines = [
        [with_components(row.label, row.components), *(measure_cell(row, n, marks) for n in names)] for row in rows
    ]
    lines.append(["two real sets", *(_null_cell(rows, name) for name in names)])
    headers = ["method", *(wording(name).header for name in names)]
    return Panel(headers, lines, _measure_notes(rows, names), TITLE)


def measure_cell(row: Row, name: str, marks: Mapping[tuple[str, ...], str]) -> str:
    """A measure with its standard error, marked where two sets of one distribution would hardly give it."""
    measure = row.samples.measures.get(name) if row.samples else None
    if row.samples is None or measure is None:
        return DASH
    digits = wording(name).digits
    error = "" if measure.standard_error is None else f" ± {measure.standard_error:.{digits}f}"
    mark = f" {marks[row.samples.encoders]}" if name == CODES and row.samples.encoders in marks else ""
    return f"{measure.value:.{digits}f}{error}{f' {OUTSIDE}' if is_outside(measure) else ''}{mark}"


def is_outside(measure: Measure) -> bool:
    """Whether two sets of one distribution give such a figure in less than 5 % of cases."""
    low, high = measure.null_low, measure.null_high
    return low is not None and high is not None and not low <= measure.value <= high


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


def _measure_notes(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    notes = ["On raw pixels; ± standard error over items, means over trials."]
    ways = {
        "higher": "Higher is better: {}.",
        "lower": "Lower is better: {}.",
        "null": "Best at what two real sets give: {} (far below, the samples are copies; far above, off the data).",
    }
    for better, words in ways.items():
        if headers := [wording(name).header for name in names if wording(name).better == better]:
            notes.append(words.format(", ".join(headers)))
    notes.append(
        f"{OUTSIDE}: outside the band that holds 95 % of the figures of two sets of one distribution; the last line is "
        "the widest such band of the rows."
    )
    power = [m for row in rows if row.samples and (m := row.samples.measures.get(POWER)) is not None]
    if power:
        blind = "" if is_outside(power[0]) else ", so that here it cannot see even that"
        low, high = power[0].null_low, power[0].null_high
        band = "" if low is None or high is None else f" (by chance {low:.3f} to {high:.3f})"
        notes.append(
            f"Power of the classifier two-sample test: training images, each mixed with 10 % of another, are told from "
            f"test images with accuracy {power[0].value:.3f}{band}{blind}."
        )
    if CODES in names:
        notes.append(
            f"{wording(CODES).header}: exact, of the codes of test images; scaling the codes shifts it, so that it "
            "compares only between rows of one letter, which have one and the same trained autoencoder."
        )
    return notes
