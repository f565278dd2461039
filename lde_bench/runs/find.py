"""What a name on the command line means among run records: a record file, a run id, or a method's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lde_bench.densities.spec import parse_method
from lde_bench.errors import InputError, LawBroken
from lde_bench.evaluation.statistics import GroupMeans
from lde_bench.runs.record import Record
from lde_bench.runs.rows import block_means, by_table, group_means, group_rows, refusal, row_label, with_components
from lde_bench.runs.store import ResultStore, RunPaths
from lde_bench.version import BENCHMARK_VERSION

#: Rows named in the sentence that asks to choose among them.
LISTED = 8


@dataclass(frozen=True)
class Side:
    """One of the two: the trials of a table's row, or the one run that a file or a run id names."""

    label: str
    trials: tuple[tuple[RunPaths, Record], ...]

    @classmethod
    def of(cls, runs: Sequence[tuple[Path, Record]]) -> Side:
        """From record files.

        Raises:
            InputError: a trial failed.
            LawBroken: its model breaks a law, so that its numbers are no log-likelihoods.
        """
        for _, record in runs:
            if reason := refusal(record):
                if record.done:
                    raise LawBroken(f"{record.run_id} cannot be compared: {reason}.")
                raise InputError(f"{record.run_id} failed ({reason.rstrip('.')}); name a run that finished.")
        first = runs[0][1]
        title = with_components(first.method, first.components)
        return cls(title, tuple((RunPaths(path.parent, record.run_id), record) for path, record in runs))

    @property
    def record(self) -> Record:
        """The first trial, for what all share."""
        return self.trials[0][1]

    @property
    def records(self) -> list[Record]:
        """The records of all trials, in their order."""
        return [record for _, record in self.trials]

    @property
    def test_nats(self) -> float:
        """Mean over trials."""
        return float(np.mean(self.trial_nats))

    @property
    def trial_nats(self) -> list[float]:
        """Mean log-likelihood of each trial."""
        return [record.test_nats for _, record in self.trials if record.test_nats is not None]

    @property
    def identity(self) -> tuple[str, str, str, int, str]:
        """What two sides must share to be comparable."""
        data = self.record.dataset
        return data.name, data.version, data.content_hash, data.sizes.test, self.record.benchmark_version

    def photographs(self) -> GroupMeans | None:
        """Each photograph's mean, averaged over trials; None where the dataset has no photographs."""
        return group_means(self.records)

    def blocks(self) -> GroupMeans | None:
        """The mean of each block of items, averaged over trials; None where items belong together, or records do not
        tell.
        """
        return block_means(self.records)

    def items(self) -> np.ndarray | None:
        """Each test item's log-likelihood, float64 [n], averaged over trials; None where a trial's are not kept.

        Raises:
            InputError: they are not those of the record.
        """
        total = np.zeros(self.record.dataset.sizes.test)
        for paths, record in self.trials:
            assert record.test_nats is not None
            values = paths.load_log_likelihoods()
            if values is None:
                return None
            # Kept in float32: each item is off by 6e-8 of itself at most.
            bound = 1e-6 * (1 + float(np.abs(values).mean(dtype=np.float64)))
            if len(values) != len(total) or not abs(values.mean(dtype=np.float64) - record.test_nats) <= bound:
                raise InputError(f"{paths.log_likelihoods}: is not of the record beside it; delete it and run again.")
            total += values
        return total / len(self.trials)

    def describe(self) -> dict[str, Any]:
        """For `--json`."""
        record = self.record
        return {
            "label": self.label,
            "method": record.method,
            "components": record.components,
            "budget": record.budget.label,
            "trials": len(self.trials),
            "run_ids": [record.run_id for _, record in self.trials],
            "test_nats": self.test_nats,
        }


def find_side(
    name: str,
    results_dir: Path,
    *,
    components: int | None = None,
    dataset: str | None = None,
    profile: str | None = None,
) -> Side:
    """What `name` means: a record file, a run id, or a method with records under `results_dir`.

    `components`, `dataset` and `profile` (a budget's label) choose among the rows of a method. Records of other
    benchmark versions are taken for a method only where there are none of this one.

    Raises:
        InputError: nothing or more than one row is meant, the file is no record, or its trial failed.
        LawBroken: the trained model breaks a law.
    """
    # A file in the working folder may be called as a method is.
    if name.endswith(".json") or ("/" in name and Path(name).is_file()):
        return Side.of([_read(Path(name))])
    runs = ResultStore(results_dir).load_with_paths()
    if named := [run for run in runs if run[1].run_id == name]:
        return Side.of(named)
    label, k = _parse(name, components)
    method = [run for run in runs if run[1].method == label]
    if not method:
        there = ", ".join(dict.fromkeys(record.method for _, record in runs)) or "no record"
        raise InputError(f"{results_dir}: has no run or method '{name}'; there is {there}.")
    chosen = [
        run
        for run in method
        if (k is None or run[1].components in (None, k))
        and dataset in (None, run[1].dataset.name)
        and profile in (None, run[1].budget.label)
    ]
    if not chosen:
        raise InputError(f"{results_dir}: has '{name}' otherwise than asked; there is {_listed(method)}.")
    chosen = [run for run in chosen if run[1].benchmark_version == BENCHMARK_VERSION] or chosen
    # Of a method, the trials that count are those that a table shows.
    rows = _rows([run for run in chosen if refusal(run[1]) is None])
    if not rows:
        return Side.of(chosen[:1])  # raises the reason
    if len(rows) > 1:
        raise InputError(
            f"'{name}' means {len(rows)} rows of {results_dir}: {_listed([row[0] for row in rows])}; choose with --K, "
            "--dataset or --profile, or name a run."
        )
    return Side.of(rows[0])


def _read(path: Path) -> tuple[Path, Record]:
    try:
        return path, Record.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such record; give a record file, a run id or a method.") from error
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{path}: is no run record ({error}); give another file.") from error


def _parse(name: str, components: int | None) -> tuple[str, int | None]:
    """The label of a method as tables show it, and its K."""
    try:
        spec = parse_method(name)
    except InputError:
        return name, components
    return spec.label, spec.arguments.get("components", components)


def _rows(runs: Sequence[tuple[Path, Record]]) -> list[list[tuple[Path, Record]]]:
    """Runs by row of the tables that would show them."""
    path_of = {record.run_id: path for path, record in runs}
    return [
        [(path_of[trial.run_id], trial) for trial in trials]
        for records in by_table(record for _, record in runs)
        for trials in group_rows(records).values()
    ]


def _listed(runs: Sequence[tuple[Path, Record]]) -> str:
    records = [record for _, record in runs]
    named = [
        f"{with_components(row_label(record, records), record.components)} on {record.dataset.name}, "
        f"{record.budget.label}, {record.dataset.sizes.test:,} test items ({record.run_id})"
        for record in records
    ]
    more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
    return ", ".join(named[:LISTED]) + more
