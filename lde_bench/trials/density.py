"""Trials of densities on a dataset: what one is, how it is run and what its record says.

Every density table (BSDS300 patches, regression checks, data of a user's own) is a list of these trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from lde_bench.data import Dataset
from lde_bench.data.patches import SYMMETRIES, apply_symmetries
from lde_bench.densities import (
    create,
    density_class,
    method_classes,
    sample_cost,
    takes_argument,
    training_spec,
    without_outermost_wrapper,
)
from lde_bench.densities.base import Density
from lde_bench.densities.ensemble import Ensemble
from lde_bench.densities.external import probe
from lde_bench.densities.spec import MethodSpec, parse_method
from lde_bench.densities.standardised import Standardised
from lde_bench.errors import InputError
from lde_bench.evaluation.laws import trial_laws
from lde_bench.evaluation.likelihood import evaluate
from lde_bench.evaluation.statistics import naive_standard_error
from lde_bench.runs import (
    Record,
    Result,
    ResultStore,
    RunPaths,
    digest,
    utc_now,
)
from lde_bench.seeds import derive_seed
from lde_bench.training.batches import ArrayBatches, Augment, Batches, FreshBatches
from lde_bench.training.device import resolve_device
from lde_bench.training.loop import Progress, Seconds
from lde_bench.training.plan import Budget, Plan
from lde_bench.trials.base import Trained, TrainingOptions, Trial, cost_of, head, weights_from, weights_kept
from lde_bench.trials.weights import borrow_weights, find_trained
from lde_bench.version import BENCHMARK_VERSION

#: A standard error needs two test rows; the laws of a trained model look at some validation rows.
LEAST_ROWS = {"train": 2, "validation": 24, "test": 2}

#: Samples kept beside each record, to be looked at.
KEPT_SAMPLES = 64


@dataclass(frozen=True)
class DensityTrial(Trial):
    """One training run of one method with one seed."""

    @property
    def seed(self) -> int:
        """Derived from names, so that adding a method or a trial changes nobody else's seed.

        Methods that train alike have the same seed: see `lde_bench.trials.weights`.
        """
        return derive_seed(self.experiment, str(training_spec(self.spec)), self.base_seed, "trial", self.trial)

    def determines(self) -> dict[str, Any]:
        return self._determines(self.spec, self.dataset.content_hash)

    def run(self, store: ResultStore, on_progress: Callable[[Progress], None], notify: Callable[[str], None]) -> Record:
        found = store.find(self.run_id)
        if found is not None and found.done:  # what takes over its weights misses them
            train_weights_again(self, found, store, on_progress, notify)
            return found
        return run_density_trial(self, store, on_progress, notify)

    def prerequisites(self) -> Sequence[DensityTrial]:
        """The trials whose weights it takes, where it is derived."""
        if not self.is_derived or "weights" in self.model().lacks:
            return ()
        plain = self.plain
        if plain.spec != self.spec:
            return (plain,)
        return [member.plain for member in self.members()]

    def is_ready(self, store: ResultStore) -> bool:
        """Whether weights of the same training are in the store, of this trial or of one on another test set."""
        return find_trained(self, store) is not None

    def trained_at(self, store: ResultStore) -> RunPaths:
        found = find_trained(self, store)
        return self.paths(store) if found is None else store.paths(found)

    def reference_seconds(self) -> float:
        """As of every trial; 0 of a derived one, whose evaluation alone nobody foresaw."""
        return 0.0 if self.prerequisites() else super().reference_seconds()

    @cached_property
    def training_id(self) -> str:
        """Names the trained weights: 16 hex digits, the same for trials that differ in nothing that training sees.

        The test set and what matters at evaluation alone have no part in it.
        """
        return digest(self._determines(training_spec(self.spec), self.dataset.training_hash))[:16]

    def _determines(self, spec: MethodSpec, content: str) -> dict[str, Any]:
        device = resolve_device(self.options.device)
        density = create(spec, self.dataset.features)
        plan = self.plan(density)
        return {
            "benchmark_version": BENCHMARK_VERSION,
            "dataset": [self.dataset.name, self.dataset.version, content],
            "method": str(spec),
            **density.describe_training(self.budget, self.options.precision, device, plan),
            "budget": self.budget.describe(),
            "patches": self.options.patches,
            "augment": self.options.augment,
            "device": device.type,
            "compile": plan.compile if self.options.compile is None else self.options.compile,
            "seed": self.seed,
            # Only where there is one: the names of the other runs were given without.
            **({"origin": origin} if (origin := density_class(spec.name).origin) else {}),
        }

    @property
    def is_derived(self) -> bool:
        """Whether its weights are those of other trials."""
        spec = training_spec(self.spec)
        return spec != self.spec or issubclass(method_classes(spec)[-1], Ensemble)

    @property
    def plain(self) -> DensityTrial:
        """The trial whose training this one's is: itself, unless its method only evaluates otherwise."""
        return replace(self, spec=training_spec(self.spec))

    def members(self) -> list[DensityTrial]:
        """Give the trials t M ... t M + M - 1 that trial t of a mixture of M trials (`+ens`) mixes."""
        mixture = create(training_spec(self.spec), self.dataset.features)
        assert isinstance(mixture, Ensemble)
        inner = without_outermost_wrapper(training_spec(self.spec))
        count = len(mixture.members)
        return [replace(self, spec=inner, trial=self.trial * count + index) for index in range(count)]

    def model(self) -> Density:
        """The density, not yet trained."""
        return create(self.spec, self.dataset.features)

    def plan(self, density: Density) -> Plan:
        """How `density`, the model of the trial, is trained."""
        return density.plan(self.budget)

    def batches(self) -> Batches:
        """Training batches as the options ask."""
        augment: Augment | None = _random_symmetry if self.options.augment else None
        if self.options.patches == "fresh":
            fresh = self.dataset.fresh
            assert fresh is not None
            return FreshBatches(fresh.draw, self.dataset.features, self.seed, augment, fresh.draw_at)
        return ArrayBatches(self.dataset.train, self.seed, augment)


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
        probe(create(spec, features))
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
    """The trials of a sweep: every method, for mixtures every K, every seed; first trials first, and those that
    train before those that take over weights.

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
    for spec, _ in specs:
        if not dataset.is_patch and any(kind.patches_only for kind in method_classes(spec)):
            raise InputError(f"{dataset.name} is no set of 8x8 patches, which {spec} needs; leave it out.")
    # By the density inside all wrappers: a mixture of trials takes over the very trials that it is a mixture of.
    decided = {
        str(spec): options.for_run(create(innermost(spec), dataset.features).plan(budget), budget, dataset)
        for spec, _ in specs
    }
    for spec, _ in specs:
        if decided[str(spec)].patches != "fresh" and any(kind.needs_places for kind in method_classes(spec)):
            raise InputError(f"{spec} learns from where patches lie in their photographs; add --patches fresh.")
    planned = [
        DensityTrial(experiment, spec, k, trial, dataset, budget, decided[str(spec)], base_seed)
        for trial in range(trials)
        for spec, k in specs
    ]
    return sorted(planned, key=lambda trial: trial.is_derived)


def innermost(spec: MethodSpec) -> MethodSpec:
    """The method without its wrappers and their arguments."""
    return innermost(without_outermost_wrapper(spec)) if spec.wrappers else spec


def run_density_trial(
    trial: DensityTrial,
    store: ResultStore,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    notify: Callable[[str], None] = lambda message: None,
) -> Record:
    """Train, choose the weights on validation, hold the model to its laws, then touch the test set once.

    Where the same training is in the store already, or the method is one that evaluates what others train (`+sym`,
    `+ens`), nothing is trained here: `training.weights_of` of the record names the runs whose weights these are. The
    record then carries over their training setup, curve (of a single run) and cost: its cost is theirs and that of its
    own evaluation, what the row would have cost by itself.

    Raises:
        InputError: the weights that it takes over are not in the store; `run_sweep` runs its prerequisites before.
        TrainingDiverged: the loss or a log-likelihood is not finite.
    """
    started = utc_now()
    paths = trial.paths(store)
    density = trial.model()
    sources = borrow_weights(trial, density, store)
    clock = Seconds.now()
    if sources:
        density.to(resolve_device(trial.options.device)).eval()
        trained = Trained.of(sources)
    else:
        trained = train_density(trial, density, paths.checkpoint, on_progress, notify)
    data = trial.dataset
    held_out = np.asarray(data.validation)
    validation = evaluate(density, held_out, None, "validation", data.log_det)
    laws = trial_laws(density, held_out, train=np.asarray(data.train), patches=data.is_patch)
    test = evaluate(density, np.asarray(data.test), data.test_groups, log_det=data.log_det)
    kept = in_units_of_data(density, data)
    if "weights" not in density.lacks:
        kept.save(paths.weights)
    if "samples" not in density.lacks:
        paths.save_samples(kept.sample(KEPT_SAMPLES, seed=derive_seed(trial.seed, "samples")))
    paths.save_log_likelihoods(test.items)
    truth, error = _against_truth(data, test.items)
    cost = cost_of(trained, clock, sample_cost(trial.spec))
    return Record(
        **head(trial, density),
        status="done",
        reason=None,
        training={
            **training_of(trial, trained),
            **weights_kept(paths),
            **(weights_from(sources) if sources else {}),
        },
        result=Result(
            test_nats=test.mean,
            validation_nats=validation.mean,
            test_standard_error_naive=test.standard_error,
            test_standard_error_clustered=test.groups.standard_error if test.groups else None,
            best_step=trained.best_step,
            groups=test.groups,
            blocks=test.blocks,
            true_test_nats=truth,
            true_gap_standard_error=error,
        ),
        laws=laws,
        curve=trained.curve,
        starts=trained.starts,
        cost=cost,
        provenance=trial.provenance(started),
    )


def training_of(trial: DensityTrial, trained: Trained) -> dict[str, Any]:
    """What a record says of the training of a trial."""
    return {
        **trained.setup,
        **trial.options.asked(),
        **({} if trial.dataset.unit is None else {"standardised": True}),
        "training_id": trial.training_id,
    }


def train_density(
    trial: DensityTrial,
    density: Density,
    checkpoint: Path | None,
    on_progress: Callable[[Progress], None],
    notify: Callable[[str], None],
) -> Trained:
    """Train `density` on the data, and with the seed, budget and options, of a trial, in nats of the data's unit."""
    log_det = trial.dataset.log_det

    def tell(progress: Progress) -> None:
        score = None if progress.score is None else progress.score - log_det
        on_progress(replace(progress, loss=progress.loss + log_det, score=score))

    trial.train(partial(density.fit, plan=trial.plan(density)), trial.batches(), checkpoint, tell, notify)
    trained = Trained.by(density, density_class(trial.spec.name).origin)
    curve = [replace(point, validation_nats=point.validation_nats - log_det) for point in trained.curve]
    starts = {
        name: replace(start, first_loss=None if start.first_loss is None else start.first_loss + log_det)
        for name, start in trained.starts.items()
    }
    return replace(trained, curve=curve, starts=starts)


def in_units_of_data(density: Density, data: Dataset) -> Density:
    """The trained density as a density of the rows before they were standardised."""
    return density if data.unit is None else Standardised(density, data.unit)


def train_weights_again(
    trial: DensityTrial,
    record: Record,
    store: ResultStore,
    on_progress: Callable[[Progress], None],
    notify: Callable[[str], None],
) -> None:
    """Put the weights beside a done record that has lost them, as in a copy of the records alone; from the same seed.

    Raises:
        InputError: those that come of it are not those of the record.
    """
    paths, density = trial.paths(store), trial.model()
    if not borrow_weights(trial, density, store):
        if trial.budget.machine_dependent and not trial.plan(density).closed_form:
            raise InputError(
                f"{trial.title}: its weights are not beside its record, and a budget in seconds gives others each "
                "time; give another --results-dir."
            )
        notify(f"{trial.title}: its record is here and its weights are not; training them again")
        train_density(trial, density, paths.checkpoint, on_progress, notify)
    in_units_of_data(density, trial.dataset).save(paths.weights)
    try:
        paths.checked_weights(record)
    except InputError as error:
        paths.weights.unlink()
        raise InputError(
            f"{trial.title}: trained again, it has other weights than its record names, as on another machine or with "
            "another number of threads; give another --results-dir."
        ) from error


def _against_truth(dataset: Dataset, items: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """The mean that the true density gives the test items, and the standard error of what the model's log-likelihoods
    of them [n] fall short of it.
    """
    if dataset.true_log_prob is None:
        return None, None
    truth = np.asarray(dataset.true_log_prob(np.asarray(dataset.test)), dtype=np.float64)
    return float(truth.mean()), naive_standard_error(truth - items)
