"""lde-bench: benchmark and evaluation suite for explicit density estimation and autoencoder image generation.

After "Unpriortized Autoencoder For Image Generation" (Yoo, Lee, Kwak; ICIP 2020, arXiv 1902.04294).
The names below are loaded on first use, so that `import lde_bench` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lde_bench.version import BENCHMARK_VERSION, __version__

_HOME = {
    "load_dataset": "lde_bench.data",
    "create": "lde_bench.densities",
    "load_density": "lde_bench.densities",
    "parzen_log_prob": "lde_bench.evaluation.parzen",
    "select_sigma": "lde_bench.evaluation.parzen",
    "SampleSets": "lde_bench.evaluation.sample_measures",
    "measure_samples": "lde_bench.evaluation.sample_measures",
    "feature_space": "lde_bench.features",
    "create_generator": "lde_bench.generators",
    "load_generator": "lde_bench.generators",
    "load_results": "lde_bench.runs",
}

__all__ = [*_HOME, "BENCHMARK_VERSION", "__version__"]

if TYPE_CHECKING:
    from lde_bench.data import load_dataset as load_dataset
    from lde_bench.densities import create as create
    from lde_bench.densities import load_density as load_density
    from lde_bench.evaluation.parzen import parzen_log_prob as parzen_log_prob
    from lde_bench.evaluation.parzen import select_sigma as select_sigma
    from lde_bench.evaluation.sample_measures import SampleSets as SampleSets
    from lde_bench.evaluation.sample_measures import measure_samples as measure_samples
    from lde_bench.features import feature_space as feature_space
    from lde_bench.generators import create_generator as create_generator
    from lde_bench.generators import load_generator as load_generator
    from lde_bench.runs import load_results as load_results


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
