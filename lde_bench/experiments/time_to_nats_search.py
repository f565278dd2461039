"""What `time-to-nats` does first: the candidate plans of every method, for equal CPU seconds each, compared on
validation rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lde_bench.data import Dataset
from lde_bench.experiments.bsds300 import at_its_components
from lde_bench.report import parts
from lde_bench.report.document import Block, Items
from lde_bench.report.experiment import Experiment
from lde_bench.report.numbers import decimal
from lde_bench.report.rows import Row
from lde_bench.report.section import Section
from lde_bench.report.table import Column, Table, cost_column, model_columns
from lde_bench.runs.record import Record
from lde_bench.runs.rows import with_components
from lde_bench.runs.store import RunPaths
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import DensityTrial, plan_trials
from lde_bench.trials.timed import CandidateTrial, in_three_digits, is_over, on_one_clock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Times the rate of the method's own plan.
RATE_FACTORS = (1 / 3, 1.0, 3.0)

#: Where the lowest or the highest rate is the best, the next beyond it is tried too, at most so many of a method.
BEYOND, FURTHER = 3.0, 2

#: By the method's name, what is tried of one whose plan has no rate: rows of a step of the EM algorithm.
OTHER_CANDIDATES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "gmm": ({"batch_size": 5_000}, {"batch_size": 10_000}, {"batch_size": 20_000})
}

#: Decay of the average of the weights of a class of a user's own, as the plans of this package have one.
AVERAGE = 0.998

#: Of a mixture that neither spells a number of components nor has one by default.
COMPONENTS = 10


class TimeToNatsSearch(Experiment):
    """The candidates on validation rows, by method; no row is of the test set."""

    name = "time-to-nats-search"
    title = "the candidate plans of time-to-nats, compared on validation rows alone"
    score = ""
    aside = True

    def plan(
        self, budget: Budget, options: TrainingOptions, dataset: Dataset, *, methods: Sequence[str], seed: int = 0
    ) -> list[CandidateTrial]:
        """The candidates of every method, with `budget` each; none of one whose fit ends by itself. What only evaluates
        otherwise (`+sym`) is trained as another, and has the candidates of that one.

        Raises:
            InputError: see `plan_trials` and `on_one_clock`.
        """
        options = on_one_clock(options)
        spelled = [at_its_components(method) for method in methods]
        trials = plan_trials(self.name, dataset, spelled, [COMPONENTS], 1, budget, options, seed)
        plain = {str(trial.plain.spec): trial.plain for trial in trials}
        return [CandidateTrial.of(trial, changes) for trial in plain.values() for changes in _candidates(trial)]

    def beyond(self, candidates: Sequence[CandidateTrial], records: Sequence[Record]) -> list[CandidateTrial]:
        """What is to be tried further, after the record of each candidate: the next rate of every method of which one
        at the edge was the best; nothing of a method that was tried at `FURTHER` rates more.
        """
        tried: dict[str, list[tuple[CandidateTrial, float]]] = {}
        for candidate, record in zip(candidates, records, strict=True):
            if "rate" in candidate.changes:
                tried.setdefault(str(candidate.spec), []).append((candidate, _validation_nats(record)))
        further = []
        for of in tried.values():
            best, nats = max(of, key=lambda pair: pair[1])
            rate = best.changes["rate"]
            edge = _edge(rate, [candidate.changes["rate"] for candidate, _ in of])
            if nats == -math.inf or edge is None or len(of) >= len(RATE_FACTORS) + FURTHER:
                continue
            next_rate = rate * BEYOND if edge == "highest" else rate / BEYOND
            further.append(replace(best, changes={**best.changes, "rate": in_three_digits(next_rate)}))
        return further

    def columns(self, table: Table) -> list[Column]:
        best: dict[tuple[str, int | None], float] = {}
        for row in table.rows:
            if row.validation_nats is not None:
                best[_model(row)] = max(row.validation_nats, best.get(_model(row), row.validation_nats))
        return [
            *model_columns(),
            Column("validation (nats)", lambda row: decimal(row.validation_nats)),
            Column("chosen", lambda row: "yes" if row.validation_nats == best[_model(row)] else ""),
            Column("CPU s of training", lambda row: decimal(row.training_cpu_seconds, 1)),
            cost_column(),
        ]

    def table(self, records: Sequence[Record]) -> Table:
        table = super().table(records)
        return replace(table, notes=(*table.notes, *_doubts(records)))

    def first_notes(self, table: Table) -> list[str]:
        return [f"Nats: of validation {table.items}, where a candidate ends. Chosen: the best of its method."]

    def picture(self, table: Table, places: Mapping[str, RunPaths]) -> Figure | None:
        return None

    def parts(self, section: Section, pair: tuple[str, str] | None, cache_dir: Path | None) -> list[Block]:
        return [Items(section.table.heading), *parts.results(section)]


def _doubts(records: Sequence[Record]) -> Iterator[str]:
    """Where another candidate might have been the better one: the highest or lowest rate won, or there was no time."""
    tried: dict[tuple[str, int | None], list[Record]] = {}
    for record in records:
        tried.setdefault((record.method, record.components), []).append(record)
    for (method, components), of in tried.items():
        title = with_components(method, components)
        if any(map(is_over, of)):
            yield f"{title}: a candidate took more than its CPU seconds and a tenth; so few compare nothing of it."
        # One that failed was tried too: the rate below it is no edge.
        rates = {float(record.training["rate"]) for record in of if "rate" in record.training}
        best = max(of, key=_validation_nats)
        if _validation_nats(best) == -math.inf:
            continue
        if len(rates) > 1 and (edge := _edge(best.training.get("rate"), rates)):
            yield f"{title}: the {edge} of the rates tried was the best; one beyond may be better."


def _edge(rate: float | None, rates: Collection[float]) -> Literal["lowest", "highest"] | None:
    """At which edge of the rates tried the best one lies; None: others lie on both sides."""
    return "highest" if rate == max(rates) else "lowest" if rate == min(rates) else None


def _validation_nats(record: Record) -> float:
    nats = None if record.result is None else record.result.validation_nats
    return -math.inf if nats is None else nats


def _model(row: Row) -> tuple[str, int | None]:
    return row.method, row.components


def _candidates(trial: DensityTrial) -> Sequence[Mapping[str, Any]]:
    """Changes to the plan of a method, one of which is chosen."""
    plan = trial.plan(trial.model())
    if plan.closed_form:
        return ()
    if trial.spec.name in OTHER_CANDIDATES:
        return OTHER_CANDIDATES[trial.spec.name]
    average = {"average": AVERAGE} if ":" in trial.spec.name and plan.average is None else {}
    return [{**average, "rate": in_three_digits(plan.rate * factor)} for factor in RATE_FACTORS]
