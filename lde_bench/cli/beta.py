"""`lde-bench beta`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from lde_bench.cli.app import (
    IMAGE_SOURCE,
    RUNNING,
    SWEEPING,
    ComponentCount,
    ImageSource,
    Profile,
    Running,
    Seconds,
    Steps,
    Sweeping,
    TrialCount,
    Whole,
    app,
)
from lde_bench.cli.running import Job


@app.command
def beta(
    *,
    source: ImageSource = IMAGE_SOURCE,
    beta: Annotated[
        list[float],
        Parameter(consume_multiple=True, negative=(), help="Weights of the KL, a VAE for each."),
    ] = [0.1, 1, 5, 20],  # noqa: B006 (cyclopts shows it, nothing changes it)
    latent: Annotated[Whole, Parameter(help="Size of the code; codes of 2 numbers are drawn.")] = 2,
    backbone: Annotated[
        Literal["mlp", "conv"],
        Parameter(help="Networks of every model: two hidden layers of 1,000 each way, or the paper's convolutions."),
    ] = "mlp",
    K: Annotated[
        ComponentCount, Parameter(name="--K", help="Components of the density of the autoencoder's codes.")
    ] = 30,
    digit: Annotated[
        Whole | None,
        Parameter(help="What the images show that are drawn with their reconstructions; 5 if left out."),
    ] = None,
    profile: Profile = "quick",
    trials: Annotated[TrialCount, Parameter(help="Training runs per model, each with its own seed.")] = 1,
    samples: Annotated[
        Whole | None,
        Parameter(help="Codes of each image for the importance-weighted bound (50, 500, 500, 500 by profile)."),
    ] = None,
    steps: Steps = None,
    seconds: Seconds = None,
    sweeping: Sweeping = SWEEPING,
    running: Running = RUNNING,
) -> Job:
    """What a prior costs an autoencoder, at several weights of it: the paper's Figure 2, with numbers.

    Trains a VAE at every beta, and last an autoencoder without a prior and the density of its codes; draws their codes
    and reconstructions, and prints reconstruction error, KL, bounds on the log-likelihood, and how far the codes are
    from what codes are sampled from. Without --dataset or --images it is of digits8x8, which needs no download. To
    resume a run that was killed, give the same command again.
    """
    from lde_bench.experiments.beta import Beta, beta_budget
    from lde_bench.trials.base import set_threads

    budget = beta_budget(profile, steps, seconds)
    set_threads(running.threads)
    (images,) = source.load("digits8x8", running, folds=[])
    planned = Beta().plan(
        budget,
        running.training(),
        images,
        betas=beta,
        latent=latent,
        backbone=backbone,
        components=K,
        label=digit,
        codes=samples,
        trials=trials,
        seed=running.seed,
    )
    return Job(planned, sweeping, running)
