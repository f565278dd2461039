"""The plans of Table 1: one equal search for every row, on validation patches (`plan_search.py`).

    python benchmarks/table1_search.py --seconds 600 --threads 1

Every row has the same six candidates: 0.3, 1 and 3 times the rate of its `standard` plan, each with gradients clipped
at a norm of 0.1, which cuts every step of most rows, and of 10, which cuts the rare outlier (nats a feature; the runs
tell the share). EM has no rate: `gmm` has three batch sizes and two starts instead. Warm-up, average and looks shrink
with a run. The score is the validation log-likelihood that the weights were chosen by, which of `deep-rnade` is that of
some of the rows; only scores of one row are compared.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch
from plan_search import BUDGET, Candidate, Search, main

from lde_bench.data import Dataset, load_dataset
from lde_bench.densities import create, density_class
from lde_bench.densities.base import Density
from lde_bench.densities.spec import parse_method
from lde_bench.experiments.bsds300 import PROFILES, table_rows
from lde_bench.seeds import derive_seed
from lde_bench.training.plan import Plan

FACTORS, CLIPS = (0.3, 1.0, 3.0), (0.1, 10.0)


def _candidates(row: str) -> list[Candidate]:
    plan = density_class(parse_method(row).name).plans[BUDGET.profile]
    rates = [float(f"{factor * plan.rate:.2g}") for factor in FACTORS]
    return [Candidate(plan={"rate": rate, "clip": clip}) for rate in rates for clip in CLIPS]


#: Those of EM.
_EM = [
    Candidate(arguments=f"init={init}", plan={"batch_size": size})
    for init in ("kmeans++", "scale")
    for size in (10_000, 20_000, 50_000)
]


def _is_searched(row: str) -> bool:
    return not density_class(parse_method(row).name).plans[BUDGET.profile].closed_form


class Table1(Search):
    """Densities of 8x8 patches, with one thread a row or as many as are asked for."""

    candidates: ClassVar[Mapping[str, Sequence[Candidate]]] = {
        row: _EM if parse_method(row).name == "gmm" else _candidates(row) for row in filter(_is_searched, table_rows())
    }
    usual_dataset = "bsds300"

    @staticmethod
    def load(name: str) -> Dataset:
        return load_dataset(name, validation=PROFILES[BUDGET.profile].validation, progress=True)

    def setup(self, row: str, candidate: Candidate) -> dict[str, Any]:
        density, plan = self._made(row, candidate)
        described = density.describe_training(BUDGET, "auto", torch.device("cpu"), plan)
        return {"model": density.config, "training": described}

    def _made(self, row: str, candidate: Candidate) -> tuple[Density, Plan]:
        spec = parse_method(row)
        if candidate.arguments:
            spec = spec.with_arguments(**parse_method(f"{spec.name}:{candidate.arguments}").arguments)
        density = create(spec, self.dataset.features)
        return density, replace(density.plan(BUDGET), **candidate.plan)

    def measure(self, row: str, candidate: Candidate, seconds: float) -> dict[str, Any]:
        density, plan = self._made(row, candidate)
        density.fit(
            self.dataset.train,
            self.dataset.validation,
            seed=derive_seed("table1-search", row, self.seed),
            profile=BUDGET.profile,
            seconds=seconds,
            clock="cpu",
            plan=plan.stretched(seconds / self.seconds),
        )
        state = density.training_state
        assert state is not None
        return {
            "validation_nats": state.best_score,
            "steps_per_second": {"model": state.step / state.cpu_seconds},
            "cpu_seconds": round(state.cpu_seconds, 2),
            **asdict(density.training_starts["model"]),
        }


if __name__ == "__main__":
    sys.exit(main(Table1, sys.argv[1:], __doc__ or ""))
