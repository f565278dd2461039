"""The plans of Table 2: one equal search for every row, on validation images.

    python benchmarks/table2_search.py --dataset mnist --seconds 600 --threads 1

Every row has six candidates (`CANDIDATES`), a model's arguments and plan each. All six are trained with a 15th of
the budget, the best two with a fifth of it: every row costs four fifths of one, counted in CPU seconds of training.
The rate falls over whatever a run has, so that each is a whole run. The score is what the table prints, on
validation images: the Parzen log-likelihood under 10,000 samples at the best sigma. No test image is looked at.

Each run is one JSON under `--results-dir`, and a second start continues; any number of processes may share the rows
out among them (`--rows`). What is chosen, and how many steps of it a budget pays, is printed at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lde_bench.data import Dataset, load_dataset
from lde_bench.errors import LdeBenchError, TrainingDiverged
from lde_bench.experiments.parzen import expand_methods
from lde_bench.files import write_text_atomic
from lde_bench.generators import create_generator
from lde_bench.generators.base import Generator
from lde_bench.generators.latent_density import REFERENCE_FEATURES
from lde_bench.progress import say
from lde_bench.seeds import derive_seed
from lde_bench.training.plan import Budget, Plan
from lde_bench.trials.images import draw_samples, own_settings, setting
from lde_bench.trials.parzen import SAMPLES, choose_window

#: Shares of the budget, and how many candidates get each.
RUNGS = ((6, 1 / 15), (2, 1 / 5))

COMPONENTS = 30
BUDGET = Budget.of("standard")


@dataclass(frozen=True)
class Candidate:
    """One way to train a row.

    Attributes:
        arguments: of the model, as the command line spells them.
        plan: changes to the `standard` plan of the model, or of its first part.
        second: changes to that of the second part, of a model trained in stages.
        share: of the budget that the first part has.
    """

    arguments: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    second: Mapping[str, Any] = field(default_factory=dict)
    share: float = 0.7

    @property
    def label(self) -> str:
        """The candidate in one line."""
        shown = [self.arguments] if self.arguments else []
        shown += [f"{key}={value}" for key, value in self.plan.items()]
        if self.second or self.share != Candidate.share:
            shown += [f"first {self.share:.0%}", *(f"second {key}={value}" for key, value in self.second.items())]
        return ", ".join(shown) or "as it stands"


def _rates(*rates: float, **plan: Any) -> list[Candidate]:
    return [Candidate(plan={"rate": rate, **plan}) for rate in rates]


_CODES = [
    Candidate(plan={"rate": rate}, second={"rate": second}, share=share)
    for rate, second, share in (
        (1e-3, 2e-3, 0.7),
        (2e-3, 2e-3, 0.7),
        (1e-3, 5e-3, 0.7),
        (2e-3, 5e-3, 0.7),
        (2e-3, 2e-3, 0.85),
        (2e-3, 2e-3, 0.5),
    )
]

CANDIDATES: dict[str, list[Candidate]] = {
    "deep-gsn": [*_rates(5e-4, 1e-3, 2e-3), *_rates(1e-3, 2e-3, batch_size=50), *_rates(1e-3, batch_size=250)],
    "gan": [
        *_rates(1e-3, 2e-3, 4e-3, schedule="constant"),
        *_rates(2e-3, 4e-3, schedule="cosine"),
        *_rates(2e-3, schedule="constant", average=0.99),
    ],
    "gmmn+ae": [
        Candidate(plan={"rate": rate}, second={"rate": second}, share=share)
        for rate, second, share in (
            (3e-3, 3e-3, 0.3),
            (3e-3, 6e-3, 0.3),
            (3e-3, 1e-2, 0.3),
            (1e-3, 6e-3, 0.3),
            (3e-3, 6e-3, 0.15),
            (3e-3, 6e-3, 0.5),
        )
    ],
    "aae": [
        *_rates(1e-3, 2e-3),
        Candidate("scale=5", {"rate": 1e-3}),
        Candidate("layers=3,hidden=500", {"rate": 1e-3}),
        Candidate("adversarial=0.01", {"rate": 1e-3}),
        Candidate("adversarial=0.1", {"rate": 1e-3}),
    ],
    "vae": [*_rates(1e-3, 2e-3, 4e-3), *_rates(1e-3, 2e-3, batch_size=64), *_rates(4e-3, batch_size=256)],
    "vae-iaf": [*_rates(1e-3, 2e-3, 4e-3), *_rates(1e-3, 2e-3, batch_size=64), *_rates(4e-3, batch_size=256)],
    "evae": [
        *_rates(1e-3, 2e-3, 4e-3),
        *_rates(1e-3, 2e-3, batch_size=64),
        Candidate("layers=2,hidden=1000", {"rate": 2e-3}),
    ],
    "ae": _CODES,
    "iae": _CODES,
}


@dataclass(frozen=True)
class Search:
    """What is the same for every row."""

    dataset: Dataset
    seconds: float
    seed: int
    folder: Path

    def choose(self, row: str) -> dict[str, Any]:
        """Run every rung of a row; what its winner is, and what a budget pays of it."""
        left, runs = CANDIDATES[row], list[dict[str, Any]]()
        for count, share in RUNGS:
            left = left[:count]
            runs = [self.run(row, candidate, share * self.seconds) for candidate in left]
            order = sorted(range(len(left)), key=lambda number: -runs[number]["validation_nats"])
            left, runs = [left[number] for number in order], [runs[number] for number in order]
        best = runs[0]
        steps = {name: round(rate * self.seconds) for name, rate in best["steps_per_second"].items()}
        return {"row": row, "candidate": best["candidate"], "nats": best["validation_nats"], "steps": steps}

    def run(self, row: str, candidate: Candidate, seconds: float) -> dict[str, Any]:
        """The result of one run, from its file where it was made before."""
        model = self._model(row, candidate)
        asked = {
            "row": row,
            "candidate": candidate.label,
            "settings": asdict(candidate),
            "model": model.config,
            "training": model.describe_training(BUDGET, "auto", torch.device("cpu")),
            "seconds": seconds,
            "seed": self.seed,
            "dataset": [self.dataset.name, self.dataset.version, self.dataset.training_hash],
        }
        name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        path = self.folder / f"{row}-{seconds:g}s-{name}.json"
        if path.is_file():
            return json.loads(path.read_text())
        try:
            found = asked | self._measured(row, model, seconds)
        except TrainingDiverged as error:
            found = asked | {"validation_nats": -1e9, "steps_per_second": {}, "failed": str(error)}
        write_text_atomic(path, json.dumps(found, indent=1) + "\n")
        say(f"{row} ({candidate.label}), {seconds:g} s: {found['validation_nats']:.1f} nats")
        return found

    def _measured(self, row: str, model: Generator, seconds: float) -> dict[str, Any]:
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

    def _model(self, row: str, candidate: Candidate) -> Generator:
        ((spec, _),) = expand_methods([f"{row}:{candidate.arguments}" if candidate.arguments else row], ["lde"], [30])
        assert self.dataset.image_shape is not None
        model = create_generator(spec, self.dataset.image_shape, **own_settings(spec, setting(self.dataset)))
        parts = list(model.parts().values())
        for part, changes, share in zip(
            parts, (candidate.plan, candidate.second), (candidate.share, 1 - candidate.share), strict=False
        ):
            usual = model.part_plan(part, BUDGET)
            _train_by(part, replace(usual, **changes, reference_seconds=share / _unit(model, part, usual)))
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


def table(folder: Path) -> pd.DataFrame:
    """Every run that is on file, the best of each row and budget first."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    frame = pd.DataFrame(runs)[["row", "seconds", "candidate", "validation_nats", "sigma"]]
    return frame.sort_values(["row", "seconds", "validation_nats"], ascending=[True, True, False])


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--seconds", type=float, default=600.0, help="CPU seconds of training of a row's budget")
    parser.add_argument("--rows", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results-dir", type=Path, default=Path("results/search"))
    return parser.parse_args(words)


def chosen(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What the search finds for each row in turn."""
    dataset = load_dataset(asked.dataset, progress=True)
    folder = asked.results_dir / f"{dataset.name}-v{dataset.version}"
    folder.mkdir(parents=True, exist_ok=True)
    each = asked.seconds * sum(count * share for count, share in RUNGS)
    say(f"{len(asked.rows)} rows of {each:g} CPU seconds of training each, and their evaluation")
    search = Search(dataset, asked.seconds, asked.seed, folder)
    for row in asked.rows:
        yield search.choose(row)
    write_text_atomic(folder / "table.csv", table(folder).to_csv(index=False, lineterminator="\n"))


def main(words: Sequence[str]) -> int:
    """Search, and print what is chosen as JSON, one row a line."""
    asked = arguments(words)
    torch.set_num_threads(asked.threads)
    try:
        for found in chosen(asked):
            print(json.dumps(found), flush=True)
    except LdeBenchError as error:
        say(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
