from __future__ import annotations

import errno
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lde_bench.errors import InputError, StorageError, SweepStopped, TrainingDiverged
from lde_bench.runs import Plan, Record, ResultStore, run_sweep
from lde_bench.runs.executor import Watcher
from lde_bench.runs.store import RunPaths


@dataclass(frozen=True)
class Trial:
    """A trial that calls `work`, of records like `template`."""

    run_id: str
    template: str = ""
    work: Callable[[Trial], object] = lambda trial: None
    needs: Sequence[Trial] = ()
    dataset: Any = None

    @property
    def title(self) -> str:
        return self.run_id

    def prerequisites(self) -> Sequence[Trial]:
        return self.needs

    def is_ready(self, store: ResultStore) -> bool:
        found = store.find(self.run_id)
        return found is not None and found.done

    def reference_seconds(self) -> float:
        return 1.0

    def paths(self, store: ResultStore) -> RunPaths:
        return RunPaths(store.folder, self.run_id)

    def trained_at(self, store: ResultStore) -> RunPaths:
        return self.paths(store)

    def run(self, store: ResultStore, *_: object) -> Record:
        made = self.work(self)
        return made if isinstance(made, Record) else self.record()

    def record(self, **changes: object) -> Record:
        return Record.from_dict({**Record.from_json(self.template).to_dict(), "run_id": self.run_id, **changes})

    def failed_record(self, reason: str) -> Record:
        return self.record(status="failed", reason=reason, result=None)


TRIALS = [Trial(f"run-{number}") for number in range(6)]


@dataclass(frozen=True)
class Listener(Watcher):
    """Writes the events down."""

    events: list[tuple[str, str]] = field(default_factory=list)

    def event(self, event, task, record):
        self.events.append((event, task.run_id))


@pytest.fixture
def sweep(tmp_path, make_record):
    """Sweep over `TRIALS`, the named runs raising; returns the records, the calls and the events."""

    def run(errors=None, trials=TRIALS, share=(1, 1), **options):
        calls: list[str] = []
        listener = Listener()

        def work(trial):
            calls.append(trial.run_id)
            if error := (errors or {}).get(trial.run_id):
                raise error

        def equipped(trial):
            needs = tuple(map(equipped, trial.needs))
            return replace(trial, template=make_record().to_json(), work=work, needs=needs)

        plan = Plan.of([equipped(trial) for trial in trials]).share(*share)
        records = run_sweep(ResultStore(tmp_path), plan, listener, **options)
        return records, calls, listener.events

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


def test_a_record_that_cannot_be_written_and_a_failure_without_one_fail_their_trials_alone(sweep, monkeypatch):
    run, failed_record = Trial.run, Trial.failed_record

    def unwritable(trial, *rest):
        record = run(trial, *rest)
        assert record.result is not None
        return replace(record, result=replace(record.result, test_nats=math.nan)) if trial.run_id == "run-1" else record

    def unmade(trial, reason):
        if trial.run_id == "run-3":
            raise RuntimeError("the model cannot be made")
        return failed_record(trial, reason)

    monkeypatch.setattr(Trial, "run", unwritable)
    monkeypatch.setattr(Trial, "failed_record", unmade)
    records, calls, events = sweep({"run-3": ValueError("the model cannot be made")})
    assert len(calls) == len(TRIALS)
    assert {record.run_id: record.done for record in records} == {
        trial.run_id: trial.run_id != "run-1" for trial in TRIALS if trial.run_id != "run-3"
    }
    assert [name for event, name in events if event == "failed"] == ["run-1", "run-3"]


def test_a_failed_trial_is_tried_again_by_the_next_sweep(sweep):
    sweep({"run-1": ValueError("once")})
    records, calls, _ = sweep()
    assert calls == ["run-1"]
    assert all(record.done for record in records)


@pytest.mark.parametrize("content", [b'{"schema": 2, "new": 1}', None], ids=["of a newer version", "not to be read"])
def test_what_may_be_a_good_record_is_found_out_before_anything_is_trained(sweep, tmp_path, monkeypatch, content):
    path = tmp_path / "run-0.json"
    path.write_bytes(content or b"{}")
    if content is None:
        read = Path.read_bytes

        def failing(each):
            if each == path:
                raise OSError(errno.EIO, "Input/output error")
            return read(each)

        monkeypatch.setattr(Path, "read_bytes", failing)
    told = r"run-0\.json: (cannot be read .* may be the record|is a record of schema 2)"
    with pytest.raises(StorageError, match=told):
        sweep()
    monkeypatch.undo()
    assert path.read_bytes() == (content or b"{}")
    assert not list(tmp_path.glob("bsds300/**/*.json"))


def test_a_failure_of_what_another_process_lacked_is_not_taken_over(sweep, tmp_path, make_record):
    template = make_record().to_json()
    failed = Trial("average", template).failed_record("base, whose weights it takes, failed: MemoryError")

    class Meanwhile(Listener):
        def event(self, event, task, record):
            super().event(event, task, record)
            if (event, task.run_id) == ("done", "base"):  # another process, in which it failed, says so now
                ResultStore(tmp_path).write(failed)

    average = Trial("average", template, needs=[Trial("base", template)])
    records = run_sweep(ResultStore(tmp_path), [average], Meanwhile())
    assert [record.done for record in records] == [True]


def test_a_trial_is_waited_for_only_while_another_process_runs_it(sweep, tmp_path, make_record):
    listener, template = Listener(), make_record().to_json()
    base = Trial("base", template)
    trials = [Trial(f"average-{number}", template, needs=[base]) for number in range(3)]
    store = ResultStore(tmp_path)
    taken, finish = threading.Event(), threading.Event()

    def other() -> None:
        with ResultStore(tmp_path).lock("base"):
            taken.set()
            finish.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    taken.wait(30)
    threading.Timer(0.5, finish.set).start()
    run_sweep(store, trials, listener)
    thread.join()
    assert [run_id for event, run_id in listener.events if event == "waiting"] == ["base"]


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


# -- what takes over from others ---------------------------------------------------------------------------------------

BASE = Trial("base")
AVERAGE = Trial("average", needs=[BASE])
MIXTURE = Trial("mixture", needs=[Trial("member-0", needs=[BASE]), Trial("member-1")])


def test_what_others_take_over_from_runs_once_and_first_and_is_no_record_that_was_asked_for(sweep):
    records, calls, _ = sweep(trials=[AVERAGE, TRIALS[0], MIXTURE])
    assert calls == ["base", "average", "run-0", "member-0", "member-1", "mixture"]
    assert [record.run_id for record in records] == ["average", "run-0", "mixture"]
    assert sweep(trials=[MIXTURE, BASE])[1] == []


def test_what_nothing_left_takes_over_from_does_not_run(sweep, tmp_path):
    sweep(trials=[AVERAGE])
    (tmp_path / "bsds300").rename(tmp_path / "kept")
    next(tmp_path.rglob("base.json")).unlink()
    assert sweep(trials=[AVERAGE])[1] == []


def test_a_failure_fails_what_takes_over_from_it_with_its_reason_and_nothing_else(sweep):
    records, calls, events = sweep({"base": ValueError("no base")}, trials=[AVERAGE, MIXTURE, TRIALS[0]])
    assert calls == ["base", "member-1", "run-0"]
    assert records[0].reason == "base, whose weights it takes, failed: ValueError: no base"
    assert records[1].reason == f"member-0, whose weights it takes, failed: {records[0].reason}"
    assert records[2].done
    assert events.count(("failed", "mixture")) == 1


def test_fail_fast_stops_at_the_first_failure_and_the_same_plan_goes_on(sweep):
    errors = {"run-2": ValueError("once")}
    with pytest.raises(SweepStopped, match=r"run-2 failed: ValueError: once; stopped there with 3 to run"):
        sweep(errors, fail_fast=True)
    assert sweep()[1] == ["run-2", "run-3", "run-4", "run-5"]


@pytest.mark.parametrize("count", [2, 7])
def test_the_shares_of_a_plan_are_together_the_whole_of_it(sweep, tmp_path, count):
    trials = [AVERAGE, *TRIALS, MIXTURE]
    asked = [sweep(trials=trials, share=(index + 1, count)) for index in range(count)]
    assert sorted(record.run_id for records, _, _ in asked for record in records) == sorted(t.run_id for t in trials)
    ran = [run_id for _, calls, _ in asked for run_id in calls]
    assert sorted(ran) == sorted({"base", "member-0", "member-1", *(trial.run_id for trial in trials)})
    with pytest.raises(InputError, match=f"share 0/{count} is none of 1/{count} to {count}/{count}"):
        sweep(trials=trials, share=(0, count))


def test_a_share_keeps_the_numbers_of_the_plan_and_runs_what_it_needs_of_others(sweep):
    plan = Plan.of([AVERAGE, *TRIALS, MIXTURE])
    share = plan.share(2, 5)
    assert [(node.number, node.run_id, node.asked) for node in share.nodes] == [
        (1, "base", False),
        (2, "average", True),
        (7, "run-4", True),
    ]
    records, calls, _ = sweep(trials=[AVERAGE, *TRIALS, MIXTURE], share=(2, 5))
    assert calls == ["base", "average", "run-4"]
    assert [record.run_id for record in records] == ["average", "run-4"]


def test_a_folder_that_refuses_records_is_an_input_error_and_not_a_failed_trial(tmp_path, make_record):
    (tmp_path / "bsds300").write_text("a file where a folder is needed")
    with pytest.raises(InputError):
        run_sweep(ResultStore(tmp_path), [replace(TRIALS[0], template=make_record().to_json())])


def sweep_in_process(folder: Path, template: str, name: str, meet, failing: str | None) -> None:
    """One process of several on one folder; leaves a line per trial it ran in a file of its own."""

    meetings = iter([meet])

    def work(trial: Trial) -> Record:
        # Nobody finishes a trial before both have begun one, so that both sweeps do overlap.
        for first_trial in meetings:
            first_trial.wait(30)
        with (folder / f"{name}.ran").open("a") as handle:
            handle.write(trial.run_id + "\n")
        if trial.run_id == failing:
            raise ValueError("always")
        return trial.record(parameters=os.getpid())

    trials = [replace(trial, template=template, work=work) for trial in TRIALS]
    records = run_sweep(ResultStore(folder), trials)
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


def sleepy(trial: Trial) -> Record:
    print(trial.run_id, file=sys.stderr, flush=True)  # what a task prints goes there anyway
    time.sleep(0.05 if trial.run_id != "run-3" else 60)
    return trial.record(parameters=1)


def test_a_killed_sweep_goes_on_where_it_was_and_changes_no_record(tmp_path, make_record):
    command = [sys.executable, __file__, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        sweep.stdin.write(make_record().to_json())
        sweep.stdin.close()
        while "run-3" not in sweep.stderr.readline():
            pass
        sweep.kill()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert len(before) == 3
    ran = []

    def work(trial: Trial) -> Record:
        ran.append(trial.run_id)
        return trial.record(parameters=2)

    trials = [replace(trial, template=make_record().to_json(), work=work) for trial in TRIALS]
    records = run_sweep(ResultStore(tmp_path), trials)
    assert ran == ["run-3", "run-4", "run-5"]
    assert [record.parameters for record in records] == [1, 1, 1, 2, 2, 2]
    assert all(path.read_bytes() == content for path, content in before.items())


if __name__ == "__main__":
    template = sys.stdin.read()
    run_sweep(ResultStore(sys.argv[1]), [replace(trial, template=template, work=sleepy) for trial in TRIALS])
