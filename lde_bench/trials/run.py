"""Run the trials of a plan, beside any number of other processes on the same results folder."""

from __future__ import annotations

from collections.abc import Sequence

from lde_bench.process import process_unchanged
from lde_bench.progress import duration, say
from lde_bench.runs import Record, ResultStore, run_sweep
from lde_bench.runs.display import SweepDisplay
from lde_bench.trials.base import Trial, failed_record


def run_trials(planned: Sequence[Trial], store: ResultStore) -> list[Record]:
    """Run the trials that have no record yet, saying beforehand about how long that will take."""
    left = [trial for trial in planned if (found := store.find(trial.run_id)) is None or not found.done]
    if left:
        seconds = sum(trial.reference_seconds() for trial in left)
        done = f" ({len(planned) - len(left)} done before)" if len(left) < len(planned) else ""
        trials = "1 trial" if len(left) == 1 else f"{len(left)} trials"
        say(f"{trials} to run{done}: about {duration(seconds)} on 2 cores with bf16 instructions.")
    with SweepDisplay(len(planned)) as display:

        def run(trial: Trial) -> Record:
            with process_unchanged():  # whatever a class of a user's own did outside its own methods
                return trial.run(store, display.progress, display.note)

        return run_sweep(
            store,
            planned,
            run,
            failed_record,
            lambda event, trial, record: display.event(event, trial.title, record),
        )
