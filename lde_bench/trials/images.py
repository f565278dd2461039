"""Trials of models of images: one training run, samples of the model, the Parzen window around them, and the other
measures of the same samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from lde_bench.data import Dataset, describe
from lde_bench.data.base import ImageSettings
from lde_bench.densities import method_classes
from lde_bench.densities.external import probe
from lde_bench.densities.spec import MethodSpec
from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.evaluation.laws import trial_laws
from lde_bench.evaluation.laws.images import image_laws
from lde_bench.evaluation.likelihood import Likelihood, summarise
from lde_bench.evaluation.parzen import parzen_curve, parzen_log_prob, select_sigma
from lde_bench.evaluation.sample_measures import MINIMUM_ROWS, Measure, SampleSets, measure_samples
from lde_bench.generators import create_generator, density_spec, generator_arguments, generator_class
from lde_bench.generators.base import Generator
from lde_bench.runs import (
    Cost,
    ParzenWindow,
    Record,
    Result,
    ResultStore,
    digest,
    provenance,
    utc_now,
)
from lde_bench.seeds import derive_seed
from lde_bench.training.device import resolve_device
from lde_bench.training.loop import Progress, Seconds
from lde_bench.training.model import Model
from lde_bench.trials.base import Trained, Trial, head, weights_kept
from lde_bench.version import BENCHMARK_VERSION

#: Samples of the window.
SAMPLES = 10_000

#: Of these many of the samples the curve over their number is drawn, and of all.
COUNTS = (100, 300, 1_000, 3_000)

#: Samples kept beside each record: a sheet of ten by ten.
KEPT_SAMPLES = 100


def setting(dataset: Dataset) -> ImageSettings:
    """What is fixed for a dataset of images."""
    found = describe(dataset.name, dataset.version).images
    assert found is not None
    return found


@dataclass(frozen=True)
class ParzenTrial(Trial):
    """One training run of one model of images with one seed, and the window around its samples."""

    samples: int = SAMPLES

    @property
    def seed(self) -> int:
        """Models that differ in nothing but the density of their codes have the same: they share an autoencoder."""
        return derive_seed(self.experiment, str(self._encoder), self.base_seed, "trial", self.trial)

    @property
    def _encoder(self) -> MethodSpec:
        takes = generator_arguments(self.spec)
        return MethodSpec(self.spec.name, (), {k: v for k, v in self.spec.arguments.items() if k in takes})

    @property
    def _shape(self) -> tuple[int, int, int]:
        assert self.dataset.image_shape is not None
        return self.dataset.image_shape

    @property
    def origin(self) -> dict[str, str]:
        """Which code the density of the codes is, where it is a user's own."""
        inner = density_spec(self.spec)
        return next(filter(None, (kind.origin for kind in method_classes(inner))), {}) if inner else {}

    def determines(self) -> dict[str, Any]:
        return {
            **self._training(self.model(), self.dataset.content_hash),
            "samples": self.samples,
            "grid": setting(self.dataset).grid,
            **({"origin": self.origin} if self.origin else {}),
        }

    def _training(self, model: Model, content: str) -> dict[str, Any]:
        """Everything that changes how `model`, the whole or a part, is trained on data of this hash."""
        device = resolve_device(self.options.device)
        return {
            "benchmark_version": BENCHMARK_VERSION,
            "dataset": [self.dataset.name, self.dataset.version, content],
            "model": model.config,
            "training": model.describe_training(self.budget, self.options.precision, device),
            "budget": asdict(self.budget),
            "device": device.type,
            "compile": self.options.compile,
            "seed": self.seed,
        }

    def model(self) -> Generator:
        """The model with the dataset's own settings, not yet trained."""
        fixed = setting(self.dataset)
        return create_generator(self.spec, self._shape, **own_settings(self.spec, fixed))

    def run(self, store: ResultStore, on_progress: Callable[[Progress], None], notify: Callable[[str], None]) -> Record:
        return run_parzen_trial(self, store, on_progress, notify)

    @cached_property
    def shared_id(self) -> str:
        """Names the trained autoencoder: 16 hex digits, the same for models that differ in the density of the codes."""
        part = next(iter(self.model().parts().values()))
        return digest(self._training(part, self.dataset.training_hash))[:16]


def check_samples(specs: Sequence[MethodSpec], samples: int, shape: tuple[int, int, int]) -> None:
    """Find out before any training that a model cannot be trained or sampled, or that so many samples are too few.

    Raises:
        InputError: either; or the density of the codes does not keep its contract.
    """
    if samples < MINIMUM_ROWS:
        raise InputError(f"samples = {samples} are too few for the measures of samples; give {MINIMUM_ROWS} or more.")
    for spec in specs:
        density = create_generator(spec, shape).code_density
        if density is not None:
            probe(density)
            if "samples" in density.lacks:
                raise InputError(
                    f"{spec}: the density of the codes has no sample(n), so there would be no images to measure; give "
                    "it one or choose another density."
                )


def own_settings(spec: MethodSpec, fixed: ImageSettings) -> dict[str, Any]:
    """The arguments of a model that the dataset fixes, where they are not spelled out."""
    takes = generator_arguments(spec)
    return {key: value for key, value in {"latent": fixed.latent, "warmup": fixed.warmup}.items() if key in takes}


def run_parzen_trial(
    trial: ParzenTrial,
    store: ResultStore,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    notify: Callable[[str], None] = lambda message: None,
) -> Record:
    """Train, draw samples, choose sigma on validation images, then touch the test images once.

    Raises:
        TrainingDiverged: the loss or samples are NaN or infinite.
    """
    started, clock = utc_now(), Seconds.now()
    paths, dataset, model = trial.paths(store), trial.dataset, trial.model()
    options = trial.options
    fit: Callable[..., Any] = model.fit
    # Seconds are divided among the parts: how far the autoencoder gets in its share depends on the density.
    if model.code_density is not None and trial.budget.seconds is None:
        fit = partial(fit, shared_file=lambda part, seed: _shared_file(trial, store))
    trial.train(fit, dataset.train, paths.checkpoint, on_progress, notify)
    trained = Trained.by(model, trial.origin)
    samples = draw_samples(model, trial.samples, derive_seed(trial.seed, "samples"))
    window = choose_window(dataset.validation, samples, setting(dataset).grid, options.device)
    laws = image_laws(model, dataset.validation)
    if model.code_density is not None and model.coder is not None:
        laws |= trial_laws(model.code_density, model.coder.codes(dataset.validation))
    test = summarise(parzen_log_prob(dataset.test, samples, window.sigma, device=options.device), dataset.test_groups)
    measures = _measures(trial, model, samples)
    if "weights" not in model.lacks:
        model.save(paths.weights)
    paths.save_samples(samples[:KEPT_SAMPLES])
    paths.save_log_likelihoods(test.items)
    spent = Seconds.now()
    return Record(
        **head(trial, model),
        status="done",
        reason=None,
        training={
            **trained.setup,
            **options.asked(),
            "samples": len(samples),
            **_encoder_of(trial, model),
            **weights_kept(paths),
        },
        result=_result(test, window, measures, trained.best_step),
        laws=laws,
        curve=trained.curve,
        cost=Cost(
            wall_seconds=round(trained.earlier.wall + spent.wall - clock.wall, 2),
            cpu_seconds=round(trained.earlier.cpu + spent.cpu - clock.cpu, 2),
            sample_cost=generator_class(trial.spec.name).card.sample_cost,
        ),
        provenance=provenance(started, utc_now()),
    )


def draw_samples(model: Generator, wanted: int, seed: int) -> np.ndarray:
    """`wanted` samples [n, D], or all that a reference row holds.

    Raises:
        TrainingDiverged: some hold NaN or infinity; they are counted.
    """
    samples = model.sample(min(wanted, model.most_samples or wanted), seed=seed)
    if bad := int((~np.isfinite(samples)).any(1).sum()):
        raise TrainingDiverged(f"{bad} of {len(samples)} samples hold NaN or infinity; try a lower rate.")
    return samples


def choose_window(validation: np.ndarray, samples: np.ndarray, grid: np.ndarray, device: str = "cpu") -> ParzenWindow:
    """Sigma by the mean log-likelihood of validation images, and the curves over sigma and the number of samples."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sigma, curve = select_sigma(validation, samples, grid, device=device)
    counts = [*(count for count in COUNTS if count < len(samples)), len(samples)]
    here = np.array([sigma])
    fewer = [float(parzen_curve(validation, samples[:count], here, device=device).mean()) for count in counts[:-1]]
    return ParzenWindow(
        samples=len(samples),
        sigma=sigma,
        at_edge=bool(caught),
        grid=[round(float(each), 6) for each in grid],
        grid_nats=curve.tolist(),
        counts=counts,
        count_nats=[*fewer, float(curve.max())],
    )


def _measures(trial: ParzenTrial, model: Generator, samples: np.ndarray) -> dict[str, Measure]:
    data = trial.dataset
    seed = derive_seed(trial.base_seed, "measures")
    encoder = _encoder_of(trial, model).get("encoder", "")
    sets = SampleSets(data.train, data.test, samples, seed, model.reconstructs, model.code_log_prob, encoder)
    return measure_samples(sets)


def _result(test: Likelihood, window: ParzenWindow, measures: dict[str, Measure], best_step: int) -> Result:
    groups = test.groups
    return Result(
        test_nats=test.mean,
        validation_nats=max(window.grid_nats),
        test_standard_error_naive=test.standard_error,
        test_standard_error_clustered=groups.standard_error if groups else None,
        best_step=best_step,
        groups=groups,
        parzen=window,
        measures=measures,
    )


def _encoder_of(trial: ParzenTrial, model: Generator) -> dict[str, str]:
    return {} if model.code_density is None else {"encoder": trial.shared_id}


@contextmanager
def _shared_file(trial: ParzenTrial, store: ResultStore) -> Iterator[Path]:
    name = f"{trial.spec.name}-{trial.shared_id}"
    with store.lock(name):
        yield trial.paths(store).folder / f"{name}.safetensors"
