from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from lde_bench.runs import Record

HARDNESS = np.linspace(-30, 30, 12)


@pytest.fixture(scope="session")
def make() -> Callable[..., Record]:
    """A record of a method with a given log-likelihood on twelve test photographs of 10 patches, unlike in
    hardness.
    """

    def make_record(
        method: str = "lde+w",
        components: int | None = 10,
        nats: float = 150.0,
        trial: int = 0,
        *,
        dataset: str = "bsds300",
        version: str = "1",
        content_hash: str = "ab" * 32,
        training: dict[str, Any] | None = None,
        groups: Sequence[float] | None = tuple(HARDNESS),
        cpu_seconds: float = 20.0,
        failed: str | None = None,
        **changes: Any,
    ) -> Record:
        means = None if groups is None else (np.asarray(groups) - np.mean(groups) + nats).tolist()
        photographs = means and {
            "ids": list(range(len(means))),
            "counts": [10] * len(means),
            "mean_nats": means,
        }
        result = {
            "test_nats": nats,
            "validation_nats": nats,
            "test_standard_error_naive": 0.5,
            "test_standard_error_clustered": None,
            "best_step": 100,
            "groups": photographs,
        }
        run_id = f"run-{zlib.crc32(repr((method, components, nats, trial, dataset, version)).encode())}"
        content: dict[str, Any] = {
            "experiment": "bsds300",
            "run_id": run_id,
            "status": "failed" if failed else "done",
            "reason": failed,
            "method": method,
            "components": components,
            "trial": trial,
            "parameters": 367_662,
            "dataset": {
                "name": dataset,
                "version": version,
                "content_hash": content_hash,
                "seed": 0,
                "sizes": {"train": 100_000, "validation": 2000, "test": 20_000},
            },
            "budget": {"profile": "quick", "steps": None, "seconds": None, "machine_dependent": False},
            "training": training or {},
            "seeds": {"trial": 100 + trial},
            "result": None if failed else result,
            "cost": {"wall_seconds": 10.0, "cpu_seconds": cpu_seconds, "sample_cost": "one pass"},
        }
        return Record.from_dict({**content, **changes})

    return make_record


@pytest.fixture(scope="session")
def make_samples(make) -> Callable[..., Record]:
    """A record of a model of images: Parzen log-likelihood, window and a few measures of its samples."""

    def make_record(
        method: str = "ae+lde",
        components: int | None = 30,
        nats: float = 320.0,
        trial: int = 0,
        *,
        dataset: str = "mnist",
        sigma: float = 0.17,
        at_edge: bool = False,
        samples: int = 10_000,
        encoder: str | None = None,
        measures: dict[str, dict[str, float]] | None = None,
        persons: bool = False,
        **changes: Any,
    ) -> Record:
        record = make(method, components, nats, trial, dataset=dataset, groups=HARDNESS if persons else None, **changes)
        content = record.to_dict()
        content["experiment"] = "parzen"
        content["run_id"] = f"parzen-{content['run_id']}"
        if encoder is not None:
            content["training"]["encoder"] = encoder
        if content["result"] is not None:
            content["result"]["parzen"] = {
                "samples": samples,
                "sigma": sigma,
                "at_edge": at_edge,
                "grid": [0.1, sigma, 0.25],
                "grid_nats": [nats - 40.0, nats, nats - 20.0],
                "counts": [100, 1000, samples],
                "count_nats": [nats - 60.0, nats - 20.0, nats],
            }
            content["result"]["measures"] = measures or {}
        return Record.from_dict(content)

    return make_record
