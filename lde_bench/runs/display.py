"""What a person sees of a sweep on stderr: bars on a terminal, else a line an event."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lde_bench.progress import duration, say
from lde_bench.runs.executor import Event, Watcher
from lde_bench.runs.plan import Task
from lde_bench.runs.record import Record

if TYPE_CHECKING:
    from lde_bench.training.loop import Progress  # torch, which whoever reads records need not wait for

#: The time left is told once this share of the work is done: before, it would be a guess from nothing.
LEAST_SHARE = 0.01


class SweepDisplay(Watcher):
    """Progress of a list of tasks: a bar for each that runs, and one for all.

    Args:
        left: the tasks to run.
        total: how many there are with those that were done before.
    """

    def __init__(self, left: Sequence[Task], total: int) -> None:
        self.total, self._before = total, total - len(left)
        self.counts = {"reused": 0, "done": 0, "failed": 0}
        #: In the order of starting; one that a worker died of starts again under its own.
        self._numbers: dict[str, int] = {}
        # A task of unknown length still counts for something.
        self._seconds = {task.run_id: max(task.reference_seconds(), 1.0) for task in left}
        self._shares = dict.fromkeys(self._seconds, 0.0)
        self._began = time.monotonic()
        self._bars: Any = None
        self._all: Any = None
        self._running: dict[str, Any] = {}
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:3.0f} %"),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            if len(left) > 1:
                self._all = self._bars.add_task("all", total=1.0, note="")

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def event(self, event: Event, task: Task, record: Record | None) -> None:
        if event == "waiting":
            self.note(f"{task.title}: another process is running it, waiting")
            return
        if event == "started":
            number = self._numbers.setdefault(task.run_id, len(self._numbers) + 1)
            label = f"[{self._before + number}/{self.total}] {task.title}"
            if self._bars is None:
                say(f"{label} ...")
            else:
                self._close(task)  # of a worker that died
                self._running[task.run_id] = self._bars.add_task(label, total=1.0, note="")
        else:
            self.counts[event] += 1
            self._close(task)
            self._shares[task.run_id] = 1.0
            self.note(f"{task.title}: {_outcome(event, record)}")
        self._tell_of_all()

    def progress(self, task: Task, progress: Progress) -> None:
        self._shares[task.run_id] = progress.share
        if (bar := self._running.get(task.run_id)) is not None:
            score = "" if progress.score is None else f"validation {progress.score:.2f} nats, "
            note = f"{score}{duration(progress.seconds_left)} left"
            self._bars.update(bar, completed=progress.share, note=note)
        self._tell_of_all()

    def note(self, message: str) -> None:
        """A line that stays."""
        if self._bars is not None:
            self._bars.console.print(message, highlight=False, markup=False)
        else:
            say(message)

    def _close(self, task: Task) -> None:
        """Take away the bar of a task that no longer runs."""
        if (bar := self._running.pop(task.run_id, None)) is not None:
            self._bars.remove_task(bar)

    def _tell_of_all(self) -> None:
        if self._all is None:
            return
        spent = sum(self._seconds.get(run_id, 0.0) * share for run_id, share in self._shares.items())
        share = min(1.0, spent / sum(self._seconds.values()))
        done = self.counts["reused"] + self.counts["done"]
        waiting = self.total - done - self.counts["failed"] - len(self._running)
        note = f"{done} done, {self.counts['failed']} failed, {len(self._running)} running, {waiting} waiting"
        if share > LEAST_SHARE:
            note += f", {duration((time.monotonic() - self._began) * (1 - share) / share)} left"
        self._bars.update(self._all, completed=share, note=note)


def _outcome(event: Event, record: Record | None) -> str:
    if record is None:
        return event
    if record.result is None:
        return f"failed: {record.reason}"
    if event == "failed":
        return event
    if record.test_nats is not None:
        outcome = f"{record.test_nats:.2f} nats on the test set"
    elif record.result.validation_nats is not None:
        outcome = f"{record.result.validation_nats:.2f} nats on the validation set"
    else:
        outcome = "done"
    if event == "reused":
        return f"{outcome} (done before)"
    return f"{outcome}, {duration(record.cost.cpu_seconds if record.cost else 0)} of processor time"
