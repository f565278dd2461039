"""Plans on the workers of a Dask cluster: in this process where that is enough, in processes of their own where not."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from cluster_plan import small_plan
from swept import contents

from lde_bench.cli import main
from lde_bench.data import Dataset
from lde_bench.errors import InputError, SweepStopped
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.files import write_bytes_atomic
from lde_bench.runs import Plan, Record, ResultStore, run_sweep, workers
from lde_bench.runs.executor import Watcher
from lde_bench.runs.workers import Assignment, Crew, Worker, _address_in, connect
from lde_bench.training import loop
from lde_bench.training.plan import Budget
from lde_bench.trials import density as density_trials
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import plan_trials


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `small_plan` sets is put back."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", loop.CHECKPOINT_SECONDS)
    monkeypatch.setattr(density_trials, "trial_laws", density_trials.trial_laws)


class Notes(Watcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.events: list[tuple[str, str]] = []

    def event(self, event, task, record):
        self.events.append((event, task.title))

    def note(self, message):
        self.notes.append(message)


def one_by_one(folder: Path, plan: Plan) -> dict[str, Any]:
    """What the plan gives in this process, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run_sweep(ResultStore(folder), plan)
    finally:
        torch.set_num_threads(threads)
    return contents(folder, but=("compile",))


# -- without Dask ------------------------------------------------------------------------------------------------------


def test_without_dask_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(InputError, match=r"workers need Dask, .* pip install 'lde-bench\[dask\]'"), connect(2, None):
        pass


def test_shares_that_are_none_are_refused_before_any_data_are_read(capsys):
    for text in ("0/3", "4/3", "1", "a/b"):
        assert main(["table", "--dataset", "natural8x8", "--only", text]) == 2
        assert f"{text} is no share of the trials; give for example 2/6" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{}", "[]", '{"address": 3}', "no JSON", ""])
def test_a_scheduler_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "scheduler.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"scheduler\.json: (tells no address|cannot be read as a scheduler file)"):
        _address_in(path)
    path.write_text('{"address": "tcp://10.0.0.1:8786"}')
    assert _address_in(path) == "tcp://10.0.0.1:8786"


class Drawer:
    """A client that keeps what workers would be given."""

    def __init__(self) -> None:
        self.given: list[Assignment] = []

    def submit(self, function: object, brief: object, assignment: Assignment, **options: object) -> None:
        self.given.append(assignment)


def far_away() -> Worker:
    return Worker("tcp://far", "far", sees_folder=False)


def test_what_another_process_has_done_meanwhile_is_given_to_no_worker(tmp_path):
    store, notes, drawer = ResultStore(tmp_path), Notes(), Drawer()
    crew = Crew(cast(Any, drawer), store, small_plan(), small_plan, notes)
    one_by_one(tmp_path, small_plan())
    before = contents(tmp_path)
    for node in list(crew.sweep.pending.values()):
        crew._assign(far_away(), node)
    assert drawer.given == []
    assert crew.sweep.pending == {}
    assert [event for event, _ in notes.events] == ["reused"] * 3
    assert contents(tmp_path) == before


def test_a_worker_without_the_folder_is_sent_the_weights_of_a_twin_on_other_data(tmp_path):
    def plan(methods: Sequence[str], test: int) -> Plan:
        rows = skewed_rows(360, 63, 0)
        arrays = {"train": rows[:200], "validation": rows[200:300], "test": rows[300 : 300 + test]}
        data = Dataset.of("made-up", "1", 0, arrays, is_patch=True)
        options = TrainingOptions(device="cpu", precision="fp32")
        return Plan.of(plan_trials("tests", data, methods, [2], 1, Budget.of(steps=3), options))

    small_plan()  # which sets the laws aside
    plain, average = (f"made-mog{wrapper}:components=2,hidden=8" for wrapper in ("", "+sym"))
    (twin,) = run_sweep(ResultStore(tmp_path / "here"), plan([plain], 60))
    drawer, derived = Drawer(), plan([average], 30)
    crew = Crew(cast(Any, drawer), ResultStore(tmp_path / "here"), derived, small_plan, Notes())
    (node,) = crew.sweep.pending.values()
    crew._assign(far_away(), node)
    (assignment,) = drawer.given
    there = ResultStore(tmp_path / "there")
    for path, content in assignment.files.items():
        write_bytes_atomic(there.folder / path, content)
    record = node.task.run(there, lambda progress: None, lambda message: None)
    assert record is not None
    assert record.training["weights_of"] == [twin.run_id]
    assert record.training["weights_commit"] == twin.provenance["commit"]


# -- workers that are threads of this process --------------------------------------------------------------------------


@pytest.fixture
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with distributed.LocalCluster(processes=False, **options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("seen", [True, False], ids=["the folder is seen", "files are sent"])
def test_a_worker_gives_the_records_of_one_process_to_the_bit(client, tmp_path, monkeypatch, seen):
    expected = one_by_one(tmp_path / "here", small_plan())
    monkeypatch.setattr(workers, "sees_folder", lambda brief: seen)
    store, notes = ResultStore(tmp_path / "there"), Notes()
    crew = Crew(client, store, small_plan(), small_plan, notes, threads=1)
    records = crew.run()
    assert [record.status for record in records] == ["done"] * 3
    assert contents(store.folder, but=("compile",)) == expected
    assert [event for event in notes.events if event[0] == "done"] == [("done", record) for record in titles(records)]
    assert not [path for path in store.folder.rglob("*") if path.suffix in (".ckpt", ".tmp")]
    assert not any(record.cost.side_by_side for record in records), "one worker runs beside nobody"
    assert crew.run() == records, "nothing is left, and nothing is run again"


def titles(records: list[Record]) -> list[str]:
    return [f"{record.method}{'' if record.components is None else ' K=2'}, trial 1" for record in records]


@pytest.mark.slow
def test_a_worker_of_other_versions_or_data_says_which_and_takes_no_trial(client, tmp_path):
    store = ResultStore(tmp_path)
    crew = Crew(client, store, small_plan(), small_plan, Watcher())
    crew.brief = replace(crew.brief, versions={**crew.brief.versions, "torch": "1.0"})
    with pytest.raises(
        InputError, match=rf"no worker can take a trial\. .*torch {re.escape(torch.__version__)} in place of 1\.0"
    ):
        crew.run()
    crew = Crew(client, store, small_plan(), small_plan, Watcher())
    crew.brief = replace(crew.brief, data={"made-up": "0" * 64})
    with pytest.raises(InputError, match=r"data made-up [0-9a-f]{64} in place of 0{64}"):
        crew.run()
    assert store.load() == []


@pytest.mark.slow
def test_a_worker_on_which_the_plan_is_another_says_so(client, tmp_path):
    crew = Crew(client, ResultStore(tmp_path), small_plan(), small_plan, Watcher())
    crew.brief = replace(crew.brief, tasks=crew.brief.tasks | {"a-trial-in-bf16"})
    with pytest.raises(InputError, match=r"means other trials on it, .* give --device and --precision"):
        crew.run()


@pytest.mark.slow
def test_workers_run_a_share_of_the_plan(client, tmp_path):
    share = small_plan().share(2, 2)
    records = Crew(client, ResultStore(tmp_path), share, small_plan, Notes(), threads=1).run()
    assert [record.run_id for record in records] == [node.run_id for node in share.nodes if node.asked]
    assert all(record.done for record in records)


@pytest.mark.slow
def test_a_task_whose_worker_dies_again_and_again_has_failed_and_what_takes_over_from_it(client, tmp_path):
    crew = Crew(client, ResultStore(tmp_path), small_plan(), small_plan, Notes(), retries=1)
    node = next(iter(crew.sweep.pending.values()))
    crew._count_death(node, "tcp://one")
    assert node.run_id in crew.sweep.pending
    crew._count_death(node, "tcp://two")
    records = crew.run()
    assert [record.reason for record in records if not record.done] == [
        "its worker died 2 times in a row, as when memory runs out",
        f"{node.task.title}, whose weights it takes, failed: its worker died 2 times in a row, as when memory runs out",
    ]
    assert sum(record.done for record in records) == 1
    crew = Crew(client, ResultStore(tmp_path), small_plan(), small_plan, Notes(), retries=0, fail_fast=True)
    with pytest.raises(SweepStopped, match="its worker died 1 times in a row"):
        crew._count_death(node, "tcp://one")


# -- workers that are killed -------------------------------------------------------------------------------------------


class Killer(Notes):
    """Kills, once, the worker that trains."""

    crew: Crew
    killed = 0

    def progress(self, task, progress):
        if self.killed or progress.step < 3:
            return
        (worker,) = (each for each in self.crew.workers.values() if each.node and each.node.run_id == task.run_id)
        os.kill(self.crew.client.run(os.getpid, workers=[worker.address])[worker.address], signal.SIGKILL)
        self.killed = time.monotonic_ns()


def page_faults() -> int:
    """Page faults of twenty arrays of 256 pages, one after the other."""
    np.ones(1 << 17)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(1 << 17)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.slow
def test_the_trial_of_a_killed_worker_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    import dask

    steps = 120
    expected = one_by_one(tmp_path / "here", small_plan(steps))
    store, killer = ResultStore(tmp_path / "there"), Killer()
    with connect(2, None) as client:
        make_plan = partial(small_plan, steps)
        killer.crew = Crew(client, store, small_plan(steps), make_plan, killer, threads=1)
        records = killer.crew.run()
        has_profiler = client.run(dask.config.get, "distributed.worker.profile.enabled")
        faults = client.run(page_faults)
    assert killer.killed
    assert not any(has_profiler.values())
    assert min(faults.values()) < 100, "a worker that has run a task keeps freed memory"
    assert [record.reason for record in records] == [None] * 3
    assert sum("is gone; death 1" in note for note in killer.notes) == 1
    assert any("continuing from step" in note for note in killer.notes)
    assert contents(store.folder, but=("compile",)) == expected
    assert any(record.cost.side_by_side for record in records)
    assert not list(store.folder.rglob("*.ckpt"))
