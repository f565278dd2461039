"""Equal CPU seconds for every method: what is tried, what is chosen, and what a run is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lde_bench.data import Dataset
from lde_bench.densities.spec import parse_method
from lde_bench.errors import InputError
from lde_bench.evaluation.law import Law
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.evaluation.statistics import GroupMeans
from lde_bench.experiments import experiment_of, time_to_nats
from lde_bench.experiments.time_to_nats import TimeToNats, budget_of, side_of
from lde_bench.experiments.time_to_nats_search import TimeToNatsSearch
from lde_bench.report.document import Grid, Heading, Link
from lde_bench.report.numbers import DASH, error_text
from lde_bench.report.page import build_document
from lde_bench.report.section import Section
from lde_bench.runs import Record, Result, ResultStore, run_sweep
from lde_bench.runs.record import Cost
from lde_bench.training import loop
from lde_bench.training.batches import ArrayBatches
from lde_bench.training.curve import CurvePoint
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.timed import LOOKS, CandidateTrial, Choice, TimedTrial, choose, is_over, on_one_clock

OPTIONS = TrainingOptions(precision="fp32")
SEARCH = budget_of("standard", 1)
SMALL = "made-mog:components=2,hidden=8"


def dataset(features: int = 63) -> Dataset:
    rows = skewed_rows(360, features, 0)
    return Dataset.of("made-up", "1", 0, {"train": rows[:200], "validation": rows[200:300], "test": rows[300:]})


PATCHES = replace(dataset(), is_patch=True)


def candidates(*methods: str, data: Dataset = PATCHES, budget: Budget = SEARCH) -> list[CandidateTrial]:
    return TimeToNatsSearch().plan(budget, OPTIONS, data, methods=methods)


def runs(choices: Mapping[str, Choice], *methods: str, data: Dataset = PATCHES) -> list[TimedTrial]:
    budgets = [budget_of("standard", minutes) for minutes in (5, 15)]
    return TimeToNats().plan(budgets, OPTIONS, data, choices, methods=methods)


def searched(candidate: CandidateTrial, nats: float, steps: int = 1200) -> Record:
    """The record of a candidate, looked at once after the 120 CPU seconds of its budget."""
    return replace(
        candidate.failed_record("yet to be done"),
        status="done",
        reason=None,
        training={"batch_size": 10},
        result=Result(validation_nats=nats),
        curve=[CurvePoint(steps, 120.0, 150.0, nats)],
        cost=Cost(150.0, 121.0, "one pass", 120.0),
    )


def test_a_minute_is_one_on_two_cores():
    assert (SEARCH.seconds, SEARCH.clock, SEARCH.machine_dependent) == (120.0, "cpu", True)


def test_warm_up_and_average_keep_their_share_of_a_budget():
    (candidate,) = (each for each in candidates("maf-mog") if not each.changes or each.changes == {"rate": 0.003})
    own = candidate.model().plan(candidate.budget)
    plan = candidate.plan(candidate.model())
    assert (plan.warmup, plan.average) == (own.warmup / 5, pytest.approx(1 - 5 * (1 - own.average)))
    assert plan.patience is None


@pytest.mark.parametrize("minutes", [0, -1.0, float("nan"), float("inf")])
def test_no_budget_without_minutes(minutes):
    with pytest.raises(InputError, match=f"minutes = {minutes} is not a positive number; give .* --minutes 5 15"):
        budget_of("quick", minutes)
    with pytest.raises(InputError, match=f"search-minutes = {minutes} .* --search-minutes 1"):
        budget_of("quick", minutes, "search-minutes")


def test_another_number_of_threads_is_another_run():
    (trial, *_) = candidates(SMALL)
    names = set()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        names.add(replace(trial).run_id)
    assert len(names) == 2


def test_a_mixture_of_models_that_are_trained_for_the_whole_budget_each_is_refused():
    with pytest.raises(InputError, match=r"\+ens mixes models that are each trained for the whole budget"):
        runs({}, "made-mog+ens:members=2")


# -- what is tried ---------------------------------------------------------------------------------------------------


def test_every_method_tries_the_same_three_factors_of_its_own_rate_and_is_scored_where_it_ends():
    own = candidates(SMALL)[0].model().plan(SEARCH)
    tried = candidates(SMALL)
    assert [trial.changes["rate"] / own.rate for trial in tried] == pytest.approx([1 / 3, 1, 3], rel=5e-3)
    assert len({trial.run_id for trial in tried}) == 3
    for trial in tried:
        plan = trial.plan(trial.model())
        assert (plan.rate, plan.patience, plan.looks) == (trial.changes["rate"], None, 1)


def test_em_tries_the_rows_of_a_step_and_what_needs_no_iteration_nothing():
    assert [set(trial.changes) for trial in candidates("gmm:components=3")] == [{"batch_size"}] * 3
    assert candidates("gaussian") == []


def test_what_evaluates_otherwise_is_searched_and_trained_as_what_it_stands_on():
    tried = candidates(SMALL, SMALL.replace(":", "+sym:"))
    assert [str(trial.spec) for trial in tried] == [SMALL] * 3
    chosen = {SMALL: Choice({"rate": 0.5}, 10, 1.0, 120.0)}
    plain, symmetric, *_ = runs(chosen, SMALL, SMALL.replace(":", "+sym:"))
    assert symmetric.spec.wrappers == ("sym",)
    assert symmetric.training_id == plain.training_id


@pytest.mark.parametrize("asked", [{"device": "cuda"}, {"compile": True}])
def test_what_would_not_count_on_the_same_clock_is_refused(asked):
    with pytest.raises(InputError):
        on_one_clock(replace(OPTIONS, **asked))


@pytest.mark.slow
def test_a_candidate_spends_its_cpu_seconds_and_never_sees_the_test_set(tmp_path, monkeypatch):
    data = dataset(5)
    arrays = {"train": data.train, "validation": data.validation, "test": np.full((60, 5), np.nan, dtype=np.float32)}
    data = Dataset.of("made-up", "1", 0, arrays)
    batch, processor = ArrayBatches.batch, [0.0]

    def slow_batch(self: ArrayBatches, step: int, size: int) -> np.ndarray:
        time.sleep(0.02)  # twice as long on the wall as on the processor's clock, which is none that others move
        processor[0] += 0.01
        return batch(self, step, size)

    monkeypatch.setattr(ArrayBatches, "batch", slow_batch)
    monkeypatch.setattr(loop, "cpu_seconds", lambda: processor[0])
    budget = Budget.of(seconds=0.1, clock="cpu")
    _, trial, _ = candidates(SMALL, data=data, budget=budget)
    store = ResultStore(tmp_path)
    record = store.write(trial.run(store, lambda progress: None, lambda message: None))
    assert store.find(trial.run_id) == record
    assert record.budget.clock == "cpu"
    assert record.result is not None
    assert record.cost is not None
    assert record.result.test_nats is None
    (look,) = record.curve
    assert record.result.validation_nats == pytest.approx(look.validation_nats, abs=1e-4)
    assert 0.1 <= record.cost.training_cpu_seconds < 0.2 < look.wall_seconds
    assert not store.paths(record).weights.exists()


# -- what is chosen --------------------------------------------------------------------------------------------------


def test_the_best_on_validation_rows_is_chosen_of_those_that_did_not_fail():
    tried = candidates(SMALL)
    records = [tried[0].failed_record("the loss is NaN"), searched(tried[1], 105.0), searched(tried[2], 103.0)]
    assert choose(tried, records) == {SMALL: Choice(tried[1].changes, 10, 10.0, 120.0)}


def edge_rates(*nats: float, method: str = SMALL) -> list[float]:
    """Rates, as shares of the plan's own, that are tried after candidates of these validation nats."""
    tried = candidates(method)
    own = tried[0].model().plan(SEARCH).rate
    tried += [replace(tried[0], changes={"rate": own * 3.0**power}) for power in range(2, len(nats) - 1)]
    records = [searched(trial, each) for trial, each in zip(tried, nats, strict=True)]
    return [each.changes["rate"] / own for each in TimeToNatsSearch().beyond(tried, records)]


def test_a_search_whose_best_rate_is_at_the_edge_goes_on_beyond_it():
    assert edge_rates(101.0, 105.0, 103.0) == []
    assert edge_rates(101.0, 103.0, 105.0) == pytest.approx([9], rel=5e-3)
    assert edge_rates(105.0, 103.0, 101.0) == pytest.approx([1 / 9], rel=5e-3)
    assert edge_rates(101.0, 103.0, 105.0, 104.0) == []
    assert edge_rates(101.0, 103.0, 105.0, 106.0) == pytest.approx([27], rel=5e-3)
    assert edge_rates(101.0, 103.0, 105.0, 106.0, 107.0) == []  # five are enough


def test_nothing_is_tried_beyond_where_there_is_no_rate_or_nothing_worked_or_the_edge_failed():
    em = candidates("gmm:components=3")
    assert TimeToNatsSearch().beyond(em, [searched(trial, 100.0 + i) for i, trial in enumerate(em)]) == []
    tried = candidates(SMALL)
    failed = [trial.failed_record("the loss is NaN") for trial in tried]
    assert TimeToNatsSearch().beyond(tried, failed) == []
    assert TimeToNatsSearch().beyond(tried, [searched(tried[0], 99.0), searched(tried[1], 100.0), failed[2]]) == []


def test_a_rate_beyond_keeps_what_else_the_candidate_has():
    tried = [replace(trial, changes={**trial.changes, "average": 0.9}) for trial in candidates(SMALL)]
    (further,) = TimeToNatsSearch().beyond(tried, [searched(trial, -trial.changes["rate"]) for trial in tried])
    assert further.changes == {"rate": pytest.approx(tried[0].changes["rate"] / 3, rel=5e-3), "average": 0.9}


def test_a_method_whose_candidates_all_failed_has_a_failure_that_says_so_and_trains_nothing(tmp_path):
    tried = candidates(SMALL)
    choices = choose(tried, [trial.failed_record("the loss is NaN") for trial in tried])
    own, gaussian, *_ = runs(choices, SMALL, "gaussian")
    assert str(gaussian.spec) == "gaussian"
    (record,) = run_sweep(ResultStore(tmp_path), [own])
    assert record.reason is not None
    assert "all its candidate plans failed, the first: the loss is NaN" in record.reason
    assert len(TimeToNats().table([record]).failures) == 1


@pytest.mark.slow
def test_weights_of_another_number_of_threads_are_not_taken_over(tmp_path):
    data = dataset(5)
    budget = Budget.of(seconds=0.2, clock="cpu")
    records = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        (trial,) = TimeToNats().plan([budget], OPTIONS, data, {}, methods=[SMALL])
        records += run_sweep(ResultStore(tmp_path), [trial])
    assert [record.training["threads"] for record in records] == [1, 2]
    assert not any(record.training.get("weights_of") for record in records)
    table = TimeToNats().table(records)
    assert [row.label for row in table.rows if row.trials == 1 and "threads=" in row.label] == [
        row.label for row in table.rows
    ]
    assert len(table.rows) == 2


def test_a_run_looks_twelve_times_and_draws_fresh_patches_before_it_knows_its_own_by_heart():
    """10 steps a CPU second are 6,000 and 18,000; of 10 rows from 30,000 they are 2 and 6 passes."""
    train = np.zeros((30_000, 63), dtype=np.float32)
    data = replace(PATCHES, train=train, fresh=lambda *_: train)
    shorter, longer = runs({SMALL: Choice({"rate": 0.5}, 10, 10.0, 120.0)}, SMALL, data=data)
    for run, times in ((shorter, 5), (longer, 15)):  # as long as the search
        plan = run.plan(run.model())
        assert (plan.rate, plan.patience, plan.looks) == (pytest.approx(0.5 / times**0.25, rel=5e-3), None, LOOKS)
    assert (shorter.options.patches, longer.options.patches) == ("fixed", "fresh")
    _, without = runs({SMALL: Choice({"rate": 0.5}, 10, 10.0, 120.0)}, SMALL, data=replace(data, fresh=None))
    assert without.options.patches == "fixed"


# -- who is compared with whom ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "side"),
    [
        ("lde+w", "ours"),
        ("resmade-mog+w+sym", "ours"),
        ("maf-ddsf+w", "ours"),
        ("maf-mog+w", "zuko"),
        ("nsf+w", "zuko"),
        ("real-nvp+w:layers=3", "zuko"),
        ("zuko.flows:NSF+w:transforms=5", "zuko"),
        ("gmm:components=200", "Gaussians"),
        ("my.models:Best", "outside"),
        ("no such+spelling:", "outside"),
    ],
)
def test_sides(method, side):
    assert side_of(method) == side


def test_the_methods_of_a_profile_have_every_side_and_are_spelled_as_methods():
    for defaults in time_to_nats.PROFILES.values():
        assert {side_of(str(parse_method(method))) for method in defaults.methods} == {"ours", "zuko", "Gaussians"}


# -- tables ----------------------------------------------------------------------------------------------------------


def test_the_table_is_best_first_and_says_how_far_apart_the_sides_are(finished: Callable[..., Record]):
    table = TimeToNats().table([finished("nsf+w", 152.0), finished("made-mog+w", 154.5), finished("gmm", 153.0)])
    assert [row.method for row in table.rows] == ["made-mog+w", "gmm", "nsf+w"]
    assert any("CPU seconds (machine-dependent)" in line for line in table.heading)
    told = "\n".join(table.notes)
    assert f"+2.50 ± {DASH} nats from nsf+w, the best flow of zuko's transforms" in told
    assert f"+1.50 ± {DASH} nats from gmm, the best mixture of Gaussians" in told


def test_what_may_be_no_density_is_not_the_best_of_its_side(finished: Callable[..., Record]):
    doubtful = replace(finished("maf-mog+w", 156.0), laws={"normalised": Law(True, 0.0, 1.0, "cannot tell", False)})
    table = TimeToNats().table([doubtful, finished("nsf+w", 152.0), finished("made-mog+w", 154.5)])
    assert f"+2.50 ± {DASH} nats from nsf+w, the best flow of zuko's transforms" in "\n".join(table.notes)


def beside(*tables: tuple[float, list[Record]]) -> list[tuple[Any, ...]]:
    """The lines of the table of all budgets: of records under so many CPU seconds each."""
    sections = []
    for seconds, records in tables:
        budget = Budget.of("standard", seconds=seconds, clock="cpu")
        under = [replace(record, run_id=f"{record.run_id}-{seconds}", budget=budget) for record in records]
        runs = {record.run_id: (Path(f"{record.run_id}.json"), record) for record in under}
        sections.append(Section(TimeToNats().table(under), runs, Path()))
    ((_, blocks),) = TimeToNats().closing(sections)
    grid = blocks[-1]
    assert isinstance(grid, Grid)
    return [tuple(line) for line in grid.rows]


def with_training(record: Record, nats: float, **training: Any) -> Record:
    own = {**record.training, **training}
    return replace(record, run_id=f"{record.run_id}-{nats}", training=own, result=Result(test_nats=nats))


def test_two_rows_of_one_method_under_one_budget_both_stand_beside_the_other_budgets(finished: Callable[..., Record]):
    first = finished("made-mog+w", 154.5)
    both = [first, with_training(first, 150.0, rate=0.02)]
    assert [line[2:] for line in beside((30, both), (60, [with_training(first, 155.0)]))] == [
        (DASH, "155.00"),
        ("154.50", DASH),
        ("150.00", DASH),
    ]
    both = [with_training(first, 154.5, patches="fixed"), with_training(first, 150.0, patches="fresh")]
    longer = [with_training(first, 155.0, patches="fresh")]  # beside neither, the first by its label alone
    assert [line[2:] for line in beside((30, both), (60, longer))] == [
        (DASH, "155.00"),
        ("154.50", DASH),
        ("150.00", DASH),
    ]


def test_what_is_not_verified_of_a_budget_is_marked_there(finished: Callable[..., Record]):
    made = finished("made-mog+w", 154.5)
    doubtful = replace(made, laws={"normalised": Law(True, 0.0, 1.0, "cannot tell", False)})
    assert [line[2:] for line in beside((30, [doubtful]), (60, [made]))] == [
        ("154.50 (normalisation not verified)", "154.50")
    ]


def test_a_method_has_one_line_also_where_its_longer_run_drew_fresh_patches(finished: Callable[..., Record]):
    made, flow = finished("made-mog+w", 154.5), finished("nsf+w", 154.0)
    assert any("fresh" in row.label for row in TimeToNats().table([made, with_training(flow, 1, patches="fresh")]).rows)
    shorter = [with_training(made, 154.5, patches="fresh"), with_training(flow, 154.0, patches="fixed")]
    longer = [with_training(each, nats, patches="fresh") for each, nats in ((made, 155.0), (flow, 156.0))]
    assert beside((30, shorter), (60, longer)) == [
        ("nsf+w", "zuko", "154.00", "156.00"),
        ("made-mog+w", "ours", "154.50", "155.00"),
    ]


def test_what_stands_behind_all_budgets_is_told_apart_by_version_and_profile(finished: Callable[..., Record]):
    def section(profile: str, seconds: float, version: str) -> Section:
        budget = Budget.of(profile, seconds=seconds, clock="cpu")
        record = replace(finished("made-mog+w", 154.5), budget=budget, benchmark_version=version)
        return Section(TimeToNats().table([record]), {record.run_id: (Path("a.json"), record)}, Path())

    asked = [("quick", 30, "1"), ("standard", 30, "1"), ("standard", 60, "1"), ("quick", 30, "2"), ("quick", 60, "2")]
    (one, of_one), (two, _) = TimeToNats().closing([section(*each) for each in asked])
    assert isinstance(one, Link)
    assert isinstance(two, Link)
    assert one.href != two.href
    grid = of_one[-1]
    assert isinstance(grid, Grid)
    assert list(grid.headers[2:]) == [
        "30 CPU s (quick-30-cpu-seconds)",
        "30 CPU s (standard-30-cpu-seconds)",
        "60 CPU s",
    ]


def test_a_report_begins_with_what_was_asked_and_not_with_the_search_that_has_more_rows(finished, tmp_path):
    tried = [replace(searched(trial, 101.0), training={"rate": trial.changes["rate"]}) for trial in candidates(SMALL)]
    assert len(TimeToNatsSearch().table(tried).rows) == 3
    runs = [(tmp_path / f"{record.run_id}.json", record) for record in [*tried, finished("made-mog+w", 154.5)]]
    blocks = build_document(runs, tmp_path, experiment_of).blocks
    titles = [block.text.partition(":")[0] for block in blocks if isinstance(block, Heading) and block.level == 2]
    assert titles[:2] == ["time-to-nats", "time-to-nats-search"]


def test_what_was_given_shows_a_rate_of_those_alone_that_have_one(finished: Callable[..., Record]):
    shown = {
        method: list(time_to_nats._words(finished(method, 150.0)))[2] for method in ("gmm", "nsf+w", "my.own:Best")
    }
    assert shown == {"gmm": DASH, "nsf+w": "0.01", "my.own:Best": "0.01"}


def test_a_fit_of_a_users_own_that_no_clock_bounds_is_refused():
    with pytest.raises(InputError, match="brings a fit of its own, which no clock bounds"):
        runs({}, "sklearn.mixture:GaussianMixture")


@pytest.fixture
def finished() -> Callable[..., Record]:
    def make(method: str, nats: float) -> Record:
        (trial, _) = runs({f"{SMALL}": Choice({}, 10, 1.0, 120.0)}, SMALL)
        training: dict[str, Any] = {"rate": 0.01, "batch_size": 10, "precision": "fp32", "threads": 1}
        made = searched(candidates(SMALL)[0], nats)
        result = Result(test_nats=nats, validation_nats=nats + 20)
        return replace(
            made,
            experiment=TimeToNats.name,
            run_id=f"run-{nats:g}",
            method=method,
            components=None,
            budget=trial.budget,
            training=training,
            result=result,
        )

    return make


def test_the_table_of_the_search_marks_the_best_of_each_method():
    tried = candidates(SMALL)
    records = [
        replace(searched(trial, nats), training={"rate": trial.changes["rate"], "batch_size": 10})
        for trial, nats in zip(tried, (101.0, 105.0, 103.0), strict=True)
    ]
    table = TimeToNatsSearch().table([*records, replace(tried[0].failed_record("NaN"), run_id="failed")])
    chosen, nats = (table.headers.index(name) for name in ("chosen", "validation (nats)"))
    assert [(table.cells(row)[nats], table.cells(row)[chosen]) for row in table.rows] == [
        ("101.00", ""),
        ("105.00", "yes"),
        ("103.00", ""),
    ]
    assert len(table.failures) == 1


def test_the_search_says_where_another_candidate_might_be_better():
    tried = candidates(SMALL)

    def notes(*nats: float, spent: float = 121.0) -> str:
        records = [
            replace(
                searched(trial, each),
                training={"rate": trial.changes["rate"], "batch_size": 10},
                cost=Cost(150.0, spent, "one pass", spent),
            )
            for trial, each in zip(tried, nats, strict=True)
        ]
        return " ".join(TimeToNatsSearch().table(records).notes)

    assert "may be better" not in notes(101.0, 105.0, 103.0)
    assert "the highest of the rates tried was the best" in notes(101.0, 103.0, 105.0)
    failed = tried[2].failed_record("the loss is NaN")  # beyond the best there is nothing to try
    rest = [
        replace(searched(trial, nats), training={"rate": trial.changes["rate"], "batch_size": 10})
        for trial, nats in zip(tried, (101.0, 103.0), strict=False)
    ]
    assert "may be better" not in " ".join(TimeToNatsSearch().table([*rest, failed]).notes)
    assert "the lowest of the rates tried was the best" in notes(105.0, 103.0, 101.0)
    assert "more than its CPU seconds" not in notes(101.0, 105.0, 103.0, spent=131.0)
    assert "a candidate took more than its CPU seconds and a tenth" in notes(101.0, 105.0, 103.0, spent=133.0)


def test_a_row_beyond_its_seconds_is_named(finished: Callable[..., Record]):
    record = finished("made-mog+w", 154.5)
    over = replace(record, cost=Cost(900.0, 900.0, "one pass", 661.0))
    assert (is_over(record), is_over(over)) == (False, True)
    assert "made-mog+w took more than its CPU seconds" in " ".join(TimeToNats().table([over]).notes)
    assert "took more" not in " ".join(TimeToNats().table([record]).notes)
    assert not is_over(replace(over, training={**over.training, "closed_form": True}))


def test_the_error_between_two_sides_is_that_of_their_paired_difference(finished):
    rng = np.random.default_rng(0)
    hardness = rng.normal(0, 30, 12)
    records = []
    for method, nats in (("made-mog+w", 154.5), ("nsf+w", 152.0)):
        means = hardness + rng.normal(0, 1, 12)
        groups = GroupMeans.of(range(12), [10] * 12, means - means.mean() + nats)
        record = finished(method, nats)
        records.append(replace(record, result=replace(record.result, groups=groups)))
    table = TimeToNats().table(records)
    error = error_text(table.rows[1].difference_standard_error)
    assert error != error_text(table.rows[0].standard_error_clustered)
    assert f"+2.50 ± {error} nats from nsf+w" in "\n".join(table.notes)
