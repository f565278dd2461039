"""`lde-bench table`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import (
    RUNNING,
    SWEEPING,
    Augment,
    Batch,
    Components,
    Methods,
    Patches,
    Profile,
    Running,
    Seconds,
    Steps,
    Sweeping,
    Trials,
    Whole,
    app,
)
from lde_bench.cli.running import Job


@app.command
def table(
    *,
    data: Annotated[
        Path | None,
        Parameter(
            help="Your file, .npz or .h5, with arrays train, validation, test [n, D] and perhaps test_groups [n]."
        ),
    ] = None,
    dataset: Annotated[str | None, Parameter(help="A registered dataset instead; see lde-bench list.")] = None,
    K: Components = [10],  # noqa: B006 (cyclopts shows it, nothing changes it)
    methods: Methods = None,
    profile: Profile = "quick",
    trials: Trials = None,
    train: Annotated[Whole | None, Parameter(help="Training rows; all, or the dataset's default, if left out.")] = None,
    validation: Annotated[Whole | None, Parameter(help="Validation rows.")] = None,
    test: Annotated[Whole | None, Parameter(help="Test rows.")] = None,
    standardise: Annotated[
        bool,
        Parameter(
            help="Centre and scale each column of your file by its training rows, in float64; log-likelihoods stay in "
            "the units of the file. Registered datasets are taken as they are."
        ),
    ] = True,
    steps: Steps = None,
    seconds: Seconds = None,
    batch: Batch = None,
    patches: Patches = "auto",
    augment: Augment = None,
    sweeping: Sweeping = SWEEPING,
    running: Running = RUNNING,
) -> Job:
    """Log-likelihood on data of your own, or on a registered dataset: laws, records and a table with error bars.

    Where the true density is known, as of the synthetic datasets, the table says how many nats each method leaves on
    it. To resume a run that was killed, give the same command again.
    """
    from lde_bench.experiments.table import AnyData, load_data
    from lde_bench.training.plan import Budget
    from lde_bench.trials.base import set_threads

    budget = Budget.of(profile, steps, seconds, batch=batch)
    set_threads(running.threads)
    loaded = load_data(
        data,
        dataset,
        train=train,
        validation=validation,
        test=test,
        data_dir=running.data_dir,
        cache_dir=running.cache_dir,
        seed=running.seed,
        standardise=standardise,
    )
    options = running.training(patches, augment)
    planned = AnyData().plan(budget, options, loaded, components=K, methods=methods, trials=trials, seed=running.seed)
    return Job(planned, sweeping, running, "" if test is None else f"-test{test}")
