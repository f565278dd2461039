"""`lde-bench generate`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import (
    IMAGE_SOURCE,
    RUNNING,
    SWEEPING,
    CodeDensities,
    Components,
    Features,
    ImageSource,
    Perceptual,
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
def generate(
    *,
    source: ImageSource = IMAGE_SOURCE,
    methods: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            negative=(),
            help="Models of images, each name[+density...][:key=value,...]; see lde-bench list. An autoencoder without "
            "a prior, ae or iae, gets every density of --density. None named: aae, ae and iae, the paper's.",
        ),
    ] = None,
    density: CodeDensities = None,
    K: Components = [30],  # noqa: B006 (cyclopts shows it, nothing changes it)
    profile: Profile = "quick",
    trials: Annotated[TrialCount, Parameter(help="Training runs per row, each with its own seed.")] = 1,
    samples: Annotated[
        Whole | None, Parameter(help="Samples that are measured (500, 2000, 10000, 10000 by profile).")
    ] = None,
    perceptual: Perceptual = None,
    features: Features = None,
    vgg: VggFile = None,
    steps: Steps = None,
    seconds: Seconds = None,
    sweeping: Sweeping = SWEEPING,
    running: Running = RUNNING,
) -> Job:
    """Samples of autoencoders in colour, and how far they are from real images: the paper's Figures 1 and 6.

    Trains every model, draws successive samples, never picked, each over its nearest training image, and prints
    distances, precision and recall in a space of features. Without --dataset or --images it is of natural32, which
    needs no download. To resume a run that was killed, give the same command again.
    """
    from lde_bench.experiments.generate import Generate
    from lde_bench.training.plan import Budget
    from lde_bench.trials.base import set_threads

    budget = Budget.of(profile, steps, seconds)
    set_threads(running.threads)
    use_vgg(vgg, running.cache_dir)
    (images,) = source.load("natural32", running, folds=[])
    planned = Generate().plan(
        budget,
        running.training(),
        images,
        methods=methods,
        densities=density,
        components=K,
        trials=trials,
        samples=samples,
        perceptual=perceptual,
        space=features,
        seed=running.seed,
    )
    check_vgg_is_used(vgg, planned)
    return Job(planned, sweeping, running)
