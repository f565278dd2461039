"""`lde-bench interpolate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from lde_bench.cli.app import (
    PICTURE_OPTIONS,
    RUNNING,
    SWEEPING,
    Features,
    Perceptual,
    PictureOptions,
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
from lde_bench.cli.running import Job, use_vgg

if TYPE_CHECKING:
    from lde_bench.data import Dataset


#: Two that need no download.
DOMAINS = ("natural32", "digits32")


@app.command
def interpolate(
    *,
    dataset: Annotated[
        list[str],
        Parameter(
            consume_multiple=True,
            negative=(),
            help="The two domains, datasets of images of one size; see lde-bench list.",
        ),
    ] = [],  # noqa: B006 (nothing changes it)
    images: Annotated[
        list[Path],
        Parameter(
            consume_multiple=True, negative=(), help="A folder of image files of your own as a domain, or two of them."
        ),
    ] = [],  # noqa: B006 (nothing changes it)
    pictures: PictureOptions = PICTURE_OPTIONS,
    methods: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            negative=(),
            help="Autoencoders, each name[:key=value,...]; see lde-bench list. None named: the paper's, aae with "
            "either prior, ae and iae.",
        ),
    ] = None,
    profile: Profile = "quick",
    trials: Annotated[TrialCount, Parameter(help="Training runs per row, each with its own seed.")] = 1,
    pairs: Annotated[
        Whole | None, Parameter(help="Walks of each kind that are measured (100, 500, 500, 500 by profile).")
    ] = None,
    perceptual: Perceptual = None,
    features: Features = None,
    vgg: VggFile = None,
    steps: Steps = None,
    seconds: Seconds = None,
    sweeping: Sweeping = SWEEPING,
    running: Running = RUNNING,
) -> Job:
    """Walks between the codes of test images, within two domains and from one to the other: the paper's Figure 5.

    Trains every autoencoder on images of the two in turn, decodes straight lines between codes, the pairs drawn by the
    seed and never picked, and prints whether shapes change or two images fade. Without --dataset or --images it is of
    natural32 and digits32, which need no download. To resume a run that was killed, give the same command again.
    """
    from lde_bench.data import mixed
    from lde_bench.errors import InputError
    from lde_bench.experiments.interpolate import Interpolate
    from lde_bench.training.plan import Budget
    from lde_bench.trials.base import set_threads

    named: list[str | Path] = [*dataset, *images]
    if len(named) not in (0, 2):
        raise InputError(f"a walk from one domain to another needs two, and {len(named)} are named; give two.")
    budget = Budget.of(profile, steps, seconds)
    set_threads(running.threads)
    use_vgg(vgg, running.cache_dir)
    domains = [_domain(each, pictures, running) for each in named or DOMAINS]
    planned = Interpolate().plan(
        budget,
        running.training(),
        mixed(*domains),
        methods=methods,
        trials=trials,
        pairs=pairs,
        perceptual=perceptual,
        space=features,
        seed=running.seed,
    )
    return Job(planned, sweeping, running)


def _domain(named: str | Path, pictures: PictureOptions, running: Running) -> Dataset:
    """A registered dataset of images, or a folder of one's own."""
    from lde_bench.experiments.parzen import load_images

    if isinstance(named, Path):
        return load_images(None, named, cache_dir=running.cache_dir, **pictures.asked())[0]
    return load_images(named, folds=[], data_dir=running.data_dir, cache_dir=running.cache_dir, **pictures.asked())[0]
