"""`lde-bench regress`: has a change of the code moved the likelihoods?

A small fixed case, on synthetic data that every machine can make (63-D Gaussian scale mixture, true log-likelihood
known), in fp32, uncompiled, on one thread. The committed baseline holds for every method the test log-likelihoods of
several seeds; its tolerance is a multiple of their measured spread. A log-likelihood that is too *high* fails like one
that is too low: a forgotten log-determinant or a mask that lets a dimension see itself looks like a good result.
"""

from __future__ import annotations

import json as json_module
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lde_bench import BENCHMARK_VERSION
from lde_bench.data import Dataset, load_dataset
from lde_bench.errors import InputError, NothingMeasured
from lde_bench.experiments.density_trials import (
    DensityTrial,
    TrainingOptions,
    failed_density_record,
    plan_trials,
    run_density_trial,
)
from lde_bench.files import write_text_atomic
from lde_bench.progress import say
from lde_bench.runs import Record, ResultStore, run_sweep
from lde_bench.training.plan import Budget

BASELINE = Path(__file__).with_name("regress_baseline.json")

#: Small networks and few steps: the whole case takes about a minute on one core.
METHODS = (
    "gaussian",
    "gmm:components=3",
    "made-mog:components=3,hidden=128",
    "resmade-mog+w:components=3,hidden=128,blocks=1",
    "lde:components=3",
    "lde+w:components=3",
)
STEPS = 60

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


def fixed_case() -> Dataset:
    """The data of the check, made afresh."""
    return load_dataset("scale-mixture", train=20_000, validation=1_000, test=4_000)


def measure(seeds: int) -> list[Record]:
    """Run the fixed case for that many seeds; one record a method and seed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        options = TrainingOptions(device="cpu", precision="fp32", compile=False)
        trials = plan_trials("regress", fixed_case(), METHODS, [3], seeds, Budget.of(steps=STEPS), options)
        with tempfile.TemporaryDirectory(prefix="lde-bench-regress-") as folder:
            store = ResultStore(folder)

            def run(trial: DensityTrial) -> Record:
                say(f"regress: {trial.title} ...")
                return run_density_trial(trial, store)

            return run_sweep(store, trials, run, failed_density_record)
    finally:
        torch.set_num_threads(threads)


def run_regression(baseline: Path | None, update: bool, json: bool) -> int:
    """Compare with the baseline, or with `update` measure it anew; 0 same, 1 a regression, 3 not comparable.

    Raises:
        InputError: the baseline cannot be read.
        NothingMeasured: it was made with another benchmark version or other data, or no trial finished.
    """
    path = baseline or BASELINE
    if update:
        _write_baseline(path, measure(SEEDS))
        say(f"written: {path}")
        return 0
    reference = _read_baseline(path)
    content_hash = fixed_case().content_hash
    for key, mine in (("benchmark_version", BENCHMARK_VERSION), ("content_hash", content_hash), ("steps", STEPS)):
        if reference[key] != mine:
            raise NothingMeasured(
                f"{path}: not comparable, its {key} is {reference[key]} and that of this version {mine}; measure it "
                "anew with lde-bench regress --update."
            )
    verdicts = _compare(reference["methods"], measure(1))
    if json:
        rows = [{**vars(verdict), "state": verdict.state} for verdict in verdicts]
        print(json_module.dumps({"verdicts": rows}, indent=2))
    else:
        _print(verdicts)
    if all(verdict.now is None for verdict in verdicts):
        raise NothingMeasured(f"no trial finished; the first reason is: {verdicts[0].reason}")
    changed = [f"{verdict.method} ({verdict.state})" for verdict in verdicts if verdict.state != "same"]
    if changed:
        say(f"lde-bench: likelihoods moved beyond the spread over seeds: {', '.join(changed)}.")
    return 1 if changed else 0


def _compare(reference: dict[str, Any], records: list[Record]) -> list[Verdict]:
    """Each record of the first seed against the baseline of the same seed."""
    found = {_spelling(record): record for record in records}
    if missing := sorted(set(reference) ^ set(found)):
        raise NothingMeasured(f"not comparable: baseline and code differ in the methods {', '.join(missing)}.")
    verdicts = []
    for method, entry in reference.items():
        record = found[method]
        broken = [law for law, verdict in record.laws.items() if not verdict.passed]
        now = record.result.test_nats if record.result and not broken else None
        reason = record.reason or (f"it breaks the law {', '.join(broken)}" if broken else None)
        verdicts.append(Verdict(method, entry["test_nats"][0], now, _tolerance(entry["test_nats"]), reason))
    return verdicts


def _tolerance(values: list[float]) -> float:
    return max(LEAST_EFFECT, SIGMAS * statistics.stdev(values))


def _spelling(record: Record) -> str:
    components = "" if record.components is None else f" K={record.components}"
    return f"{record.method}{components}"


def _write_baseline(path: Path, records: list[Record]) -> None:
    if failed := [record for record in records if not record.done]:
        raise NothingMeasured(f"no baseline: {_spelling(failed[0])} failed with {failed[0].reason}")
    methods: dict[str, Any] = {}
    for record in records:
        assert record.result is not None
        entry = methods.setdefault(_spelling(record), {"parameters": record.parameters, "test_nats": []})
        entry["test_nats"].append(round(record.result.test_nats, 6))
    head = {
        "benchmark_version": BENCHMARK_VERSION,
        "content_hash": records[0].dataset.content_hash,
        "steps": STEPS,
        "command": "lde-bench regress --update",
        "packages": records[0].provenance["packages"],
    }
    write_text_atomic(path, json_module.dumps({**head, "methods": methods}, indent=2) + "\n")


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
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title="Test log-likelihood (nats), 63-D scale mixture", title_justify="left")
    for column in ("method", "baseline", "now", "difference", "tolerance", "verdict"):
        table.add_column(column, justify="left" if column in ("method", "verdict") else "right", no_wrap=True)
    for verdict in verdicts:
        now = "-" if verdict.now is None else f"{verdict.now:.4f}"
        difference = "-" if verdict.now is None else f"{verdict.now - verdict.baseline:+.4f}"
        state = verdict.state if verdict.reason is None else f"{verdict.state}: {verdict.reason}"
        table.add_row(verdict.method, f"{verdict.baseline:.4f}", now, difference, f"{verdict.tolerance:.4f}", state)
    Console(width=None if sys.stdout.isatty() else 1_000_000, highlight=False).print(table)
