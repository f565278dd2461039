"""The application that every command registers with, and the options that commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter, Token

from lde_bench.errors import InputError
from lde_bench.version import __version__

if TYPE_CHECKING:
    from lde_bench.data import Dataset
    from lde_bench.trials.base import TrainingOptions

app = App(
    name="lde-bench",
    help="Which density estimator is better on this data, by how much, and can I trust the number? "
    "Log-likelihoods are in nats.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` says how to continue
)


#: More of it no machine holds: a slip of the keyboard is told before anything is made of it.
MOST, MOST_COMPONENTS, MOST_TRIALS, MOST_THREADS, MOST_WORKERS = 10**9, 10**5, 10**4, 1024, 10**4

#: A seed has 64 bits, one of them the sign.
MOST_SEED = 2**63 - 1


def whole_numbers(type_: Any, tokens: Sequence[Token]) -> list[int]:
    """Values of `--K`: whole numbers from 1 up."""
    values = []
    for token in tokens:
        value = _within(token.value, MOST_COMPONENTS) if token.value.isdecimal() else 0
        if value < 1:
            raise ValueError(f"K = {token.value} is not a whole number from 1 up; give for example --K 1 10 30 100.")
        values.append(value)
    return values


def _within(text: str, most: int) -> int:
    """A whole number between `-most` and `most`: what it must at least be, the functions say that take it."""
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    try:
        value = int(text)
    except ValueError as error:
        raise ValueError(f"{shown} is not a whole number.") from error
    if abs(value) > most:
        raise ValueError(f"{shown} is out of range; give a whole number of at most {most:,}.")
    return value


def whole_number(most: int) -> Parameter:
    """An option that counts something: `--steps 1.5` is a mistake, and not 2 steps."""
    return Parameter(converter=lambda type_, tokens: _within(tokens[0].value, most))


Whole = Annotated[int, whole_number(MOST)]
ComponentCount = Annotated[int, whole_number(MOST_COMPONENTS)]
TrialCount = Annotated[int, whole_number(MOST_TRIALS)]
WorkerCount = Annotated[int, whole_number(MOST_WORKERS)]
ThreadCount = Annotated[int, whole_number(MOST_THREADS)]
Seed = Annotated[int, whole_number(MOST_SEED)]

DataDir = Annotated[
    Path | None,
    Parameter(help="Folder of the official files (else LDE_BENCH_DATA, the cache, or a download); only read."),
]
CacheDir = Annotated[
    Path | None, Parameter(help="Folder for prepared data (else LDE_BENCH_CACHE or the user's cache).")
]
ResultsDir = Annotated[Path, Parameter(help="Folder of run records, tables and figures.")]
Json = Annotated[bool, Parameter(negative=(), help="Machine-readable output on stdout.")]

# Of the commands that train densities.
Components = Annotated[
    list[int],
    Parameter(
        name="--K", consume_multiple=True, negative=(), converter=whole_numbers, help="Components of the mixtures."
    ),
]
Methods = Annotated[
    list[str] | None,
    Parameter(
        consume_multiple=True,
        negative=(),
        help="Methods, each name[+wrapper...][:key=value,...], or package.module:Class for a class of your own; see "
        "lde-bench list.",
    ),
]
Profile = Annotated[
    Literal["quick", "standard", "long", "paper"],
    Parameter(help="Compute budget: training steps, evaluation sizes, default trials and methods."),
]
Trials = Annotated[
    TrialCount | None, Parameter(help="Training runs per row, each with its own seed (1, 2, 2, 5 by profile).")
]
Steps = Annotated[Whole | None, Parameter(help="Training steps in place of the profile's.")]
Batch = Annotated[
    Whole | None,
    Parameter(
        help="Training rows a step in place of the plan's, e.g. more of them on a GPU; the rate grows with the square "
        "root."
    ),
]
Seconds = Annotated[
    float | None, Parameter(help="Training seconds in place of the profile's steps; marked machine-dependent.")
]
# Of the commands that look at images through a network.
Features = Annotated[
    str | None,
    Parameter(
        help="What images are compared in: pixels; vgg, a layer of VGG19 (see --vgg); or mnist, one of a classifier of "
        "digits. If left out that which is best for the dataset, but pixels with quick where that is vgg."
    ),
]
VggFile = Annotated[
    Path | None,
    Parameter(
        name="--vgg",
        help="Weights of VGG19, torchvision's .pth or an .npz (else LDE_BENCH_DATA/vgg19, the cache, torch's hub, or a "
        "download of 548 MB).",
    ),
]
Patches = Annotated[
    Literal["auto", "fixed", "fresh"],
    Parameter(
        help="fresh: training patches drawn anew, with new noise, at every step. auto: so with --profile long, of rows "
        "that would pass the fixed ones three times or more."
    ),
]
Augment = Annotated[
    Literal["symmetries"] | None, Parameter(help="symmetries: train on the 8 flips and rotations of the patches.")
]


@Parameter(name="*")
@dataclass(frozen=True)
class Running:
    """On what a command that trains runs, and where its files are: the last options of each."""

    seed: Annotated[Seed, Parameter(help="Base of the trials' seeds and of the preparation.")] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Parameter(help="Of training steps; evaluation is always in fp32 or better.")
    ] = "auto"
    compile: Annotated[bool | None, Parameter(help="Use torch.compile, or not, whatever the plan says.")] = None
    threads: Annotated[
        ThreadCount | None, Parameter(help="Threads for the arithmetic; torch's choice if left out.")
    ] = None
    data_dir: DataDir = None
    cache_dir: CacheDir = None
    results_dir: ResultsDir = Path("results")
    json: Json = False

    def training(
        self, patches: Literal["auto", "fixed", "fresh"] = "fixed", augment: Literal["symmetries"] | None = None
    ) -> TrainingOptions:
        """How trials are trained."""
        from lde_bench.trials.base import TrainingOptions

        return TrainingOptions(patches, augment, self.device, self.precision, self.compile)


#: What stands where a command is given none of them.
RUNNING = Running()


@dataclass(frozen=True)
class Share:
    """The `index`-th of `count` shares of a plan, counted from 1."""

    index: int
    count: int


def share(type_: Any, tokens: Sequence[Token]) -> Share:
    """The value of `--only`, such as `2/6`."""
    text = tokens[0].value
    if not (found := re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)) or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"{text} is no share of the trials; give for example 2/6, from 1/6 to 6/6.")
    return Share(int(found[1]), int(found[2]))


@Parameter(name="*")
@dataclass(frozen=True)
class Sweeping:
    """How the trials of a command are run: here one after the other, or in shares, or on workers."""

    plan: Annotated[
        bool, Parameter(negative=(), help="Print the trials, what each needs first and its time, and run nothing.")
    ] = False
    only: Annotated[
        Share | None,
        Parameter(
            n_tokens=1,
            accepts_keys=False,
            converter=share,
            help="I/N: run the trials I, I + N, I + 2N, ... of the plan, e.g. in task I of N of a job array.",
        ),
    ] = None
    workers: Annotated[
        WorkerCount | None, Parameter(help="Run so many trials at a time, each in a process of its own (needs [dask]).")
    ] = None
    scheduler: Annotated[
        str | None,
        Parameter(help="Run on the workers of this Dask scheduler: its address, or its scheduler file (needs [dask])."),
    ] = None
    retries: Annotated[
        TrialCount | None,
        Parameter(help="How often a trial whose worker died is given to another before it has failed; 3 if left out."),
    ] = None
    fail_fast: Annotated[bool, Parameter(negative=(), help="Stop at the first trial that fails.")] = False

    def check(self) -> None:
        """Raises `InputError` for numbers that are too small, workers both of this machine and elsewhere, and retries
        of none.
        """
        for name, value, least in (("workers", self.workers, 1), ("retries", self.retries, 0)):
            if value is not None and value < least:
                raise InputError(
                    f"--{name} {value} is not a whole number from {least} up; give another or leave it out."
                )
        if self.workers is not None and self.scheduler is not None:
            raise InputError("--workers starts workers here and --scheduler has its own; leave out one of the two.")
        if self.retries is not None and self.workers is None and self.scheduler is None:
            raise InputError(
                f"--retries {self.retries} is about workers that die; give --workers or --scheduler, or leave it out."
            )


#: What stands where a command is given none of them.
SWEEPING = Sweeping()


@Parameter(name="*")
@dataclass(frozen=True)
class PictureOptions:
    """How picture files become images, of datasets that are made of them."""

    side: Annotated[
        Whole | None, Parameter(help="Pixels along a side, of images made of picture files (64 if left out).")
    ] = None
    fit: Annotated[
        Literal["stretch", "crop"] | None,
        Parameter(
            help="How a picture becomes a square: stretch squeezes all of it, as in the paper; crop takes the largest "
            "square in its middle, as of --images if left out."
        ),
    ] = None
    skip_bad: Annotated[
        bool | None, Parameter(negative=(), help="Leave out files that cannot be used as images; they are named.")
    ] = None

    def asked(self) -> dict[str, Any]:
        """Arguments of the functions that load images."""
        return {"side": self.side, "fit": self.fit, "skip_bad": self.skip_bad}


#: What stands where a command is given none of them.
PICTURE_OPTIONS = PictureOptions()

# Of the commands that sample autoencoders.
CodeDensities = Annotated[
    list[str] | None,
    Parameter(
        consume_multiple=True,
        negative=(),
        help="Densities of the codes of ae and iae: lde if left out, any other method, or package.module:Class.",
    ),
]

# Of the figures in colour.
Perceptual = Annotated[
    float | None,
    Parameter(
        help="Weight of the distance in features of VGG19 in the loss (see --vgg): 0.1, the paper's, if left out, and "
        "0 with --profile quick."
    ),
]


@Parameter(name="*")
@dataclass(frozen=True)
class ImageSource:
    """The images of a command: a dataset by its name, or a folder of one's own."""

    dataset: Annotated[
        str | None,
        Parameter(help="A dataset of images, see lde-bench list; one that needs no download if left out."),
    ] = None
    images: Annotated[
        Path | None, Parameter(help="A folder of image files of your own instead, split by a hash of their names.")
    ] = None
    pictures: PictureOptions = PICTURE_OPTIONS

    def load(self, default: str, running: Running, folds: Sequence[int] | None = None) -> list[Dataset]:
        """What was named, or the dataset `default`, or folds of it; a bar on a terminal shows its preparation.

        Raises:
            InputError: see `lde_bench.experiments.parzen.load_images`.
        """
        from lde_bench.experiments.parzen import load_images

        return load_images(
            default if self.dataset is None and self.images is None else self.dataset,
            self.images,
            folds=folds,
            data_dir=running.data_dir,
            cache_dir=running.cache_dir,
            **self.pictures.asked(),
        )


#: What stands where a command is given none of them.
IMAGE_SOURCE = ImageSource()
