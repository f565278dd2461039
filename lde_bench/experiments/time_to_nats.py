"""Time to quality: every method at equal CPU seconds of training, as curves on validation rows and one look at the test
set per budget.

Every method first tries its candidate plans (`lde_bench.experiments.time_to_nats_search`), then it is trained once per
budget by the best of them, with a learning rate that falls over the budget. What counts are CPU seconds of training,
the data-dependent initialisation and the looks at the validation set among them, for all alike; laws, test evaluation
and samples do not count. Classes from outside, such as zuko's flows, stand on the same clock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from lde_bench.data import Dataset
from lde_bench.densities import density_classes, method_classes
from lde_bench.densities.ensemble import Ensemble
from lde_bench.densities.spec import parse_method
from lde_bench.errors import InputError
from lde_bench.experiments.bsds300 import at_its_components
from lde_bench.experiments.time_to_nats_search import COMPONENTS, TimeToNatsSearch
from lde_bench.report import parts
from lde_bench.report.document import Block, Grid, Heading, Line, Link, Paragraph
from lde_bench.report.experiment import Experiment
from lde_bench.report.numbers import DASH, decimal, error_text
from lde_bench.report.plots import draw_learning_curves
from lde_bench.report.rows import Row, marked
from lde_bench.report.section import Section, row_title
from lde_bench.report.table import Column, Table, standard_columns
from lde_bench.runs.record import Record
from lde_bench.runs.rows import with_components
from lde_bench.runs.store import RunPaths
from lde_bench.training.curve import CurvePoint
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import DensityTrial, plan_trials
from lde_bench.trials.timed import Choice, TimedTrial, is_over, on_one_clock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A minute of a budget is one on so many cores.
CORES = 2

#: From so many passes through the training set on, a run draws fresh patches.
EPOCHS = 3

#: The share of the shortest budget that a candidate has.
SEARCH_SHARE = 1 / 5

METHODS = (
    "lde+w",
    "resmade-mog+w",
    "made-mog+w",
    "gmm:components=200",
    "deep-rnade+w",
    "mcgsm",
    "tan",
    "maf-ddsf+w",
    "real-nvp+w",
    "maf-mog+w",
    "nsf+w",
    "zuko.flows:NSF+w:hidden_features=[256,256],transforms=5",
    "zuko.flows:MAF+w:hidden_features=[512,512],transforms=5",
)


@dataclass(frozen=True)
class ProfileDefaults:
    """What runs where nothing else is asked for; budgets in minutes on `CORES` cores."""

    minutes: tuple[float, ...]
    methods: tuple[str, ...]
    source: str


#: `quick` needs no download.
PROFILES: Mapping[str, ProfileDefaults] = {
    "quick": ProfileDefaults((0.25,), ("resmade-mog+w", "maf-mog+w", "gmm:components=50"), "embedded"),
    "standard": ProfileDefaults((5.0, 15.0), METHODS, "auto"),
}

Side = Literal["ours", "zuko", "Gaussians", "outside"]

#: The sides in words.
SIDES: Mapping[Side, str] = {
    "ours": "density of this package",
    "zuko": "flow of zuko's transforms",
    "Gaussians": "mixture of Gaussians",
}


def budget_of(profile: str, minutes: float, option: str = "minutes") -> Budget:
    """A budget of so many minutes on `CORES` cores, in CPU seconds; `option` is what the minutes were given as.

    Raises:
        InputError: `minutes` is not a positive number.
    """
    if not 0 < minutes < math.inf:
        example = "5 15" if option == "minutes" else "1"
        raise InputError(f"{option} = {minutes} is not a positive number; give for example --{option} {example}.")
    return Budget.of(profile, seconds=60 * CORES * minutes, clock="cpu")


def side_of(method: str) -> Side:
    """Who stands behind a method: `zuko` also for the densities of this package that are made of its transforms."""
    try:
        name = parse_method(method).name
    except InputError:
        return "outside"
    kind = density_classes().get(name)
    if name.startswith("zuko.") or (kind is not None and "rozet2022zuko" in kind.card.bibtex):
        return "zuko"
    if kind is None:
        return "outside"
    return "Gaussians" if name in ("gaussian", "gmm") else "ours"


class TimeToNats(Experiment):
    """Every method at equal CPU seconds; a table a budget."""

    name = "time-to-nats"
    title = "log-likelihood after equal CPU seconds of training"

    def plan(
        self,
        budgets: Sequence[Budget],
        options: TrainingOptions,
        dataset: Dataset,
        choices: Mapping[str, Choice | str],
        *,
        methods: Sequence[str],
        trials: int = 1,
        seed: int = 0,
    ) -> list[TimedTrial]:
        """The runs: every method under every budget, the shorter budgets first.

        Args:
            budgets: of CPU seconds, see `budget_of`.
            choices: of the search, see `lde_bench.trials.timed.choose`; a method whose candidates all failed fails too,
                so that the table says why there is no row; one that is not named has its own plan.
            trials: training runs of each method and budget.

        Raises:
            InputError: see `plan_trials` and `on_one_clock`; or a method trains several models, each for the budget.
        """
        options = on_one_clock(options)
        spelled = [at_its_components(method) for method in methods]
        for method in spelled:
            _check_clocked(method)
        planned = [
            trial
            for budget in budgets
            for trial in plan_trials(self.name, dataset, spelled, [COMPONENTS], trials, budget, options, seed)
        ]
        return [_run(trial, choices.get(str(trial.plain.spec))) for trial in planned]

    def columns(self, table: Table) -> list[Column]:
        method, *others = standard_columns(table)
        return [method, Column("kind", lambda row: side_of(row.method)), *others]

    def table(self, records: Sequence[Record]) -> Table:
        table = super().table(records)
        rows = tuple(sorted(table.rows, key=lambda row: -row.nats))
        told = [
            f"{row_title(row)} took more than its CPU seconds and a tenth: they hold less than its start or one step."
            for row in rows
            if any(is_over(record) for record in records if record.run_id in row.run_ids)
        ]
        return replace(table, rows=rows, panels=(*table.panels, *_given(rows, records)), notes=(*table.notes, *told))

    def last_notes(self, table: Table) -> list[str]:
        best = _best_by_side(table.rows)
        told = [
            "Plans: each method's own, with the best on validation rows of its candidates "
            f"({TimeToNatsSearch.name}), all tried for the same CPU seconds; its rate lower by the fourth root of how "
            "many times longer the run is. CPU seconds of a row: of the whole trial, evaluation and laws included; "
            "those of training stand below."
        ]
        if "ours" in best:
            ours = best.pop("ours")
            told += [
                f"{row_title(ours)}, the {table.top} {SIDES['ours']}, is {ours.nats - row.nats:+.2f} ± "
                f"{error_text(_error_between(ours, row))} nats from {row_title(row)}, the {table.top} {SIDES[side]}."
                for side, row in best.items()
                if side in SIDES
            ]
        return told

    def picture(self, table: Table, places: Mapping[str, RunPaths]) -> Figure | None:
        drawn = _draw(table, places)
        return None if drawn is None else drawn[0]

    def headline(self, section: Section) -> list[Block]:
        drawn = _draw(section.table, section.places)
        alt = "Validation log-likelihood against CPU seconds of training"
        caption = f"{alt}, one line a run, in the order of the test figures."
        if drawn is not None and drawn[1]:
            caption += f" Below the window: {', '.join(drawn[1])}."
        return parts.headline(section, None if drawn is None else drawn[0], alt, caption)

    def details(self, section: Section, pair: tuple[str, str] | None) -> list[Block]:
        return parts.photographs(section, pair)

    def closing(self, sections: Sequence[Section]) -> list[tuple[Line, list[Block]]]:
        """Every method's figure at every budget, of data with two budgets or more."""
        by_data: dict[tuple[str, str], list[Section]] = {}
        for section in sections:
            by_data.setdefault((section.data.content_hash, section.table.benchmark_version), []).append(section)
        return [_side_by_side(each) for each in by_data.values() if len(each) > 1]


def _check_clocked(method: str) -> None:
    """Refuse a mixture of trained models, each of which would be given the whole budget, and what must have fresh
    patches, which a run has or has not by its pace.

    Raises:
        InputError: it is one.
    """
    spec = parse_method(method)
    for kind in method_classes(spec):
        if kind.needs_places:
            raise InputError(f"{spec}: +{kind.name} asks for fresh patches, and short runs have none; leave it out.")
    if any(issubclass(kind, Ensemble) for kind in method_classes(spec)):
        raise InputError(
            f"{spec}: +{Ensemble.name} mixes models that are each trained for the whole budget: its CPU seconds "
            f"would be several times those of the others; leave out +{Ensemble.name}."
        )


def _run(trial: DensityTrial, choice: Choice | str | None) -> TimedTrial:
    """The run of a trial by the plan of the choice, with patches by the pace that the search measured; by its own plan
    where there is none, as of a fit that ends by itself; and none where the choice is why there is no plan.
    """
    plan = trial.plan(trial.model())
    if plan.own_fit:
        raise InputError(
            f"{trial.spec.label} brings a fit of its own, which no clock bounds; leave it out, or let it be a "
            "torch.nn.Module without fit, which lde-bench trains."
        )
    if plan.closed_form or choice is None or isinstance(choice, str):
        return TimedTrial.of(trial, {}, choice if isinstance(choice, str) else "")
    assert trial.budget.seconds is not None
    steps = choice.steps_per_second * trial.budget.seconds
    data, options = trial.dataset, trial.options
    if data.fresh is not None and steps * choice.rows_per_step > EPOCHS * len(data.train):
        options = replace(options, patches="fresh")
    return TimedTrial.of(replace(trial, options=options), choice.changes_for(trial.budget.seconds))


def _error_between(one: Row, other: Row) -> float | None:
    """The standard error of the difference of two rows, one of which the differences of the table are taken to; None
    where neither is.
    """
    if one.is_highest:
        return other.difference_standard_error
    return one.difference_standard_error if other.is_highest else None


def _best_by_side(rows: Sequence[Row]) -> dict[Side, Row]:
    best: dict[Side, Row] = {}
    for row in sorted((row for row in rows if row.unverified is None), key=lambda row: row.nats):
        best[side_of(row.method)] = row
    return best


def _given(rows: Sequence[Row], records: Sequence[Record]) -> list[Block]:
    """What each row was given: data, plan, and how far its budget reached."""
    if not rows:
        return []
    first = {record.run_id: record for record in records}
    lines = [[row_title(row), *_words(first[row.run_ids[0]])] for row in rows]
    heads = ["row", "patches", "precision", "rate", "rows a step", "steps", "looks", "threads", "CPU s of training"]
    return [Grid(heads, lines, left=3, title="What each method was given")]


def _words(record: Record) -> Iterator[str]:
    training: Mapping[str, Any] = record.training
    closed = training.get("closed_form")
    kind = density_classes().get(parse_method(record.method).name)  # None of a user's own, which is not imported here
    rateless = closed or (kind is not None and not kind.by_gradient)
    yield str(training.get("patches", DASH))
    yield str(training.get("precision", DASH))
    yield DASH if rateless else f"{training['rate']:g}"
    yield DASH if closed else f"{training['batch_size']:,}"
    yield f"{record.curve[-1].step:,}" if record.curve else DASH
    yield f"{len(record.curve):,}"
    yield str(training.get("threads", DASH))
    spent = None if closed or record.cost is None else record.cost.training_cpu_seconds
    yield decimal(spent, 1)


def _draw(table: Table, places: Mapping[str, RunPaths]) -> tuple[Figure, list[str]] | None:
    """The curves of the rows, and which are too low to be drawn; None where no record has one."""
    curves = [(row_title(row), list(_curves(row, places))) for row in table.rows]
    known = [(title, found) for title, found in curves if found]
    return draw_learning_curves(known) if known else None


def _curves(row: Row, places: Mapping[str, RunPaths]) -> Iterator[list[CurvePoint]]:
    for run_id in row.run_ids:
        path = places[run_id].record
        if path.is_file() and (curve := Record.from_json(path.read_text(encoding="utf-8")).curve):
            yield curve


def _joined(tables: Sequence[Sequence[Row]]) -> list[tuple[str, dict[int, Row]]]:
    """The rows of a method under its name, by the numbers of their tables, however else their runs were: a longer one
    draws fresh patches, say. Where a table has two rows of a method, nothing says which of them another table's goes
    with, and each stands alone under its label.
    """
    counts = [Counter((row.method, row.components) for row in rows) for rows in tables]
    twice = {key for each in counts for key, count in each.items() if count > 1}
    joined: dict[tuple[str, int | None], dict[int, Row]] = {}
    alone: list[tuple[str, dict[int, Row]]] = []
    for number, rows in enumerate(tables):
        for row in rows:
            key = row.method, row.components
            if key in twice:
                alone.append((with_components(row.label, row.components), {number: row}))
            else:
                joined.setdefault(key, {})[number] = row
    return [*((with_components(*key), rows) for key, rows in joined.items()), *alone]


def _side_by_side(sections: Sequence[Section]) -> tuple[Line, list[Block]]:
    """The entry among the contents, and the blocks: a column a budget, in order, the best at the longest first."""
    budgets = {section.name: next(iter(section.runs.values()))[1].budget.seconds or 0.0 for section in sections}
    ordered = sorted(sections, key=lambda section: budgets[section.name])
    found = _joined([section.table.rows for section in ordered])
    places = range(len(ordered) - 1, -1, -1)
    found.sort(key=lambda each: [-each[1][place].nats if place in each[1] else math.inf for place in places])
    data = sections[0].data
    version = sections[0].table.benchmark_version
    words = f"Nats by CPU seconds on {data.name}, benchmark version {version}"
    anchor = f"time-to-nats-{data.content_hash[:6]}-b{version}"
    seconds = list(budgets.values())
    heads = ["row", "kind"]
    for section in ordered:
        spent = budgets[section.name]
        # Two profiles may have the same seconds, with other candidates and sizes.
        named = f" ({section.table.budget})" if seconds.count(spent) > 1 else ""
        heads.append(f"{spent:,g} CPU s{named}")
    lines: list[list[Line]] = []
    for title, rows in found:
        shown = (rows.get(number) for number in range(len(ordered)))
        cells = [DASH if row is None else marked(row, f"{row.nats:.2f}") for row in shown]
        lines.append([title, side_of(next(iter(rows.values())).method), *cells])
    told = f"Mean test log-likelihood of {sections[0].table.items} in nats; each figure is of a training of its own."
    return Link(words, f"#{anchor}"), [Heading(2, words, anchor), Paragraph(told), Grid(heads, lines, left=2)]
