"""The plans of Table 2: one equal search for every row, on validation images (`plan_search.py`).

    python benchmarks/table2_search.py --dataset mnist --seconds 300 --threads 1

All six candidates of a row are trained with a 15th of the budget, the best two with a fifth of it (successive halving
in two rungs; Jamieson and Talwalkar 2016, arXiv 1502.07943). The score is what the table prints, on validation images:
the Parzen log-likelihood under 10,000 samples at the best sigma. Some rows have a choice of sizes beside that of the
plan.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from plan_search import BUDGET, OF_A_RUN, Candidate, Search, main

from lde_bench.data import Dataset, load_dataset
from lde_bench.experiments.parzen import expand_methods
from lde_bench.generators import create_generator
from lde_bench.generators.base import Generator
from lde_bench.generators.latent_density import REFERENCE_FEATURES
from lde_bench.seeds import derive_seed
from lde_bench.training.plan import Plan
from lde_bench.trials.images import draw_samples, own_settings, setting
from lde_bench.trials.parzen import SAMPLES, choose_window


def _rates(*rates: float, **plan: Any) -> list[Candidate]:
    return [Candidate(plan={"rate": rate, **plan}) for rate in rates]


def _stages(*each: tuple[float, float, float]) -> list[Candidate]:
    """Rates of both stages, and the share of the first."""
    return [Candidate(plan={"rate": first}, second={"rate": second}, share=share) for first, second, share in each]


_CODES = _stages(
    (1e-3, 2e-3, 0.7), (2e-3, 2e-3, 0.7), (1e-3, 5e-3, 0.7), (2e-3, 5e-3, 0.7), (2e-3, 2e-3, 0.85), (2e-3, 2e-3, 0.5)
)

CANDIDATES: dict[str, list[Candidate]] = {
    "deep-gsn": [*_rates(5e-4, 1e-3, 2e-3), *_rates(1e-3, 2e-3, batch_size=50), *_rates(1e-3, batch_size=250)],
    "gan": [
        *_rates(1e-3, 2e-3, 4e-3, schedule="constant"),
        *_rates(2e-3, 4e-3, schedule="cosine"),
        *_rates(2e-3, schedule="constant", average=0.99),
    ],
    "gmmn+ae": _stages(
        (3e-3, 3e-3, 0.3),
        (3e-3, 6e-3, 0.3),
        (3e-3, 1e-2, 0.3),
        (1e-3, 6e-3, 0.3),
        (3e-3, 6e-3, 0.15),
        (3e-3, 6e-3, 0.5),
    ),
    "aae": [
        *(Candidate("layers=2,hidden=1000", {"rate": rate}) for rate in (1e-3, 2e-3)),
        Candidate("layers=2,hidden=1000,scale=5", {"rate": 1e-3}),
        Candidate("layers=3,hidden=500", {"rate": 1e-3}),
        Candidate("layers=2,hidden=1000,adversarial=0.01", {"rate": 1e-3}),
        Candidate("layers=2,hidden=1000,adversarial=0.1", {"rate": 1e-3}),
    ],
    "vae": [*_rates(1e-3, 2e-3, 4e-3), *_rates(1e-3, 2e-3, batch_size=64), *_rates(4e-3, batch_size=256)],
    "vae-iaf": [*_rates(1e-3, 2e-3, 4e-3), *_rates(1e-3, 2e-3, batch_size=64), *_rates(4e-3, batch_size=256)],
    "evae": [
        *_rates(1e-3, 2e-3, 4e-3),
        *_rates(1e-3, 2e-3, batch_size=64),
        Candidate("layers=2,hidden=1000", {"rate": 2e-3}),
    ],
    "ae": _CODES,
    "ae:backbone=mlp": _CODES,
    "iae": _CODES,
}


#: Candidates of a row, those of them that have the most that a run has, and the share of a budget that all have first.
FIRST, LAST, FIRST_SHARE = 6, 2, 1 / 15


class Table2(Search):
    """Models of images under a Parzen window."""

    candidates: ClassVar[Mapping[str, Sequence[Candidate]]] = CANDIDATES
    usual_dataset = "mnist"

    @staticmethod
    def load(name: str) -> Dataset:
        return load_dataset(name, progress=True)

    def last_runs(self, row: str) -> list[dict[str, Any]]:
        first = [(self.run(row, each, FIRST_SHARE * self.seconds), each) for each in self.candidates[row]]
        first.sort(key=lambda pair: -pair[0]["validation_nats"])
        return [self.run(row, candidate, OF_A_RUN * self.seconds) for _, candidate in first[:LAST]]

    def setup(self, row: str, candidate: Candidate) -> dict[str, Any]:
        model = self._model(row, candidate)
        return {"model": model.config, "training": model.describe_training(BUDGET, "auto", torch.device("cpu"))}

    def measure(self, row: str, candidate: Candidate, seconds: float) -> dict[str, Any]:
        model = self._model(row, candidate, seconds / self.seconds)
        model.fit(
            self.dataset.train,
            self.dataset.validation,
            seed=derive_seed("table2-search", row, self.seed),
            profile=BUDGET.profile,
            seconds=seconds,
            clock="cpu",
        )
        samples = draw_samples(model, SAMPLES, derive_seed("table2-search", "samples", self.seed))
        window = choose_window(self.dataset.validation, samples, setting(self.dataset).grid)
        spent = sum(_state(part).cpu_seconds for part in model.parts().values())
        # Steps of each part by the CPU seconds of all: what is to be multiplied by a budget.
        steps = {name or "model": _state(part).step / spent for name, part in model.parts().items()}
        return {
            "validation_nats": max(window.grid_nats),
            "sigma": window.sigma,
            "steps_per_second": steps,
            "cpu_seconds": round(spent, 2),
        }

    def _model(self, row: str, candidate: Candidate, of_budget: float = 1.0) -> Generator:
        """The model of a candidate, that will be trained with this share of the budget."""
        method = f"{row}{',' if ':' in row else ':'}{candidate.arguments}" if candidate.arguments else row
        ((spec, _),) = expand_methods([method])
        assert self.dataset.image_shape is not None
        model = create_generator(spec, self.dataset.image_shape, **own_settings(spec, setting(self.dataset)))
        parts = list(model.parts().values())
        for part, changes, share in zip(
            parts, (candidate.plan, candidate.second), (candidate.share, 1 - candidate.share), strict=False
        ):
            usual = model.part_plan(part, BUDGET)
            plan = replace(usual, **changes, reference_seconds=share / _unit(model, part, usual))
            _train_by(part, plan.stretched(of_budget))
        return model


def _state(part: Any) -> Any:
    assert part.training_state is not None
    return part.training_state


def _unit(model: Generator, part: Any, plan: Plan) -> float:
    """What the expected seconds of a part are for every second that its plan says."""
    if part is model.code_density:
        return int(part.features) / REFERENCE_FEATURES  # type: ignore[union-attr]
    return part.reference_seconds(plan) / plan.reference_seconds


def _train_by(part: Any, plan: Plan) -> None:
    """Have a part trained by this plan, whatever its profile."""
    part.plan = part.code_plan = lambda budget: plan


if __name__ == "__main__":
    sys.exit(main(Table2, sys.argv[1:], __doc__ or ""))
