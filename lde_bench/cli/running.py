"""What commands that run trials share: print and write the tables of the records, give the exit code."""

from __future__ import annotations

import json as json_module
from collections.abc import Hashable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lde_bench.errors import CalledExit, NothingMeasured

if TYPE_CHECKING:
    from lde_bench.report.table import Table
    from lde_bench.runs import Record, ResultStore


def use_vgg(weights: Path | None, cache_dir: Path | None) -> None:
    """Take the weights of VGG19 from this file, and keep what is computed by it in this folder."""
    from lde_bench.features.kept import keep_in
    from lde_bench.features.vgg19 import use_weights

    use_weights(weights)
    keep_in(cache_dir)


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
        written += write_tables(comparable, folder, stem, experiment_of)
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
    return record.experiment, record.budget, record.benchmark_version, record.dataset


def _folder(store: ResultStore, record: Record, dataset: str, version: str) -> Path:
    """Where the tables of a dataset go that was run as `record` was."""
    place = store.place(
        experiment=record.experiment, dataset=dataset, version=version, budget=record.budget, run_id=record.run_id
    )
    return place.folder
