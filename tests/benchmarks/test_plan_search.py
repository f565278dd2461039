"""The searches for the plans of the tables: equal for every row, and continued where they were stopped."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lde_bench.data import Dataset
from lde_bench.errors import TrainingDiverged
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.experiments.bsds300 import table_rows

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SECONDS = 30.0


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def search(tmp_path) -> Any:
    """One whose best candidate is the fourth at first, and the second with more time; the first diverges."""
    shared: Any = importlib.import_module("plan_search")
    ran: list[tuple[float, float]] = []

    class Search(shared.Search):
        candidates: ClassVar = {"row:k=1": [shared.Candidate(plan={"rate": rate}) for rate in range(6)]}

        def setup(self, row: str, candidate: Any) -> dict[str, Any]:
            return {"rate": candidate.plan["rate"]}

        def measure(self, row: str, candidate: Any, seconds: float) -> dict[str, Any]:
            rate = candidate.plan["rate"]
            ran.append((rate, seconds))
            if rate == 0:
                raise TrainingDiverged("the loss is NaN")
            nats = {3: 9.0, 1: 8.0}.get(rate, 1.0) if seconds < 3 else {1: 9.0, 3: 8.0}[rate]
            return {"validation_nats": nats, "steps_per_second": {"model": 5.0 * rate}, "cpu_seconds": seconds}

        load = staticmethod(lambda name: None)

    rows = skewed_rows(30, 2, 0)
    data = Dataset.of("rows", "1", 0, {"train": rows[:20], "validation": rows[20:25], "test": rows[25:]})
    made = Search(data, SECONDS, 0, tmp_path)
    return made, ran


def test_the_best_two_of_six_get_more_and_the_better_of_them_is_chosen(search):
    made, ran = search
    assert made.choose("row:k=1") == {"row": "row:k=1", "candidate": "rate=1", "nats": 9.0, "steps": {"model": 150}}
    assert ran == [*((rate, 2.0) for rate in range(6)), (3, 6.0), (1, 6.0)]
    assert sum(seconds for _, seconds in ran) == pytest.approx(0.8 * SECONDS)


def test_a_second_start_runs_nothing_that_is_on_file_and_one_that_was_lost_again(search):
    made, ran = search
    found = made.choose("row:k=1")
    files = sorted(made.folder.glob("*.json"))
    assert len(files) == 8
    assert all(":" not in path.name for path in files)
    lost = next(path for path in files if json.loads(path.read_text())["candidate"] == "rate=5")
    lost.unlink()
    ran.clear()
    assert made.choose("row:k=1") == found
    assert ran == [(5, 2.0)]


def test_one_that_diverged_is_on_file_with_its_reason_and_stands_last(search):
    made, _ = search
    made.choose("row:k=1")
    frame = importlib.import_module("plan_search").table(made.folder)
    first = frame[frame["seconds"] == 2.0]
    assert [first["candidate"].iloc[place] for place in (0, 1, -1)] == ["rate=3", "rate=1", "rate=0"]
    assert "sigma" not in frame


def test_every_row_has_as_many_candidates_as_any_other_and_they_differ():
    shared = importlib.import_module("plan_search")
    for script, kind in (("table1_search", "Table1"), ("table2_search", "Table2")):
        for row, candidates in getattr(importlib.import_module(script), kind).candidates.items():
            assert len({candidate.label for candidate in candidates}) == len(candidates) == shared.RUNGS[0][0], row


def test_every_row_of_table_1_that_learns_by_steps_is_searched():
    searched = importlib.import_module("table1_search").Table1.candidates
    assert [row for row in table_rows() if row not in searched] == ["gaussian"]


@pytest.mark.slow
def test_a_row_of_table_1_is_trained_by_the_plan_of_its_candidate(tmp_path):
    shared, script = (importlib.import_module(name) for name in ("plan_search", "table1_search"))
    rows = skewed_rows(360, 3, 0)
    data = Dataset.of("rows", "1", 0, {"train": rows[:200], "validation": rows[200:300], "test": rows[300:]})
    search = script.Table1(data, 600.0, 0, tmp_path)
    good, bad = (shared.Candidate("hidden=8", {"rate": rate, "clip": 1.0}) for rate in (0.1, 1e-9))
    learnt, still = (search.run("made-mog:components=2", each, 1.0) for each in (good, bad))
    assert learnt["validation_nats"] > still["validation_nats"] + 0.3
    assert learnt["steps_per_second"]["model"] > 0
    assert learnt["clip"] == 1.0
    assert {"first_loss", "clipped_share"} <= set(shared.table(tmp_path))
