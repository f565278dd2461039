from __future__ import annotations

import csv
import importlib.util
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lde_bench.data import natural8x8
from lde_bench.densities import create
from lde_bench.densities.made_mog import MadeMog
from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.evaluation.statistics import GroupMeans, paired_difference
from lde_bench.runs import ResultStore
from lde_bench.training.plan import Budget, Plan

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "time_to_nats.py"
PLAN = Plan(steps=100, rate=3e-3)


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("time_to_nats", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


script = load_script()


def settings(folder: Path, *methods: str, minutes: tuple[float, ...] = (5.0, 15.0)) -> Any:
    return script.Settings(methods or ("made-mog+w",), minutes, folder)


def comparison(folder: Path, *methods: str, plan: Plan = PLAN, **more: Any) -> Any:
    each = settings(folder, *methods, **more)
    return script.Comparison(each, "hash", dict.fromkeys(each.methods, plan))


def finished_trial(validation: float = 100.0, steps: int = 1200) -> dict[str, Any]:
    return {
        "validation_nats": validation,
        "steps": steps,
        "cpu_seconds": 120.0,
        "training": {"batch_size": 100},
        "sizes": {"train": 500_000},
    }


def finished_run(method: str, minutes: float, test: float, groups: int = 20, seed: int = 0) -> dict[str, Any]:
    noise = np.random.default_rng(seed).standard_normal(groups)
    means = test + noise - noise.mean()
    return {
        "method": method,
        "role": "run",
        "minutes": minutes,
        "cpu_budget": 120 * minutes,
        "laws_broken": [],
        "test_nats": test,
        "test_standard_error_clustered": 0.2,
        "validation_nats": test + 20,
        "steps": 7,
        "cpu_seconds": 120 * minutes,
        "samples_per_cpu_second": 12.5,
        "parameters": 1234,
        "training": {"rate": 0.001, "batch_size": 256, "precision": "bf16", "compile": False, "patches": "fixed"},
        "groups": {"ids": list(range(groups)), "counts": [50] * groups, "means": means.tolist()},
        "curve": [[1, 60 * minutes, test + 10], [7, 120 * minutes, test + 20]],
    }


# -- what is to be done ----------------------------------------------------------------------------------------------


def test_a_minute_is_one_on_two_cores(tmp_path):
    trials, _ = comparison(tmp_path).jobs("made-mog+w")
    assert [trial.cpu_seconds for trial in trials] == [120.0] * 3


def test_every_method_tries_the_same_three_factors_of_its_own_rate(tmp_path):
    trials, runs = comparison(tmp_path).jobs("made-mog+w")
    assert [trial.changes for trial in trials] == [{"rate": 1e-3}, {"rate": 3e-3}, {"rate": 9e-3}]
    assert runs == []


def test_the_mixture_of_gaussians_has_no_rate_and_tries_batches(tmp_path):
    trials, _ = comparison(tmp_path, "gmm:components=200").jobs("gmm:components=200")
    assert [set(trial.changes) for trial in trials] == [{"batch_size"}] * 3


def test_what_needs_no_iteration_has_nothing_to_try(tmp_path):
    closed = comparison(tmp_path, "gaussian", plan=Plan(steps=1, closed_form=True))
    assert len(closed.jobs("gaussian")[0]) == 1


def test_the_runs_wait_for_all_trials_and_take_the_best_on_validation(tmp_path):
    what = comparison(tmp_path)
    trials = what.ready()
    for trial, score in zip(trials, (101.0, 105.0, 103.0), strict=True):
        assert [job.role for job in what.ready()].count("run") == 0
        what.folder.write(trial, finished_trial(score))
    runs = what.ready()
    assert [(job.role, job.minutes, job.changes) for job in runs] == [
        ("run", 5.0, {"rate": 3e-3}),
        ("run", 15.0, {"rate": 3e-3}),
    ]
    # 10 steps a CPU second: 6,000 and 18,000 steps, looked at twelve times.
    assert [job.validate_every for job in runs] == [500, 1500]
    # 100 rows a step of 500,000: 1.2 and 3.6 passes.
    assert [job.recipe.patches for job in runs] == ["fixed", "fresh"]


def test_a_trial_that_diverged_is_never_chosen_and_a_method_whose_trials_all_did_has_no_run(tmp_path):
    what = comparison(tmp_path)
    trials = what.ready()
    for trial in trials[:2]:
        what.folder.write(trial, {"failed": "the loss became nan"})
    what.folder.write(trials[2], finished_trial())
    assert {job.changes["rate"] for job in what.ready()} == {9e-3}
    what.folder.write(trials[2], {"failed": "the loss became nan"})
    assert what.ready() == []


def test_what_is_finished_is_not_done_again(tmp_path):
    what = comparison(tmp_path, minutes=(5.0,))
    for trial in what.ready():
        what.folder.write(trial, finished_trial())
    what.folder.write(what.ready()[0], finished_run("made-mog+w", 5.0, 150.0))
    assert comparison(tmp_path, minutes=(5.0,)).ready() == []
    assert [job.minutes for job in comparison(tmp_path, minutes=(5.0, 15.0)).ready()] == [15.0]


def test_the_time_left_is_that_of_unfinished_trials_and_of_runs_yet_unknown(tmp_path):
    what = comparison(tmp_path)
    assert what.seconds_left() == 3 * 120 + 600 + 1800
    for done, trial in enumerate(what.ready(), start=1):
        what.folder.write(trial, finished_trial())
        assert what.seconds_left() == (3 - done) * 120 + 600 + 1800
    what.folder.write(what.ready()[0], finished_run("made-mog+w", 5.0, 150.0))
    assert what.seconds_left() == 1800


def test_a_file_is_named_by_everything_that_changes_the_outcome(tmp_path):
    job = comparison(tmp_path).ready()[0]
    other = [
        replace(job, method="lde+w"),
        replace(job, role="run"),
        replace(job, minutes=7.0),
        replace(job, changes={"rate": 0.5}),
        replace(job, threads=2),
        replace(job, seed=1),
        replace(job, content_hash="another"),
        replace(job, recipe=replace(job.recipe, compile=not job.recipe.compile)),
        replace(job, recipe=replace(job.recipe, patches="fresh")),
    ]
    assert len({job.name, *(each.name for each in other)}) == len(other) + 1
    same = [replace(job, validate_every=3), replace(job, recipe=replace(job.recipe, why="said better"))]
    assert {each.name for each in same} == {job.name}


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("lde+w", "ours"),
        ("resmade-mog+w+sym", "ours"),
        ("maf-ddsf+w", "ours"),
        ("maf-mog+w", "zuko"),
        ("nsf+w", "zuko"),
        ("real-nvp+w:layers=3", "zuko"),
        ("zuko.flows:NSF+w:transforms=5", "zuko"),
        ("gmm:components=200", "gmm"),
        ("my.models:Best", "other"),
    ],
)
def test_sides(method, kind):
    assert script.kind_of(method) == kind


@pytest.mark.slow
def test_every_recipe_is_of_a_method_and_changes_what_its_plan_has():
    for method in script.METHODS:
        recipe = script.recipe_of(method)
        plan = create(method, 63).plan(Budget.of("standard"))
        for candidate in recipe.candidates_of(plan):
            replace(plan, **{**recipe.plan, **candidate})


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_a_row_is_compared_with_the_best_of_its_budget_on_the_same_photographs():
    outcomes = [
        finished_run("lde+w", 5.0, 154.0, seed=1),
        finished_run("made-mog+w", 5.0, 152.0, seed=2),
        finished_run("made-mog+w", 15.0, 155.0, seed=3),
    ]
    rows = {(row["method"], row["minutes"]): row for row in script.rows_of(outcomes)}
    assert rows["lde+w", 5.0]["difference_to_best"] == 0
    assert rows["made-mog+w", 15.0]["difference_to_best"] == 0
    row = rows["made-mog+w", 5.0]
    mine, best = (GroupMeans.of(*outcome["groups"].values()) for outcome in (outcomes[1], outcomes[0]))
    assert row["difference_to_best"] == pytest.approx(-2.0)
    assert row["difference_standard_error_clustered"] == paired_difference(mine, best).standard_error
    assert row["steps"] == 7


def test_a_model_that_breaks_a_law_has_no_row_and_is_named(tmp_path):
    good, bad = finished_run("lde+w", 5.0, 150.0), finished_run("made-mog+w", 5.0, 999.0)
    bad["laws_broken"] = ["normalisation"]
    rows = script.rows_of([good, bad])
    assert [row["method"] for row in rows] == ["lde+w"]
    text = script.markdown(comparison(tmp_path), rows, [good, bad])
    assert "made-mog+w, 5 min (run): breaks normalisation" in text
    assert "999" not in text


def verdicts(*nats: tuple[str, float, float]) -> list[str]:
    rows = [{"method": method, "minutes": minutes, "test_nats": test} for method, minutes, test in nats]
    return [line.split(":")[0] for line in script.verdicts(script.targets(rows))]


def test_the_targets_ask_for_a_margin_over_zuko_and_the_mixture_at_each_budget():
    level = [("gmm:components=200", 5.0, 153.0), ("nsf+w", 5.0, 152.0), ("maf-mog+w", 5.0, 153.6)]
    assert verdicts(("resmade-mog+w", 5.0, 155.2), ("lde+w", 5.0, 153.7), *level) == ["PASS", "PASS", "PASS"]
    assert verdicts(("resmade-mog+w", 5.0, 155.0), ("lde+w", 5.0, 153.5), *level) == ["MISS", "PASS", "MISS"]
    assert verdicts(("lde+w", 5.0, 154.4), *level) == ["MISS", "MISS", "PASS"]


def test_a_target_with_a_side_missing_is_not_measured():
    assert verdicts(("lde+w", 5.0, 154.4)) == ["not measured"] * 3
    assert verdicts() == ["not measured"]


def test_lde_is_held_against_the_flows_at_the_longest_budget_alone():
    lines = script.verdicts(
        script.targets(
            [
                {"method": method, "minutes": minutes, "test_nats": test}
                for method, minutes, test in [
                    ("lde+w", 5.0, 150.0),
                    ("nsf+w", 5.0, 152.0),
                    ("lde+w", 15.0, 155.0),
                    ("nsf+w", 15.0, 154.0),
                ]
            ]
        )
    )
    assert [line for line in lines if "every zuko flow" in line] == [
        "PASS: 15 min: lde+w above every zuko flow (155.00, nsf+w 154.00: +1.00)"
    ]


# -- the whole, small ------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of a run of seconds: few patches, small nets, no process but this one."""
    monkeypatch.setattr(natural8x8, "COUNTS", {"train": 3000, "validation": 200, "test": 400})
    monkeypatch.setattr(script, "SAMPLING_SECONDS", 0.01)

    def in_this_process(settings: Any, job: Any) -> int:
        try:
            script.work(settings, job)
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 1
        return 0

    monkeypatch.setattr(script, "in_a_child", in_this_process)
    words = "--minutes 0.002 0.004 --trial-minutes 0.001 --methods gaussian made-mog+w:hidden=8 --source embedded"
    folders = ["--results-dir", str(tmp_path / "results"), "--cache-dir", str(tmp_path / "cache")]
    return [*words.split(), "--validation", "200", "--test", "400", *folders]


@pytest.mark.slow
def test_a_small_comparison_from_start_to_table(small, tmp_path, capsys, caplog, monkeypatch):
    assert script.main(small) == 0
    shown = capsys.readouterr()
    assert "CPU seconds of training are left" in shown.err
    assert shown.out.splitlines() == [
        "not measured: 0.002 min: the best of ours at least 1.5 nats above the best zuko flow",
        "not measured: 0.002 min: the best of ours at least 1.5 nats above gmm:components=200",
        "not measured: 0.004 min: the best of ours at least 1.5 nats above the best zuko flow",
        "not measured: 0.004 min: the best of ours at least 1.5 nats above gmm:components=200",
        "not measured: 0.004 min: lde+w above every zuko flow",
    ]
    folder = tmp_path / "results" / "time-to-nats"
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("run-made*.jsonl"))]
    assert [run["minutes"] for run in runs] == [0.002, 0.004]
    for run in runs:
        setup = run["training"]
        assert (setup["clock"], setup["augment"]) == ("cpu", None)
        assert run["cpu_seconds"] >= run["cpu_budget"]
        assert run["curve"][-1][0] == run["steps"]
        assert len(run["groups"]["means"]) >= 1
        assert run["samples_per_cpu_second"] > 0
    with (folder / "table.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert sorted((row["method"], row["minutes"]) for row in rows) == [
        ("gaussian", "0.002"),
        ("gaussian", "0.004"),
        ("made-mog+w:hidden=8", "0.002"),
        ("made-mog+w:hidden=8", "0.004"),
    ]
    table = (folder / "table.md").read_text()
    for expected in ("| gaussian | gmm | 2,079 |", "## Targets", "**rate ", "commit", str(tmp_path)):
        assert (expected in table) == (expected not in ("commit", str(tmp_path))), expected
    assert (folder / "curves.png").stat().st_size > 10_000
    assert not list(folder.glob("*.ckpt"))

    # A second start trains nothing; the run records beside are left in peace.
    monkeypatch.setattr(script, "in_a_child", lambda settings, job: pytest.fail(f"{job.title} was done again"))
    assert script.main(small) == 0
    assert script.main([*small, "--report-only"]) == 0
    with caplog.at_level(logging.WARNING):
        assert ResultStore(tmp_path / "results").load() == []
    assert caplog.text == ""


def test_a_job_that_another_process_does_is_left_to_it(tmp_path):
    each = settings(tmp_path)
    job = comparison(tmp_path).ready()[0]
    folder = script.Folder(tmp_path)
    assert not folder.is_taken(job)
    with folder.lock(job):
        assert folder.is_taken(job)
        with pytest.raises(SystemExit) as stop:
            script.work(each, job)
    assert stop.value.code == script.TAKEN


@pytest.mark.slow
def test_a_candidate_that_diverges_is_written_down_and_the_others_go_on(small, tmp_path, monkeypatch):
    fit = MadeMog.fit

    def only_low_rates(self: MadeMog, *args: Any, plan: Plan, **more: Any) -> Any:
        if plan.rate > 1e-3:
            raise TrainingDiverged("the training loss became nan")
        return fit(self, *args, plan=plan, **more)

    monkeypatch.setattr(MadeMog, "fit", only_low_rates)
    words = [word.replace("+w:hidden=8", ":hidden=8") for word in small if word != "gaussian"]
    assert script.main(words) == 0
    table = (tmp_path / "results" / "time-to-nats" / "table.md").read_text()
    assert "rate 0.003: diverged" in table
    assert "made-mog:hidden=8, 0.001 min (trial): the training loss became nan" in table
    assert "| made-mog:hidden=8 | ours |" in table


def test_a_job_that_breaks_is_reported_and_not_taken_for_done(small, monkeypatch, capsys):
    monkeypatch.setattr(script, "in_a_child", lambda settings, job: 1)
    assert script.main(small) == 1
    assert "start again to retry" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--trial-minutes", "-1"]])
def test_a_budget_must_be_above_zero(words):
    with pytest.raises(InputError):
        script.arguments(words)


def test_an_unknown_method_is_one_sentence_before_anything_is_trained(small, capsys):
    words = [word.replace("gaussian", "gausian") for word in small]
    assert script.main(words) == 2
    assert "did you mean 'gaussian'" in capsys.readouterr().err
