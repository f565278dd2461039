"""What every trial is, whatever it trains: its name, its seed, its place, and what its record says of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import torch

from lde_bench.arrays import Rows
from lde_bench.data import Dataset
from lde_bench.densities import method_input
from lde_bench.densities.spec import MethodSpec
from lde_bench.errors import InputError
from lde_bench.files import file_sha256
from lde_bench.runs import (
    Cost,
    DatasetInfo,
    Record,
    ResultStore,
    RunPaths,
    Task,
    make_run_id,
    provenance,
    source_hash,
    utc_now,
)
from lde_bench.runs.rows import ended_by_itself, with_components
from lde_bench.training.batches import Batches
from lde_bench.training.curve import CurvePoint
from lde_bench.training.device import resolve_device, resolve_precision
from lde_bench.training.loop import Progress, Seconds
from lde_bench.training.model import Model
from lde_bench.training.plan import Budget, Plan
from lde_bench.training.start import Start
from lde_bench.version import __version__

#: Passes over the training patches from which on a `long` run is better served by fresh ones.
FRESH_PASSES = 3


@dataclass(frozen=True)
class TrainingOptions:
    """How trials are trained, beyond the model's own plan.

    Attributes:
        patches: `fixed`, the prepared training set; `fresh`, patches cut anew with new noise at every step from the
            same training photographs; `auto`, one of them, as `for_run` decides.
        augment: `symmetries`, one of the 8 flips and rotations of the patch at random per sample.
        device: `auto`, `cpu`, `cuda`.
        precision: `auto`, `fp32`, `bf16`; of the training steps.
        compile: overrides the plan's use of `torch.compile`.
    """

    patches: Literal["auto", "fixed", "fresh"] = "fixed"
    augment: Literal["symmetries"] | None = None
    device: str = "auto"
    precision: str = "auto"
    compile: bool | None = None

    def check(self, dataset: Dataset) -> None:
        """Raises `InputError` when the dataset cannot serve them."""
        if self.patches not in ("auto", "fixed", "fresh"):
            raise InputError(f"patches '{self.patches}' is unknown; choose auto, fixed or fresh.")
        if self.augment not in (None, "symmetries"):
            raise InputError(f"augment '{self.augment}' is unknown; choose symmetries or leave it out.")
        if self.patches == "fresh" and dataset.fresh is None:
            raise InputError(f"{dataset.name} holds no photographs to draw fresh patches from; use --patches fixed.")
        if self.augment is not None and not dataset.is_patch:
            raise InputError(f"{dataset.name} is no set of 8x8 patches and has no symmetries; leave out --augment.")
        resolve_precision(self.precision, resolve_device(self.device), bf16_wanted=True)

    def for_run(self, plan: Plan, budget: Budget, dataset: Dataset) -> TrainingOptions:
        """The options with `auto` decided: under `long` fresh patches, where there are photographs to cut them from and
        a run by this plan would pass the fixed ones `FRESH_PASSES` times or more.
        """
        if self.patches != "auto":
            return self
        passes = plan.expected_steps(budget) * plan.batch_size / len(dataset.train)
        fresh = budget.profile == "long" and dataset.fresh is not None and passes >= FRESH_PASSES
        return replace(self, patches="fresh" if fresh else "fixed")

    def asked(self) -> dict[str, Any]:
        """What a record says was done to the training data."""
        return {"patches": self.patches, "augment": self.augment}


@dataclass(frozen=True)
class Trial(ABC):
    """One training run of one method with one seed."""

    experiment: str
    spec: MethodSpec
    components: int | None
    trial: int
    dataset: Dataset
    budget: Budget
    options: TrainingOptions
    base_seed: int = 0

    @property
    @abstractmethod
    def seed(self) -> int:
        """Derived from names, so that adding a method or a trial changes nobody else's seed."""

    @abstractmethod
    def determines(self) -> dict[str, Any]:
        """Everything that changes the result, by which the run is named."""

    @abstractmethod
    def model(self) -> Model:
        """The model, not yet trained."""

    @abstractmethod
    def run(self, store: ResultStore, on_progress: Callable[[Progress], None], notify: Callable[[str], None]) -> Record:
        """Train and measure."""

    @property
    def title(self) -> str:
        """For progress displays: `lde+w K=10, trial 1`."""
        return f"{with_components(self.spec.label, self.components)}, trial {self.trial + 1}"

    @cached_property
    def run_id(self) -> str:
        return make_run_id(
            experiment=self.experiment,
            method=self.spec.label,
            components=self.components,
            budget=self.budget,
            trial=self.trial,
            determines=self.determines(),
        )

    def prerequisites(self) -> Sequence[Task]:
        """What must have run before: whatever has the weights that the trial takes over."""
        return ()

    def is_ready(self, store: ResultStore) -> bool:
        """Whether its weights, which other trials take over, are beside its record."""
        found = store.find(self.run_id)
        return found is not None and found.done and self.paths(store).weights.is_file()

    def failed_record(self, reason: str) -> Record:
        """The record where it raised."""
        now = utc_now()
        return Record(
            **head(self, self.model()),
            status="failed",
            reason=reason,
            training={**self.options.asked(), "precision": self.options.precision, "device": self.options.device},
            result=None,
            provenance=provenance(now, now),
        )

    def provenance(self, started: str) -> dict[str, Any]:
        """Where the record came from that is finished now."""
        return provenance(started, utc_now(), device=resolve_device(self.options.device).type)

    def train(
        self,
        fit: Callable[..., Any],
        rows: Rows | Batches,
        checkpoint: Path | None,
        on_progress: Callable[[Progress], None],
        notify: Callable[[str], None],
    ) -> None:
        """Call a model's `fit` on training `rows`, with the seed, budget and options of the trial."""
        fit(
            rows,
            self.dataset.validation,
            seed=self.seed,
            profile=self.budget.profile,
            steps=self.budget.steps,
            seconds=self.budget.seconds,
            clock=self.budget.clock,
            device=self.options.device,
            precision=self.options.precision,
            compile=self.options.compile,
            checkpoint=checkpoint,
            code=f"lde-bench {__version__}, source {source_hash()}",
            on_progress=on_progress,
            notify=notify,
        )

    def trained_at(self, store: ResultStore) -> RunPaths:
        """Where the weights are: its own, unless a subclass finds them elsewhere."""
        return self.paths(store)

    def paths(self, store: ResultStore) -> RunPaths:
        """Where the files of the run go."""
        return store.place(
            experiment=self.experiment,
            dataset=self.dataset.name,
            version=self.dataset.version,
            budget=self.budget,
            run_id=self.run_id,
        )

    def reference_seconds(self) -> float:
        """About how long the trial takes, without its prerequisites, on the reference machine: 2 cores with bf16."""
        return self.model().expected_seconds(self.budget, rows=len(self.dataset.train))


@dataclass(frozen=True)
class Trained:
    """What a record says of the training.

    `starts` are those of its parts, by their names. `earlier` are the seconds that were spent on it in other runs,
    `cpu_seconds` those of all training; None where it ends by itself, or the records of what it took over do not tell.
    """

    setup: dict[str, Any]
    starts: dict[str, Start]
    best_step: int
    curve: list[CurvePoint]
    earlier: Seconds
    cpu_seconds: float | None

    @classmethod
    def of(cls, sources: Sequence[Record]) -> Trained:
        """The training of one record, or of the members of a mixture, which has no curve and start of its own."""
        first = sources[0]
        costs = [source.cost for source in sources if source.cost is not None]
        return cls(
            setup=first.training,
            starts=first.starts if len(sources) == 1 else {},
            best_step=max((source.result.best_step if source.result else None) or 0 for source in sources),
            curve=first.curve if len(sources) == 1 else [],
            earlier=Seconds(sum(cost.wall_seconds for cost in costs), sum(cost.cpu_seconds for cost in costs)),
            cpu_seconds=_sum_known([cost.training_cpu_seconds for cost in costs]),
        )

    @classmethod
    def by(cls, model: Model, origin: Mapping[str, str]) -> Self:
        """What the last `fit` of a model did; `origin` says which code a model of a user's own is."""
        state = model.training_state
        assert state is not None
        return cls(
            {**model.training_setup, **origin},
            model.training_starts,
            state.best_step,
            state.curve,
            # A continued run counts the seconds of the runs that it continued, as its checkpoint kept them.
            Seconds(state.resumed_wall_seconds, state.resumed_cpu_seconds),
            None if ended_by_itself(model.training_setup) else round(state.cpu_seconds, 2),
        )

    @classmethod
    def before(cls, source: Record, setup: dict[str, Any]) -> Trained:
        """The training of weights that are taken over from `source`, which measured other things of them. Its CPU
        seconds are those of that training, where they are known; on the wall it takes none.
        """
        trained = replace(cls.of([source]), setup=setup)
        return replace(trained, earlier=Seconds(0.0, trained.cpu_seconds or 0.0))


def _sum_known(values: Sequence[float | None]) -> float | None:
    """The sum, where every value is known."""
    return None if None in values else sum(filter(None, values))


def weights_kept(paths: RunPaths) -> dict[str, str]:
    """What a record says of the weights beside it: nothing where they could not be kept."""
    return {"weights_sha256": file_sha256(paths.weights)} if paths.weights.is_file() else {}


def head(trial: Trial, model: Model) -> dict[str, Any]:
    """What a record says of a trial whether it ended well or not."""
    return {
        "experiment": trial.experiment,
        "run_id": trial.run_id,
        "method": trial.spec.label,
        "components": trial.components,
        "trial": trial.trial,
        "parameters": model.parameter_count(),
        "features": model.features,
        "input": method_input(trial.spec.label),
        "dataset": DatasetInfo.of(trial.dataset),
        "budget": trial.budget,
        "seeds": {"base": trial.base_seed, "trial": trial.seed},
    }


def set_threads(threads: int | None) -> None:
    """Use this many threads for the arithmetic; None leaves torch's choice.

    Raises:
        InputError: it is no whole number from 1 up.
    """
    if threads is None:
        return
    if threads < 1:
        raise InputError(f"threads = {threads} is not a whole number from 1 up; give for example --threads 2.")
    torch.set_num_threads(threads)


def cost_of(trained: Trained, since: Seconds, sample_cost: str) -> Cost:
    """What a trial cost since the reading `since` of the clocks, with what runs before spent on its training."""
    now = Seconds.now()
    return Cost(
        wall_seconds=round(trained.earlier.wall + now.wall - since.wall, 2),
        cpu_seconds=round(trained.earlier.cpu + now.cpu - since.cpu, 2),
        sample_cost=sample_cost,
        training_cpu_seconds=trained.cpu_seconds,
    )


def weights_from(sources: Sequence[Record]) -> dict[str, Any]:
    """What a record says of weights that were taken from others: of which runs, and what code trained them, one commit
    where it was the same.
    """
    commits = [source.training.get("weights_commit", source.provenance.get("commit")) for source in sources]
    alike = all(commit == commits[0] for commit in commits)
    return {
        "weights_of": [source.run_id for source in sources],
        "weights_commit": commits[0] if alike else commits,
    }
