"""Run the trials of a plan, beside any number of other processes on the same results folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lde_bench.progress import duration, say
from lde_bench.runs import Plan, Record, ResultStore, run_sweep
from lde_bench.runs.display import SweepDisplay
from lde_bench.runs.plan import Node
from lde_bench.runs.workers import RETRIES, Crew, connect, threads_each
from lde_bench.trials.base import Trial


def run_trials(plan: Plan | Sequence[Trial], store: ResultStore, *, fail_fast: bool = False) -> list[Record]:
    """Run what has no record yet, saying beforehand about how long that will take; a record for each asked trial.

    Raises:
        SweepStopped: with `fail_fast`, at the first failure.
        StorageError: a record cannot be written.
    """
    plan = plan if isinstance(plan, Plan) else Plan.of(plan)
    with announced(plan, store) as display:
        return run_sweep(store, plan, display, fail_fast=fail_fast)


def run_on_workers(
    plan: Plan,
    store: ResultStore,
    make_plan: Callable[[], Plan],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    threads: int | None = None,
    retries: int = RETRIES,
    fail_fast: bool = False,
    resource: str | None = None,
) -> list[Record]:
    """As `run_trials`, on workers of this machine or of a Dask scheduler; see `lde_bench.runs.workers`.

    Args:
        make_plan: makes the plan again on a worker; a function that can be imported there, or a `partial` of one.
        workers: from 1 up, here; None with a scheduler.
        scheduler: its address, or the file that tells it; None with workers.
        threads: of each trial; None: this machine's divided among the workers, or all that a worker was given.
        retries: how often in a row a trial whose worker died, and that got no further, is given to another.
        resource: take workers alone that state this Dask resource.

    Raises:
        InputError: Dask is not installed, the scheduler does not answer, or no worker can take a trial.
        SweepStopped: with `fail_fast`, at the first failure.
        StorageError: a record cannot be written.
    """
    if threads is None and workers is not None:
        threads = threads_each(workers)
    with connect(workers, scheduler) as client, announced(plan, store, workers or 1) as display:
        return Crew(
            client,
            store,
            plan,
            make_plan,
            display,
            threads=threads,
            retries=retries,
            fail_fast=fail_fast,
            resource=resource,
        ).run()


def announced(plan: Plan, store: ResultStore, workers: int = 1) -> SweepDisplay:
    """Say how much is to run and about how long that takes; what shows the progress of it."""
    left = plan.left(store)
    done = done_before(plan, left)
    if left:
        seconds = sum(node.task.reference_seconds() for node in left) / workers
        beside = f" ({done} done before)" if done else ""
        trials = "1 trial" if len(left) == 1 else f"{len(left)} trials"
        say(f"{trials} to run{beside}: about {duration(seconds)} on 2 cores with bf16 instructions.")
    return SweepDisplay([node.task for node in left], len(left) + done)


def done_before(plan: Plan, left: Sequence[Node]) -> int:
    """How many of the asked trials are not among those left to run."""
    running = {node.run_id for node in left}
    return sum(node.asked and node.run_id not in running for node in plan.nodes)
