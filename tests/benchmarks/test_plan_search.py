"""The searches for the plans of the tables: equal for every row, and continued where they were stopped."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lde_bench.data import Dataset
from lde_bench.densities.spec import parse_method
from lde_bench.errors import TrainingDiverged
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.experiments.bsds300 import table_rows

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SECONDS = 30.0


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def shared() -> Any:
    return importlib.import_module("plan_search")


@pytest.fixture
def search(tmp_path) -> Any:
    """The search of Table 2 whose best candidate is the fourth at first, and the second with more time; the first
    diverges.
    """
    shared, script = (importlib.import_module(name) for name in ("plan_search", "table2_search"))
    ran: list[tuple[float, float]] = []

    table2: Any = script.Table2

    class Search(table2):
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

    return Search(small_dataset(), SECONDS, 0, tmp_path), ran


def small_dataset() -> Dataset:
    rows = skewed_rows(30, 2, 0)
    return Dataset.of("rows", "1", 0, {"train": rows[:20], "validation": rows[20:25], "test": rows[25:]})


def test_of_six_models_of_images_the_best_two_get_more_and_the_better_of_them_is_chosen(search, shared):
    made, ran = search
    assert made.choose("row:k=1") == {"row": "row:k=1", "candidate": "rate=1", "nats": 9.0, "steps": {"model": 150}}
    assert ran == [*((rate, 2.0) for rate in range(6)), (3, 6.0), (1, 6.0)]
    assert sum(seconds for _, seconds in ran) == pytest.approx(shared.OF_A_ROW * SECONDS)


@pytest.mark.parametrize(("gain", "chosen"), [(0.5, "clip=0.1"), (-0.5, "clip=10.0")])
def test_of_a_density_the_best_of_three_rates_is_tried_with_another_clip(tmp_path, shared, gain, chosen):
    ran: list[tuple[float, float, float]] = []

    table1: Any = importlib.import_module("table1_search").Table1

    class Search(table1):
        def setup(self, row: str, candidate: Any) -> dict[str, Any]:
            return {}

        def measure(self, row: str, candidate: Any, seconds: float) -> dict[str, Any]:
            rate, clip = candidate.plan["rate"], candidate.plan["clip"]
            ran.append((rate, clip, seconds))
            nats = 5.0 - abs(rate - 3e-4) * 1e3 + (gain if clip < 1 else 0.0)
            return {"validation_nats": nats, "steps_per_second": {"model": 5.0}, "cpu_seconds": seconds}

    found = Search(small_dataset(), SECONDS, 0, tmp_path).choose("nsf")
    assert ran == [(3e-4, 10.0, 6.0), (1e-3, 10.0, 6.0), (3e-3, 10.0, 6.0), (3e-4, 0.1, 6.0)]
    assert found == {
        "row": "nsf",
        "candidate": f"rate=0.0003, {chosen}",
        "nats": 5.0 + max(gain, 0),
        "steps": {"model": 150},
    }
    assert sum(seconds for *_, seconds in ran) == pytest.approx(shared.OF_A_ROW * SECONDS)


def test_of_em_the_best_of_three_batch_sizes_is_tried_from_another_start(shared):
    script = importlib.import_module("table1_search")
    first = script.Table1.candidates["gmm:components=200"]
    assert [(each.arguments, each.plan) for each in (*first, script.varied(first[1]))] == [
        ("init=kmeans++", {"batch_size": 10_000}),
        ("init=kmeans++", {"batch_size": 20_000}),
        ("init=kmeans++", {"batch_size": 50_000}),
        ("init=scale", {"batch_size": 20_000}),
    ]


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


def test_one_that_diverged_is_on_file_with_its_reason_and_stands_last(search, shared):
    made, _ = search
    made.choose("row:k=1")
    frame = shared.table(made.folder)
    first = frame[frame["seconds"] == 2.0]
    assert [first["candidate"].iloc[place] for place in (0, 1, -1)] == ["rate=3", "rate=1", "rate=0"]
    assert "sigma" not in frame
    assert not {"seed", "run"} & set(frame)
    replace(made, seed=made.seed + 1).choose("row:k=1")
    both = shared.table(made.folder)
    assert (set(both["seed"]), len(both), "run" in both) == ({made.seed, made.seed + 1}, 2 * len(frame), False)
    again = json.loads(next(made.folder.glob("*.json")).read_text())
    (made.folder / "of-another-setup-0123456789ab.json").write_text(json.dumps(again))
    assert "0123456789ab" in set(shared.table(made.folder)["run"])


@pytest.mark.parametrize(("script", "kind", "count"), [("table1_search", "Table1", 3), ("table2_search", "Table2", 6)])
def test_every_row_has_as_many_candidates_as_any_other_and_they_differ(script, kind, count):
    for row, candidates in getattr(importlib.import_module(script), kind).candidates.items():
        assert len({candidate.label for candidate in candidates}) == len(candidates) == count, row


def test_every_model_of_table_1_that_learns_by_steps_is_searched_as_one_of_its_rows():
    searched = importlib.import_module("table1_search").Table1.candidates
    assert set(searched) <= set(table_rows())
    names = [parse_method(row).name for row in searched]
    assert len(set(names)) == len(names)
    assert {parse_method(row).name for row in table_rows()} - set(names) == {"gaussian"}
    assert {"lde", "nsf", "resmade-mog+w"} <= set(searched)


@pytest.mark.slow
def test_a_row_of_table_1_is_trained_by_the_plan_of_its_candidate(tmp_path, shared):
    script = importlib.import_module("table1_search")
    rows = skewed_rows(360, 3, 0)
    data = Dataset.of("rows", "1", 0, {"train": rows[:200], "validation": rows[200:300], "test": rows[300:]})
    search = script.Table1(data, 600.0, 0, tmp_path)
    good, bad = (shared.Candidate("hidden=8", {"rate": rate, "clip": 1.0}) for rate in (0.1, 1e-9))
    learnt, still = (search.run("made-mog:components=2", each, 1.0) for each in (good, bad))
    assert learnt["validation_nats"] > still["validation_nats"] + 0.3
    assert learnt["steps_per_second"]["model"] > 0
    assert learnt["clip"] == 1.0
    assert {"first_loss", "clipped_share"} <= set(shared.table(tmp_path))
