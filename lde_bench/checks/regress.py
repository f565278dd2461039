"""`lde-bench regress`: has a change of the code moved the likelihoods?

Small fixed cases, on synthetic data that every machine can make (true log-likelihood known) and, of models of images,
on the embedded digits (log-likelihood of the Parzen window around their samples), in fp32, uncompiled, on one thread.
The committed baseline holds for every method the test log-likelihoods of several seeds; its tolerance is a multiple of
their measured spread. A log-likelihood that is too *high* fails like one that is too low: a forgotten log-determinant
or a mask that lets a dimension see itself looks like a good result.
"""

from __future__ import annotations

import json as json_module
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lde_bench.data import Dataset, load_dataset
from lde_bench.errors import InputError, LawBroken, NothingMeasured
from lde_bench.experiments.parzen import Parzen
from lde_bench.files import check_writable, write_text_atomic
from lde_bench.progress import say
from lde_bench.report.document import Grid
from lde_bench.report.render.text import print_blocks
from lde_bench.runs import Record, ResultStore, run_sweep
from lde_bench.runs.rows import with_components
from lde_bench.training.plan import Budget
from lde_bench.trials.base import TrainingOptions, Trial, failed_record
from lde_bench.trials.density import plan_trials
from lde_bench.version import BENCHMARK_VERSION

BASELINE = Path(__file__).with_name("regress_baseline.json")

#: Datasets and what is trained on them: well under a minute on one core. In 63 dimensions the LDE and MADE
#: would need minutes to come close to the truth; far from it seeds differ more than faults do.
CASES = {
    "scale-mixture": ("gaussian", "gmm:components=3", "resmade-mog+w:components=3,hidden=128,blocks=1"),
    "gaussian-correlated": ("made-mog:components=3,hidden=128", "lde:components=3", "lde+w:components=3"),
    "digits8x8": ("ae+gmm:components=5", "vae"),
}
STEPS = 300

#: The dataset of models of images; the others are synthetic.
IMAGES = "digits8x8"

#: Of a Parzen window.
SAMPLES = 2_000

#: Seeds behind a baseline.
SEEDS = 5

#: A difference counts from this many standard deviations over seeds ...
SIGMAS = 5.0

#: ... and from this many nats: a deterministic method has no spread, and machines round differently.
LEAST_EFFECT = 0.02


@dataclass(frozen=True)
class Verdict:
    """One method against its baseline; log-likelihoods in nats."""

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


def fixed_cases() -> dict[str, Dataset]:
    """The data of the check by name, made afresh."""
    return {
        name: load_dataset(name) if name == IMAGES else load_dataset(name, train=20_000, validation=1_000, test=4_000)
        for name in CASES
    }


def measure(datasets: dict[str, Dataset], seeds: int) -> list[Record]:
    """Run the fixed cases for that many seeds; one record a method and seed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        options = TrainingOptions(device="cpu", precision="fp32", compile=False)
        budget = Budget.of(steps=STEPS)
        trials: list[Trial] = []
        for name, methods in CASES.items():
            if name == IMAGES:
                trials += Parzen().plan(
                    budget, options, [datasets[name]], methods=methods, trials=seeds, samples=SAMPLES
                )
            else:
                trials += plan_trials("regress", datasets[name], methods, [], seeds, budget, options)
        with tempfile.TemporaryDirectory(prefix="lde-bench-regress-") as folder:
            store = ResultStore(folder)

            def run(trial: Trial) -> Record:
                say(f"regress: {trial.title} ...")
                return trial.run(store, lambda progress: None, lambda message: None)

            return run_sweep(store, trials, run, failed_record)
    finally:
        torch.set_num_threads(threads)


def run_regression(baseline: Path | None, update: bool, json: bool) -> int:
    """Compare with the baseline, or with `update` measure it anew; 0 same, 1 a regression, 3 not comparable.

    Raises:
        InputError: the baseline cannot be read or, with `update`, written.
        LawBroken: a model to be put into a new baseline breaks a law.
        NothingMeasured: it was made with another benchmark version or other data, or no trial finished.
    """
    path = baseline or BASELINE
    if update:
        check_writable(path)
    datasets = fixed_cases()
    head = _head(datasets)
    if update:
        _write_baseline(path, head, measure(datasets, SEEDS))
        say(f"written: {path}")
        return 0
    reference = _read_baseline(path)
    for key, mine in head.items():
        if reference[key] != mine:
            raise NothingMeasured(
                f"{path}: not comparable, its {key} is {reference[key]} and that of this version {mine}; measure it "
                "anew with lde-bench regress --update."
            )
    records = measure(datasets, 1)
    verdicts = _compare(reference["methods"], records)
    if json:
        rows = [{**vars(verdict), "state": verdict.state} for verdict in verdicts]
        print(json_module.dumps({"verdicts": rows}, indent=2))
    else:
        _print(verdicts)
    if not any(record.done for record in records):
        raise NothingMeasured(f"no trial finished; the first reason is: {records[0].reason}")
    changed = [f"{verdict.method} ({verdict.state})" for verdict in verdicts if verdict.state != "same"]
    if changed:
        say(f"lde-bench: likelihoods moved beyond the spread over seeds: {', '.join(changed)}.")
    return 1 if changed else 0


def _head(datasets: dict[str, Dataset]) -> dict[str, Any]:
    """What a baseline must share with this version to be comparable."""
    hashes = {name: dataset.content_hash for name, dataset in datasets.items()}
    return {"benchmark_version": BENCHMARK_VERSION, "content_hash": hashes, "steps": STEPS}


def _compare(reference: dict[str, Any], records: list[Record]) -> list[Verdict]:
    """Each record of the first seed against the baseline of the same seed."""
    found = {with_components(record.method, record.components): record for record in records}
    if missing := sorted(set(reference) ^ set(found)):
        raise NothingMeasured(f"not comparable: baseline and code differ in the methods {', '.join(missing)}.")
    verdicts = []
    for method, entry in reference.items():
        record = found[method]
        broken = _broken(record)
        now = None if broken else record.test_nats
        reason = record.reason or (f"it breaks the law {broken}" if broken else None)
        verdicts.append(Verdict(method, entry["test_nats"][0], now, _tolerance(entry["test_nats"]), reason))
    return verdicts


def _tolerance(values: list[float]) -> float:
    return max(LEAST_EFFECT, SIGMAS * statistics.stdev(values))


def _broken(record: Record) -> str:
    """The laws that a trial breaks."""
    return ", ".join(law for law, verdict in record.laws.items() if not verdict.passed)


def _write_baseline(path: Path, head: dict[str, Any], records: list[Record]) -> None:
    for record in records:
        title = with_components(record.method, record.components)
        if not record.done:
            raise NothingMeasured(f"no baseline: {title} failed with {record.reason}")
        if broken := _broken(record):
            raise LawBroken(f"no baseline: {title} breaks the law {broken}.")
    methods: dict[str, Any] = {}
    for record in records:
        assert record.test_nats is not None
        title = with_components(record.method, record.components)
        entry = methods.setdefault(title, {"parameters": record.parameters, "test_nats": []})
        entry["test_nats"].append(round(record.test_nats, 6))
    made = {"command": "lde-bench regress --update", "packages": records[0].provenance["packages"]}
    write_text_atomic(path, json_module.dumps({**head, **made, "methods": methods}, indent=2) + "\n")


def _read_baseline(path: Path) -> dict[str, Any]:
    remedy = "name a baseline that lde-bench regress --update wrote"
    try:
        reference = json_module.loads(path.read_text(encoding="utf-8"))
        if not all(key in reference for key in ("benchmark_version", "content_hash", "steps")):
            raise KeyError("head")
        for entry in reference["methods"].values():
            if len(entry["test_nats"]) < 2 or not all(isinstance(value, float) for value in entry["test_nats"]):
                raise ValueError("test_nats")
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such baseline; {remedy}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no regression baseline; {remedy}.") from error
    return reference


def _print(verdicts: list[Verdict]) -> None:
    rows = []
    for verdict in verdicts:
        now = "-" if verdict.now is None else f"{verdict.now:.4f}"
        difference = "-" if verdict.now is None else f"{verdict.now - verdict.baseline:+.4f}"
        state = verdict.state if verdict.reason is None else f"{verdict.state}: {verdict.reason}"
        rows.append([verdict.method, f"{verdict.baseline:.4f}", now, difference, f"{verdict.tolerance:.4f}", state])
    numbers = ["baseline", "now", "difference", "tolerance"]
    print_blocks([Grid(["method", *numbers, "verdict"], rows, title="Test log-likelihood (nats)", words=["verdict"])])
