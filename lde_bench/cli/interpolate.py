"""`lde-bench interpolate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from lde_bench.cli.running import Job, check_vgg_is_used, use_vgg

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
    domains = _domains(named or DOMAINS, pictures, running)
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
    check_vgg_is_used(vgg, planned)
    return Job(planned, sweeping, running)


def _domains(named: Sequence[str | Path], pictures: PictureOptions, running: Running) -> list[Dataset]:
    """Registered datasets of images, or folders of one's own; each is given what it takes of the options.

    Raises:
        InputError: see `lde_bench.experiments.parzen.load_images`; or neither takes an option that is given.
    """
    from lde_bench.data import datasets
    from lde_bench.errors import InputError
    from lde_bench.experiments.parzen import load_images

    asked: dict[str, Any] = {name: value for name, value in pictures.asked().items() if value is not None}
    if running.data_dir is not None:
        asked["data_dir"] = running.data_dir
    domains, taken = [], set[str]()
    for each in named:
        entry = None if isinstance(each, Path) else datasets().get(each)
        takes = set(asked) - ({"data_dir"} if isinstance(each, Path) else set())
        if entry is not None:
            takes -= set() if entry.from_pictures else {"side", "fit", "skip_bad"}
            takes -= set() if entry.reads_files else {"data_dir"}
        where = (None, each) if isinstance(each, Path) else (each, None)
        options = {name: asked[name] for name in takes}
        domains += load_images(*where, folds=[], cache_dir=running.cache_dir, **options)
        taken |= takes
    if left := [f"--{name.replace('_', '-')}" for name in asked if name not in taken]:
        raise InputError(f"neither domain takes {' or '.join(left)}; leave it out.")
    return domains
