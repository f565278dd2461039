"""What commands that train share: run or print the plan of trials, print and write the tables of the records, and give
the exit code.
"""

from __future__ import annotations

import json as json_module
import os
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lde_bench.errors import CalledExit, InputError, NothingMeasured

if TYPE_CHECKING:
    from lde_bench.cli.app import Running, Sweeping
    from lde_bench.report.table import Table
    from lde_bench.runs import Plan, Record, ResultStore
    from lde_bench.trials.base import Trial
    from lde_bench.trials.images import ImageTrial


def use_vgg(weights: Path | None, cache_dir: Path | None) -> None:
    """Take the weights of VGG19 from this file, and keep what is computed by it in this folder."""
    from lde_bench.features.kept import keep_in
    from lde_bench.features.vgg19 import use_weights

    use_weights(weights)
    keep_in(cache_dir)


def check_vgg_is_used(weights: Path | None, planned: Sequence[ImageTrial]) -> None:
    """Raises `InputError` for weights of VGG19 that no trial has a use for."""
    if weights is not None and not any(trial.looks_through_vgg for trial in planned):
        raise InputError(
            f"--vgg {weights}: nothing here looks through VGG19, neither a loss nor a measure; leave it out, or ask "
            "for --features vgg."
        )


@dataclass(frozen=True)
class Job:
    """What a command that trains asks for: trials, how they are run, and where their records go.

    `suffix` tells the files of tables apart that a sweep's folder holds beside its usual one.
    """

    planned: Sequence[Trial]
    sweeping: Sweeping
    running: Running
    suffix: str = ""

    def run(self, argv: Sequence[str]) -> int:
        """Run the trials, or print the plan of them; the exit code. `argv` is the command, which a worker is told.

        Raises:
            InputError: the share is none of the plan, the results folder cannot be written, no worker is to be had, or
                what is asked of them cannot be.
            SweepStopped: a trial failed, and `--fail-fast` was given.
            NothingMeasured: no trial gave a number.
        """
        from lde_bench.progress import say
        from lde_bench.runs import Plan, ResultStore

        self.sweeping.check()
        plan, store = Plan.of(self.planned), ResultStore(self.running.results_dir)
        if self.sweeping.only is not None:
            plan = plan.share(self.sweeping.only.index, self.sweeping.only.count)
        if self.sweeping.plan:
            print_plan(plan, store, self.running.json)
            return 0
        store.check_writable()
        records = self._records(plan, store, argv)
        if not records:
            say("This share of the plan holds no row of the table.")
            if self.running.json:
                print(json_module.dumps({"tables": []}))
            return 0
        return finish(records, store, self.running.json, self.suffix)

    def _records(self, plan: Plan, store: ResultStore, argv: Sequence[str]) -> list[Record]:
        from lde_bench.runs.workers import RETRIES
        from lde_bench.trials.run import run_on_workers, run_trials

        asked = self.sweeping
        if asked.workers is None and asked.scheduler is None:
            return run_trials(plan, store, fail_fast=asked.fail_fast)
        return run_on_workers(
            plan,
            store,
            partial(plan_of_command, tuple(argv), Path.cwd()),
            workers=asked.workers,
            scheduler=asked.scheduler,
            threads=self.running.threads,
            retries=RETRIES if asked.retries is None else asked.retries,
            fail_fast=asked.fail_fast,
            resource="GPU" if self.running.device == "cuda" and asked.scheduler is not None else None,
        )


def plan_of_command(argv: Sequence[str], folder: Path) -> Plan:
    """The whole plan of a command that was given in `folder`, on another machine in the same place if it is there.

    Raises:
        InputError: the command is wrong, or its data are not to be had.
    """
    from lde_bench.cli.app import app
    from lde_bench.runs import Plan

    if folder.is_dir():
        os.chdir(folder)
    return Plan.of(app(argv, exit_on_error=False, print_error=False).planned)


def print_plan(plan: Plan, store: ResultStore, json: bool) -> None:
    """Print the nodes of a plan: number, title, what each needs first, about how long it takes, and how it stands."""
    from lde_bench.progress import duration
    from lde_bench.report.document import Grid, Paragraph
    from lde_bench.report.numbers import DASH
    from lde_bench.report.render.text import print_blocks

    numbers = {node.run_id: node.number for node in plan.nodes}
    left = {node.run_id for node in plan.left(store)}
    entries: list[dict[str, Any]] = [
        {
            "number": node.number,
            "run_id": node.run_id,
            "title": node.task.title,
            "asked": node.asked,
            "depends_on": [numbers[run_id] for run_id in node.depends_on],
            "expected_seconds": round(node.task.reference_seconds(), 1),
            "state": "to run" if node.run_id in left else "done" if node.is_done(store) else "not needed",
        }
        for node in plan.nodes
    ]
    seconds = sum(entry["expected_seconds"] for entry in entries if entry["state"] == "to run")
    if json:
        print(json_module.dumps({"plan": entries, "expected_seconds": round(seconds, 1)}, indent=2))
        return
    rows = [
        [
            str(entry["number"]),
            entry["title"],
            ", ".join(map(str, entry["depends_on"])) or DASH,
            duration(entry["expected_seconds"]) if entry["expected_seconds"] else DASH,
            entry["state"],
        ]
        for entry in entries
    ]
    print_blocks([Grid(["number", "trial", "after", "about", "state"], rows, left=5)])
    total = f"{len(left)} of {len(entries)} to run, about {duration(seconds)} one after the other"
    print_blocks([Paragraph(f"{total} on 2 cores with bf16 instructions.")])


def finish(records: Sequence[Record], store: ResultStore, json: bool, suffix: str = "") -> int:
    """Print the tables of these records and write those of all comparable records; the exit code.

    Records of further experiments than that of the first stand beside them: their outcome does not decide the code.
    `suffix` tells the files of tables apart that a sweep's folder holds beside its usual one.

    Raises:
        NothingMeasured: no trial gave a number.
    """
    from lde_bench.experiments import experiment_of
    from lde_bench.progress import say
    from lde_bench.report.experiment import build_tables, write_tables
    from lde_bench.report.folds import fold_summaries, write_fold_summary
    from lde_bench.report.render.text import print_blocks
    from lde_bench.report.table import table_blocks, to_payload

    tables = build_tables(records, experiment_of)
    summaries = fold_summaries(tables)
    if json:
        payload = {"tables": [to_payload(table) for table in tables]}
        payload |= {"folds": [asdict(summary) for summary in summaries]} if summaries else {}
        print(json_module.dumps(payload, indent=2, allow_nan=False))
    else:
        blocks = [table_blocks(table) for table in tables] + [summary.blocks() for summary in summaries]
        print_blocks([block for each in blocks for block in each])
    first, stored = records[0], store.load()
    stem = ("table" if first.dataset.seed == 0 else f"table-seed{first.dataset.seed}") + suffix
    written: list[Path] = []
    everywhere: list[Table] = []
    for shared in dict.fromkeys(map(_comparable, records)):
        comparable = [record for record in stored if _comparable(record) == shared]
        folder = store.paths(comparable[0]).folder
        beside = [record for record in stored if store.paths(record).folder == folder]
        written += write_tables(comparable, folder, stem + _tag(comparable[0], beside), experiment_of)
        everywhere += build_tables(comparable, experiment_of)
    for summary in fold_summaries(everywhere):
        folder = _folder(store, first, summary.dataset, summary.dataset_version)
        written += write_fold_summary(summary, folder, f"{stem}-folds")
    for path in written:
        say(f"written: {path}")
    ended = [record for record in records if (record.reason or "").startswith(CalledExit.__name__)]
    for record in ended:
        say(f"lde-bench: {record.method} has no row: {record.reason}.")
    broken = {law for record in records for law, verdict in record.laws.items() if not verdict.passed}
    if broken:
        say(f"lde-bench: a row is refused because its model breaks a law: {', '.join(sorted(broken))}.")
        return 1
    if not any(record.done for record in records if record.experiment == first.experiment):
        raise NothingMeasured(f"no trial finished, so there is no number; the first reason is: {first.reason}")
    return CalledExit.exit_code if ended else 0


def _comparable(record: Record) -> tuple[Hashable, ...]:
    """What the records of one file of tables share."""
    from lde_bench.runs.rows import window_of

    return record.experiment, record.budget, record.benchmark_version, record.dataset, window_of(record)


def _tag(record: Record, beside: Sequence[Record]) -> str:
    """What tells the files of the tables of these data from those of others in one folder; the first to come need none.

    Args:
        record: one of the table.
        beside: those of the folder.
    """
    data = record.dataset
    alike = [
        other.dataset.content_hash + other.benchmark_version
        for other in sorted(beside, key=lambda other: str(other.provenance.get("started") or ""))
        if (other.dataset.seed, other.dataset.sizes.test) == (data.seed, data.sizes.test)
    ]
    mine = data.content_hash + record.benchmark_version
    return "" if mine in alike[:1] else f"-{data.content_hash[:6]}-b{record.benchmark_version}"


def _folder(store: ResultStore, record: Record, dataset: str, version: str) -> Path:
    """Where the tables of a dataset go that was run as `record` was."""
    place = store.place(
        experiment=record.experiment, dataset=dataset, version=version, budget=record.budget, run_id=record.run_id
    )
    return place.folder
