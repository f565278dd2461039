"""The folds of one dataset together: the mean over them, beside the figure of one."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lde_bench.evaluation.statistics import naive_standard_error
from lde_bench.files import write_text_atomic
from lde_bench.report.document import Block, Grid, Lead, Notes
from lde_bench.report.numbers import decimal, error_text
from lde_bench.report.published import published_text
from lde_bench.report.render.latex import to_latex
from lde_bench.report.render.markdown import to_markdown
from lde_bench.report.rows import Row
from lde_bench.report.table import Table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldRow:
    """One method at one K, in nats: the mean of its folds' figures with its standard error over folds, and the first
    fold's with that over test items.
    """

    label: str
    components: int | None
    folds: int
    mean_nats: float
    standard_error_over_folds: float | None
    fold_nats: tuple[float, ...]
    single_nats: float | None
    single_standard_error: float | None
    published_nats: float | None
    published_plus_minus: float | None


@dataclass(frozen=True)
class FoldSummary:
    """The rows of the tables of a dataset's folds, which differ in nothing else."""

    experiment: str
    dataset: str
    dataset_version: str
    benchmark_version: str
    budget: str
    folds: tuple[int, ...]
    score: str
    items: str
    rows: tuple[FoldRow, ...]

    def blocks(self) -> list[Block]:
        """The summary in words."""
        numbers = ", ".join(map(str, self.folds))
        heading = [
            f"{self.experiment}: {self.dataset}, version {self.dataset_version}, over folds {numbers}",
            f"{self.score} (nats), {self.budget}, benchmark version {self.benchmark_version}",
        ]
        alone = f"fold {self.folds[0]} alone"
        headers = ["method", "K", "folds", "mean over folds", "SE over folds", alone, f"SE over {self.items}"]
        shows_published = any(row.published_nats is not None for row in self.rows)
        lines = [
            [
                row.label,
                decimal(row.components, 0),
                str(row.folds),
                decimal(row.mean_nats),
                error_text(row.standard_error_over_folds),
                decimal(row.single_nats),
                error_text(row.single_standard_error),
                *([published_text(row.published_nats, row.published_plus_minus)] if shows_published else []),
            ]
            for row in self.rows
        ]
        notes = [
            "Mean over folds, with its standard error over folds: as the older rows of the published table have it.",
            f"{alone.capitalize()}, with its standard error over test {self.items}, taken as independent: as the "
            "paper seems to have it.",
            "A row of fewer folds than the others is not comparable with them.",
        ]
        return [Lead(heading), Grid([*headers, *(["published"] if shows_published else [])], lines), Notes(notes)]

    def to_csv(self) -> str:
        """One line a row with numbers in full precision; `fold_nats` is `;`-separated."""
        common = {"experiment": self.experiment, "dataset": self.dataset, "budget": self.budget}
        names = [field.name for field in dataclasses.fields(FoldRow)]
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, [*common, *names], lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            values = {name: getattr(row, name) for name in names}
            writer.writerow({**common, **values, "fold_nats": ";".join(map(repr, row.fold_nats))})
        return buffer.getvalue()


def fold_summaries(tables: Iterable[Table]) -> list[FoldSummary]:
    """One summary for each dataset, version, budget and number of samples with tables of two folds or more; of none
    without a score.

    Where a fold comes with two contents, as of files of a user's own, nobody knows which belongs to the others: there
    is no summary, and a warning says so.
    """
    folds: dict[tuple[str, str, str, str, str], dict[int, Table]] = {}
    mixed: set[tuple[str, str, str, str, str]] = set()
    for table in tables:
        if (named := re.fullmatch(r"(.+)-fold(\d+)", table.dataset)) and table.rows and table.score:
            budget = table.budget + (f", {table.window:,} samples" if table.window else "")
            key = (table.experiment, named[1], table.dataset_version, table.benchmark_version, budget)
            if int(named[2]) in folds.setdefault(key, {}):
                mixed.add(key)
            folds[key][int(named[2])] = table
    for _, dataset, _, _, budget in mixed:
        log.warning("%s, %s: a fold has records of two contents, so there is no mean over folds.", dataset, budget)
    return [
        _summary(key, dict(sorted(group.items())))
        for key, group in folds.items()
        if len(group) > 1 and key not in mixed
    ]


def _summary(key: tuple[str, str, str, str, str], folds: dict[int, Table]) -> FoldSummary:
    rows: dict[tuple[str, int | None], dict[int, Row]] = {}
    for fold, table in folds.items():
        for row in table.rows:
            rows.setdefault((row.label, row.components), {})[fold] = row
    first = next(iter(folds.values()))
    experiment, dataset, version, benchmark_version, budget = key
    return FoldSummary(
        experiment=experiment,
        dataset=dataset,
        dataset_version=version,
        benchmark_version=benchmark_version,
        budget=budget,
        folds=tuple(folds),
        score=first.score,
        items=first.items,
        rows=tuple(_row(of_folds, min(folds)) for of_folds in rows.values()),
    )


def _row(of_folds: dict[int, Row], first: int) -> FoldRow:
    values: Sequence[float] = [row.nats for row in of_folds.values()]
    one, single = next(iter(of_folds.values())), of_folds.get(first)
    samples = one.samples
    return FoldRow(
        label=one.label,
        components=one.components,
        folds=len(values),
        mean_nats=float(np.mean(values)),
        standard_error_over_folds=naive_standard_error(values) if len(values) > 1 else None,
        fold_nats=tuple(values),
        single_nats=None if single is None else single.test_nats,
        single_standard_error=None if single is None else single.standard_error_naive,
        published_nats=None if samples is None else samples.published_nats,
        published_plus_minus=None if samples is None else samples.published_plus_minus,
    )


def write_fold_summary(summary: FoldSummary, folder: Path, stem: str) -> list[Path]:
    """Write `<stem>.md`, `.csv` and `.tex` of the folds of a dataset into `folder`, each atomically; their paths.

    Raises:
        InputError: the folder cannot be written.
    """
    blocks = summary.blocks()
    written = []
    for suffix, text in ((".md", to_markdown(blocks)), (".csv", summary.to_csv()), (".tex", to_latex(blocks))):
        written.append(folder / f"{stem}{suffix}")
        write_text_atomic(written[-1], text)
    return written
