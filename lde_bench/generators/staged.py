"""Generators that are trained in stages, each a model of its own by the one training loop, the later on what the
earlier give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
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
from lde_bench.training.loop import Progress, TrainingState
from lde_bench.training.model import Model, as_array, load_trained
from lde_bench.training.plan import Budget, Plan

#: Of a stage's setup, what the whole model says once.
SHARED_SETUP = ("precision", "device", "threads", "compile")


@dataclass(frozen=True)
class Stage:
    """One model to train, and the rows [n, D] it is trained on and chosen by."""

    name: str
    train: Rows
    validation: Rows | None


#: Gives the file of the weights of a part that models of several names share, held against other processes.
SharedFile = Callable[[Model, int], AbstractContextManager[Path | None]]


class StagedGenerator(Generator):
    """A generator made of parts that are trained one after the other.

    A subclass gives `parts` and `stages`. The first part alone may be shared by models that differ in the others.
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

    def expected_seconds(self, budget: Budget, plan: Plan | None = None, rows: int | None = None) -> float:
        if budget.seconds is not None:
            return budget.seconds
        return sum(self._seconds_of_parts(budget, rows).values())

    def _seconds_of_parts(self, budget: Budget, rows: int | None) -> dict[str, float]:
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
        checkpoint: Path | None = None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        notify: Callable[[str], None] = lambda message: None,
        shared_file: SharedFile = lambda model, seed: nullcontext(),
        **options: Any,
    ) -> Self:
        """As `Model.fit`, stage by stage; explicit steps are those of each stage, seconds those of all together.

        `shared_file` says where the trained weights of the first part are kept, and taken from where they are there.

        Raises:
            InputError: see `Model.fit`; or training batches that are no array.
        """
        if isinstance(train_rows, Batches):
            raise InputError(f"{self.name}: is trained on an array of images and not on a stream; give one [n, D].")
        seed = as_seed(self.name, seed)
        budget = Budget.of(profile, steps, seconds)
        rows = as_array(self._readable("training", train_rows))
        held_out = None if validation is None else as_array(self._readable("validation", validation))
        parts, expected = self.parts(), self._seconds_of_parts(replace(budget, seconds=None), len(rows))
        setups: dict[str, dict[str, Any]] = {}
        whole = TrainingState()
        spent = 0.0
        for index, stage in enumerate(self.stages(rows, held_out)):
            share = expected[stage.name] / sum(expected.values())
            part, stage_seed = parts[stage.name], derive_seed(seed, stage.name)
            with shared_file(part, stage_seed) if index == 0 else nullcontext() as path:
                if path is not None and path.is_file():
                    notify(f"{stage.name}: trained before, taken from {path.name}")
                    state, setups[stage.name] = _taken(part, path)
                else:
                    part.fit(
                        stage.train,
                        stage.validation,
                        seed=stage_seed,
                        profile=budget.profile,
                        steps=budget.steps,
                        seconds=None if budget.seconds is None else budget.seconds * share,
                        plan=self.part_plan(part, budget),
                        checkpoint=checkpoint and checkpoint.with_suffix(f".{stage.name}{checkpoint.suffix}"),
                        on_progress=_within(on_progress, spent, share),
                        notify=notify,
                        **options,
                    )
                    assert part.training_state is not None
                    state, setups[stage.name] = part.training_state, part.training_setup
                    if path is not None and "weights" not in part.lacks:
                        part.save(path, {"setup": part.training_setup, "state": asdict(state)})
            _join(whole, state)
            spent += share
        self.eval()
        self.training_state = whole
        first = next(iter(setups.values()))
        self.training_setup = {key: first[key] for key in SHARED_SETUP if key in first} | {
            name: {key: value for key, value in setup.items() if key not in SHARED_SETUP}
            for name, setup in setups.items()
        }
        return self


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
