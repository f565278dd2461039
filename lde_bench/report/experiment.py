"""What an experiment is to its readers: the rows of its records, their columns, order, notes, picture, and its part of
the report.

`Experiment` shows any table of log-likelihoods of densities; a figure or table of a paper is a subclass, one file of
`lde_bench.experiments`, which also says what it trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lde_bench.evaluation.sample_measures import Figure as MeasureFigure
from lde_bench.evaluation.sample_measures import sample_figures
from lde_bench.files import write_text_atomic
from lde_bench.report import parts
from lde_bench.report.document import Block, Items, Line
from lde_bench.report.figures import draw_components, draw_rows, entitle, write_figure
from lde_bench.report.measures import measures_panel
from lde_bench.report.published import PublishedFigure
from lde_bench.report.published_comparison import VARIANT, published_comparison
from lde_bench.report.render.latex import to_latex
from lde_bench.report.render.markdown import to_markdown
from lde_bench.report.rows import BUDGET_TOLERANCE, Row, build_rows
from lde_bench.report.section import Section
from lde_bench.report.sheets import sample_sheets
from lde_bench.report.table import Column, Failure, Table, standard_columns, table_blocks, to_csv
from lde_bench.runs.record import DatasetInfo, Record
from lde_bench.runs.rows import (
    WINDOW,
    by_table,
    common_data_options,
    group_rows,
    group_word,
    is_patch,
    is_reference,
    item_word,
    refusal,
    row_label,
    window_of,
    with_components,
)
from lde_bench.runs.store import RunPaths

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: What stands in the column `input`.
INPUT_NOTE = (
    "Input: what a row does to its numbers before all else, the log-determinant counted. Raw: nothing; scalar unit: "
    "divided by one number; standardised: each by its own mean and deviation; Cholesky: whitened by the factor of the "
    "training covariance (of tan, where its first linear map starts); any: the fit is the same under each."
)


class Experiment:
    """A table of log-likelihoods, and what a subclass may say otherwise of its own.

    A subclass sets `name`, that of its records, and `title`, and says what it trains by a method `plan`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    #: What the figure is called that ranks the rows; empty where none does, and every finished trial has a row.
    score: ClassVar[str] = "test log-likelihood"
    #: What a trained model is held to, in words.
    held: ClassVar[str] = "a density"
    #: Whether it only serves another experiment: a report has its tables behind all others.
    aside: ClassVar[bool] = False
    #: Under the comparison with published figures.
    published_words: ClassVar[str] = VARIANT

    # -- what a subclass may say otherwise -------------------------------------------------------------------------

    def order(self, methods: Sequence[str]) -> list[str]:
        """The methods of a table in the order of its rows; as the records come, by default."""
        return list(methods)

    def published(self, data: DatasetInfo) -> tuple[PublishedFigure, ...]:
        """What others published of the same measure on the same test items."""
        return ()

    def is_the_papers(self, data: DatasetInfo) -> bool:
        """Whether the paper's own LDE has a figure on these data."""
        return False

    def figures(self) -> Mapping[str, MeasureFigure]:
        """How the measures of its records are shown, by their names in order: those of samples, by default."""
        return sample_figures()

    def columns(self, table: Table) -> list[Column]:
        """What the table shows of each row."""
        return standard_columns(table)

    def first_notes(self, table: Table) -> list[str]:
        """Notes that stand before those on errors."""
        return []

    def last_notes(self, table: Table) -> list[str]:
        """Notes that stand behind those on errors."""
        return []

    def leading(self, rows: Sequence[Row]) -> list[Block]:
        """Tables of the same rows that are to be read before their scores."""
        return []

    def panels(self, rows: Sequence[Row]) -> list[Block]:
        """Further tables of the same rows: the measures of their samples, where there are any."""
        return measures_panel(rows)

    def picture(self, table: Table, places: Mapping[str, RunPaths]) -> Figure | None:
        """The headline picture, beside the table and first in its section: its rows on one axis.

        `places` says where the files of each run are; None where too little was kept there to draw anything.
        """
        return draw_rows(table)

    def further_pictures(self, table: Table) -> dict[str, Figure]:
        """More pictures beside the table, by what is put behind its name: the score against the number of components,
        where a method was run at two or more.
        """
        return {"components": draw_components(table)} if table.swept else {}

    def headline(self, section: Section) -> list[Block]:
        """What the section opens with."""
        published = ", with the published figures" if section.published else ""
        alt = f"{parts.capitalised(self.score)} of every row{published}"
        return parts.headline(section, self.picture(section.table, section.places), alt, f"{alt}.")

    def samples(self, section: Section, cache_dir: Path | None) -> list[Block]:
        """The samples of the rows, where they are something to look at."""
        return sample_sheets(section, cache_dir)

    def details(self, section: Section, pair: tuple[str, str] | None) -> list[Block]:
        """What stands behind the table."""
        return [
            *self.comparison(section),
            *parts.components(section),
            *parts.photographs(section, pair),
            *parts.learning(section),
        ]

    def parts(self, section: Section, pair: tuple[str, str] | None, cache_dir: Path | None) -> list[Block]:
        """The section of the report under its heading: pictures first, numbers after."""
        if not section.table.rows:
            return [Items(section.table.heading), *self.comparison(section), *parts.results(section)]
        return [
            *self.headline(section),
            *self.samples(section, cache_dir),
            *parts.results(section),
            *self.details(section, pair),
        ]

    def comparison(self, section: Section) -> list[Block]:
        """The published figures and ours; nothing where none were published."""
        return published_comparison(section, self.published_words) if section.published else []

    def closing(self, sections: Sequence[Section]) -> list[tuple[Line, list[Block]]]:
        """What stands behind the sections of this experiment, each with its entry among the contents of the report."""
        return []

    # -- public ----------------------------------------------------------------------------------------------------

    def table(self, records: Sequence[Record]) -> Table:
        """The table of comparable records; a model that broke a law gets no row and is listed with the law's name."""
        accepted = [record for record in records if refusal(record) is None]
        rows_of = group_rows(record for record in accepted if record.test_nats is not None or not self.score)
        methods = self.order(list(dict.fromkeys(record.method for record in records)))
        ordered = sorted(rows_of, key=lambda key: (methods.index(key[0]), key[1] or 0))
        first = records[0]
        groups = next((r.result.groups for r in records if r.result and r.result.groups), None)
        figures = self.published(first.dataset)
        shows_paper = self.is_the_papers(first.dataset)
        labelled = [(row_label(rows_of[key][0], records), rows_of[key]) for key in ordered]
        rows = build_rows(labelled, shows_paper, figures)
        asked = window_of(first)
        window = None if asked == WINDOW else asked
        options = [*common_data_options(records), *([f"{window:,} samples"] if window else [])]
        table = Table(
            experiment=first.experiment,
            dataset=first.dataset.name,
            dataset_version=first.dataset.version,
            content_hash=first.dataset.content_hash,
            benchmark_version=first.benchmark_version,
            budget=first.budget.label,
            heading=_heading(first, None if groups is None else len(groups.ids), options),
            rows=rows,
            failures=tuple(
                Failure(row_label(record, records), record.components, record.trial, reason)
                for record in records
                if (reason := refusal(record)) is not None
            ),
            notes=(),
            shows_paper=shows_paper,
            is_patch=is_patch(first.dataset),
            is_grouped=groups is not None,
            items=item_word(first.dataset),
            group=group_word(first.dataset),
            score=self.score,
            shows_published=bool(figures) and not shows_paper,
            published=figures,
            window=window,
        )
        measured = {name for row in table.rows for name in row.measures}
        shown = {name: figure for name, figure in self.figures().items() if name in measured}
        table = replace(table, figures=shown)
        return replace(
            table,
            notes=(
                *_method_notes(methods),
                *self.first_notes(table),
                *_common_notes(table, accepted),
                *self.last_notes(table),
            ),
            columns=tuple(self.columns(table)),
            leading=tuple(self.leading(table.rows)),
            panels=tuple(self.panels(table.rows)),
        )


#: Gives the experiment of a record by the name in it.
ExperimentOf = Callable[[str], Experiment]


def build_tables(records: Iterable[Record], experiment_of: ExperimentOf) -> list[Table]:
    """One table for each set of comparable records, in order of first appearance; see `Experiment.table`."""
    return [experiment_of(group[0].experiment).table(group) for group in by_table(records)]


def write_tables(records: Iterable[Record], folder: Path, stem: str, experiment_of: ExperimentOf) -> list[Path]:
    """Write `<stem>.md`, `.csv`, `.tex`, and its pictures as `.png` and `.svg` into `folder`, where the records are,
    each atomically, and return their paths.

    Records that cannot be compared get files of their own: `<stem>-<dataset>-v<version>-<budget>-<6
    hex>[-samples<N>].*`. A table without rows (every trial failed) has no picture. No record, no file.

    Raises:
        InputError: the folder cannot be written.
    """
    records = list(records)
    places = {record.run_id: RunPaths(folder, record.run_id) for record in records}
    tables = build_tables(records, experiment_of)
    written = []
    for table in tables:
        name = stem
        if len(tables) > 1:
            name += f"-{table.dataset}-v{table.dataset_version}-{table.budget}-{table.content_hash[:6]}"
            name += f"-samples{table.window}" if table.window else ""
        blocks = table_blocks(table)
        for suffix, text in ((".md", to_markdown(blocks)), (".csv", to_csv(table)), (".tex", to_latex(blocks))):
            written.append(folder / f"{name}{suffix}")
            write_text_atomic(written[-1], text)
        for place, picture in _pictures(table, experiment_of(table.experiment), name, places).items():
            entitle(picture, table)
            for suffix in (".png", ".svg"):
                written.append(folder / f"{place}{suffix}")
                write_figure(picture, written[-1])
    return written


def _pictures(table: Table, experiment: Experiment, name: str, places: Mapping[str, RunPaths]) -> dict[str, Figure]:
    """The pictures of a table that is called `name`, by the stems of their files."""
    if not table.rows:
        return {}
    headline = experiment.picture(table, places)
    further = {f"{name}-{what}": picture for what, picture in experiment.further_pictures(table).items()}
    return {**({} if headline is None else {name: headline}), **further}


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
        amount += f", {budget.steps:,} steps"
    elif budget.seconds is not None:
        amount += f", {budget.seconds:g} {'CPU ' if budget.clock == 'cpu' else ''}seconds"
    if budget.batch is not None:
        amount += f"{'' if budget.steps is not None else ', steps'} of {budget.batch:,} rows"
    if budget.machine_dependent:
        amount += " (machine-dependent)"
    lines.append(", ".join([amount, *options, f"benchmark version {record.benchmark_version}"]))
    return tuple(lines)


def _method_notes(methods: Sequence[str]) -> list[str]:
    """Every method in words, where this version has a card of it."""
    from lde_bench.cards import describe_method

    described = {method: describe_method(method) for method in methods}
    return [f"{method}: {told}." for method, told in described.items() if told != method]


def _common_notes(table: Table, accepted: Sequence[Record]) -> list[str]:
    """What every table says of precision, errors, borrowed weights and the truth."""
    notes = []
    precisions = _precisions(accepted)
    if set(precisions) - {"fp32"}:
        told = "; ".join(f"{', '.join(names)} in {precision}" for precision, names in precisions.items())
        notes.append(f"Training steps: {told}; all log-likelihoods are evaluated in fp32 or better.")
    if table.shows_input:
        notes.append(INPUT_NOTE)
    if table.score:
        notes += [*_score_notes(table), *_budget_notes(table)]
    for row in table.rows:
        if row.unverified is not None:
            title = with_components(row.label, row.components)
            notes.append(f"{title}: {row.unverified}. It may be no density, and is not compared as the best.")
    if any(record.training.get("standardised") for record in accepted):
        notes.append(
            "Data: each column centred and scaled by its training mean and deviation in float64, its log-determinant "
            "counted: nats are in the units of the file."
        )
    if borrowers := list(dict.fromkeys(record.method for record in accepted if record.training.get("weights_of"))):
        notes.append(f"CPU seconds of {', '.join(borrowers)}: with those of the runs whose weights they have.")
    if crowded := list(dict.fromkeys(each.method for each in accepted if each.cost and each.cost.side_by_side)):
        notes.append(
            f"CPU seconds of {', '.join(crowded)}: of trials that ran beside others on one machine; they do not "
            "compare for speed."
        )
    if table.shows_truth:
        notes.append(
            "Gap to truth: log-likelihood of the true density minus the model's, in nats, ± standard error over test "
            "items, paired."
        )
    return notes


def _score_notes(table: Table) -> list[str]:
    """What the errors of the score and the differences to the best are of."""
    things, group = table.items, table.group
    spread = "± after the log-likelihood: 2 standard deviations over trials (from 3 trials; at 2 both values)."
    if table.is_patch and not table.is_grouped:
        return [spread, f"SE by {group}: the data do not tell which {things} are of one {group}."]
    if table.is_grouped:
        return [
            spread,
            f"SE by {group}: standard error over test {things}, clustered by {group} (from 10 {group}s).",
            f"Difference to {table.top}: paired on the same test {things}, ± its own SE clustered by {group}; with the "
            "spread over seeds in it where both rows have two trials or more, else it is between these trained models.",
        ]
    return [
        spread,
        f"SE over {things}: standard error over test {things}, taken as independent.",
        f"Difference to {table.top}: paired on the same test {things}, ± its own SE over blocks of them; with the "
        "spread over seeds in it where both rows have two trials or more, else it is between these trained models.",
    ]


def _budget_notes(table: Table) -> list[str]:
    """Whether the budgets of the rows were equal, and what they were."""
    models = [row for row in table.rows if not is_reference(row.method) and row.unverified is None]
    known = sorted(row.training_cpu_seconds for row in models if row.training_cpu_seconds is not None)
    if len(known) < 2:
        return []
    spent = f"{known[0]:,.0f} to {known[-1]:,.0f} CPU seconds of training a row (of fits that do not end by themselves)"
    if table.top == "best":
        return [f"Budget: {spent}, all within {BUDGET_TOLERANCE:.0%} of their median."]
    return [
        f"Budget: {spent}; some more than {BUDGET_TOLERANCE:.0%} from their median. Unequal budgets give no verdict: "
        "the highest is not called the best."
    ]


def _precisions(records: Sequence[Record]) -> dict[str, list[str]]:
    """Precision of the training steps -> the methods trained with it."""
    methods: dict[str, list[str]] = {}
    for record in records:
        if precision := record.training.get("precision"):
            named = methods.setdefault(str(precision), [])
            if record.method not in named:
                named.append(record.method)
    return methods
