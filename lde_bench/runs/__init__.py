"""Run records, the store that keeps them, and the executor that makes them."""

from __future__ import annotations

from lde_bench.runs.executor import run_sweep
from lde_bench.runs.frame import load_results
from lde_bench.runs.merge import Merged, merge_results
from lde_bench.runs.plan import Plan, Task
from lde_bench.runs.provenance import provenance, source_hash, utc_now
from lde_bench.runs.record import (
    Budget,
    Cost,
    DatasetInfo,
    ParzenWindow,
    Record,
    Result,
    Sizes,
    digest,
    make_run_id,
)
from lde_bench.runs.store import ResultStore, RunPaths

__all__ = [
    "Budget",
    "Cost",
    "DatasetInfo",
    "Merged",
    "ParzenWindow",
    "Plan",
    "Record",
    "Result",
    "ResultStore",
    "RunPaths",
    "Sizes",
    "Task",
    "digest",
    "load_results",
    "make_run_id",
    "merge_results",
    "provenance",
    "run_sweep",
    "source_hash",
    "utc_now",
]
