from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.runs import Record, ResultStore, run_sweep


@dataclass(frozen=True)
class Trial:
    run_id: str


TRIALS = [Trial(f"run-{number}") for number in range(6)]


@pytest.fixture
def sweep(tmp_path, make_record):
    """Sweep over `TRIALS`, the named runs raising; returns the records, the calls and the events."""

    def run(errors=None, trials=TRIALS):
        calls: list[str] = []
        events: list[tuple[str, str]] = []

        def run_trial(trial):
            calls.append(trial.run_id)
            if error := (errors or {}).get(trial.run_id):
                raise error
            return make_record(run_id=trial.run_id)

        records = run_sweep(
            ResultStore(tmp_path),
            trials,
            run_trial,
            lambda trial, reason: make_record(failed=True, run_id=trial.run_id, reason=reason),
            lambda event, trial, record: events.append((event, trial.run_id)),
        )
        return records, calls, events

    return run


def test_records_come_back_in_order_and_a_second_sweep_runs_nothing(sweep):
    records, calls, _ = sweep()
    assert [record.run_id for record in records] == [trial.run_id for trial in TRIALS] == calls
    again, calls, events = sweep()
    assert again == records
    assert calls == []
    assert {event for event, _ in events} == {"reused"}


def test_a_failed_trial_is_recorded_with_its_reason_and_does_not_stop_the_others(sweep):
    error = TrainingDiverged("the loss is NaN\nat step 12")
    records, calls, events = sweep({"run-1": error, "run-3": MemoryError()})
    assert len(calls) == len(TRIALS)
    assert [record.done for record in records] == [True, False, True, False, True, True]
    assert records[1].reason == "TrainingDiverged: the loss is NaN at step 12"
    assert records[3].reason == "MemoryError"
    assert ("failed", "run-1") in events


def test_a_failed_trial_is_tried_again_by_the_next_sweep(sweep):
    sweep({"run-1": ValueError("once")})
    records, calls, _ = sweep()
    assert calls == ["run-1"]
    assert all(record.done for record in records)


def test_ctrl_c_stops_at_once_and_what_was_done_is_kept(sweep, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        sweep({"run-2": KeyboardInterrupt()})
    assert [record.run_id for record in ResultStore(tmp_path).load()] == ["run-0", "run-1"]
    _, calls, _ = sweep()
    assert calls == ["run-2", "run-3", "run-4", "run-5"]


def test_the_same_run_asked_for_twice_is_run_once(sweep):
    records, calls, _ = sweep(trials=[TRIALS[0], TRIALS[1], TRIALS[0]])
    assert calls == ["run-0", "run-1"]
    assert [record.run_id for record in records] == ["run-0", "run-1"]


def test_a_folder_that_refuses_records_is_an_input_error_and_not_a_failed_trial(tmp_path, make_record):
    (tmp_path / "bsds300").write_text("a file where a folder is needed")
    with pytest.raises(InputError):
        run_sweep(
            ResultStore(tmp_path),
            TRIALS,
            lambda trial: make_record(run_id=trial.run_id),
            lambda trial, reason: make_record(failed=True, run_id=trial.run_id, reason=reason),
        )


def sweep_in_process(folder: Path, template: str, name: str, meet, failing: str | None) -> None:
    """One process of several on one folder; leaves a line per trial it ran in a file of its own."""

    meetings = iter([meet])

    def run_trial(trial: Trial) -> Record:
        # Nobody finishes a trial before both have begun one, so that both sweeps do overlap.
        for first_trial in meetings:
            first_trial.wait(30)
        with (folder / f"{name}.ran").open("a") as handle:
            handle.write(trial.run_id + "\n")
        if trial.run_id == failing:
            raise ValueError("always")
        content = Record.from_json(template).to_dict()
        return Record.from_dict({**content, "run_id": trial.run_id, "parameters": os.getpid()})

    def failed_record(trial: Trial, reason: str) -> Record:
        content = Record.from_json(template).to_dict()
        changes = {"run_id": trial.run_id, "status": "failed", "reason": reason, "result": None}
        return Record.from_dict({**content, **changes})

    records = run_sweep(ResultStore(folder), TRIALS, run_trial, failed_record)
    assert [record.run_id for record in records] == [trial.run_id for trial in TRIALS]


@pytest.mark.slow
@pytest.mark.parametrize("failing", [None, "run-0"])
def test_two_processes_on_one_folder_both_finish_and_no_trial_is_lost_or_run_twice(tmp_path, make_record, failing):
    context = multiprocessing.get_context("spawn")
    meet = context.Barrier(2)
    workers = [
        context.Process(target=sweep_in_process, args=(tmp_path, make_record().to_json(), name, meet, failing))
        for name in ("one", "two")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    ran = sorted(line for path in tmp_path.glob("*.ran") for line in path.read_text().split())
    assert ran == [trial.run_id for trial in TRIALS]
    assert [record.run_id for record in ResultStore(tmp_path).load()] == ran


SLOW_SWEEP = """
import sys, time
from lde_bench.runs import Record, ResultStore, run_sweep
from types import SimpleNamespace
template = Record.from_json(sys.stdin.read()).to_dict()
def run_trial(trial):
    print(trial.run_id, flush=True)
    time.sleep(0.05 if trial.run_id != "run-3" else 60)
    return Record.from_dict({**template, "run_id": trial.run_id, "parameters": 1})
trials = [SimpleNamespace(run_id=f"run-{number}") for number in range(6)]
run_sweep(ResultStore(sys.argv[1]), trials, run_trial, None)
"""


def test_a_killed_sweep_goes_on_where_it_was_and_changes_no_record(tmp_path, make_record):
    command = [sys.executable, "-c", SLOW_SWEEP, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sweep:
        sweep.stdin.write(make_record().to_json())
        sweep.stdin.close()
        while "run-3" not in sweep.stdout.readline():
            pass
        sweep.kill()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert len(before) == 3
    ran = []

    def run_trial(trial: Trial) -> Record:
        ran.append(trial.run_id)
        return make_record(run_id=trial.run_id, parameters=2)

    records = run_sweep(ResultStore(tmp_path), TRIALS, run_trial, lambda trial, reason: pytest.fail(reason))
    assert ran == ["run-3", "run-4", "run-5"]
    assert [record.parameters for record in records] == [1, 1, 1, 2, 2, 2]
    assert all(path.read_bytes() == content for path, content in before.items())
