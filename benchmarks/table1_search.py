"""The plans of Table 1: one equal search for every row, on validation patches (`plan_search.py`).

    python benchmarks/table1_search.py --seconds 600 --threads 1

Every row has four runs of a fifth of the budget each: 0.3, 1 and 3 times a usual rate, with gradients clipped at a
norm of 10 (nats a feature), which cuts the rare outlier; then the best of them with a norm of 0.1, which cuts every
step of most rows (the runs tell the share). EM has no rate: `gmm` has three batch sizes, then another start. Warm-up,
average and looks shrink with a run. A plan belongs to a model, so that a row and its whitened twin, which share one,
are searched as one: as the first of them. The score is the validation log-likelihood that the weights were chosen by,
which of `deep-rnade` is that of some of the rows; only scores of one row are compared.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch
from plan_search import BUDGET, OF_A_RUN, Candidate, Search, main

from lde_bench.data import Dataset, load_dataset
from lde_bench.densities import create, density_class
from lde_bench.densities.base import Density
from lde_bench.densities.spec import parse_method
from lde_bench.experiments.bsds300 import PROFILES, table_rows
from lde_bench.seeds import derive_seed
from lde_bench.training.plan import Plan

#: Of the usual rate; norms that gradients are clipped at, in nats a feature.
FACTORS, CLIPS = (0.3, 1.0, 3.0), (10.0, 0.1)

#: The rates that plans had before the search on file, which chose others; a model that has come since has its own.
RATES = {
    "mcgsm": 1e-2,
    "made-mog": 1e-3,
    "deep-rnade": 1e-3,
    "real-nvp": 1e-3,
    "maf-mog": 1e-3,
    "nsf": 1e-3,
    "maf-ddsf": 5e-3,
    "tan": 5e-3,
    "lde": 1.5e-3,
    "resmade-mog": 4e-3,
}

#: Patches of a step of EM, and where it starts.
EM_SIZES, EM_STARTS = (10_000, 20_000, 50_000), ("kmeans++", "scale")


def _candidates(row: str) -> list[Candidate]:
    """What is tried first."""
    spec = parse_method(row)
    if spec.name == "gmm":
        return [Candidate(f"init={EM_STARTS[0]}", {"batch_size": size}) for size in EM_SIZES]
    usual = RATES.get(spec.name, density_class(spec.name).plans[BUDGET.profile].rate)
    return [Candidate(plan={"rate": float(f"{factor * usual:.2g}"), "clip": CLIPS[0]}) for factor in FACTORS]


def varied(best: Candidate) -> Candidate:
    """The best of these in another way."""
    if best.arguments:
        return replace(best, arguments=f"init={EM_STARTS[1]}")
    return replace(best, plan={**best.plan, "clip": CLIPS[1]})


def _searched_rows() -> list[str]:
    """The first row of each model that learns by steps."""
    learnt = [
        row for row in table_rows() if not density_class(parse_method(row).name).plans[BUDGET.profile].closed_form
    ]
    return list({parse_method(row).name: row for row in reversed(learnt)}.values())[::-1]


class Table1(Search):
    """Densities of 8x8 patches, with one thread a row or as many as are asked for."""

    candidates: ClassVar[Mapping[str, Sequence[Candidate]]] = {row: _candidates(row) for row in _searched_rows()}
    usual_dataset = "bsds300"

    @staticmethod
    def load(name: str) -> Dataset:
        return load_dataset(name, validation=PROFILES[BUDGET.profile].validation, progress=True)

    def last_runs(self, row: str) -> list[dict[str, Any]]:
        runs = [(self.run(row, each, OF_A_RUN * self.seconds), each) for each in self.candidates[row]]
        _, best = max(runs, key=lambda pair: pair[0]["validation_nats"])
        return [*(run for run, _ in runs), self.run(row, varied(best), OF_A_RUN * self.seconds)]

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
