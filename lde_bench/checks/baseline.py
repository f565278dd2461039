"""The file that `lde-bench regress` compares with: what was trained, on which data, how, and what every seed gave."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lde_bench.errors import InputError
from lde_bench.files import write_text_atomic
from lde_bench.runs.provenance import package_versions
from lde_bench.runs.record import DatasetInfo, read_dataclass
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions
from lde_bench.version import BENCHMARK_VERSION, __version__

#: Seeds that a spread is measured over: as many by default, and at least so many.
SEEDS = 5
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Protocol:
    """How every model is trained and measured; figures of another protocol do not compare.

    `steps` of None are those of the profile. `samples` are those of the Parzen window around a model of images.
    """

    steps: int | None
    profile: str = "quick"
    device: str = "cpu"
    precision: str = "fp32"
    compile: bool = False
    threads: int = 1
    samples: int = 2_000

    @property
    def budget(self) -> Budget:
        """The training budget.

        Raises:
            InputError: `steps` is no whole number from 1 up.
        """
        return Budget.of(self.profile, self.steps)

    @property
    def options(self) -> TrainingOptions:
        """How trials are trained."""
        return TrainingOptions(device=self.device, precision=self.precision, compile=self.compile)


@dataclass(frozen=True)
class Case:
    """Methods, as they are spelled, to be trained on one dataset: a registered one or that of a `file`.

    `components` are the K of mixtures that spell none; `sizes` are the rows of those splits that are cut.
    """

    methods: list[str]
    components: list[int]
    dataset: str | None = None
    file: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """The test log-likelihood (nats, mean over test rows) that each seed of a method gave, at one K if it is a mixture.

    `parameters` and `code`, which names the code of a user's class, are information: the code is what is tested.
    """

    method: str
    seeds: list[int]
    test_nats: list[float]
    parameters: int | None = None
    code: str | None = None


@dataclass(frozen=True)
class Measured:
    """A case, the data that it was measured on, and its rows by method and K, as in `gmm K=3`."""

    case: Case
    data: DatasetInfo
    rows: dict[str, Row]


def packages() -> dict[str, str | None]:
    """The versions, of this package too, that can change a figure."""
    return {"lde-bench": __version__, **package_versions()}


@dataclass(frozen=True)
class Baseline:
    """What `lde-bench regress --update` writes. `command` measures it anew; `packages` are information."""

    protocol: Protocol
    cases: list[Measured]
    command: str
    packages: dict[str, str | None]
    benchmark_version: str = BENCHMARK_VERSION

    @property
    def titles(self) -> set[str]:
        """The names of all rows."""
        return {title for measured in self.cases for title in measured.rows}

    @property
    def seeds(self) -> int:
        """Seeds behind each row."""
        return min(len(row.seeds) for measured in self.cases for row in measured.rows.values())

    @property
    def words(self) -> str:
        """What it is of: `gaussian, gmm K=3 on ring`."""
        return "; ".join(f"{', '.join(measured.rows)} on {measured.data.name}" for measured in self.cases)

    def differences(self, protocol: Protocol, cases: Sequence[Case], data: Sequence[DatasetInfo]) -> list[str]:
        """Everything by which figures measured now, so and on these data, would not compare, in words."""
        found: list[tuple[str, object, object]] = [("the benchmark version", self.benchmark_version, BENCHMARK_VERSION)]
        now = asdict(protocol)
        found += [(f"the protocol's {name}", value, now[name]) for name, value in asdict(self.protocol).items()]
        if len(cases) == len(self.cases):
            for measured, case, info in zip(self.cases, cases, data, strict=True):
                found += _of_data(measured, case, info)
        else:
            there, here = ([each.name for each in infos] for infos in ([each.data for each in self.cases], data))
            found.append(("the data", ", ".join(there), ", ".join(here)))
        return [f"{what} is {_told(there)} there and {_told(here)} now" for what, there, here in found if there != here]


def _of_data(measured: Measured, case: Case, now: DatasetInfo) -> Iterator[tuple[str, object, object]]:
    there = measured.data
    # The name of a file says nothing of what is in it: it may have been moved.
    if (case.file is None or measured.case.file is None) and there.name != now.name:
        yield "the dataset", there.name, now.name
        return
    yield f"the version of {now.name}", there.version, now.version
    for split, rows in asdict(there.sizes).items():
        yield f"the number of {split} rows of {now.name}", rows, getattr(now.sizes, split)
    yield f"the content hash of {now.name}", there.content_hash, now.content_hash


def _told(value: object) -> str:
    text = "the profile's" if value is None else str(value)
    return text if len(text) < 60 else f"{text[:12]}..."


def read_baseline(path: Path) -> Baseline:
    """Read and validate; the `file` of a case is given so that it can be opened from the current folder.

    Raises:
        InputError: there is no such file, or it is no baseline.
    """
    remedy = "name one that lde-bench regress --update wrote"
    try:
        baseline = read_dataclass(Baseline, json.loads(path.read_text(encoding="utf-8")), "baseline")
        for measured in baseline.cases:
            for title, row in measured.rows.items():
                if not LEAST_SEEDS <= len(row.seeds) == len(row.test_nats):
                    raise InputError(f"{title} should have at least {LEAST_SEEDS} seeds, and a figure of each")
        if not baseline.titles:
            raise InputError("it has no rows")
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: there is no such baseline; {remedy}, or measure it by the same command with --update."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) if isinstance(error, InputError) else type(error).__name__
        raise InputError(f"{path}: is no regression baseline ({reason}); {remedy}.") from error
    return _with_files(baseline, lambda file: str(path.parent / file))


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write atomically, the files of cases as they are found from the folder of the baseline.

    Raises:
        StorageError: it cannot be written.
    """
    relative = _with_files(baseline, lambda file: Path(os.path.relpath(file, path.parent)).as_posix())
    write_text_atomic(path, json.dumps(asdict(relative), indent=2, allow_nan=False) + "\n")


def _with_files(baseline: Baseline, change: Callable[[str], str]) -> Baseline:
    cases = [
        measured
        if (file := measured.case.file) is None
        else replace(measured, case=replace(measured.case, file=change(file)))
        for measured in baseline.cases
    ]
    return replace(baseline, cases=cases)
