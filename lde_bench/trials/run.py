"""Run the trials of a plan, beside any number of other processes on the same results folder."""

from __future__ import annotations

from collections.abc import Sequence

from lde_bench.progress import duration, say
from lde_bench.runs import Plan, Record, ResultStore, run_sweep
from lde_bench.runs.display import SweepDisplay
from lde_bench.runs.plan import Node
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
