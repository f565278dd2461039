"""The table of any data: a file of a user's own, or a registered dataset, such as those whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lde_bench.data import Dataset, load_dataset
from lde_bench.data.base import SPLITS, Request
from lde_bench.data.user_file import load_file
from lde_bench.errors import InputError
from lde_bench.experiments.bsds300 import PROFILES
from lde_bench.report.experiment import Experiment
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.trials.density import DensityTrial, plan_trials

#: What runs where no method is named.
METHODS = ("gaussian", "gmm", "lde+w")


def load_data(
    data: Path | None,
    dataset: str | None,
    *,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    seed: int = 0,
    standardise: bool = True,
) -> Dataset:
    """The dataset of a file `data`, or the registered one called `dataset`; sizes are prefixes of the splits.

    The columns of a file are standardised unless `standardise` is false; a registered dataset is as it is.

    Raises:
        InputError: neither or both are named, or the data are absent or unfit.
    """
    if (data is None) == (dataset is None):
        raise InputError(
            "name the data once: --data FILE for a file of your own, or --dataset NAME; see lde-bench list."
        )
    if data is not None and data_dir is not None:
        raise InputError(f"{data} is read from where it is, so --data-dir {data_dir} has no use; leave it out.")
    if data is None and not standardise:
        raise InputError(f"{dataset} is taken as it is, so --no-standardise has no use; leave it out.")
    if data is None:
        assert dataset is not None
        return load_dataset(
            dataset,
            data_dir=data_dir,
            cache_dir=cache_dir,
            train=train,
            validation=validation,
            test=test,
            seed=seed,
            progress=True,
        )
    for split, size in zip(SPLITS, (train, validation, test), strict=True):
        if size is not None and size < 1:
            raise InputError(f"{split} = {size} is not a number of rows; give a whole number from 1 up.")
    return load_file(data, Request(train=train, validation=validation, test=test, seed=seed), standardise=standardise)


class AnyData(Experiment):
    """The table of any data, with the gap to the truth where that is known."""

    name = "table"
    title = "log-likelihood on data of your own, or on a registered dataset"

    def plan(
        self,
        budget: Budget,
        options: TrainingOptions,
        dataset: Dataset,
        *,
        components: Sequence[int],
        methods: Sequence[str] | None = None,
        trials: int | None = None,
        seed: int = 0,
    ) -> list[DensityTrial]:
        """The trials of the table; the number of trials defaults to that of the profile.

        Raises:
            InputError: see `plan_trials`.
        """
        trials = PROFILES[budget.profile].trials if trials is None else trials
        return plan_trials(self.name, dataset, methods or METHODS, components, trials, budget, options, seed)
