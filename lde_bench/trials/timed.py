"""Trials whose budget is CPU seconds: by candidate plans on validation rows alone, then by the one that was chosen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch

from lde_bench.densities import create, sample_cost
from lde_bench.densities.base import Density
from lde_bench.densities.spec import MethodSpec
from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.evaluation.likelihood import evaluate
from lde_bench.runs import Record, Result, ResultStore, utc_now
from lde_bench.runs.rows import with_components
from lde_bench.training.loop import Progress, Seconds
from lde_bench.training.plan import Plan, lengthened_rate
from lde_bench.trials.base import TrainingOptions, cost_of, head
from lde_bench.trials.density import DensityTrial, train_density, training_of


def on_one_clock(options: TrainingOptions) -> TrainingOptions:
    """The options of trials whose CPU seconds compare: on the processor, and not compiled.

    Raises:
        InputError: they ask for a GPU, whose work takes no CPU seconds, or for `torch.compile`, whose compilers outlive
            the trial, so that their seconds would never count.
    """
    if options.device not in ("auto", "cpu"):
        raise InputError(f"device '{options.device}': the budget is CPU seconds; use --device cpu or leave it out.")
    if options.compile:
        raise InputError("the seconds of torch.compile's compilers would not count as others do; leave out --compile.")
    return replace(options, device="cpu", compile=False)


@functools.cache
def warm_up() -> None:
    """Take a training step of a tiny model: the first one of a process loads half of torch, two CPU seconds that would
    be the first trial's alone to pay.
    """
    create("made-mog", 2, hidden=4, components=1).fit(np.eye(2, dtype=np.float32), steps=1, device="cpu")


#: CPU seconds that the plans of `standard` are searched for: warm-up and average keep their share of another budget.
#: (Those of `quick` are of fewer steps, and of a shorter warm-up than their share.)
PLAN_SECONDS = 600.0

#: A training may take so much more than its seconds, for its last step and look, before the table says so.
OVER = 1.1


#: Looks at the validation set during a run.
LOOKS = 12


@dataclass(frozen=True)
class TimedTrial(DensityTrial):
    """One training run, to the end of its budget, by the method's own plan, stretched to it, with `changes`."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    #: Why it cannot run, where the search found no plan for it.
    planless: str = ""

    @classmethod
    def of(cls, trial: DensityTrial, changes: Mapping[str, Any], planless: str = "") -> Self:
        """The same trial by a changed plan."""
        same = {each.name: getattr(trial, each.name) for each in fields(DensityTrial)}
        return cls(**same, changes=changes, planless=planless)

    @property
    def title(self) -> str:
        return f"{super().title}, {self.budget.seconds:g} CPU s"

    def plan(self, density: Density) -> Plan:
        assert self.budget.seconds is not None
        plan = super().plan(density).stretched(self.budget.seconds / PLAN_SECONDS)
        return replace(plan, patience=None, looks=LOOKS, **self.changes)

    def _determines(self, spec: MethodSpec, content: str) -> dict[str, Any]:
        # A second thread costs more CPU seconds than it brings: another number gives another model.
        return {**super()._determines(spec, content), "threads": torch.get_num_threads()}

    def run(self, store: ResultStore, on_progress: Callable[[Progress], None], notify: Callable[[str], None]) -> Record:
        if self.planless:
            raise TrainingDiverged(self.planless)
        warm_up()
        return super().run(store, on_progress, notify)


@dataclass(frozen=True)
class CandidateTrial(TimedTrial):
    """One training run by a candidate plan, scored on validation rows: the test set is not touched, no law is checked
    and no weights are kept.
    """

    @property
    def title(self) -> str:
        return f"{with_components(self.spec.label, self.components)}, {self.words}"

    @property
    def words(self) -> str:
        """What the plan has of its own: `rate=0.003`."""
        return ", ".join(f"{name}={value:g}" for name, value in self.changes.items())

    def plan(self, density: Density) -> Plan:
        return replace(super().plan(density), looks=1)  # where it ends

    def prerequisites(self) -> Sequence[DensityTrial]:
        return ()  # no candidate has weights to take over

    def failed_record(self, reason: str) -> Record:
        record = super().failed_record(reason)
        return replace(record, training={**record.training, **self.changes})

    def run(self, store: ResultStore, on_progress: Callable[[Progress], None], notify: Callable[[str], None]) -> Record:
        warm_up()
        started, clock = utc_now(), Seconds.now()
        density = self.model()
        trained = train_density(self, density, self.paths(store).checkpoint, on_progress, notify)
        data = self.dataset
        validation = evaluate(density, np.asarray(data.validation), None, "validation", data.log_det)
        return Record(
            **head(self, density),
            status="done",
            reason=None,
            training=training_of(self, trained),
            result=Result(validation_nats=validation.mean, best_step=trained.best_step),
            curve=trained.curve,
            cost=cost_of(trained, clock, sample_cost(self.spec)),
            provenance=self.provenance(started),
        )


@dataclass(frozen=True)
class Choice:
    """The candidate of a method that did best on validation rows, and how fast it learns.

    Attributes:
        changes: to the method's own plan.
        rows_per_step: the rows of a training step.
        steps_per_second: training steps a CPU second, all that came before the first step included.
        seconds: that it was tried for.
    """

    changes: Mapping[str, Any]
    rows_per_step: int
    steps_per_second: float
    seconds: float

    def changes_for(self, seconds: float) -> dict[str, Any]:
        """The changes for a run of so many CPU seconds: a longer one has a lower rate, by the rule of `long`."""
        changes = dict(self.changes)
        if "rate" in changes:
            changes["rate"] = in_three_digits(lengthened_rate(changes["rate"], seconds / self.seconds))
        return changes


def in_three_digits(rate: float) -> float:
    """The rate as tables show it."""
    return float(f"{rate:.3g}")


def is_over(record: Record) -> bool:
    """Whether a training took more than its CPU seconds and a tenth: of so few, its start or one step fills them."""
    spent = None if record.cost is None else record.cost.training_cpu_seconds
    asked = record.budget.seconds
    return spent is not None and asked is not None and spent > OVER * asked and not record.training.get("closed_form")


def choose(candidates: Sequence[CandidateTrial], records: Sequence[Record]) -> dict[str, Choice | str]:
    """The choice of every method by its spelling, from the record of each candidate; where all of them failed, why."""
    best: dict[str, tuple[float, Choice]] = {}
    failed: dict[str, str] = {}
    for candidate, record in zip(candidates, records, strict=True):
        method = str(candidate.spec)
        if record.result is None or record.result.validation_nats is None or record.cost is None:
            failed.setdefault(method, f"all its candidate plans failed, the first: {record.reason}")
            continue
        nats = record.result.validation_nats
        if method not in best or nats > best[method][0]:
            pace = record.curve[-1].step / record.curve[-1].cpu_seconds
            assert candidate.budget.seconds is not None
            rows = int(record.training["batch_size"])
            best[method] = nats, Choice(candidate.changes, rows, pace, candidate.budget.seconds)
    return {**failed, **{method: choice for method, (_, choice) in best.items()}}
