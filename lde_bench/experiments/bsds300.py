"""Table 1 of the paper: log-likelihood of 8x8 patches of natural images (Yoo et al. 2020, arXiv 1902.04294).

Protocol: Uria et al. 2016, JMLR 17(205), section 7.3.2; see `lde_bench.data.patches`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lde_bench.data import Dataset, load_dataset
from lde_bench.experiments.density_trials import DensityTrial, TrainingOptions, expand_methods, plan_trials
from lde_bench.training.plan import Budget

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

SOURCES = {"auto": "bsds300", "embedded": "natural8x8", "hdf5": "bsds300-hdf5"}


def load_patches(
    budget: Budget,
    *,
    source: str = "auto",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Dataset:
    """The patches of a source with the evaluation sizes of a profile.

    Raises:
        InputError: the data are absent or damaged.
    """
    defaults = PROFILES[budget.profile]
    return load_dataset(
        SOURCES[source],
        data_dir=data_dir,
        cache_dir=cache_dir,
        validation=defaults.validation,
        test=defaults.test,
        seed=seed,
        progress=progress,
    )


def plan_table(
    budget: Budget,
    options: TrainingOptions,
    load: Callable[[], Dataset],
    *,
    components: Sequence[int],
    methods: Sequence[str] | None = None,
    trials: int | None = None,
    seed: int = 0,
) -> list[DensityTrial]:
    """The trials of the table; methods and number of trials default to those of the profile.

    `load` gives the patches; it is called once all else is known to be right, since it may download them.

    Raises:
        InputError: see `plan_trials`.
    """
    defaults = PROFILES[budget.profile]
    methods = methods or defaults.methods
    expand_methods(methods, components, FEATURES)
    trials = defaults.trials if trials is None else trials
    return plan_trials(EXPERIMENT, load(), methods, components, trials, budget, options, seed)
