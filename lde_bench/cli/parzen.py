"""`lde-bench parzen`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import (
    IMAGE_SOURCE,
    RUNNING,
    SWEEPING,
    CodeDensities,
    Components,
    ImageSource,
    Profile,
    Running,
    Seconds,
    Steps,
    Sweeping,
    TrialCount,
    VggFile,
    Whole,
    app,
)
from lde_bench.cli.running import Job, check_vgg_is_used, use_vgg


@app.command
def parzen(
    *,
    source: ImageSource = IMAGE_SOURCE,
    methods: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            negative=(),
            help="Models of images, each name[+density...][:key=value,...]; see lde-bench list. An autoencoder without "
            "a prior, ae or iae, gets every density of --density. all, or none named: every row.",
        ),
    ] = None,
    density: CodeDensities = None,
    K: Components = [30],  # noqa: B006 (cyclopts shows it, nothing changes it)
    profile: Profile = "quick",
    trials: Annotated[
        TrialCount | None, Parameter(help="Training runs per row, each with its own seed (1, 3, 1, 5 by profile).")
    ] = None,
    samples: Annotated[Whole, Parameter(help="Samples of the window.")] = 10_000,
    features: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            negative=(),
            help="What samples are compared in: pixels; vgg, a layer of VGG19 (see --vgg); mnist, one of a classifier "
            "of digits; or several. If left out that which is best for the dataset, and pixels too; with quick the "
            "former alone, or pixels where that is vgg.",
        ),
    ] = None,
    bound_images: Annotated[
        Whole | None,
        Parameter(
            help="Test images of the bounds on the log-likelihood by annealed importance sampling and importance "
            "weighting (0, 500, 500, 500 by profile); 0: without."
        ),
    ] = None,
    vgg: VggFile = None,
    folds: Annotated[
        list[Whole] | None,
        Parameter(consume_multiple=True, negative=(), help="Folds of a dataset that has them; all if left out."),
    ] = None,
    steps: Steps = None,
    seconds: Seconds = None,
    sweeping: Sweeping = SWEEPING,
    running: Running = RUNNING,
) -> Job:
    """Parzen-window log-likelihood of images under the samples of models: the paper's Table 2.

    Trains every model, draws samples, chooses sigma on validation images and prints the test log-likelihood beside
    better-founded measures of the same samples. Without --dataset or --images it is that of digits8x8. To resume a run
    that was killed, give the same command again; with other measures, it trains nothing anew.
    """
    from lde_bench.experiments.parzen import Parzen
    from lde_bench.training.plan import Budget
    from lde_bench.trials.base import set_threads

    budget = Budget.of(profile, steps, seconds)
    set_threads(running.threads)
    use_vgg(vgg, running.cache_dir)
    planned = Parzen().plan(
        budget,
        running.training(),
        source.load("digits8x8", running, folds),
        methods=methods,
        densities=density,
        components=K,
        trials=trials,
        samples=samples,
        spaces=features,
        bound_images=bound_images,
        seed=running.seed,
    )
    check_vgg_is_used(vgg, planned)
    return Job(planned, sweeping, running, "" if samples == 10_000 else f"-samples{samples}")
