"""`lde-bench bsds300`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

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
def bsds300(
    *,
    K: Components = [1, 10, 30, 100],  # noqa: B006 (cyclopts shows it, nothing changes it)
    methods: Annotated[
        Methods,
        Parameter(
            help="Methods, each name[+wrapper...][:key=value,...], or package.module:Class for a class of your own; "
            "see lde-bench list. all: every density of this package, also whitened (+w) where that makes another "
            "density of it; lde, lde+w and resmade-mog+w at every --K, gmm at 200 components and the other mixtures at "
            "their default number."
        ),
    ] = None,
    profile: Profile = "quick",
    trials: Trials = None,
    source: Annotated[
        Literal["auto", "embedded", "hdf5"],
        Parameter(
            help="auto: the BSDS300 photographs; embedded: the photographs inside scikit-learn and scikit-image "
            "(no download); hdf5: the ready-made BSDS300.hdf5."
        ),
    ] = "auto",
    test: Annotated[
        Whole | None,
        Parameter(help="Evaluate on the first N test patches, spread over all test photographs (else the profile's)."),
    ] = None,
    orderings: Annotated[
        Whole | None,
        Parameter(help="Beside each deep-rnade row, one that averages over N orderings of the pixels (same training)."),
    ] = None,
    steps: Steps = None,
    seconds: Seconds = None,
    batch: Batch = None,
    patches: Patches = "auto",
    augment: Augment = None,
    sweeping: Sweeping = SWEEPING,
    running: Running = RUNNING,
) -> Job:
    """Log-likelihood of 8x8 patches of natural images: the paper's Table 1.

    Trains every method, for mixtures at every K, and prints test log-likelihoods with error bars. To resume a run that
    was killed, give the same command again.
    """
    from lde_bench.experiments.bsds300 import Bsds300, load_patches
    from lde_bench.training.plan import Budget
    from lde_bench.trials.base import set_threads

    budget = Budget.of(profile, steps, seconds, batch=batch)
    set_threads(running.threads)
    planned = Bsds300().plan(
        budget,
        running.training(patches, augment),
        partial(
            load_patches,
            budget,
            source=source,
            data_dir=running.data_dir,
            cache_dir=running.cache_dir,
            test=test,
            seed=running.seed,
            progress=True,
        ),
        components=K,
        methods=methods,
        orderings=orderings,
        trials=trials,
        seed=running.seed,
    )
    return Job(planned, sweeping, running, "" if test is None else f"-test{test}")
