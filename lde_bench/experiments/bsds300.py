"""Table 1 of the paper: log-likelihood of 8x8 patches of natural images (Yoo et al. 2020, arXiv 1902.04294).

Protocol: Uria et al. 2016, JMLR 17(205), section 7.3.2; see `lde_bench.data.patches`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lde_bench.data import Dataset, load_dataset
from lde_bench.densities import density_class, density_classes, is_wrapper, takes_argument
from lde_bench.densities.spec import MethodSpec, parse_method
from lde_bench.errors import InputError
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import DensityTrial, expand_methods, plan_trials

EXPERIMENT = "bsds300"

#: Numbers of a prepared patch.
FEATURES = 63


@dataclass(frozen=True)
class ProfileDefaults:
    """What a profile fixes beside the models' plans; sizes of None are all there is."""

    validation: int | None
    test: int | None
    trials: int
    methods: tuple[str, ...]


# On raw patches a short run of the paper's own network has learnt nothing yet, so `lde` waits for `paper`.
PROFILES = {
    "quick": ProfileDefaults(2_000, 20_000, 1, ("gaussian", "lde+w")),
    "standard": ProfileDefaults(10_000, 100_000, 2, ("gaussian", "lde+w")),
    "paper": ProfileDefaults(None, None, 5, ("gaussian", "lde", "lde+w")),
}

#: In the order of the table, simplest first; densities that are not named here follow by name.
ORDER = (
    "gaussian",
    "gmm",
    "mcgsm",
    "made-mog",
    "deep-rnade",
    "real-nvp",
    "maf-mog",
    "nsf",
    "maf-ddsf",
    "tan",
    "lde",
    "resmade-mog",
)

#: What stands for every row of the table among `--methods`.
ALL = "all"

SOURCES = {"auto": "bsds300", "embedded": "natural8x8", "hdf5": "bsds300-hdf5"}


def load_patches(
    budget: Budget,
    *,
    source: str = "auto",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    test: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Dataset:
    """The patches of a source with the evaluation sizes of a profile, or `test` test patches: the first of the prepared
    ones, which spread evenly over all test photographs.

    Raises:
        InputError: the data are absent or damaged, fewer than `test`, or not in a folder although one is given.
    """
    defaults = PROFILES[budget.profile]
    if source == "embedded" and data_dir is not None:
        raise InputError(
            f"the embedded photographs are read from no folder, so --data-dir {data_dir} has no use; leave it or "
            "--source embedded out."
        )
    return load_dataset(
        SOURCES[source],
        data_dir=data_dir,
        cache_dir=cache_dir,
        validation=defaults.validation,
        test=defaults.test if test is None else test,
        seed=seed,
        progress=progress,
    )


def table_rows() -> list[str]:
    """Every row of the table: all densities of this package as they state themselves in `Density.rows`.

    By default that is the plain name, and a mixture at its default number of components alone.
    """
    kinds = {name: kind for name, kind in density_classes().items() if not is_wrapper(kind)}
    names = sorted(kinds, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return [row for name in names for row in kinds[name].rows or (_at_its_components(name),)]


def _at_its_components(name: str) -> str:
    components = inspect.signature(density_class(name)).parameters.get("components")
    return name if components is None else f"{name}:components={components.default}"


def with_orderings(methods: Sequence[str], orderings: int) -> list[str]:
    """The methods, and after each that can be averaged over orderings of the pixels that average.

    Raises:
        InputError: none can.
    """
    rows = []
    for method in methods:
        spec = parse_method(method)
        rows.append(method)
        if takes_argument(spec, "orderings"):
            rows.append(str(MethodSpec(spec.name, spec.wrappers, {**spec.arguments, "orderings": orderings})))
    if len(rows) == len(methods):
        raise InputError("--orderings averages over orderings of the pixels, as deep-rnade can; add it to --methods.")
    return rows


def plan_table(
    budget: Budget,
    options: TrainingOptions,
    load: Callable[[], Dataset],
    *,
    components: Sequence[int],
    methods: Sequence[str] | None = None,
    orderings: int | None = None,
    trials: int | None = None,
    seed: int = 0,
) -> list[DensityTrial]:
    """The trials of the table; methods and number of trials default to those of the profile, and the method `all` is
    every row. `orderings` adds averages over that many: see `with_orderings`.

    `load` gives the patches; it is called once all else is known to be right, since it may download them.

    Raises:
        InputError: see `plan_trials` and `with_orderings`.
    """
    defaults = PROFILES[budget.profile]
    methods = [row for method in methods or defaults.methods for row in (table_rows() if method == ALL else [method])]
    if orderings is not None:
        methods = with_orderings(methods, orderings)
    expand_methods(methods, components, FEATURES)
    trials = defaults.trials if trials is None else trials
    return plan_trials(EXPERIMENT, load(), methods, components, trials, budget, options, seed)
