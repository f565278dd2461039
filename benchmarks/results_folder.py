"""The everyday commands on a folder of many records: how many seconds each takes.

    python benchmarks/results_folder.py [--records 10000] [--folder KEPT]

Makes that many records as they come from a table of ten methods at five K, 20 trials each, on as many datasets as it
takes, and times in turn what `load_results`, a sweep that is given again, `compare`, `merge`, `table` and `report` do.
CPU seconds are those of this process.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from short_runs import positive

from lde_bench.evaluation.law import Law
from lde_bench.evaluation.statistics import GroupMeans
from lde_bench.experiments import experiment_of
from lde_bench.report.experiment import build_tables, write_tables
from lde_bench.report.page import write_page
from lde_bench.runs import (
    Budget,
    Cost,
    DatasetInfo,
    Record,
    Result,
    ResultStore,
    Sizes,
    load_results,
    make_run_id,
    merge_results,
    provenance,
    run_sweep,
)
from lde_bench.runs.find import find_side
from lde_bench.training.curve import CurvePoint

METHODS = ("gmm", "made-mog", "maf-mog", "mcgsm", "deep-rnade", "resmade-mog", "lde", "lde+w", "tan", "lde+sym")
COMPONENTS = (1, 10, 30, 100, 300)
TRIALS = 20

#: Photographs of a test set, and looks at the validation set.
GROUPS, LOOKS = 100, 20


def made_records(count: int) -> Iterator[Record]:
    """Records of made-up numbers."""
    generator = np.random.default_rng(0)
    budget = Budget.of("quick")
    grown = provenance("2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00", ["lde-bench", "table"])
    trials = list(itertools.product(METHODS, COMPONENTS, range(TRIALS)))
    for index, (method, components, trial) in enumerate(itertools.islice(itertools.cycle(trials), count)):
        number = index // len(trials)  # of the dataset
        nats = 100 + generator.normal(size=GROUPS)
        name: dict[str, Any] = {
            "experiment": "table",
            "method": method,
            "components": components,
            "budget": budget,
            "trial": trial,
        }
        yield Record(
            **name,
            run_id=make_run_id(**name, determines={"dataset": number, **name, "budget": budget.label}),
            status="done",
            reason=None,
            parameters=1000 * components,
            dataset=DatasetInfo(f"made-up-{number}", "1", f"{number:064x}", 0, Sizes(10_000, 1000, 10 * GROUPS)),
            training={"patches": "fixed", "augment": None, "precision": "fp32", "batch_size": 256, "rate": 1e-3},
            seeds={"base": 0, "trial": trial},
            result=Result(
                test_nats=float(nats.mean()),
                validation_nats=float(nats.mean()),
                test_standard_error_naive=0.1,
                best_step=1000,
                groups=GroupMeans.of(list(range(GROUPS)), [10] * GROUPS, nats.tolist()),
            ),
            laws={"normalised": Law(passed=True, value=1e-5, bound=1e-3)},
            curve=[CurvePoint(100 * look, 1.0 * look, 1.0 * look, 90.0 + look) for look in range(1, LOOKS + 1)],
            cost=Cost(60.0, 100.0, "one pass of the network a dimension", 90.0),
            provenance=grown,
        )


def fill(folder: Path, count: int) -> None:
    """Write records where the store would, but without its locks."""
    store = ResultStore(folder)
    for record in made_records(count):
        paths = store.paths(record)
        paths.folder.mkdir(parents=True, exist_ok=True)
        paths.record.write_text(record.to_json(), encoding="utf-8")


class _Again:
    """A trial that is done: of a task, what a sweep asks such a one."""

    def __init__(self, run_id: str) -> None:
        self.run_id = self.title = run_id

    def prerequisites(self) -> list[Any]:
        return []


def sweep_again(folder: Path) -> None:
    """What a sweep of 1,000 trials does that are all done."""
    trials: list[Any] = [_Again(record.run_id) for record in made_records(1000)]
    run_sweep(ResultStore(folder), trials)


def tables(folder: Path, out: Path) -> None:
    """What `table` does at its end: the tables of one dataset, written."""
    records = ResultStore(folder).load()
    of_one = [record for record in records if record.dataset == records[0].dataset]
    build_tables(of_one, experiment_of)
    write_tables(of_one, out, "table", experiment_of)


def report(folder: Path, out: Path) -> None:
    """`lde-bench report`."""
    write_page(ResultStore(folder).load_with_paths(), out, experiment_of)


def measure(what: str, task: Callable[[], object]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what:<40} {cpu:8.2f} s of CPU {wall:8.2f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=positive(int), default=10_000)
    parser.add_argument("--folder", type=Path, help="made once and kept; else a temporary one")
    asked = parser.parse_args(arguments)
    place = tempfile.TemporaryDirectory() if asked.folder is None else nullcontext(str(asked.folder))
    with place as name, tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(name) / "results", Path(scratch)
        if not folder.exists():
            measure(f"{asked.records:,} records made", lambda: fill(folder, asked.records))
        experiment_of("table")  # imports are no part of what is measured
        measure("read all", lambda: ResultStore(folder).load())
        measure("load_results", lambda: load_results(folder))
        measure("a sweep of 1,000 trials given again", lambda: sweep_again(folder))
        measure("a row found for compare", lambda: find_side("lde", folder, components=10, dataset="made-up-0"))
        measure("tables of one dataset", lambda: tables(folder, out / "tables"))
        measure("merged into a new folder", lambda: merge_results([folder], out / "merged"))
        measure("merged again", lambda: merge_results([folder], out / "merged"))
        measure("report", lambda: report(folder, out / "report"))


if __name__ == "__main__":
    main()
