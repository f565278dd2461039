"""What a person sees of a sweep on stderr: bars on a terminal, else a line an event."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

from lde_bench.progress import duration, say
from lde_bench.runs.record import Record
from lde_bench.training.loop import Progress


class SweepDisplay:
    """Progress of a list of trials.

    Args:
        trials: how many there are.
    """

    def __init__(self, trials: int) -> None:
        self.trials = trials
        self.finished = 0
        self._bars: Any = None
        self._task: Any = None
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

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def event(self, event: str, title: str, record: Record | None) -> None:
        """A trial starts, ends, fails, was done before, or runs in another process."""
        if event == "started":
            if self._bars is not None:
                self._task = self._bars.add_task(self._label(title), total=1.0, note="")
            else:
                say(f"{self._label(title)} ...")
            return
        if event == "waiting":
            self.note(f"{title}: another process is running it, waiting")
            return
        self.finished += 1
        if self._task is not None and self._bars is not None:
            self._bars.update(self._task, completed=1.0, note="")
        self._task = None
        self.note(f"{title}: {_outcome(event, record)}")

    def progress(self, progress: Progress) -> None:
        """The running trial moved on."""
        if self._bars is not None and self._task is not None:
            score = "" if progress.score is None else f"validation {progress.score:.2f} nats, "
            note = f"{score}{duration(progress.seconds_left)} left"
            self._bars.update(self._task, completed=progress.share, note=note)

    def note(self, message: str) -> None:
        """A line that stays."""
        if self._bars is not None:
            self._bars.console.print(message, highlight=False, markup=False)
        else:
            say(message)

    def _label(self, title: str) -> str:
        return f"[{self.finished + 1}/{self.trials}] {title}"


def _outcome(event: str, record: Record | None) -> str:
    if record is None:
        return event
    if record.result is None:
        return f"failed: {record.reason}"
    if record.test_nats is not None:
        outcome = f"{record.test_nats:.2f} nats on the test set"
    elif record.result.validation_nats is not None:
        outcome = f"{record.result.validation_nats:.2f} nats on the validation set"
    else:
        outcome = "done"
    if event == "reused":
        return f"{outcome} (done before)"
    return f"{outcome}, {duration(record.cost.cpu_seconds if record.cost else 0)} of processor time"
