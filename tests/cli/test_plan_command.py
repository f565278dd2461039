"""Plans and shares of them from the command line."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from lde_bench.report.numbers import DASH
from lde_bench.trials.density import DensityTrial

MADE = "made-mog:hidden=8"
JOB = ("bsds300", "--source", "embedded", "--steps", 4, "--K", 2, "--methods", "gaussian", f"{MADE[:8]}+sym{MADE[8:]}")


def test_a_plan_is_printed_with_what_each_needs_and_runs_nothing(cli, here, monkeypatch):
    monkeypatch.setattr(DensityTrial, "run", lambda *_: pytest.fail("something ran"))
    outcome = cli(*JOB, "--plan")
    assert outcome.code == 0
    rows = [line.split("   ") for line in outcome.out.splitlines()[2:5]]
    told = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [row[:3] + row[-1:] for row in told] == [
        ["1", "gaussian, trial 1", DASH, "to run"],
        ["2", f"{MADE} K=2, trial 1", DASH, "to run"],
        ["3", f"{MADE[:8]}+sym{MADE[8:]} K=2, trial 1", "2", "to run"],
    ]
    assert not (here / "results").exists()
    plan = cli(*JOB, "--plan", "--json", "--only", "2/3").payload["plan"]
    assert [(entry["number"], entry["asked"], entry["depends_on"]) for entry in plan] == [(2, False, [])]


@pytest.mark.slow
def test_shares_make_the_records_of_one_run_and_the_plan_tells_what_is_done(cli, records):
    def told(content: dict[str, Any]) -> Any:
        return content["result"], content["training"], content["seeds"], content["laws"]

    shares = [cli(*JOB, "--only", f"{index}/3") for index in (3, 1, 2)]
    assert [outcome.code for outcome in shares] == [0, 0, 0]
    assert "This share of the plan holds no row of the table." in shares[-1].err
    assert [entry["state"] for entry in cli(*JOB, "--plan", "--json").payload["plan"]] == ["done"] * 3
    found = {run_id: told(content) for run_id, content in records().items()}
    shutil.rmtree("results")
    assert cli(*JOB).code == 0
    assert {run_id: told(content) for run_id, content in records().items()} == found
    shutil.rmtree("results")
    empty = cli(*JOB, "--only", "2/3", "--json")
    assert (empty.code, empty.payload) == (0, {"tables": []})
    assert cli(*JOB, "--only", "3/3").code == 0
    assert {run_id: told(content) for run_id, content in records().items()}.keys() <= found.keys()
