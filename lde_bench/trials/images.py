"""Trials of models of images: one training run, and what is the same of it whatever is measured of the model."""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from lde_bench.arrays import Rows, first_rows, row_blocks
from lde_bench.data import Dataset, describe
from lde_bench.data.base import ImageSettings
from lde_bench.densities import method_classes
from lde_bench.densities.external import probe
from lde_bench.densities.spec import MethodSpec
from lde_bench.errors import InputError, StorageError, TrainingDiverged
from lde_bench.evaluation.law import Law
from lde_bench.evaluation.laws import trial_laws
from lde_bench.evaluation.laws.images import image_laws
from lde_bench.evaluation.nulls import NULL_GROUPS
from lde_bench.evaluation.sample_measures import MINIMUM_ROWS, SampleSets
from lde_bench.features import feature_space, feature_spaces
from lde_bench.features.base import FeatureSpace
from lde_bench.features.pixels import PIXELS
from lde_bench.features.vgg import Vgg
from lde_bench.files import describe_os_error
from lde_bench.generators import create_generator, density_spec, generator_arguments, generator_class
from lde_bench.generators.base import Generator
from lde_bench.generators.reconstruction import PAPER_WEIGHT
from lde_bench.generators.staged import StagedGenerator, weights_hash
from lde_bench.runs import Record, Result, ResultStore, RunPaths, Task, digest, utc_now
from lde_bench.seeds import derive_seed
from lde_bench.training.device import resolve_device
from lde_bench.training.loop import Progress, Seconds
from lde_bench.training.model import Model, load_trained
from lde_bench.trials.base import Trained, Trial, cost_of, head, weights_from, weights_kept
from lde_bench.trials.weights import find_training
from lde_bench.version import BENCHMARK_VERSION

#: Numbers of samples that are held in memory, 480 MB; more are in a temporary file.
HELD_NUMBERS = 120_000_000

#: Samples kept beside each record: a sheet of ten by ten.
KEPT_SAMPLES = 100

#: Weight of the perceptual term in the figures in colour by profile. Quick needs nothing that is not at hand.
PERCEPTUAL = {"quick": 0.0, "standard": PAPER_WEIGHT, "long": PAPER_WEIGHT, "paper": PAPER_WEIGHT}


def setting(dataset: Dataset) -> ImageSettings:
    """What is fixed for a dataset of images."""
    found = describe(dataset.name, dataset.version).images
    assert found is not None
    return found


def usual_space(dataset: Dataset, profile: str) -> str:
    """The feature space that images are compared in where none is named: the dataset's own, but under quick pixels
    where that needs a file that may not be at hand.
    """
    own = setting(dataset).space
    return own if profile != "quick" or feature_spaces()[own].shipped else PIXELS.name


def usual_spaces(dataset: Dataset, profile: str) -> tuple[str, ...]:
    """The feature spaces that samples are measured in where none is named: the usual one, and but under quick pixels
    too, so that the two can be held against each other.
    """
    return tuple(dict.fromkeys((usual_space(dataset, profile), *(() if profile == "quick" else (PIXELS.name,)))))


def perceptual_weight(asked: float | None, profile: str, specs: Sequence[MethodSpec]) -> float:
    """The weight of the perceptual term in a figure in colour: what is asked for, or else that of the profile.

    Raises:
        InputError: one is asked for, and no model has the term in its loss.
    """
    if asked is None:
        return PERCEPTUAL[profile]
    if not any("perceptual" in generator_arguments(spec) for spec in specs):
        raise InputError(
            f"--perceptual {asked:g}: none of the models has a term in features of VGG19 in its loss; leave it out."
        )
    return asked


@dataclass(frozen=True)
class Measured:
    """What was measured of a trained model; `training` is what the record says of how, beside the training itself."""

    result: Result
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageTrial(Trial):
    """One training run of one model of images with one seed.

    A subclass gives `measure` and `evaluation`, what is measured and what decides the figures.

    Attributes:
        perceptual: weight of the distance in features of VGG19 in the loss of those models that have one, where it is
            not spelled out.
        space: the feature space that images are compared in, by its name.
    """

    perceptual: float = 0.0
    space: str = PIXELS.name

    # -- what a subclass gives -------------------------------------------------------------------------------------

    @abstractmethod
    def measure(self, model: Generator, paths: RunPaths) -> Measured:
        """Measure the trained model, and keep beside the record what pictures are made of.

        The test images are touched here, once, after all that is chosen on others.
        """

    @abstractmethod
    def evaluation(self) -> dict[str, Any]:
        """Everything beside the training that changes what is measured."""

    @property
    def compared_images(self) -> int:
        """About how many images of the model have their features computed."""
        return 0

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names of all feature spaces that images are compared in."""
        return (self.space,)

    # -- what all have ---------------------------------------------------------------------------------------------

    @property
    def seed(self) -> int:
        """Models that differ in nothing but the density of their codes have the same: they share an autoencoder."""
        return derive_seed(self.experiment, str(self.autoencoder), self.base_seed, "trial", self.trial)

    @property
    def autoencoder(self) -> MethodSpec:
        """The model without the density of its codes."""
        takes = generator_arguments(self.spec)
        return MethodSpec(self.spec.name, (), {k: v for k, v in self.spec.arguments.items() if k in takes})

    @property
    def origin(self) -> dict[str, str]:
        """Which code the density of the codes is, where it is a user's own."""
        inner = density_spec(self.spec)
        return next(filter(None, (kind.origin for kind in method_classes(inner))), {}) if inner else {}

    def determines(self) -> dict[str, Any]:
        return {
            **self._training(self.model(), self.dataset.content_hash),
            **self.evaluation(),
            **({"origin": self.origin} if self.origin else {}),
        }

    def _training(self, model: Model, content: str) -> dict[str, Any]:
        """Everything that changes how `model`, the whole or a part, is trained on data of this hash."""
        device = resolve_device(self.options.device)
        return {
            "benchmark_version": BENCHMARK_VERSION,
            "dataset": [self.dataset.name, self.dataset.version, content],
            "model": model.config | model.revised(),
            "training": model.describe_training(self.budget, self.options.precision, device),
            "budget": self.budget.describe(),
            "device": device.type,
            "compile": self.options.compile,
            "seed": self.seed,
        }

    def model(self) -> Generator:
        """The model with the dataset's own settings, not yet trained."""
        assert self.dataset.image_shape is not None
        own = own_settings(self.spec, setting(self.dataset), self.perceptual)
        return create_generator(self.spec, self.dataset.image_shape, **own)

    @property
    def looks_through_vgg(self) -> bool:
        """Whether the loss, or a measure, is of features of VGG19."""
        arguments = {**own_settings(self.spec, setting(self.dataset), self.perceptual), **self.spec.arguments}
        return Vgg.name in self.spaces or bool(arguments.get("perceptual"))

    def check_needs(self) -> None:
        """Find out before any training that something is not at hand.

        Raises:
            InputError: it is not.
        """
        assert self.dataset.image_shape is not None
        for split in ("train", "test"):
            if (there := self.dataset.sizes[split]) < MINIMUM_ROWS:
                raise InputError(
                    f"{self.dataset.name}: {there} {split} images are too few for the measures of samples; give "
                    f"{MINIMUM_ROWS} or more."
                )
        self.model().check_needs()
        for name in self.spaces:
            self.space_called(name).check(self.dataset.image_shape)

    def prerequisites(self) -> Sequence[SharedAutoencoder]:
        """The autoencoder, of a model that has a density of its codes.

        Seconds are divided among the parts: how far an autoencoder gets in its share depends on the density.
        """
        shares = self.budget.seconds is None and self.model().code_density is not None
        return (SharedAutoencoder(self),) if shares else ()

    def is_ready(self, store: ResultStore) -> bool:
        """Whether its weights are there, beside its own record or that of a trial which measures other things."""
        return super().is_ready(store) or self._trained_before(store) is not None

    def trained_at(self, store: ResultStore) -> RunPaths:
        found = None if super().is_ready(store) else self._trained_before(store)
        return self.paths(store) if found is None else store.paths(found)

    def reference_seconds(self) -> float:
        assert self.dataset.image_shape is not None
        features = self.features.reference_seconds(self.compared_images, self.dataset.image_shape)
        before = sum(each.reference_seconds() for each in self.prerequisites())
        return super().reference_seconds() - before + features

    @cached_property
    def shared_id(self) -> str:
        """Names the trained autoencoder: 16 hex digits, the same for models that differ in the density of the codes."""
        part = next(iter(self.model().parts().values()))
        return digest(self._training(part, self.dataset.training_hash))[:16]

    @cached_property
    def training_id(self) -> str:
        """Names the trained weights: 16 hex digits, the same whatever is measured of them."""
        return digest(self._training(self.model(), self.dataset.training_hash) | {"origin": self.origin})[:16]

    def encoder(self, model: Generator) -> str:
        """Names the trained encoder of a model whose codes have a density; empty of others.

        Under a budget in seconds each has its own: how far it gets depends on the density.
        """
        if model.code_density is None:
            return ""
        return self.shared_id if self.prerequisites() else self.training_id

    def run(
        self,
        store: ResultStore,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        notify: Callable[[str], None] = lambda message: None,
    ) -> Record:
        """Train, on the shared autoencoder where there is one, hold the model to its laws, measure, and keep its
        weights. Where a trial that differs in what is measured alone has trained it before, its weights are taken.

        Raises:
            InputError: the shared autoencoder is not in the store; `run_sweep` runs it before.
            TrainingDiverged: the loss, samples or what is measured are NaN or infinite.
        """
        started, clock = utc_now(), Seconds.now()
        paths, model = self.paths(store), self.model()
        source = None if "weights" in model.lacks else self._trained_before(store)
        if source is None:
            trained = self._train(model, store, on_progress, notify)
        else:
            notify(f"trained before, by {source.run_id}")
            notes = load_trained(model, store.paths(source).checked_weights(source))
            model.to(resolve_device(self.options.device))
            trained = Trained.before(source, notes["setup"])
        laws = self._laws(model)
        measured = self.measure(model, paths)
        if "weights" not in model.lacks:
            model.save(paths.weights, {"setup": trained.setup})
        encoder = self.encoder(model)
        return Record(
            **head(self, model),
            status="done",
            reason=None,
            training={
                **trained.setup,
                **self.options.asked(),
                **measured.training,
                **({"encoder": encoder, "encoder_sha256": _encoder_hash(model)} if encoder else {}),
                "training_id": self.training_id,
                **weights_kept(paths),
                **({} if source is None else weights_from([source])),
            },
            result=replace(measured.result, best_step=trained.best_step),
            laws=laws,
            curve=trained.curve,
            starts=trained.starts,
            cost=cost_of(trained, clock, generator_class(self.spec.name).card.sample_cost),
            provenance=self.provenance(started),
        )

    def _train(
        self,
        model: Generator,
        store: ResultStore,
        on_progress: Callable[[Progress], None],
        notify: Callable[[str], None],
    ) -> Trained:
        fit: Callable[..., Any] = model.fit
        for shared in self.prerequisites():
            fit = partial(fit, shared=shared.paths(store).weights)
        self.train(fit, self.dataset.train, self.paths(store).checkpoint, on_progress, notify)
        return Trained.by(model, self.origin)

    def _trained_before(self, store: ResultStore) -> Record | None:
        """A record of the same training, by which other things were measured, with its weights beside it."""
        return find_training(store, self.spec.label, self.components, self.trial, self.training_id, but=self.run_id)

    def unusual_loss(self) -> dict[str, float]:
        """The weight of the perceptual term, of a figure in colour, where it is not that of the profile: in the record
        it sets the row apart.
        """
        usual = self.perceptual == PERCEPTUAL[self.budget.profile] or "perceptual" not in generator_arguments(self.spec)
        return {} if usual else {"perceptual": self.perceptual}

    def _laws(self, model: Generator) -> dict[str, Law]:
        laws = image_laws(model, self.dataset.validation)
        if model.code_density is not None and model.coder is not None:
            laws |= trial_laws(model.code_density, model.coder.codes(self.dataset.validation))
        return laws

    @property
    def features(self) -> FeatureSpace:
        """The feature space, computed where the trial runs."""
        return self.space_called(self.space)

    def space_called(self, name: str) -> FeatureSpace:
        """A feature space, computed where the trial runs.

        Raises:
            InputError: it is unknown.
        """
        return feature_space(name, resolve_device(self.options.device).type)

    def sample_sets(self, model: Generator, samples: np.ndarray) -> SampleSets:
        """What the measures of samples [n, D] are given; whatever they draw is the same for every row of a table."""
        seed = derive_seed(self.base_seed, "measures")
        return SampleSets(
            train=self.dataset.train,
            test=self.dataset.test,
            samples=samples,
            seed=seed,
            validation=self.unused_validation(model) if self.has_nulls else None,
            reconstruct=model.reconstructs,
            code_log_prob=model.code_log_prob,
            encoder=self.encoder(model),
            space=self.features,
            image_shape=self.dataset.image_shape,
        )

    def null_rule(self) -> dict[str, Any]:
        """What `evaluation` adds where measures have no null; nothing where they have one."""
        return {} if self.has_nulls else {"nulls": "none"}

    @property
    def has_nulls(self) -> bool:
        """Whether validation images can stand for new ones: crops of one or two photographs are further from those of
        the test set than crops of all that a model learnt from.
        """
        groups = self.dataset.validation_groups
        return groups is None or len(np.unique(groups)) >= NULL_GROUPS

    def unused_validation(self, model: Generator) -> Rows:
        """The validation images that are not among the samples of a reference row: of a model all."""
        validation = self.dataset.validation
        return first_rows(validation, len(validation) - model.used_validation)


@dataclass(frozen=True)
class SharedAutoencoder:
    """The training of an autoencoder that models share which differ in the density of its codes.

    Attributes:
        trial: one of these.
    """

    trial: ImageTrial

    @property
    def run_id(self) -> str:
        return f"{self.trial.spec.name}-{self.trial.shared_id}"

    @property
    def dataset(self) -> Dataset:
        """That of the models."""
        return self.trial.dataset

    @property
    def title(self) -> str:
        return f"autoencoder {self.trial.autoencoder}, trial {self.trial.trial + 1}"

    def prerequisites(self) -> Sequence[Task]:
        """None."""
        return ()

    def is_ready(self, store: ResultStore) -> bool:
        """Whether its weights are in the store."""
        return self.paths(store).weights.is_file()

    def paths(self, store: ResultStore) -> RunPaths:
        """Beside the records of the models."""
        return RunPaths(self.trial.paths(store).folder, self.run_id)

    def trained_at(self, store: ResultStore) -> RunPaths:
        """There, and nowhere else."""
        return self.paths(store)

    def reference_seconds(self) -> float:
        """About how long it takes on the reference machine: 2 cores with bf16."""
        parts = self._model().part_seconds(self.trial.budget, len(self.trial.dataset.train))
        return next(iter(parts.values()))

    def _model(self) -> StagedGenerator:
        model = self.trial.model()
        assert isinstance(model, StagedGenerator)
        return model

    def run(self, store: ResultStore, on_progress: Callable[[Progress], None], notify: Callable[[str], None]) -> None:
        """Train it.

        Raises:
            TrainingDiverged: the loss is not finite.
        """
        paths = self.paths(store)
        fit = partial(self._model().fit_shared_part, file=paths.weights)
        self.trial.train(fit, self.trial.dataset.train, paths.checkpoint, on_progress, notify)

    def failed_record(self, reason: str) -> None:
        """None: what fails for want of it is recorded."""


def _encoder_hash(model: Generator) -> str:
    """Names the trained weights of the autoencoder itself, which on another machine may be others."""
    return weights_hash(next(iter(model.parts().values())))


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Pixels in [0, 1] as uint8: what a picture is drawn from, a quarter of the size."""
    return np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8)


def draw_samples(model: Generator, wanted: int, seed: int) -> np.ndarray:
    """`wanted` samples [n, D], or all that a reference row holds; a million are in a temporary file, which is gone with
    them.

    Raises:
        TrainingDiverged: some hold NaN or infinity; they are counted.
    """
    n = min(wanted, model.most_samples or wanted)
    if n * model.features <= HELD_NUMBERS:
        samples = model.sample(n, seed=seed)
    else:  # the file has no name and is gone with the array
        file = tempfile.TemporaryFile()  # noqa: SIM115
        _reserve(file, n * model.features * np.dtype(np.float32).itemsize)
        samples = np.memmap(file, np.float32, "r+", shape=(n, model.features))
        for block, drawn in model.sample_blocks(n, seed):
            samples[block] = drawn.numpy()
    bad = sum(int((~np.isfinite(samples[block])).any(1).sum()) for block in row_blocks(samples))
    if bad:
        raise TrainingDiverged(f"{bad} of {len(samples)} samples hold NaN or infinity; try a lower rate.")
    return samples


def _check_room(numbers: int) -> None:
    """Raises `StorageError` where the temporary file of so many numbers would not fit."""
    size, folder = numbers * np.dtype(np.float32).itemsize, Path(tempfile.gettempdir())
    if numbers > HELD_NUMBERS and size > (free := shutil.disk_usage(folder).free):
        raise StorageError(
            f"{folder}: the samples of a model take {size / 1e9:,.1f} GB there, and {free / 1e9:,.1f} GB are free; ask "
            "for fewer samples, or name another folder by TMPDIR."
        )


def _reserve(file: IO[bytes], size: int) -> None:
    """Take so many bytes of the disk now: a mapped page that finds it full ends the process without a word."""
    if not hasattr(os, "posix_fallocate"):
        file.truncate(size)
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise describe_os_error(error, Path(tempfile.gettempdir())) from error


def check_samples(specs: Sequence[MethodSpec], samples: int, shape: tuple[int, int, int]) -> None:
    """Find out before any training that a model cannot be trained or sampled, or that so many samples are too few.

    Raises:
        InputError: either; or the density of the codes does not keep its contract.
        StorageError: there is no room on the disk for so many samples.
    """
    if samples < MINIMUM_ROWS:
        raise InputError(f"samples = {samples} are too few for the measures of samples; give {MINIMUM_ROWS} or more.")
    for spec in specs:
        model = create_generator(spec, shape)
        density = model.code_density
        if not model.is_reference:
            _check_room(samples * model.features)
        if density is not None:
            probe(density)
            if "samples" in density.lacks:
                raise InputError(
                    f"{spec}: the density of the codes has no sample(n), so there would be no images to measure; give "
                    "it one or choose another density."
                )


def own_settings(spec: MethodSpec, fixed: ImageSettings, perceptual: float = 0.0) -> dict[str, Any]:
    """The arguments of a model that the dataset and the trial fix, where they are not spelled out."""
    takes = generator_arguments(spec)
    settings: dict[str, Any] = {"latent": fixed.latent, "warmup": fixed.warmup}
    if perceptual:  # without it the names of runs stay as they were
        settings["perceptual"] = perceptual
    return {key: value for key, value in settings.items() if key in takes}
