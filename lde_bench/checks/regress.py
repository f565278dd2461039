"""`lde-bench regress`: has a change of the code moved the likelihoods?

A baseline file (`lde_bench.checks.baseline`) holds for every method the test log-likelihoods of several seeds, and all
that makes them comparable. The first seeds are run again, in fp32, uncompiled, on one thread, and compared with what
the same seeds gave before; the tolerance comes from the spread over seeds. A log-likelihood that is too *high* fails
like one that is too low: a forgotten log-determinant or a mask that lets a dimension see itself looks like a good
result. That of a model of images is of the Parzen window around its samples.

The package's own case is on synthetic data that every machine can make and on the digits of scikit-learn; a user's own
is any methods on any dataset or file.
"""

from __future__ import annotations

import functools
import json as json_module
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from scipy import stats

from lde_bench.cards import check_method
from lde_bench.checks.baseline import (
    LEAST_SEEDS,
    SEEDS,
    Baseline,
    Case,
    Measured,
    Protocol,
    Row,
    packages,
    read_baseline,
    write_baseline,
)
from lde_bench.data import Dataset, datasets
from lde_bench.data.base import SPLITS
from lde_bench.errors import InputError, LawBroken, NothingMeasured, UnknownMethod
from lde_bench.experiments.parzen import Parzen
from lde_bench.experiments.table import load_data
from lde_bench.files import check_writable
from lde_bench.generators import is_image_model
from lde_bench.progress import say
from lde_bench.report.document import Grid
from lde_bench.report.render.text import print_blocks
from lde_bench.runs import DatasetInfo, Record, ResultStore, Task, run_sweep
from lde_bench.runs.executor import Event, Watcher
from lde_bench.runs.rows import with_components
from lde_bench.trials.base import Trial
from lde_bench.trials.density import plan_trials

#: The baseline of the package's own case, and the name in the current folder of that of a user's.
BASELINE = Path(__file__).with_name("regress_baseline.json")
DEFAULT_BASELINE = Path("lde-bench-baseline.json")

#: The package's own case: under a minute on one core. In 63 dimensions the LDE and MADE would need minutes to come
#: close to the truth; far from it seeds differ more than faults do.
SIZES = {"train": 20_000, "validation": 1_000, "test": 4_000}
CASES = (
    Case(
        methods=["gaussian", "gmm:components=3", "resmade-mog+w:components=3,hidden=128,blocks=1"],
        components=[],
        dataset="scale-mixture",
        sizes=SIZES,
    ),
    Case(
        methods=["made-mog:components=3,hidden=128", "lde:components=3", "lde+w:components=3"],
        components=[],
        dataset="gaussian-correlated",
        sizes=SIZES,
    ),
    Case(methods=["ae+gmm:components=5", "vae"], components=[], dataset="digits8x8"),
)
STEPS = 300

#: Components of the mixtures of a user's own case that neither the method nor `--K` says.
COMPONENTS = (10,)

#: A difference counts from this many standard deviations over `SEEDS` seeds; see `tolerance` ...
SIGMAS = 5.0

#: ... and from this many nats of the mean over test rows, all dimensions of a row together: a deterministic method has
#: no spread, and machines round differently.
LEAST_EFFECT = 0.02


@dataclass(frozen=True)
class Asked:
    """What a command names of a case; what it leaves out is as in the baseline file, where there is one.

    Raises:
        InputError: `steps` or `trials` is below 1.
    """

    methods: Sequence[str] | None = None
    dataset: str | None = None
    data: Path | None = None
    components: Sequence[int] | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    steps: int | None = None
    trials: int | None = None
    data_dir: Path | None = None
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("trials", self.trials)):
            if value is not None and value < 1:
                raise InputError(f"{name} = {value} is not a whole number from 1 up; give at least 1.")

    @property
    def names_a_case(self) -> bool:
        """Whether it says what is to be trained, or on which data."""
        return bool(self.methods or self.dataset or self.data)

    @property
    def is_complete(self) -> bool:
        """Whether it says both: then a new baseline takes nothing over from an old one."""
        return bool(self.methods and (self.dataset or self.data))

    def cases(self, reference: Baseline | None) -> list[Case]:
        """What to train on what.

        Raises:
            InputError: no methods are named, here or in the file.
        """
        if reference is not None and not (self.names_a_case or self.components or self.sizes):
            return [measured.case for measured in reference.cases]
        only = reference.cases[0].case if reference is not None and len(reference.cases) == 1 else Case([], [])
        case = replace(
            only,
            methods=list(dict.fromkeys(self.methods or only.methods)),
            components=list(self.components or only.components or COMPONENTS),
            sizes={**only.sizes, **self.sizes},
        )
        if self.dataset or self.data:
            case = replace(case, dataset=self.dataset, file=None if self.data is None else str(self.data))
        if not case.methods:
            raise InputError("no method is named; name what to check, as in --methods gaussian package.module:Class.")
        return [case]

    def load(self, cases: Sequence[Case]) -> list[Dataset]:
        """The data of each case.

        Raises:
            InputError: see `load_data`; or there is a folder of data, and no case is of files in it.
        """
        if self.data_dir is not None and not any(case.file is not None or _reads_files(case) for case in cases):
            raise InputError(
                f"none of the data is made of files, so that --data-dir {self.data_dir} has no use; leave it out."
            )
        return [self._load(case) for case in cases]

    def _load(self, case: Case) -> Dataset:
        train, validation, test = map(case.sizes.get, SPLITS)
        return load_data(
            None if case.file is None else Path(case.file),
            case.dataset,
            train=train,
            validation=validation,
            test=test,
            data_dir=self.data_dir if case.file is not None or _reads_files(case) else None,
            cache_dir=self.cache_dir,
        )


def _reads_files(case: Case) -> bool:
    """Whether it is of a registered dataset that is made of files, or of one that is not known here."""
    entry = datasets().get(case.dataset or "")
    return entry is None or entry.reads_files


@dataclass(frozen=True)
class Planned:
    """The trials of one case, each with its method as spelled; `gone` says why a method cannot be had any more."""

    case: Case
    dataset: Dataset
    trials: Sequence[tuple[str, Trial]]
    gone: Mapping[str, str]

    def rows(self) -> dict[str, list[tuple[str, Trial]]]:
        """The trials of each row, the first seed first; a row that two methods spell is one."""
        rows: dict[str, list[tuple[str, Trial]]] = {}
        for method, trial in self.trials:
            title = with_components(trial.spec.label, trial.components)
            if trial.run_id not in [other.run_id for _, other in rows.setdefault(title, [])]:
                rows[title].append((method, trial))
        return rows


@dataclass(frozen=True)
class Verdict:
    """One row against its baseline; log-likelihoods in nats, means over the seeds that were run again."""

    dataset: str
    method: str
    baseline: float
    now: float | None
    tolerance: float
    reason: str | None = None

    @property
    def state(self) -> str:
        """`same`, `worse`, `too good` or `failed`."""
        if self.now is None:
            return "failed"
        if abs(self.now - self.baseline) <= self.tolerance:
            return "same"
        return "worse" if self.now < self.baseline else "too good"


def tolerance(values: Sequence[float], again: int = 1) -> float:
    """How far, in nats, the mean of `again` seeds may be from what the same seeds gave before: `values`, one a seed.

    `SIGMAS` standard deviations where they are measured on `SEEDS` seeds. A standard deviation of fewer seeds is worth
    less, so more of them are asked for, by Student's t: the probability that a change which only draws other random
    numbers is called a regression stays what it is at `SEEDS`: below 2.5 %, and 1.3 to 1.7 % in simulations of 3 to 10
    seeds, of which the one that is run again is part of the spread. At 3 seeds they are 8.9, at 10 seeds 3.8.
    """
    return max(LEAST_EFFECT, _deviations(len(values)) * statistics.stdev(values) / math.sqrt(again))


@functools.cache
def _deviations(seeds: int) -> float:
    """How many standard deviations, measured on that many seeds, are worth `SIGMAS` of them measured on `SEEDS`."""
    doubled = math.sqrt(2)  # the variance of a difference of two seeds is twice that of one
    probability = stats.t.sf(SIGMAS / doubled, SEEDS - 1)
    return doubled * float(stats.t.isf(probability, seeds - 1))


def run_regression(asked: Asked, baseline: Path | None, update: bool, json: bool) -> int:
    """Compare with the baseline, or with `update` measure it anew; 0 same, 1 a regression, 3 not comparable.

    Without `baseline` it is that of the package, or `DEFAULT_BASELINE` where a case is named.

    Raises:
        InputError: bad data or methods; or the baseline cannot be read or, with `update`, written.
        LawBroken: a model to be put into a new baseline breaks a law.
        NothingMeasured: it was made by another protocol, with another benchmark version or on other data, or no trial
            finished.
    """
    own = baseline is None and not asked.names_a_case
    if own and (asked.steps or asked.components or asked.sizes):
        raise InputError(
            "the package's own case has its steps, K and sizes; name --methods and --dataset or --data for a case of "
            "your own, or its --baseline."
        )
    path = baseline or (BASELINE if own else DEFAULT_BASELINE)
    return _update(asked, path, own, json) if update else _check(asked, path, own, json)


def _check(asked: Asked, path: Path, own: bool, json: bool) -> int:
    reference = read_baseline(path)
    again = asked.trials or 1
    if again > reference.seeds:
        raise InputError(f"{path}: has {reference.seeds} seeds and --trials asks for {again}; give at most as many.")
    protocol = Protocol(asked.steps or reference.protocol.steps)
    cases = list(CASES) if own else asked.cases(reference)
    datasets = asked.load(cases)
    _raise_if_other(path, reference.differences(protocol, cases, [DatasetInfo.of(each) for each in datasets]))
    planned = [
        _plan_what_is_there(measured, case, dataset, protocol, again)
        for measured, case, dataset in zip(reference.cases, cases, datasets, strict=True)
    ]
    _raise_if_other(path, _other_rows(reference, planned))
    records = _run(planned, protocol)
    verdicts = [
        _verdict(measured.data.name, title, row, each, records, again)
        for measured, each in zip(reference.cases, planned, strict=True)
        for title, row in measured.rows.items()
    ]
    if json:
        rows = [{**asdict(verdict), "state": verdict.state} for verdict in verdicts]
        print(json_module.dumps({"baseline": path.name, "trials": again, "verdicts": rows}, indent=2))
    else:
        _print(verdicts, again)
    if not any(record.done for record in records.values()):
        raise NothingMeasured(f"no trial finished; the first reason is: {str(verdicts[0].reason).rstrip('.')}.")
    changed = [f"{verdict.method} ({verdict.state})" for verdict in verdicts if verdict.state != "same"]
    if changed:
        say(f"lde-bench: likelihoods moved beyond the spread over seeds: {', '.join(changed)}.")
        if others := _other_code(reference, planned, records):
            say(f"lde-bench: since the baseline, {', '.join(others)}.")
    return 1 if changed else 0


def _update(asked: Asked, path: Path, own: bool, json: bool) -> int:
    check_writable(path)
    before = read_baseline(path) if path.exists() else None
    kept = None if own or asked.is_complete else before
    seeds = asked.trials or (kept.seeds if kept else SEEDS)
    if seeds < LEAST_SEEDS:
        raise InputError(f"{seeds} seeds are too few to tell their spread; give --trials {LEAST_SEEDS} or more.")
    if own or not (before or asked.names_a_case):
        cases, usual = list(CASES), Protocol(STEPS)
    else:
        cases, usual = asked.cases(kept), kept.protocol if kept else Protocol(None)
    protocol = Protocol(asked.steps or usual.steps)
    datasets = asked.load(cases)
    planned = [_plan(*each, protocol, seeds) for each in zip(cases, datasets, strict=True)]
    if before:
        others = before.differences(protocol, cases, [DatasetInfo.of(each) for each in datasets])
        if others or before.titles != {title for each in planned for title in each.rows()}:
            say(f"{path}: replaces the baseline of {before.words}.")
    records = _run(planned, protocol)
    measured = [_measured(each, records) for each in planned]
    command = "lde-bench regress --update" if own else f"lde-bench regress --baseline {path.name} --update"
    write_baseline(path, Baseline(protocol, measured, command, packages()))
    if json:
        rows = [
            {
                "dataset": each.data.name,
                "method": title,
                "test_nats": row.test_nats,
                "tolerance": tolerance(row.test_nats),
            }
            for each in measured
            for title, row in each.rows.items()
        ]
        print(json_module.dumps({"baseline": path.name, "rows": rows}, indent=2))
    else:
        _print_baseline(measured)
    say(f"written: {path}")
    return 0


# -- trials ------------------------------------------------------------------------------------------------------------


def _plan(case: Case, dataset: Dataset, protocol: Protocol, seeds: int) -> Planned:
    """The trials of a case; everything that they need is checked here, before any training.

    Raises:
        InputError: an unknown method or argument, a class that breaks the contract, or data that do not serve.
    """
    trials: list[tuple[str, Trial]] = []
    for method in case.methods:
        check_method(method)
        trials += [(method, trial) for trial in _trials(method, case.components, dataset, protocol, seeds)]
    return Planned(case, dataset, trials, {})


def _trials(
    method: str, components: Sequence[int], dataset: Dataset, protocol: Protocol, seeds: int
) -> Sequence[Trial]:
    if not is_image_model(method):
        return plan_trials("regress", dataset, [method], components, seeds, protocol.budget, protocol.options)
    if dataset.image_shape is None:
        raise InputError(f"{method} is a model of images and {dataset.name} no set of images; name another --dataset.")
    return Parzen().plan(
        protocol.budget,
        protocol.options,
        [dataset],
        methods=[method],
        components=components,
        trials=seeds,
        samples=protocol.samples,
    )


def _plan_what_is_there(measured: Measured, case: Case, dataset: Dataset, protocol: Protocol, seeds: int) -> Planned:
    """The trials of a case without those methods that were to be had when the baseline was measured and are not now."""
    gone = {}
    for method in {row.method for row in measured.rows.values()}.intersection(case.methods):
        try:
            check_method(method)
        except UnknownMethod as error:
            gone[method] = str(error)
    left = replace(case, methods=[method for method in case.methods if method not in gone])
    return replace(_plan(left, dataset, protocol, seeds), case=case, gone=gone)


def _run(planned: Sequence[Planned], protocol: Protocol) -> dict[str, Record]:
    """Run all trials on one thread; the records by run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(protocol.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="lde-bench-regress-") as folder:
            store = ResultStore(folder)
            trials = [trial for each in planned for _, trial in each.trials]
            return {record.run_id: record for record in run_sweep(store, trials, Teller())}
    finally:
        torch.set_num_threads(threads)


class Teller(Watcher):
    """A line for each trial that starts."""

    def event(self, event: Event, task: Task, record: Record | None) -> None:
        if event == "started":
            say(f"regress: {task.title} ...")


def _fault(record: Record) -> str | None:
    """Why the figure of a trial does not count; None where it does."""
    broken = ", ".join(law for law, verdict in record.laws.items() if not verdict.passed)
    return record.reason or (f"it breaks the law {broken}" if broken else None)


# -- against the baseline ----------------------------------------------------------------------------------------------


def _raise_if_other(path: Path, differences: Sequence[str]) -> None:
    if differences:
        raise NothingMeasured(
            f"{path}: not comparable: {'; '.join(differences)}; measure it anew by the same command with --update."
        )


def _other_rows(reference: Baseline, planned: Sequence[Planned]) -> list[str]:
    """Rows that only the baseline or only the command has, and rows of other seeds, in words."""
    others = []
    for measured, each in zip(reference.cases, planned, strict=True):
        rows = each.rows()
        there = {title: row for title, row in measured.rows.items() if row.method not in each.gone}
        others += [f"the baseline alone has {title}" for title in there if title not in rows]
        others += [f"the baseline has no {title}" for title in rows if title not in there]
        others += [
            f"the seeds of {title} are others now"
            for title, trials in rows.items()
            if title in there and there[title].seeds[: len(trials)] != [trial.seed for _, trial in trials]
        ]
    return others


def _verdict(
    dataset: str, title: str, row: Row, planned: Planned, records: Mapping[str, Record], again: int
) -> Verdict:
    before, allowed = statistics.fmean(row.test_nats[:again]), tolerance(row.test_nats, again)
    if row.method in planned.gone:
        return Verdict(dataset, title, before, None, allowed, planned.gone[row.method])
    mine = [records[trial.run_id] for _, trial in planned.rows()[title]]
    if reason := next(filter(None, map(_fault, mine)), None):
        return Verdict(dataset, title, before, None, allowed, reason)
    return Verdict(dataset, title, before, statistics.fmean(map(_nats, mine)), allowed)


def _nats(record: Record) -> float:
    assert record.test_nats is not None
    return record.test_nats


def _other_code(reference: Baseline, planned: Sequence[Planned], records: Mapping[str, Record]) -> list[str]:
    """What of the code is another than when the baseline was measured, as far as is known, in words."""
    others = []
    for name, version in packages().items():
        if (before := reference.packages.get(name)) != version:
            others.append(f"{name} {before} became {version}")
    for measured, each in zip(reference.cases, planned, strict=True):
        rows = each.rows()
        for title in measured.rows.keys() & rows.keys():
            method, trial = rows[title][0]
            code = records[trial.run_id].training.get("code")
            words = f"the code of {method} changed"
            if code is not None and code != measured.rows[title].code and words not in others:
                others.append(words)
    return others


def _measured(planned: Planned, records: Mapping[str, Record]) -> Measured:
    """The rows of a new baseline.

    Raises:
        NothingMeasured: a trial failed.
        LawBroken: a model breaks a law.
    """
    rows = {}
    for title, trials in planned.rows().items():
        mine = [records[trial.run_id] for _, trial in trials]
        for record in mine:
            if reason := _fault(record):
                error = LawBroken if record.done else NothingMeasured
                raise error(f"no baseline is written: {title}, trial {record.trial + 1}: {reason.rstrip('.')}.")
        rows[title] = Row(
            method=trials[0][0],
            seeds=[trial.seed for _, trial in trials],
            test_nats=[round(_nats(record), 6) for record in mine],
            parameters=mine[0].parameters,
            code=mine[0].training.get("code"),
        )
    return Measured(planned.case, DatasetInfo.of(planned.dataset), rows)


# -- for people --------------------------------------------------------------------------------------------------------


def _print(verdicts: Sequence[Verdict], again: int) -> None:
    rows = []
    for verdict in verdicts:
        now = "-" if verdict.now is None else f"{verdict.now:.4f}"
        difference = "-" if verdict.now is None else f"{verdict.now - verdict.baseline:+.4f}"
        state = verdict.state if verdict.reason is None else f"{verdict.state}: {verdict.reason}"
        rows.append([verdict.method, f"{verdict.baseline:.4f}", now, difference, f"{verdict.tolerance:.4f}", state])
    numbers = ["baseline", "now", "difference", "tolerance"]
    _print_grid(["method", *numbers, "verdict"], rows, "" if again == 1 else f", mean of {again} seeds", ["verdict"])


def _print_baseline(cases: Sequence[Measured]) -> None:
    rows = []
    for measured in cases:
        for title, row in measured.rows.items():
            mean, spread = statistics.fmean(row.test_nats), statistics.stdev(row.test_nats)
            cells = [f"{value:.4f}" for value in (mean, spread, tolerance(row.test_nats))]
            rows.append([title, str(len(row.test_nats)), *cells])
    _print_grid(["method", "seeds", "mean", "SD over seeds", "tolerance"], rows, ", baseline")


def _print_grid(headers: Sequence[str], rows: Sequence[Sequence[str]], of: str, words: Sequence[str] = ()) -> None:
    print_blocks([Grid(headers, rows, title=f"Test log-likelihood (nats{of})", words=words)])
