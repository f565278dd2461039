"""What a sweep left in a results folder, for tests that hold two of them against each other."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from lde_bench.runs import ResultStore


def contents(folder: Path, but: Collection[str] = ()) -> dict[str, tuple[Any, ...]]:
    """By run: what two sweeps of the same trials must have in common, to the bit; of `training` all `but` these."""
    store = ResultStore(folder)
    return {
        record.run_id: (
            record.result,
            record.laws,
            record.seeds,
            {key: value for key, value in record.training.items() if key not in but},
            store.paths(record).weights.read_bytes(),
            store.paths(record).log_likelihoods.read_bytes(),
            store.paths(record).samples.read_bytes(),
        )
        for record in store.load()
    }
