"""Trials of densities on a dataset: what one is, how it is run and what its record says.

Every density table (BSDS300 patches, regression checks, data of a user's own) is a list of these trials.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from lde_bench import BENCHMARK_VERSION, __version__
from lde_bench.data import Dataset
from lde_bench.data.patches import SYMMETRIES, apply_symmetries
from lde_bench.densities import create, density_class, takes_argument
from lde_bench.densities.base import Density
from lde_bench.densities.spec import MethodSpec, parse_method
from lde_bench.errors import InputError
from lde_bench.evaluation.laws import trial_laws
from lde_bench.evaluation.likelihood import evaluate
from lde_bench.runs import (
    Cost,
    CurvePoint,
    DatasetInfo,
    Groups,
    Law,
    Record,
    Result,
    ResultStore,
    Sizes,
    code_version,
    make_run_id,
    provenance,
    utc_now,
)
from lde_bench.seeds import derive_seed
from lde_bench.training.batches import ArrayBatches, Augment, Batches, FreshBatches
from lde_bench.training.device import resolve_device, resolve_precision
from lde_bench.training.loop import Progress, cpu_seconds
from lde_bench.training.plan import Budget

#: A standard error needs two test rows; the laws of a trained model look at some validation rows.
LEAST_ROWS = {"train": 2, "validation": 24, "test": 2}


@dataclass(frozen=True)
class TrainingOptions:
    """How trials are trained, beyond the model's own plan.

    Attributes:
        patches: `fixed`, the prepared training set; `fresh`, patches cut anew with new noise at every step from the
            same training photographs.
        augment: `symmetries`, one of the 8 flips and rotations of the patch at random per sample.
        device: `auto`, `cpu`, `cuda`.
        precision: `auto`, `fp32`, `bf16`; of the training steps.
        compile: overrides the plan's use of `torch.compile`.
    """

    patches: Literal["fixed", "fresh"] = "fixed"
    augment: Literal["symmetries"] | None = None
    device: str = "auto"
    precision: str = "auto"
    compile: bool | None = None

    def check(self, dataset: Dataset) -> None:
        """Raises `InputError` when the dataset cannot serve them."""
        if self.patches not in ("fixed", "fresh"):
            raise InputError(f"patches '{self.patches}' is unknown; choose fixed or fresh.")
        if self.augment not in (None, "symmetries"):
            raise InputError(f"augment '{self.augment}' is unknown; choose symmetries or leave it out.")
        if self.patches == "fresh" and dataset.fresh is None:
            raise InputError(f"{dataset.name} holds no photographs to draw fresh patches from; use --patches fixed.")
        if self.augment is not None and not dataset.is_patch:
            raise InputError(f"{dataset.name} is no set of 8x8 patches and has no symmetries; leave out --augment.")
        resolve_precision(self.precision, resolve_device(self.device), bf16_wanted=True)


@dataclass(frozen=True)
class DensityTrial:
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
    def seed(self) -> int:
        """Derived from names, so that adding a method or a trial changes nobody else's seed."""
        return derive_seed(self.experiment, str(self.spec), self.base_seed, "trial", self.trial)

    @property
    def title(self) -> str:
        """For progress displays: `lde+w K=10, trial 1`."""
        components = "" if self.components is None else f" K={self.components}"
        return f"{self.spec.label}{components}, trial {self.trial + 1}"

    @cached_property
    def run_id(self) -> str:
        device = resolve_device(self.options.device)
        density = self.density()
        plan = density.plan(self.budget)
        return make_run_id(
            experiment=self.experiment,
            method=self.spec.label,
            components=self.components,
            budget=self.budget,
            trial=self.trial,
            determines={
                "benchmark_version": BENCHMARK_VERSION,
                "dataset": [self.dataset.name, self.dataset.version, self.dataset.content_hash],
                "method": str(self.spec),
                "plan": plan.describe(),
                "budget": asdict(self.budget),
                "patches": self.options.patches,
                "augment": self.options.augment,
                "precision": density.training_precision(self.options.precision, device, plan),
                "device": device.type,
                "compile": plan.compile if self.options.compile is None else self.options.compile,
                "seed": self.seed,
            },
        )

    def density(self) -> Density:
        """The density, not yet trained."""
        return create(self.spec, self.dataset.features)

    def batches(self) -> Batches:
        """Training batches as the options ask."""
        augment: Augment | None = _random_symmetry if self.options.augment else None
        if self.options.patches == "fresh":
            assert self.dataset.fresh is not None
            return FreshBatches(self.dataset.fresh.draw, self.dataset.features, self.seed, augment)
        return ArrayBatches(self.dataset.train, self.seed, augment)

    def reference_seconds(self) -> float:
        """About how long the trial takes on the reference machine: 2 cores with bf16."""
        density = self.density()
        plan = density.plan(self.budget)
        if self.budget.seconds is not None and not plan.closed_form:
            return self.budget.seconds
        return density.reference_seconds(plan) * plan.steps_within(self.budget) / plan.steps


def _random_symmetry(rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return apply_symmetries(rows, generator.integers(len(SYMMETRIES), size=len(rows)))


def expand_methods(
    methods: Sequence[str], components: Sequence[int], features: int
) -> list[tuple[MethodSpec, int | None]]:
    """Every method, for mixtures at every K; one that spells its own `components` at that K alone.

    Raises:
        InputError: an unknown method or argument, a value it does not take, or nothing to run.
    """
    specs: dict[str, tuple[MethodSpec, int | None]] = {}
    for method in methods:
        spec = parse_method(method)
        own = spec.arguments.get("components")
        if not takes_argument(spec, "components"):
            specs[str(spec)] = (spec, None)
            continue
        for k in components if own is None else [own]:
            at_k = spec.with_arguments(components=k)
            specs[str(at_k)] = (at_k, k)
    if not specs:
        raise InputError("there is nothing to run; name at least one method, and for mixtures one K.")
    for spec, _ in specs.values():
        create(spec, features)
    return list(specs.values())


def plan_trials(
    experiment: str,
    dataset: Dataset,
    methods: Sequence[str],
    components: Sequence[int],
    trials: int,
    budget: Budget,
    options: TrainingOptions,
    base_seed: int = 0,
) -> list[DensityTrial]:
    """The trials of a sweep: every method, for mixtures every K, every seed; first trials first.

    Everything a trial needs is checked here, before any training.

    Raises:
        InputError: see `expand_methods`; or options that the dataset cannot serve, or too little data.
    """
    if isinstance(trials, bool) or trials < 1:
        raise InputError(f"trials = {trials} is not a whole number from 1 up; give for example --trials 3.")
    options.check(dataset)
    for split, least in LEAST_ROWS.items():
        if (rows := dataset.sizes[split]) < least:
            raise InputError(f"{dataset.name} has {rows} {split} rows; at least {least} are needed, give more.")
    specs = expand_methods(methods, components, dataset.features)
    return [
        DensityTrial(experiment, spec, k, trial, dataset, budget, options, base_seed)
        for trial in range(trials)
        for spec, k in specs
    ]


def run_density_trial(
    trial: DensityTrial,
    store: ResultStore,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    notify: Callable[[str], None] = lambda message: None,
) -> Record:
    """Train, choose the weights on validation, hold the model to its laws, then touch the test set once."""
    started = utc_now()
    paths = store.place(
        experiment=trial.experiment,
        dataset=trial.dataset.name,
        version=trial.dataset.version,
        budget=trial.budget,
        run_id=trial.run_id,
    )
    density = trial.density()
    wall, cpu = time.perf_counter(), cpu_seconds()
    density.fit(
        trial.batches(),
        trial.dataset.validation,
        seed=trial.seed,
        profile=trial.budget.profile,
        steps=trial.budget.steps,
        seconds=trial.budget.seconds,
        device=trial.options.device,
        precision=trial.options.precision,
        compile=trial.options.compile,
        checkpoint=paths.checkpoint,
        code=f"lde-bench {__version__} at {code_version()}",
        on_progress=on_progress,
        notify=notify,
    )
    state = density.training_state
    assert state is not None
    validation = evaluate(density, trial.dataset.validation, None, "validation")
    laws = {name: Law(**verdict) for name, verdict in trial_laws(density, trial.dataset.validation).items()}
    test = evaluate(density, trial.dataset.test, trial.dataset.test_groups)
    density.save(paths.weights)
    paths.save_log_likelihoods(test.items)
    groups = None
    if test.groups is not None:
        groups = Groups(test.groups.ids.tolist(), test.groups.counts.tolist(), test.groups.means.tolist())
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    return Record(
        **_head(trial, density),
        status="done",
        reason=None,
        training=_training(trial, density),
        result=Result(
            test_nats=test.mean,
            validation_nats=validation.mean,
            test_standard_error_naive=test.standard_error,
            test_standard_error_clustered=test.groups.standard_error if test.groups else None,
            best_step=state.best_step,
            groups=groups,
        ),
        laws=laws,
        curve=[CurvePoint(**asdict(point)) for point in state.curve],
        # A continued run counts the seconds of the runs that it continued, as its checkpoint kept them.
        cost=Cost(
            wall_seconds=round(wall + state.resumed_wall_seconds, 2),
            cpu_seconds=round(cpu + state.resumed_cpu_seconds, 2),
            sample_cost=density_class(trial.spec.name).card.sample_cost,
        ),
        provenance=provenance(started, utc_now()),
    )


def failed_density_record(trial: DensityTrial, reason: str) -> Record:
    """The record of a trial that raised."""
    now = utc_now()
    return Record(
        **_head(trial, trial.density()),
        status="failed",
        reason=reason,
        training=_training(trial, None),
        result=None,
        provenance=provenance(now, now),
    )


def _head(trial: DensityTrial, density: Density) -> dict[str, Any]:
    """What a record says of a trial whether it ended well or not."""
    dataset = trial.dataset
    return {
        "experiment": trial.experiment,
        "run_id": trial.run_id,
        "method": trial.spec.label,
        "components": trial.components,
        "trial": trial.trial,
        "parameters": density.parameter_count(),
        "dataset": DatasetInfo(
            dataset.name, dataset.version, dataset.content_hash, dataset.seed, Sizes(**dataset.sizes)
        ),
        "budget": trial.budget,
        "seeds": {"base": trial.base_seed, "trial": trial.seed},
    }


def _training(trial: DensityTrial, density: Density | None) -> dict[str, Any]:
    asked = {"patches": trial.options.patches, "augment": trial.options.augment}
    if density is None:
        return {**asked, "precision": trial.options.precision, "device": trial.options.device}
    return {**density.training_setup, **asked}


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
