"""Table 2 of the paper: Parzen-window log-likelihood of images under the samples of models (Yoo et al. 2020).

Protocol: Goodfellow et al. 2014, arXiv 1406.2661, section 5: 10,000 samples, sigma by grid search on validation images,
standard error over test images. The figure is one of the samples and their window, not of the model (Theis, van den
Oord, Bethge 2016, arXiv 1511.01844): the better-founded measures of the same samples stand beside it.
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

from lde_bench import BENCHMARK_VERSION
from lde_bench.data import Dataset, load_dataset
from lde_bench.data.tfd import FOLDS
from lde_bench.densities import method_classes
from lde_bench.densities.external import probe
from lde_bench.densities.spec import MethodSpec
from lde_bench.errors import InputError, TrainingDiverged
from lde_bench.evaluation.laws import trial_laws
from lde_bench.evaluation.laws.images import image_laws
from lde_bench.evaluation.likelihood import Likelihood, summarise
from lde_bench.evaluation.parzen import parzen_curve, parzen_log_prob, select_sigma
from lde_bench.evaluation.sample_measures import SampleSets, measure_samples
from lde_bench.experiments.trials import Trained, TrainingOptions, Trial, head
from lde_bench.generators import (
    create_generator,
    density_spec,
    generator_arguments,
    generator_class,
    parse_generator,
    takes_components,
)
from lde_bench.generators.base import Generator
from lde_bench.generators.latent_density import LatentDensity
from lde_bench.generators.staged import StagedGenerator
from lde_bench.runs import (
    Cost,
    Groups,
    Law,
    Measure,
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
from lde_bench.training.plan import Budget

EXPERIMENT = "parzen"

#: In the order of the table: the references, the older models, the paper's own.
METHODS = (
    "train-samples",
    "kmeans",
    "deep-gsn",
    "gan",
    "gmmn+ae",
    "aae",
    "vae",
    "vae-iaf",
    "evae",
    "ae",
    "iae",
)

#: What stands for every row of the table among `--methods`.
ALL = "all"

#: Density of the codes where none is named, and its components.
DENSITIES = ("lde",)
COMPONENTS = (30,)

#: Samples of the window.
SAMPLES = 10_000

#: Of these many of the samples the curve over their number is drawn, and of all.
COUNTS = (100, 300, 1_000, 3_000)

#: Samples kept beside each record: a sheet of ten by ten.
KEPT_SAMPLES = 100

#: Trials by profile.
TRIALS = {"quick": 1, "standard": 1, "paper": 5}


@dataclass(frozen=True)
class Setting:
    """What the paper fixes for a dataset: sizes of the code, share of the run over which that of the IAE grows, and the
    sigmas to choose from.
    """

    latent: int
    warmup: float
    grid: np.ndarray


_TFD = Setting(latent=15, warmup=120 / 130, grid=np.arange(0.001, 0.2, 0.005))
SETTINGS = {
    "mnist": Setting(latent=8, warmup=96 / 390, grid=np.arange(0.1, 0.3, 0.01)),
    "tfd": _TFD,
    "faces48": _TFD,
    "digits8x8": Setting(latent=8, warmup=96 / 390, grid=np.arange(0.02, 0.4, 0.02)),
}


def setting(dataset: Dataset) -> Setting:
    """Of a dataset, the folds of one alike."""
    return SETTINGS[dataset.name.partition("-")[0]]


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
    def _shape(self) -> tuple[int, int]:
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
        model = self.model()
        part = next(iter(model.parts().values())) if isinstance(model, StagedGenerator) else model
        return digest(self._training(part, self.dataset.training_hash))[:16]


def own_settings(spec: MethodSpec, fixed: Setting) -> dict[str, Any]:
    """The arguments of a model that the dataset fixes, where they are not spelled out."""
    takes = generator_arguments(spec)
    return {key: value for key, value in {"latent": fixed.latent, "warmup": fixed.warmup}.items() if key in takes}


def expand_methods(
    methods: Sequence[str], densities: Sequence[str], components: Sequence[int], shape: tuple[int, int]
) -> list[tuple[MethodSpec, int | None]]:
    """Every method; autoencoders without a prior with every density of their codes, and mixtures at every K.

    Raises:
        InputError: an unknown method, density or argument, a value it does not take, or nothing to run.
    """
    named = [row for method in methods for row in (METHODS if method == ALL else (method,))]
    specs: dict[str, tuple[MethodSpec, int | None]] = {}
    for text in named:
        plain = parse_generator(text)
        bare = not plain.wrappers and generator_class(plain.name).has_no_prior
        arguments = text.partition(":")[2]
        for spelled in [f"{plain.name}+{_merged(density, arguments)}" for density in densities] if bare else [text]:
            spec = parse_generator(spelled)
            own = spec.arguments.get("components")
            mixture = takes_components(spec)
            for k in (components if own is None else [own]) if mixture else [None]:
                at_k = spec if k is None else spec.with_arguments(components=k)
                specs[str(at_k)] = (at_k, k)
    if not specs:
        raise InputError("there is nothing to run; name at least one method.")
    for spec, _ in specs.values():
        model = create_generator(spec, shape)
        if isinstance(model, LatentDensity):
            probe(model.density)
    return list(specs.values())


def _merged(density: str, arguments: str) -> str:
    """A density with the arguments of the autoencoder behind its own."""
    if not arguments:
        return density
    inner = parse_generator(f"ae+{density}")
    return f"{density}{',' if inner.arguments else ':'}{arguments}"


def load_images(
    dataset: str,
    *,
    folds: Sequence[int] | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> list[Dataset]:
    """The datasets of a table: one, or the folds of TFD, by default all five.

    Raises:
        InputError: it is none of the image datasets, or is absent or damaged; or folds of what has none.
    """
    if dataset.partition("-")[0] not in SETTINGS:
        raise InputError(f"dataset '{dataset}' is no set of images; choose one of {', '.join(SETTINGS)}.")
    if folds is not None and (dataset != "tfd" or not set(folds) <= set(FOLDS)):
        raise InputError(f"--folds are those of tfd, {FOLDS[0]} to {FOLDS[-1]}; leave it out for {dataset}.")
    names = [f"tfd-fold{fold}" for fold in folds or FOLDS] if dataset == "tfd" else [dataset]
    return [load_dataset(name, data_dir=data_dir, cache_dir=cache_dir) for name in names]


def plan_parzen(
    budget: Budget,
    options: TrainingOptions,
    datasets: Sequence[Dataset],
    *,
    methods: Sequence[str] | None = None,
    densities: Sequence[str] | None = None,
    components: Sequence[int] | None = None,
    trials: int | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> list[ParzenTrial]:
    """The trials of the table; everything a trial needs is checked here, before any training.

    Raises:
        InputError: see `expand_methods`; or a number of trials or samples below 1.
    """
    trials = TRIALS[budget.profile] if trials is None else trials
    for what, value in (("trials", trials), ("samples", samples)):
        if isinstance(value, bool) or value < 1:
            raise InputError(f"{what} = {value} is not a whole number from 1 up; leave it out for the default.")
    shape = datasets[0].image_shape
    assert shape is not None
    specs = expand_methods(methods or [ALL], densities or DENSITIES, components or COMPONENTS, shape)
    for dataset in datasets:
        options.check(dataset)
    return [
        ParzenTrial(EXPERIMENT, spec, k, trial, dataset, budget, options, seed, samples)
        for trial in range(trials)
        for dataset in datasets
        for spec, k in specs
    ]


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
    fit = model.fit
    # Seconds are divided among the parts: how far the autoencoder gets in its share depends on the density.
    if isinstance(model, LatentDensity) and trial.budget.seconds is None:
        fit = partial(model.fit, shared_file=lambda part, seed: _shared_file(trial, store))
    trial.train(fit, dataset.train, paths.checkpoint, on_progress, notify)
    trained = Trained.by(model, trial.origin)
    samples = draw_samples(model, trial.samples, derive_seed(trial.seed, "samples"))
    window = choose_window(dataset.validation, samples, setting(dataset).grid, options.device)
    laws = image_laws(model, dataset.validation)
    if isinstance(model, LatentDensity):
        laws |= trial_laws(model.density, model.autoencoder.codes(dataset.validation))
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
        training={**trained.setup, **options.asked(), "samples": len(samples), **_encoder_of(trial, model)},
        result=_result(test, window, measures, trained.best_step),
        laws={name: Law(**verdict) for name, verdict in laws.items()},
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
    sets = SampleSets(data.train, data.test, samples, derive_seed(trial.base_seed, "measures"), model.reconstructs)
    measures = {name: Measure(**asdict(measure)) for name, measure in measure_samples(sets).items()}
    if isinstance(model, LatentDensity):
        codes = summarise(model.code_log_prob(data.test), data.test_groups, "code")
        detail = f"nats of the codes of test images, over the autoencoder {trial.shared_id}; compares with no other"
        measures["code_nats"] = Measure(codes.mean, codes.standard_error, detail=detail)
    return measures


def _result(test: Likelihood, window: ParzenWindow, measures: dict[str, Measure], best_step: int) -> Result:
    groups = test.groups
    return Result(
        test_nats=test.mean,
        validation_nats=max(window.grid_nats),
        test_standard_error_naive=test.standard_error,
        test_standard_error_clustered=groups.standard_error if groups else None,
        best_step=best_step,
        groups=Groups.of(groups),
        parzen=window,
        measures=measures,
    )


def _encoder_of(trial: ParzenTrial, model: Generator) -> dict[str, str]:
    return {"encoder": trial.shared_id} if isinstance(model, LatentDensity) else {}


@contextmanager
def _shared_file(trial: ParzenTrial, store: ResultStore) -> Iterator[Path]:
    name = f"{trial.spec.name}-{trial.shared_id}"
    with store.lock(name):
        yield trial.paths(store).folder / f"{name}.safetensors"
