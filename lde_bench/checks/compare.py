"""`lde-bench compare`: is A better than B, by how much, and can the difference be trusted?

The comparison is paired, on identical test items, and judged by Student's t over photographs: patches of one
photograph are alike, and a test that takes them as independent finds differences where there are none
(`lde_bench.evaluation.statistics`). Log-likelihoods are in nats.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lde_bench.densities.spec import parse_method
from lde_bench.errors import InputError, LawBroken, NothingMeasured
from lde_bench.evaluation.statistics import (
    MINIMUM_GROUPS,
    Difference,
    GroupMeans,
    bootstrap_interval,
    difference_by_group,
    paired_difference_of_items,
    two_sided_p,
)
from lde_bench.progress import print_table
from lde_bench.runs import Record, ResultStore, RunPaths
from lde_bench.runs.rows import (
    group_means,
    group_rows,
    group_word,
    refusal,
    row_label,
    table_key,
    with_components,
)
from lde_bench.seeds import derive_seed
from lde_bench.version import BENCHMARK_VERSION

#: A difference is called one below this probability; the interval has the level that goes with it.
SIGNIFICANCE = 0.05

RESAMPLES = 10_000

#: The bootstrap's own error in the last digits is the same for everyone.
SEED = derive_seed("compare", "bootstrap")

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
    def test_nats(self) -> float:
        """Mean over trials."""
        return float(np.mean([record.result.test_nats for _, record in self.trials if record.result]))

    @property
    def identity(self) -> tuple[str, str, str, int, str]:
        """What two sides must share to be comparable."""
        data = self.record.dataset
        return data.name, data.version, data.content_hash, data.sizes.test, self.record.benchmark_version

    def photographs(self) -> GroupMeans | None:
        """Each photograph's mean, averaged over trials; None where the dataset has no photographs."""
        return group_means([record for _, record in self.trials])

    def items(self) -> np.ndarray | None:
        """Each test item's log-likelihood, float64 [n], averaged over trials; None where a trial's are not kept.

        Raises:
            InputError: they are not those of the record.
        """
        total = np.zeros(self.record.dataset.sizes.test)
        for paths, record in self.trials:
            assert record.result is not None
            values = paths.load_log_likelihoods()
            if values is None:
                return None
            # Kept in float32: each item is off by 6e-8 of itself at most.
            bound = 1e-6 * (1 + float(np.abs(values).mean(dtype=np.float64)))
            if len(values) != len(total) or not abs(values.mean(dtype=np.float64) - record.result.test_nats) <= bound:
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


@dataclass(frozen=True)
class Comparison:
    """A minus B in nats; None where it cannot be told. `interval` is the bootstrap's, over photographs.

    `group` says what the photographs are where the data are none: groups of items.
    """

    a: dict[str, Any]
    b: dict[str, Any]
    dataset: dict[str, Any]
    benchmark_version: str
    items: int
    photographs: int | None
    group: str
    difference: float
    standard_error_naive: float | None
    standard_error_clustered: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    verdict: str
    notes: tuple[str, ...]


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
    if Path(name).is_file() or name.endswith(".json"):
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


def compare(a: Side, b: Side) -> Comparison:
    """A minus B on identical test items.

    Raises:
        InputError: the two were not measured on the same test items under the same benchmark version.
        NothingMeasured: there are neither photographs nor log-likelihoods of the items, so no error can be told.
    """
    if a.label == b.label:  # two trials, budgets or data of one method: the runs tell them apart
        a, b = (replace(side, label=f"{side.label} ({side.record.run_id})") for side in (a, b))
    if a.identity != b.identity:
        raise InputError(
            f"not comparable: {a.label} was measured on {_describe_identity(a)}, {b.label} on {_describe_identity(b)}; "
            "compare records of one dataset and benchmark version."
        )
    first, second = a.photographs(), b.photographs()
    try:
        each = None if first is None or second is None else difference_by_group(first, second)
    except ValueError as error:
        raise InputError(f"not comparable: {a.label} and {b.label}: {error}.") from error
    first_items, second_items = a.items(), b.items()
    naive = None
    if first_items is not None and second_items is not None:
        naive = paired_difference_of_items(first_items, second_items)
    if each is None and naive is None:
        raise NothingMeasured(
            f"{a.label} minus {b.label} is {a.test_nats - b.test_nats:+.3f} nats, but no error can be told: the "
            "dataset has no photographs, and the log-likelihoods of its items are not beside the records; run both."
        )
    clustered = None if each is None else Difference(each.mean, each.standard_error)
    difference = clustered or naive
    assert difference is not None
    units = a.record.dataset.sizes.test if each is None else len(each.ids)
    group = group_word(a.record.dataset)
    p_value = two_sided_p(difference, units)
    return Comparison(
        a=a.describe(),
        b=b.describe(),
        dataset=asdict(a.record.dataset),
        benchmark_version=a.record.benchmark_version,
        items=a.record.dataset.sizes.test,
        photographs=None if each is None else len(each.ids),
        group=group,
        difference=difference.mean,
        standard_error_naive=None if naive is None else naive.standard_error,
        standard_error_clustered=None if clustered is None else clustered.standard_error,
        interval=None if each is None else bootstrap_interval(each, seed=SEED, resamples=RESAMPLES),
        p_value=p_value,
        verdict=_verdict(a.label, b.label, difference.mean, p_value, _count(units, group)),
        notes=tuple(_notes(a, b, naive)),
    )


def run_compare(
    a: str,
    b: str,
    results_dir: Path,
    *,
    components: int | None = None,
    dataset: str | None = None,
    profile: str | None = None,
    json: bool = False,
) -> int:
    """Find the two, compare them and print what came out; see `find_side` and `compare` for what is raised."""
    sides = [find_side(name, results_dir, components=components, dataset=dataset, profile=profile) for name in (a, b)]
    told = compare(*sides)
    if json:
        print(json_module.dumps(asdict(told), indent=2, allow_nan=False))
    else:
        _print(told)
    return 0


# ---- finding


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
    tables: dict[tuple[Any, ...], list[Record]] = {}
    for _, record in runs:
        tables.setdefault(table_key(record), []).append(record)
    path_of = {record.run_id: path for path, record in runs}
    return [
        [(path_of[trial.run_id], trial) for trial in trials]
        for records in tables.values()
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


# ---- telling


def _describe_identity(side: Side) -> str:
    name, version, content, items, benchmark = side.identity
    return f"{name} version {version} (content {content[:12]}, {items:,} test items, benchmark version {benchmark})"


def _verdict(a: str, b: str, difference: float, p_value: float | None, units: str) -> str:
    if p_value is None:
        return f"No verdict: {units} are too few to judge by, at least {MINIMUM_GROUPS} are needed"
    odds = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    if p_value >= SIGNIFICANCE:
        return f"No difference could be shown ({odds})"
    better = a if difference > 0 else b
    return f"{better} is better by {abs(difference):.3f} nats ({odds})"


def _notes(a: Side, b: Side, naive: Difference | None) -> list[str]:
    notes = []
    budgets = [side.record.budget.label for side in (a, b)]
    if budgets[0] != budgets[1]:
        notes.append(f"The budgets differ: {a.label} was trained under {budgets[0]}, {b.label} under {budgets[1]}.")
    trials = " and ".join(_count(len(side.trials), "trial") for side in (a, b))
    notes.append(
        f"Errors are over test items, for these trained models ({trials}): what another seed changes is not in them."
    )
    if naive is None:
        absent = " and ".join(side.label for side in (a, b) if side.items() is None)
        notes.append(
            f"The naive error needs the log-likelihood of every item (the .npy beside a record), which is not kept for "
            f"{absent}; run the command of the record again to have it."
        )
    return notes


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _print(told: Comparison) -> None:
    def number(value: float | None, sign: str = "") -> str:
        return "-" if value is None else f"{value:{sign}.3f}"

    interval = "-" if told.interval is None else f"{told.interval[0]:+.3f} to {told.interval[1]:+.3f}"
    photographs = "" if told.photographs is None else f" of {_count(told.photographs, told.group)}"
    rows = [
        *([f"{side['label']}, {side['budget']}", number(side["test_nats"])] for side in (told.a, told.b)),
        ["difference, paired", number(told.difference, "+")],
        ["standard error, naive", number(told.standard_error_naive)],
        [f"standard error, by {told.group}", number(told.standard_error_clustered)],
        [f"{1 - SIGNIFICANCE:.0%} bootstrap interval over {told.group}s", interval],
    ]
    data = f"{told.dataset['name']} version {told.dataset['version']}, benchmark version {told.benchmark_version}"
    print(f"{data}: {told.items:,} test items{photographs}")
    print_table(f"{told.a['label']} minus {told.b['label']}", ["", "nats"], rows, right=["nats"])
    print(f"{told.verdict}.")
    for note in told.notes:
        print(note)
