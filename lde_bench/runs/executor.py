"""Run a list of trials in this process, beside any number of other processes on the same results folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeVar

from lde_bench.errors import StorageError
from lde_bench.runs.record import Record
from lde_bench.runs.store import ResultStore

log = logging.getLogger(__name__)


class Trial(Protocol):
    """Anything that knows the name of its run."""

    @property
    def run_id(self) -> str: ...


_Trial = TypeVar("_Trial", bound=Trial)

#: What `notify` is told: the trial has a record already, starts, ended well, failed, or runs in another
#: process.
Event = Literal["reused", "started", "done", "failed", "waiting"]


def run_sweep(
    store: ResultStore,
    trials: Sequence[_Trial],
    run_trial: Callable[[_Trial], Record],
    failed_record: Callable[[_Trial, str], Record],
    notify: Callable[[Event, _Trial, Record | None], None] = lambda event, trial, record: None,
) -> list[Record]:
    """Run the trials that have no done record and return one record a run, in the order of `trials`.

    `run_trial` trains and measures; any `Exception` it raises is recorded by `failed_record(trial, reason)`
    and the sweep goes on, so check what all trials share (paths, names, dataset) before. Ctrl-C stops the
    sweep at once. Trials that another process is running are left to the end and then waited for; whatever
    it recorded is taken over. A failed trial of an earlier sweep is tried again. Raises `InputError` when a
    record cannot be written.
    """
    todo = {trial.run_id: trial for trial in trials}  # the same run asked for twice is run once
    earlier = {run_id: store.find(run_id) for run_id in todo}
    records: dict[str, Record] = {}
    deferred: list[_Trial] = []

    def attempt(trial: _Trial, *, wait: bool) -> bool:
        run_id = trial.run_id
        with store.lock(run_id, wait=wait) as held:
            if not held:
                return False
            found = store.find(run_id)
            # A failure written since this sweep began is another process's verdict on the same trial.
            if found is not None and (found.done or found != earlier[run_id]):
                records[run_id] = found
                notify("reused", trial, found)
                return True
            notify("started", trial, None)
            try:
                record = run_trial(trial)
            except StorageError:  # a full disk is every trial's
                raise
            except Exception as error:  # one trial's failure is its own
                reason = describe_failure(error)
                log.debug("trial %s failed", run_id, exc_info=True)
                record = failed_record(trial, reason)
            records[run_id] = store.write(record)
            if records[run_id].done:
                store.paths(record).discard_unfinished()
            notify("done" if records[run_id].done else "failed", trial, records[run_id])
            return True

    for trial in todo.values():
        if not attempt(trial, wait=False):
            deferred.append(trial)
    for trial in deferred:
        notify("waiting", trial, None)
        attempt(trial, wait=True)
    return [records[run_id] for run_id in todo]


def describe_failure(error: BaseException) -> str:
    """Type and message of an exception on one line, e.g. `TrainingDiverged: the loss is NaN at step 12`."""
    message = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name}: {message[:500]}" if message else name
