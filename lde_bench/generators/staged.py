"""Generators that are trained in stages, each a model of its own by the one training loop, the later on what the
earlier give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from lde_bench.arrays import Rows
from lde_bench.errors import InputError
from lde_bench.generators.base import Generator
from lde_bench.seeds import as_seed, derive_seed
from lde_bench.training.batches import Batches
from lde_bench.training.curve import CurvePoint
from lde_bench.training.device import resolve_device
from lde_bench.training.loop import Progress, TrainingState
from lde_bench.training.model import Model, as_array, load_trained
from lde_bench.training.plan import Budget, Plan
from lde_bench.training.start import Start

#: Of a stage's setup, what the whole model says once.
SHARED_SETUP = ("precision", "device", "threads", "compile")


@dataclass(frozen=True)
class Stage:
    """One model to train, and the rows [n, D] it is trained on and chosen by."""

    name: str
    train: Rows
    validation: Rows | None


class StagedGenerator(Generator):
    """A generator made of parts that are trained one after the other.

    A subclass gives `parts` and `stages`. Models that differ in nothing but the later parts may share the first: it is
    then trained by `fit_shared_part`.
    """

    def parts(self) -> dict[str, Model]:
        """The models by the names of their stages, in the order of training."""
        raise TypeError(f"{type(self).__name__} does not define parts")

    def stages(self, train: Rows, validation: Rows | None) -> Iterator[Stage]:
        """The stages in turn; each is asked for once those before it are trained."""
        raise TypeError(f"{type(self).__name__} does not define stages")

    @property
    def lacks(self) -> frozenset[str]:
        return frozenset({"weights"}) & frozenset().union(*(part.lacks for part in self.parts().values()))

    def parameter_count(self) -> int | None:
        counts = [part.parameter_count() for part in self.parts().values()]
        return None if None in counts else sum(filter(None, counts))

    def describe_training(
        self, budget: Budget, precision: str, device: torch.device, plan: Plan | None = None
    ) -> dict[str, Any]:
        return {
            name: part.describe_training(budget, precision, device, self.part_plan(part, budget))
            for name, part in self.parts().items()
        }

    def revised(self) -> dict[str, Any]:
        parts = {name: told for name, part in self.parts().items() if (told := part.revised())}
        return super().revised() | ({"revised_parts": parts} if parts else {})

    def expected_seconds(self, budget: Budget, plan: Plan | None = None, rows: int | None = None) -> float:
        if budget.seconds is not None:
            return budget.seconds
        return sum(self.part_seconds(budget, rows).values())

    def part_seconds(self, budget: Budget, rows: int | None) -> dict[str, float]:
        """About how long each part takes on the reference machine: 2 cores with bf16."""
        return {
            name: part.expected_seconds(budget, self.part_plan(part, budget), rows)
            for name, part in self.parts().items()
        }

    def fit(
        self,
        train_rows: Rows | Tensor | Batches,
        validation: Rows | Tensor | None = None,
        *,
        seed: int = 0,
        profile: str | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        device: str = "auto",
        checkpoint: Path | None = None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        notify: Callable[[str], None] = lambda message: None,
        shared: Path | None = None,
        **options: Any,
    ) -> Self:
        """As `Model.fit`, stage by stage; explicit steps are those of each stage, seconds those of all together.

        `shared` is the file that the trained first part is taken from, of `fit_shared_part`.

        Raises:
            InputError: see `Model.fit`; or a plan, which each stage has of its own, training batches that are no array,
                or no such file.
        """
        if options.pop("plan", None) is not None:
            raise InputError(f"{self.name}: each of its parts has a plan of its own; leave out plan.")
        rows, held_out = self._arrays(train_rows, validation)
        seed = as_seed(self.name, seed)
        budget = Budget.of(profile, steps, seconds)
        parts, expected = self.parts(), self.part_seconds(replace(budget, seconds=None), len(rows))
        setups: dict[str, dict[str, Any]] = {}
        starts: dict[str, Start] = {}
        whole = TrainingState()
        spent = 0.0
        code = options.pop("code", "")
        for index, stage in enumerate(self.stages(rows, held_out)):
            share = expected[stage.name] / sum(expected.values())
            if index == 0 and shared is not None:
                notify(f"{stage.name}: trained before, taken from {shared.name}")
                state, setups[stage.name] = _taken(parts[stage.name], shared)
                parts[stage.name].to(resolve_device(device))  # as `fit` does with what it trains
            else:
                state, setups[stage.name] = self._fit_stage(
                    stage,
                    seed,
                    replace(budget, seconds=None if budget.seconds is None else budget.seconds * share),
                    device=device,
                    checkpoint=checkpoint and checkpoint.with_suffix(f".{stage.name}{checkpoint.suffix}"),
                    on_progress=_within(on_progress, spent, share),
                    notify=notify,
                    code=code,
                    **options,
                )
            # What is trained on other codes is another training: seconds, unlike steps, need not give the same again.
            code = f"{code}, on {weights_hash(parts[stage.name])}"
            starts[stage.name] = state.start(setups[stage.name]["clip"])
            _join(whole, state)
            spent += share
        self.eval()
        self.training_state, self.training_starts = whole, starts
        first = next(iter(setups.values()))
        self.training_setup = (
            {key: first[key] for key in SHARED_SETUP if key in first}
            | {
                name: {key: value for key, value in setup.items() if key not in SHARED_SETUP}
                for name, setup in setups.items()
            }
            | self.revised()
        )
        return self

    def fit_shared_part(
        self,
        train_rows: Rows | Tensor | Batches,
        validation: Rows | Tensor | None = None,
        *,
        file: Path,
        seed: int = 0,
        profile: str | None = None,
        steps: int | None = None,
        seconds: None = None,
        **options: Any,
    ) -> None:
        """Train the first part alone, as `fit` would, and keep it in `file` for the models that share it.

        Seconds are divided among the parts, so that the part would be another beside another density: none are taken.

        Raises:
            InputError: see `fit`.
        """
        rows, held_out = self._arrays(train_rows, validation)
        budget = Budget.of(profile, steps, seconds)
        first = next(iter(self.stages(rows, held_out)))
        state, setup = self._fit_stage(first, as_seed(self.name, seed), budget, **options)
        self.parts()[first.name].save(file, {"setup": setup, "state": asdict(state)})

    def _arrays(
        self, train_rows: Rows | Tensor | Batches, validation: Rows | Tensor | None
    ) -> tuple[Rows, Rows | None]:
        if isinstance(train_rows, Batches):
            raise InputError(f"{self.name}: is trained on an array of images and not on a stream; give one [n, D].")
        rows = as_array(self._readable("training", train_rows))
        return rows, None if validation is None else as_array(self._readable("validation", validation))

    def _fit_stage(
        self, stage: Stage, seed: int, budget: Budget, **options: Any
    ) -> tuple[TrainingState, dict[str, Any]]:
        """Train one part; what its training was."""
        part = self.parts()[stage.name]
        part.fit(
            stage.train,
            stage.validation,
            seed=derive_seed(seed, stage.name),
            profile=budget.profile,
            steps=budget.steps,
            seconds=budget.seconds,
            plan=self.part_plan(part, budget),
            **options,
        )
        assert part.training_state is not None
        return part.training_state, part.training_setup


def weights_hash(part: Model) -> str:
    """SHA-256 of the weights of a part, its first 12 digits."""
    found = hashlib.sha256()
    for name, value in part.state_dict().items():
        found.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return found.hexdigest()[:12]


def _taken(part: Model, path: Path) -> tuple[TrainingState, dict[str, Any]]:
    """Trained weights put into `part`: what their training was; its seconds are those of an earlier run."""
    notes = load_trained(part, path)
    curve = [CurvePoint(**point) for point in notes["state"]["curve"]]
    state = TrainingState(**notes["state"] | {"curve": curve})
    state.resumed_wall_seconds, state.resumed_cpu_seconds = state.wall_seconds, state.cpu_seconds
    return state, notes["setup"]


def _within(on_progress: Callable[[Progress], None], spent: float, share: float) -> Callable[[Progress], None]:
    """Progress of a stage as that of the whole, of which `spent` lies before it and `share` is its own."""

    def tell(progress: Progress) -> None:
        left = progress.seconds_left
        if progress.share < 1:
            left += left / ((1 - progress.share) * share) * max(0.0, 1 - spent - share)
        on_progress(replace(progress, share=spent + share * progress.share, seconds_left=left))

    return tell


def _join(whole: TrainingState, stage: TrainingState) -> None:
    """Add a stage to what is known of all; the score and its curve are those of the last one."""
    whole.step += stage.step
    whole.wall_seconds += stage.wall_seconds
    whole.cpu_seconds += stage.cpu_seconds
    whole.resumed_wall_seconds += stage.resumed_wall_seconds
    whole.resumed_cpu_seconds += stage.resumed_cpu_seconds
    whole.best_step, whole.best_score = stage.best_step, stage.best_score
    whole.stopped_early, whole.curve = stage.stopped_early, stage.curve
