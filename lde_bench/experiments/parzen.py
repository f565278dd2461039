"""Table 2 of the paper: Parzen-window log-likelihood of images under the samples of models (Yoo et al. 2020).

Protocol: Goodfellow et al. 2014, arXiv 1406.2661, section 5: 10,000 samples, sigma by grid search on validation images,
standard error over test images. The figure is one of the samples and their window, not of the model (Theis, van den
Oord, Bethge 2016, arXiv 1511.01844): the better-founded measures of the same samples stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lde_bench.data import Dataset, load_dataset
from lde_bench.data.tfd import FOLDS
from lde_bench.densities.spec import MethodSpec
from lde_bench.errors import InputError
from lde_bench.generators import generator_class, parse_generator, takes_components
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.images import SAMPLES, SETTINGS, ParzenTrial, check_samples

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

#: Trials by profile.
TRIALS = {"quick": 1, "standard": 1, "paper": 5}


def expand_methods(
    methods: Sequence[str], densities: Sequence[str], components: Sequence[int]
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
    specs = expand_methods(methods or [ALL], densities or DENSITIES, components or COMPONENTS)
    check_samples([spec for spec, _ in specs], samples, shape)
    for dataset in datasets:
        options.check(dataset)
    return [
        ParzenTrial(EXPERIMENT, spec, k, trial, dataset, budget, options, seed, samples)
        for trial in range(trials)
        for dataset in datasets
        for spec, k in specs
    ]
