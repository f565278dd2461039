"""What commands that run trials share: run those without a record, print and write the tables, give the exit code."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lde_bench.errors import NothingMeasured

if TYPE_CHECKING:
    from lde_bench.experiments.trials import Trial
    from lde_bench.runs import Record, ResultStore


def run_trials(planned: Sequence[Trial], store: ResultStore) -> list[Record]:
    """Run the trials that have no record yet, saying beforehand about how long that will take."""
    from lde_bench.experiments.trials import failed_record
    from lde_bench.progress import SweepDisplay, duration, say
    from lde_bench.runs import run_sweep

    left = [trial for trial in planned if (found := store.find(trial.run_id)) is None or not found.done]
    if left:
        seconds = sum(trial.reference_seconds() for trial in left)
        done = f" ({len(planned) - len(left)} done before)" if len(left) < len(planned) else ""
        trials = "1 trial" if len(left) == 1 else f"{len(left)} trials"
        say(f"{trials} to run{done}: about {duration(seconds)} on 2 cores with bf16 instructions.")
    with SweepDisplay(len(planned)) as display:
        return run_sweep(
            store,
            planned,
            lambda trial: trial.run(store, display.progress, display.note),
            failed_record,
            lambda event, trial, record: display.event(event, trial.title, record),
        )


def finish(records: Sequence[Record], store: ResultStore, json: bool, suffix: str = "") -> int:
    """Print the table of these records and write the one of all comparable records; the exit code.

    `suffix` tells the files of tables apart that a sweep's folder holds beside its usual one.

    Raises:
        NothingMeasured: no trial gave a number.
    """
    from lde_bench.progress import say
    from lde_bench.report import build_tables, print_tables, to_payload, write_report

    tables = build_tables(records, method_descriptions(records))
    if json:
        print(json_module.dumps({"tables": [to_payload(table) for table in tables]}, indent=2, allow_nan=False))
    else:
        print_tables(tables, sys.stdout)
    first = records[0]
    comparable = [
        record
        for record in store.load()
        if (record.experiment, record.dataset, record.budget, record.benchmark_version)
        == (first.experiment, first.dataset, first.budget, first.benchmark_version)
    ]
    stem = ("table" if first.dataset.seed == 0 else f"table-seed{first.dataset.seed}") + suffix
    for path in write_report(comparable, store.paths(first).folder, stem, method_descriptions(comparable)):
        say(f"written: {path}")
    broken = {law for record in records for law, verdict in record.laws.items() if not verdict.passed}
    if broken:
        say(f"lde-bench: a row is refused because its model breaks a law: {', '.join(sorted(broken))}.")
        return 1
    if not any(record.done for record in records):
        raise NothingMeasured(f"no trial finished, so there is no number; the first reason is: {first.reason}")
    return 0


def method_descriptions(records: Sequence[Record]) -> dict[str, str]:
    """The notes under a table: every method in words."""
    from lde_bench.cards import describe_method

    return {record.method: describe_method(record.method) for record in records}
