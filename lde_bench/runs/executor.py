"""Run a plan in this process, beside any number of other processes on the same results folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from lde_bench.errors import StorageError, SweepStopped
from lde_bench.runs.plan import Node, Plan, Task
from lde_bench.runs.record import Record
from lde_bench.runs.store import ResultStore

if TYPE_CHECKING:
    from lde_bench.training.loop import Progress  # torch, which whoever reads records need not wait for

log = logging.getLogger(__name__)

#: What a watcher is told of a task: it is in the store already, starts, ended well, failed, or runs in another process.
Event = Literal["reused", "started", "done", "failed", "waiting"]

#: In the reason of what failed for want of a prerequisite.
_OF_PREREQUISITE = ", whose weights it takes, failed: "


class Watcher:
    """Whoever follows a sweep; this one looks away."""

    def event(self, event: Event, task: Task, record: Record | None) -> None:
        """Something happened to a task; `record` is that of a trial that ended."""

    def progress(self, task: Task, progress: Progress) -> None:
        """A running task moved on."""

    def note(self, message: str) -> None:
        """A task has something to say."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    `failure` says why that which other tasks take over from it is not there. There may be a done record beside it: of a
    trial whose lost weights could not be trained again.
    """

    event: Event
    record: Record | None = None
    failure: str | None = None


def run_sweep(
    store: ResultStore, plan: Plan | Sequence[Task], watcher: Watcher | None = None, *, fail_fast: bool = False
) -> list[Record]:
    """Run what is left of a plan and return the record of each asked trial, in the order of the plan.

    Any `Exception` that a task raises is recorded as its failure, and as that of all that takes over from it, and the
    sweep goes on; so check what all tasks share (paths, names, dataset) before. Ctrl-C stops the sweep at once. Tasks
    that another process is running are left to the end and then waited for; whatever it recorded is taken over. A
    failed trial of an earlier sweep is tried again.

    Raises:
        SweepStopped: with `fail_fast`, at the first failure.
        StorageError: a record cannot be written.
    """
    plan = plan if isinstance(plan, Plan) else Plan.of(plan)
    watcher = watcher or Watcher()
    sweep = Sweep(store, plan, watcher, fail_fast)
    for wait in (False, True):
        blocked: set[str] = set()
        for node in list(sweep.pending.values()):
            if blocked.intersection(node.depends_on):
                blocked.add(node.run_id)
                continue
            outcome = sweep.attempt(node)
            if outcome is None and wait:
                watcher.event("waiting", node.task, None)
                outcome = sweep.attempt(node, wait=True)
            if outcome is None:
                blocked.add(node.run_id)
            else:
                sweep.end(node, outcome)
    return sweep.records()


class Sweep:
    """What is known of a plan while it runs, wherever its tasks do.

    Attributes:
        pending: the nodes that have not ended, by `run_id`, in order.
        earlier: their records when the sweep began.
    """

    def __init__(self, store: ResultStore, plan: Plan, watcher: Watcher, fail_fast: bool = False) -> None:
        self.store, self.plan, self.watcher, self.fail_fast = store, plan, watcher, fail_fast
        self.pending = {node.run_id: node for node in plan.left(store)}
        self.earlier = {run_id: store.find(run_id) for run_id in self.pending}
        self._ended: dict[str, Record] = {}
        self._failures: dict[str, str] = {}
        for node in plan.nodes:
            if node.asked and node.run_id not in self.pending:
                record = store.find(node.run_id)
                assert record is not None
                self._ended[node.run_id] = record
                watcher.event("reused", node.task, record)

    def attempt(self, node: Node, *, wait: bool = False) -> Outcome | None:
        """Run a node here, unless another process has, or a prerequisite failed; None while another process does."""
        if (reason := self.blocking_failure(node)) is not None:
            return fail(node.task, self.store, reason)
        return attempt(node, self.store, self.watcher, self.earlier[node.run_id], wait=wait)

    def blocking_failure(self, node: Node) -> str | None:
        """Why a node cannot run, where a prerequisite of it failed."""
        for run_id in node.depends_on:
            if run_id in self._failures:
                return f"{self.plan[run_id].task.title}{_OF_PREREQUISITE}{self._failures[run_id]}"
        return None

    def end(self, node: Node, outcome: Outcome) -> None:
        """Take note of how a node ended.

        Raises:
            SweepStopped: it failed, and the sweep is to stop at the first failure.
        """
        del self.pending[node.run_id]
        if outcome.record is not None:
            self._ended[node.run_id] = outcome.record
        if outcome.failure is not None:
            self._failures[node.run_id] = outcome.failure
        if outcome.failure is not None and outcome.record is not None and outcome.record.done:
            self.watcher.note(f"{node.task.title}: {outcome.failure}; its record stands")
        self.watcher.event(outcome.event, node.task, outcome.record)
        if outcome.failure is not None and self.fail_fast:
            raise SweepStopped(
                f"{node.task.title} failed: {outcome.failure}; stopped there with {len(self.pending)} to run, as "
                "--fail-fast asks; the same command goes on."
            )

    def records(self) -> list[Record]:
        """The records of the asked trials that ended, in the order of the plan."""
        return [self._ended[node.run_id] for node in self.plan.nodes if node.asked and node.run_id in self._ended]


def attempt(
    node: Node,
    store: ResultStore,
    watcher: Watcher,
    earlier: Record | None,
    *,
    wait: bool = False,
    side_by_side: bool = False,
) -> Outcome | None:
    """Run a node under its lock, unless all that is wanted of it is there; None where another process runs it.

    See `settled` for the `earlier` record. `side_by_side` marks the record of a trial that shares the machine with
    others.

    Raises:
        StorageError: a record cannot be written, or one may stand there that cannot be read.
    """
    from lde_bench.process import process_unchanged  # torch, which whoever reads records need not wait for

    task = node.task
    with store.lock(node.run_id, wait=wait) as held:
        if not held:
            return None
        if (outcome := settled(node, store, earlier)) is not None:
            return outcome
        watcher.event("started", task, None)
        try:
            with process_unchanged():  # whatever a class of a user's own did outside its own methods
                record = task.run(store, partial(watcher.progress, task), watcher.note)
            if record is not None:
                record = store.write(record.beside_others() if side_by_side else record)
        except StorageError:  # a full disk is every task's
            raise
        except Exception as error:  # one task's failure is its own
            log.debug("%s failed", node.run_id, exc_info=True)
            return fail(task, store, describe_failure(error))
        task.paths(store).discard_unfinished()
        return Outcome("done", record)


def settled(node: Node, store: ResultStore, earlier: Record | None) -> Outcome | None:
    """How a node ended in another process; None where it is to be run. To be asked under its lock.

    A failure that is not the `earlier` record is another process's verdict on the same trial, and stands, unless it is
    one on a prerequisite, which has ended well here.

    Raises:
        StorageError: a record may stand there that cannot be read.
    """
    found = store.find(node.run_id)
    if node.is_done(store):
        return Outcome("reused", found)
    if found is None:
        store.check_no_record(node.task.paths(store).record)
    elif not found.done and found != earlier and _OF_PREREQUISITE not in (found.reason or ""):
        return Outcome("reused", found, found.reason)
    return None


def fail(task: Task, store: ResultStore, reason: str) -> Outcome:
    """Record that a task failed; without a record, where what failed cannot even be made to be described."""
    try:
        record = task.failed_record(reason)
    except Exception:
        log.debug("no record of %s", task.title, exc_info=True)
        record = None
    return Outcome("failed", None if record is None else store.write(record), reason)


def describe_failure(error: BaseException) -> str:
    """Type and message of an exception on one line, e.g. `TrainingDiverged: the loss is NaN at step 12`."""
    message = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name}: {message[:500]}" if message else name
