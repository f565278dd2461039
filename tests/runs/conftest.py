from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from lde_bench.runs import Record

EXAMPLE: dict[str, Any] = {
    "experiment": "bsds300",
    "run_id": "bsds300-lde+w-K10-quick-t0-0123456789ab",
    "status": "done",
    "reason": None,
    "method": "lde+w",
    "components": 10,
    "trial": 0,
    "parameters": 367_662,
    "dataset": {
        "name": "bsds300",
        "version": "1",
        "content_hash": "ab" * 32,
        "seed": 0,
        "sizes": {"train": 1000, "validation": 100, "test": 60},
    },
    "budget": {"profile": "quick", "steps": None, "seconds": None, "machine_dependent": False},
    "training": {
        "steps": 300,
        "batch_size": 256,
        "patches": "fixed",
        "augment": None,
        "precision": "fp32",
        "device": "cpu",
    },
    "seeds": {"trial": 2**62 + 1},
    "result": {
        "test_nats": 150.25,
        "validation_nats": 149.5,
        "test_standard_error_naive": 0.4,
        "test_standard_error_clustered": 3.1,
        "best_step": 300,
        "groups": {"ids": [3, 5, 9], "counts": [20, 20, 20], "mean_nats": [149.0, 150.25, 151.5]},
    },
    "laws": {"normalised": {"passed": True, "value": 1e-5, "bound": 1e-3}},
    "curve": [{"step": 100, "cpu_seconds": 4.0, "wall_seconds": 2.5, "validation_nats": 140.0}],
    "cost": {"wall_seconds": 10.0, "cpu_seconds": 19.5, "sample_cost": "one column per dimension"},
    "provenance": {"lde_bench": "0.1.0", "commit": None, "dirty": None},
    "features": 63,
    "input": "Cholesky",
}


@pytest.fixture
def example() -> dict[str, Any]:
    """The content of a valid record file, free to be changed."""
    return copy.deepcopy(EXAMPLE)


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """A valid record with some top-level fields changed; `failed=True` turns it into a failed one."""

    def make(failed: bool = False, **changes: Any) -> Record:
        if failed:
            changes = {
                "status": "failed",
                "reason": "ValueError: no",
                "result": None,
                "cost": None,
                **changes,
            }
        return Record.from_dict({**EXAMPLE, **changes})

    return make
