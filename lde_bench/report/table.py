"""A table of comparable rows as data, and what it is made into: blocks of the document model, CSV and JSON.

Records that cannot be compared (other dataset, version or content hash, other benchmark version, other
budget) never share a table. The three errors (spread over trials, over test items, over groups of them) keep to
columns of their own.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lde_bench.evaluation.sample_measures import Figure, measured_everywhere
from lde_bench.report.document import Block, Grid, Items, Lead, Line, Notes, Paragraph, Strong
from lde_bench.report.numbers import DASH, decimal, error_text
from lde_bench.report.published import PublishedFigure
from lde_bench.report.rows import Row, Samples, marked
from lde_bench.runs.rows import with_components

#: What the bits per dimension of patches are of, and those of other rows.
GREY_BITS = "of 256 grey levels: 8 - nats / (D ln 2)"
PLAIN_BITS = "in the units of the data: -nats / (D ln 2)"

#: What stands in place of a table without rows.
EMPTY = "(no trial finished)"


@dataclass(frozen=True)
class Column:
    """A header and the text under it."""

    header: str
    cell: Callable[[Row], str]


@dataclass(frozen=True)
class Failure:
    """A trial that gave no row, and why."""

    label: str
    components: int | None
    trial: int
    reason: str


@dataclass(frozen=True)
class Table:
    """Comparable rows and what they share; an empty `score` says that no one figure ranks them.

    `shows_paper` says whether the paper ran this dataset, `is_patch` whether its items are 8x8 patches of photographs,
    `is_grouped` whether the records know which of them belong together. `items` is what they are called, `group` what
    those that are alike come from; `score` is what their figures are called, and `shows_published` says whether others
    published theirs on the same images. `columns` and the further `panels` are what its experiment shows of the rows,
    `figures` says how their measures are shown, by name, `published` what others published of the same measure on the
    same test items. `leading` stands before the rows. `window` is how many samples the windows stand on, None where it
    is the usual number or there are none.
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
    figures: Mapping[str, Figure] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    leading: tuple[Block, ...] = ()
    panels: tuple[Block, ...] = ()
    published: tuple[PublishedFigure, ...] = ()
    window: int | None = None

    @property
    def error_column(self) -> str:
        """The error over test items that is shown: clustered, or naive where no items belong together."""
        return f"SE by {self.group}" if self.is_patch or self.is_grouped else f"SE over {self.items}"

    @property
    def top(self) -> str:
        """What the row of the highest figure is called: the best, where the budgets were equal."""
        return "best" if any(row.is_best for row in self.rows) else "highest"

    @property
    def shows_input(self) -> bool:
        """Whether it is known what the rows do to their numbers first, as of densities."""
        return any(row.input is not None for row in self.rows)

    @property
    def shows_truth(self) -> bool:
        """Whether the true density of the dataset is known."""
        return any(row.true_gap is not None for row in self.rows)

    @property
    def swept(self) -> dict[str, list[Row]]:
        """The rows with a score of the methods that were run at two numbers of components or more, in order of K, by
        label.
        """
        curves: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.components is not None and row.test_nats is not None:
                curves.setdefault(row.label, []).append(row)
        return {
            label: sorted(rows, key=lambda row: row.components or 0) for label, rows in curves.items() if len(rows) > 1
        }

    @property
    def headers(self) -> list[str]:
        """Column headers."""
        return [column.header for column in self.columns]

    def cells(self, row: Row) -> list[str]:
        """The row as text, one string a column."""
        return [column.cell(row) for column in self.columns]


# ---- the columns that every table has


def model_columns() -> list[Column]:
    """Which model a row is of: method, K, parameters, trials."""
    return [
        Column("method", _method_cell),
        Column("K", lambda row: decimal(row.components, 0)),
        Column("parameters", lambda row: DASH if row.parameters is None else f"{row.parameters:,}"),
        Column("trials", lambda row: str(row.trials)),
    ]


def cost_column() -> Column:
    """What a trial of a row cost."""
    return Column("CPU seconds", _seconds_cell)


def standard_columns(table: Table) -> list[Column]:
    """Method, K, parameters, trials, input (of densities), score, error, difference, seconds and, where the truth is
    known, the gap to it.
    """
    clustered = table.is_patch or table.is_grouped
    inputs = [Column("input", lambda row: row.input or DASH)]
    truth = [Column("gap to truth", _truth_cell)]
    return [
        *model_columns(),
        *(inputs if table.shows_input else []),
        Column(f"{table.score} (nats)", _score_cell),
        Column(
            table.error_column,
            lambda row: error_text(row.standard_error_clustered if clustered else row.standard_error_naive),
        ),
        Column(f"difference to {table.top}", lambda row: _difference_cell(row, table)),
        cost_column(),
        *(truth if table.shows_truth else []),
    ]


def _method_cell(row: Row) -> str:
    return marked(row, row.label)


def _score_cell(row: Row) -> str:
    if row.two_standard_deviations is not None:
        return f"{row.nats:.2f} ± {row.two_standard_deviations:.2f}"
    if row.trials == 2:
        return "{:.2f} ({:.2f}, {:.2f})".format(row.nats, *row.trial_nats)
    return f"{row.nats:.2f} ± {DASH}"


def _difference_cell(row: Row, table: Table) -> str:
    return table.top if row.is_highest else f"{row.difference:+.2f} ± {error_text(row.difference_standard_error)}"


def _seconds_cell(row: Row) -> str:
    return DASH if row.cpu_seconds is None else f"{row.cpu_seconds:,.{1 if row.cpu_seconds < 10 else 0}f}"


def _truth_cell(row: Row) -> str:
    return DASH if row.true_gap is None else f"{row.true_gap:.3f} ± {error_text(row.true_gap_standard_error, 3)}"


# ---- the table as blocks


def table_blocks(table: Table) -> list[Block]:
    """The whole table: lead, rows, what has no row and why, notes, and further panels before and behind."""
    return [Lead(table.heading), *table.leading, *rows_blocks(table), *table.panels]


def rows_blocks(table: Table, *, bold: bool = False) -> list[Block]:
    """The rows, what has no row and why, and the notes; `bold` makes the best row's words strong."""
    body: Block = Paragraph(EMPTY)
    if table.rows:
        best = next((number for number, row in enumerate(table.rows) if row.is_best), None)
        lines: list[list[Line]] = [
            [Strong(cell) if bold and row.is_best else cell for cell in table.cells(row)] for row in table.rows
        ]
        body = Grid(table.headers, lines, title=table.score if table.leading else "", best=best)
    failures: list[Block] = []
    if table.failures:
        failures = [Paragraph("Without a row:"), Items([failure_line(failure) for failure in table.failures])]
    return [body, *failures, Notes(table.notes)]


def failure_line(failure: Failure) -> str:
    """A failed or refused trial and why, on one line."""
    title = with_components(failure.label, failure.components)
    return f"{title}, trial {failure.trial + 1}: {' '.join(failure.reason.split())}"


# ---- the table as numbers


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
    window = {
        "sigmas": ";".join(map(repr, samples.sigmas)),
        "sigma_at_edge": samples.at_edge,
        "samples": samples.count,
        "published_nats": samples.published_nats,
        "published_plus_minus": samples.published_plus_minus,
    }
    return {
        **(window if samples.sigmas else {}),
        "encoders": ";".join(samples.encoders),
        **{
            name if number == "value" else f"{name}_{number}": getattr(measure, number)
            for name, measure in measured_everywhere(samples.measures, samples.beside).items()
            for number in numbers
        },
    }


def to_payload(table: Table) -> dict[str, Any]:
    """The table as plain JSON types, for `--json`; all values finite. `bits_per_dim_are` says what those of the rows
    are of, where they have any.
    """
    shown = dataclasses.asdict(dataclasses.replace(table, columns=(), leading=(), panels=(), published=()))
    del shown["columns"], shown["leading"], shown["panels"], shown["published"]
    if any(row.bits_per_dim is not None for row in table.rows):
        shown["bits_per_dim_are"] = GREY_BITS if table.is_patch else PLAIN_BITS
    return json.loads(json.dumps(shown, allow_nan=False))
