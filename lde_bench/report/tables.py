"""The table of one experiment, dataset and budget: built once from run records, rendered for every medium.

Records that cannot be compared (other dataset, version or content hash, other benchmark version, other
budget) never share a table. The three errors of DESIGN rule 4 keep to columns of their own.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lde_bench.evaluation.statistics import (
    Difference,
    paired_difference,
    two_standard_deviations,
)
from lde_bench.report.published import PublishedFigure, paper_lde, published_figures
from lde_bench.report.samples import (
    EXPERIMENT,
    Samples,
    measures_panel,
    place,
    published_cell,
    samples_of,
    sigma_cell,
    window_notes,
)
from lde_bench.report.sheet import DASH, Panel, Sheet, decimal
from lde_bench.runs.record import DatasetInfo, Record
from lde_bench.runs.rows import (
    PLAIN_DATA,
    common_data_options,
    group_means,
    group_rows,
    group_word,
    is_patch,
    is_reference,
    item_word,
    refusal,
    row_label,
    row_options,
    table_key,
    with_components,
)

#: The paper's own rows: K -> test log-likelihood (nats), 2 standard deviations of 5 trials.
PAPER_LDE = paper_lde()


@dataclass(frozen=True)
class Row:
    """One method at one K: means over its trials, log-likelihoods in nats; None where there is nothing to
    tell.
    """

    method: str
    label: str
    components: int | None
    parameters: int | None
    trials: int
    test_nats: float
    trial_nats: tuple[float, ...]
    two_standard_deviations: float | None
    standard_error_clustered: float | None
    is_best: bool
    difference: float
    difference_standard_error: float | None
    cpu_seconds: float | None
    paper_nats: float | None
    paper_two_standard_deviations: float | None
    run_ids: tuple[str, ...] = ()
    true_gap: float | None = None
    true_gap_standard_error: float | None = None
    standard_error_naive: float | None = None
    samples: Samples | None = None


@dataclass(frozen=True)
class Failure:
    """A trial that gave no row, and why."""

    label: str
    components: int | None
    trial: int
    reason: str


@dataclass(frozen=True)
class Table:
    """Comparable rows and what they share.

    `shows_paper` says whether the paper ran this dataset, `is_patch` whether its items are 8x8 patches of photographs,
    `is_grouped` whether the records know which of them belong together. `items` is what they are called, `group` what
    those that are alike come from; `score` is what their figures are called, and `shows_published` says whether others
    published theirs on the same images.
    """

    experiment: str
    dataset: str
    dataset_version: str
    content_hash: str
    benchmark_version: str
    budget: str
    heading: tuple[str, ...]
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    shows_paper: bool
    is_patch: bool
    is_grouped: bool
    items: str
    group: str
    score: str = "test log-likelihood"
    shows_published: bool = False

    @property
    def error_column(self) -> str:
        """The error over test items that is shown: clustered, or naive where no items belong together."""
        return f"SE by {self.group}" if self.is_patch or self.is_grouped else f"SE over {self.items}"

    @property
    def shows_truth(self) -> bool:
        """Whether the true density of the dataset is known."""
        return any(row.true_gap is not None for row in self.rows)

    @property
    def shows_samples(self) -> bool:
        """Whether the log-likelihoods are those of windows around samples."""
        return self.experiment == EXPERIMENT

    def sheet(self) -> Sheet:
        """The table in words, and in a second panel what else was measured of its samples."""
        best = next((number for number, row in enumerate(self.rows) if row.is_best), None)
        main = Panel(headers(self), [cells(self, row) for row in self.rows], self.notes, best=best)
        more = measures_panel(self.rows)
        return Sheet(
            self.heading, [main] if more is None else [main, more], [failure_line(each) for each in self.failures]
        )


def build_tables(records: Iterable[Record], descriptions: Mapping[str, str] | None = None) -> list[Table]:
    """One table for each set of comparable records, in order of first appearance; rows by method, then K.

    `descriptions` gives a method's name in words, e.g. `{"lde+w": "LDE, whitened input"}`, for the notes. A
    done record whose model broke a law gets no row: it is listed among the failures with the law's name.
    """
    comparable: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        comparable.setdefault(table_key(record), []).append(record)
    return [_build_table(group, descriptions or {}) for group in comparable.values()]


def _build_table(records: Sequence[Record], descriptions: Mapping[str, str]) -> Table:
    accepted = [record for record in records if refusal(record) is None]
    rows_of = group_rows(accepted)
    methods = list(dict.fromkeys(record.method for record in records))
    if records[0].experiment == EXPERIMENT:
        methods.sort(key=place)
    ordered = sorted(rows_of, key=lambda key: (methods.index(key[0]), key[1] or 0))
    first = records[0]
    patches = is_patch(first.dataset)
    shows_paper = patches and first.dataset.name == "bsds300" and not first.dataset.version.endswith("unofficial")
    knows_truth = any(record.result is not None and record.result.true_gap is not None for record in accepted)
    groups = next((r.result.groups for r in records if r.result and r.result.groups), None)
    samples = first.experiment == EXPERIMENT
    figures = published_figures(first.experiment, first.dataset) if samples else ()
    rows = _build_rows([(row_label(rows_of[key][0], records), rows_of[key]) for key in ordered], shows_paper, figures)
    things = item_word(first.dataset)
    return Table(
        experiment=first.experiment,
        dataset=first.dataset.name,
        dataset_version=first.dataset.version,
        content_hash=first.dataset.content_hash,
        benchmark_version=first.benchmark_version,
        budget=first.budget.label,
        heading=_heading(first, None if groups is None else len(groups.ids), common_data_options(records)),
        rows=rows,
        failures=tuple(
            Failure(row_label(record, records), record.components, record.trial, reason)
            for record in records
            if (reason := refusal(record)) is not None
        ),
        notes=_notes(
            window_notes(rows, things, published=bool(figures)) if samples else [],
            methods,
            descriptions,
            _precisions(accepted),
            list(dict.fromkeys(record.method for record in accepted if record.training.get("weights_of"))),
            shows_paper,
            knows_truth,
            patches or groups is not None,
            first.dataset,
        ),
        shows_paper=shows_paper,
        is_patch=patches,
        is_grouped=groups is not None,
        items=things,
        group=group_word(first.dataset),
        score="Parzen log-likelihood" if samples else "test log-likelihood",
        shows_published=bool(figures),
    )


def _precisions(records: Sequence[Record]) -> dict[str, list[str]]:
    """Precision of the training steps -> the methods trained with it."""
    methods: dict[str, list[str]] = {}
    for record in records:
        if precision := record.training.get("precision"):
            named = methods.setdefault(str(precision), [])
            if record.method not in named:
                named.append(record.method)
    return methods


# ---- rows


def _build_rows(
    groups: Sequence[tuple[str, Sequence[Record]]], shows_paper: bool, figures: Sequence[PublishedFigure]
) -> tuple[Row, ...]:
    values = [[record.result.test_nats for record in trials if record.result] for _, trials in groups]
    by_photograph = [group_means(trials) for _, trials in groups]
    models = [number for number, (_, trials) in enumerate(groups) if not is_reference(trials[0].method)]
    best = max(models or range(len(groups)), key=lambda number: np.mean(values[number]), default=0)
    best_photographs = by_photograph[best] if groups else None
    rows = []
    for number, (label, trials) in enumerate(groups):
        record, photographs = trials[0], by_photograph[number]
        mean = float(np.mean(values[number]))
        difference = Difference(mean - float(np.mean(values[best])), None)
        if photographs is not None and best_photographs is not None and number != best:
            difference = paired_difference(photographs, best_photographs)
        error = photographs.standard_error if photographs is not None else None
        plain = all(row_options(record)[name] == value for name, value in PLAIN_DATA.items())
        paper = PAPER_LDE.get(record.components or 0) if record.method == "lde" and plain else None
        seconds = [trial.cost.cpu_seconds for trial in trials if trial.cost]
        rows.append(
            Row(
                method=record.method,
                label=label,
                components=record.components,
                parameters=record.parameters,
                trials=len(trials),
                test_nats=mean,
                trial_nats=tuple(values[number]),
                two_standard_deviations=two_standard_deviations(values[number]),
                standard_error_clustered=error,
                is_best=number == best,
                difference=difference.mean,
                difference_standard_error=difference.standard_error,
                cpu_seconds=float(np.mean(seconds)) if seconds else None,
                paper_nats=paper[0] if paper and shows_paper else None,
                paper_two_standard_deviations=paper[1] if paper and shows_paper else None,
                run_ids=tuple(trial.run_id for trial in trials),
                true_gap=_mean([trial.result.true_gap for trial in trials if trial.result]),
                # Of the same test items in every trial: more trials do not make it smaller.
                true_gap_standard_error=_mean(
                    [trial.result.true_gap_standard_error for trial in trials if trial.result]
                ),
                standard_error_naive=_mean(
                    [trial.result.test_standard_error_naive for trial in trials if trial.result]
                ),
                samples=samples_of(trials, figures),
            )
        )
    return tuple(rows)


def _mean(values: Sequence[float | None]) -> float | None:
    """Of values that are all there or, with the truth unknown, all missing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


# ---- words around the rows


def _heading(record: Record, photographs: int | None, options: Sequence[str]) -> tuple[str, ...]:
    data, sizes, budget = record.dataset, record.dataset.sizes, record.budget
    lines = [
        f"{record.experiment}: {data.name}, version {data.version} "
        f"(seed {data.seed}, content {data.content_hash[:12]})",
        f"{sizes.train:,} training, {sizes.validation:,} validation, {sizes.test:,} test {item_word(data)}"
        + ("" if photographs is None else f" (from {photographs} {group_word(data)}s)"),
    ]
    amount = f"profile {budget.profile}"
    if budget.steps is not None:
        amount += f" cut to {budget.steps:,} steps"
    elif budget.seconds is not None:
        amount += f" cut to {budget.seconds:g} seconds"
    if budget.machine_dependent:
        amount += " (machine-dependent)"
    lines.append(", ".join([amount, *options, f"benchmark version {record.benchmark_version}"]))
    return tuple(lines)


def _notes(
    window: Sequence[str],
    methods: Sequence[str],
    descriptions: Mapping[str, str],
    precisions: Mapping[str, Sequence[str]],
    borrowers: Sequence[str],
    shows_paper: bool,
    shows_truth: bool,
    grouped: bool,
    data: DatasetInfo,
) -> tuple[str, ...]:
    things, group = item_word(data), group_word(data)
    notes = [*(f"{name}: {descriptions[name]}." for name in methods if name in descriptions), *window]
    if set(precisions) - {"fp32"}:
        told = "; ".join(f"{', '.join(names)} in {precision}" for precision, names in precisions.items())
        notes.append(f"Training steps: {told}; all log-likelihoods are evaluated in fp32 or better.")
    notes.append("± after the log-likelihood: 2 standard deviations over trials (from 3 trials; at 2 both values).")
    if grouped:
        notes += [
            f"SE by {group}: standard error over test {things}, clustered by {group} (from 10 {group}s).",
            f"Difference to best: paired on the same test {things}, ± its own SE clustered by {group}.",
        ]
    else:
        notes += [
            f"SE over {things}: standard error over test {things}, taken as independent.",
            f"Difference to best: on the same test {things}; lde-bench compare tells its own SE.",
        ]
    if borrowers:
        notes.append(f"CPU seconds of {', '.join(borrowers)}: with those of the runs whose weights they have.")
    if shows_truth:
        notes.append(
            "Gap to truth: log-likelihood of the true density minus the model's, in nats, ± standard error over test "
            "items, paired."
        )
    if shows_paper:
        notes.append(
            "Paper: Yoo, Lee, Kwak 2020 (arXiv 1902.04294), Table 1, ± 2 standard deviations over 5 trials, "
            "on the authors' own schedule of 250 epochs."
        )
    return tuple(notes)


# ---- cells


@dataclass(frozen=True)
class Column:
    """A header and the text under it."""

    header: str
    cell: Callable[[Row], str]


def columns(table: Table) -> list[Column]:
    """What a table shows: the window only of samples, the truth only where it is known, figures of the paper or of
    others only where they are on the same data.
    """
    clustered = table.is_patch or table.is_grouped
    error = "standard_error_clustered" if clustered else "standard_error_naive"
    window = [Column("sigma", lambda row: sigma_cell(row.samples))]
    truth = [Column("gap to truth", _truth_cell)]
    return [
        Column("method", lambda row: row.label),
        Column("K", lambda row: decimal(row.components, 0)),
        Column("parameters", lambda row: DASH if row.parameters is None else f"{row.parameters:,}"),
        Column("trials", lambda row: str(row.trials)),
        Column(f"{table.score} (nats)", _score_cell),
        *(window if table.shows_samples else []),
        Column(table.error_column, lambda row: decimal(getattr(row, error))),
        Column("difference to best", _difference_cell),
        Column("CPU seconds", _seconds_cell),
        *(truth if table.shows_truth else []),
        *([Column("paper", _paper_cell)] if table.shows_paper else []),
        *([Column("published", lambda row: published_cell(row.samples))] if table.shows_published else []),
    ]


def headers(table: Table) -> list[str]:
    """Column headers."""
    return [column.header for column in columns(table)]


def cells(table: Table, row: Row) -> list[str]:
    """The row as text, one string a column of `headers`."""
    return [column.cell(row) for column in columns(table)]


def _score_cell(row: Row) -> str:
    if row.two_standard_deviations is not None:
        return f"{row.test_nats:.2f} ± {row.two_standard_deviations:.2f}"
    if row.trials == 2:
        return "{:.2f} ({:.2f}, {:.2f})".format(row.test_nats, *row.trial_nats)
    return f"{row.test_nats:.2f} ± {DASH}"


def _difference_cell(row: Row) -> str:
    return "best" if row.is_best else f"{row.difference:+.2f} ± {decimal(row.difference_standard_error)}"


def _seconds_cell(row: Row) -> str:
    return DASH if row.cpu_seconds is None else f"{row.cpu_seconds:,.{1 if row.cpu_seconds < 10 else 0}f}"


def _truth_cell(row: Row) -> str:
    return DASH if row.true_gap is None else f"{row.true_gap:.3f} ± {decimal(row.true_gap_standard_error, 3)}"


def _paper_cell(row: Row) -> str:
    return DASH if row.paper_nats is None else f"{row.paper_nats:.2f} ± {decimal(row.paper_two_standard_deviations)}"


def failure_line(failure: Failure) -> str:
    """A failed or refused trial and why, on one line."""
    title = with_components(failure.label, failure.components)
    return f"{title}, trial {failure.trial + 1}: {' '.join(failure.reason.split())}"


def to_csv(table: Table) -> str:
    """One line a row with numbers in full precision; an empty field is a missing value, `trial_nats` and
    `run_ids` are `;`-separated.
    """
    common = {
        name: getattr(table, name)
        for name in (
            "experiment",
            "dataset",
            "dataset_version",
            "content_hash",
            "benchmark_version",
            "budget",
        )
    }
    names = [field.name for field in dataclasses.fields(Row) if field.name != "samples"]
    measured = [_flat(row.samples) for row in table.rows]
    extra = list(dict.fromkeys(name for values in measured for name in values))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*common, *names, *extra], lineterminator="\n")
    writer.writeheader()
    for row, more in zip(table.rows, measured, strict=True):
        values = {name: getattr(row, name) for name in names}
        lists = {"trial_nats": ";".join(map(repr, row.trial_nats)), "run_ids": ";".join(row.run_ids)}
        writer.writerow({**common, **values, **lists, **more})
    return buffer.getvalue()


def _flat(samples: Samples | None) -> dict[str, Any]:
    """The samples of a row in fields of one value each; none where there are none."""
    if samples is None:
        return {}
    numbers = ("value", "standard_error", "null", "null_low", "null_high")
    return {
        "sigmas": ";".join(map(repr, samples.sigmas)),
        "sigma_at_edge": samples.at_edge,
        "samples": samples.count,
        "published_nats": samples.published_nats,
        "published_plus_minus": samples.published_plus_minus,
        "encoders": ";".join(samples.encoders),
        **{
            name if number == "value" else f"{name}_{number}": getattr(measure, number)
            for name, measure in samples.measures.items()
            for number in numbers
        },
    }


def to_payload(table: Table) -> dict[str, Any]:
    """The table as plain JSON types, for `--json`; all values finite."""
    return json.loads(json.dumps(dataclasses.asdict(table), allow_nan=False))
