"""Time to quality: every method at equal CPU seconds, as curves on validation and one look at the test set per budget.

    python benchmarks/time_to_nats.py --minutes 5 15 --threads 1 --results-dir results

Every method first tries the three candidates of its recipe (`RECIPES`), a minute on two cores each, and keeps the one
with the best validation score. Then it is trained once per budget, with its learning-rate schedule spanning the
budget. What counts are CPU seconds of training: the data-dependent initialisation, `torch.compile`'s C++ compiler
and the looks at the validation set, for all alike; test evaluation, laws and sampling do not count. A budget
of 5 minutes on two cores is 600 CPU seconds, of one thread or of two.

Each trial and each run is one file, written atomically: a second start continues, from the checkpoint where
training was cut off, and any number of processes may work on one folder (two with `--threads 1` fill two cores).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import multiprocessing
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lde_bench.errors import InputError, LdeBenchError, TrainingDiverged
from lde_bench.files import atomic_path, write_text_atomic
from lde_bench.progress import duration, say

if TYPE_CHECKING:
    from filelock import FileLock

    from lde_bench.data import Dataset
    from lde_bench.evaluation.statistics import GroupMeans
    from lde_bench.training.plan import Plan
    from lde_bench.trials.density import DensityTrial

EXPERIMENT = "time-to-nats"
VERSION = 1  # changes whenever finished files no longer compare

#: A minute of a budget is a minute on this many cores.
CORES = 2
TRIAL_MINUTES = 1.0
LOOKS = 12
#: From so many passes through the training set on, a run draws fresh patches.
EPOCHS = 3
SAMPLING_SECONDS = 2.0
RATE_FACTORS = (1 / 3, 1.0, 3.0)
#: How far our best is to be above the best zuko flow and above the mixture of 200 Gaussians, in nats.
MARGIN = 1.5

DASH = "–"  # noqa: RUF001

#: Exit code of a child whose job another process is doing.
TAKEN = 75


@dataclass(frozen=True)
class Recipe:
    """What helps a method, fixed beforehand, and the three candidates among which validation chooses.

    Attributes:
        why: the reason, as it stands in the table.
        patches, augment, compile: as in `TrainingOptions`; precision is `auto`, bf16 wherever the method takes it. A
            run that would pass through fixed patches more than `EPOCHS` times draws them afresh.
        plan: changes to the method's `standard` plan.
        candidates: changes to that plan, one of which is chosen; by default three rates, x1/3, x1 and x3.
    """

    why: str
    patches: Literal["fixed", "fresh"] = "fixed"
    augment: Literal["symmetries"] | None = None
    compile: bool = False
    plan: dict[str, Any] = field(default_factory=dict)
    candidates: tuple[dict[str, Any], ...] = ()

    def candidates_of(self, plan: Plan) -> tuple[dict[str, Any], ...]:
        """The candidates' changes to `plan`, the method's own."""
        if plan.closed_form:
            return ({},)
        rate = self.plan.get("rate", plan.rate)
        return self.candidates or tuple({"rate": float(f"{rate * factor:.3g}")} for factor in RATE_FACTORS)


# Flips and turns cost `resmade-mog+w` 0.4 nats of a minute (the same architecture has eight times as much to learn), so
# none are used by default; nor are patches drawn afresh before a run passes through the training set more than EPOCHS
# times: they cost as much as a tenth of the steps.
DEFAULT_RECIPE = Recipe("the method's own standard plan")

#: By the method's name, wrappers left out.
RECIPES: dict[str, Recipe] = {
    "lde": Recipe("not compiled: some 50 CPU seconds of C++ are most of a trial and a twelfth of the shorter budget"),
    "resmade-mog": Recipe(
        "not compiled: 30 CPU seconds of C++ for 4 % more steps; batches of 512, which led after 60 CPU s, ended at "
        "155.23 after 600, below the standard plan's 1,024"
    ),
    "zuko.flows": Recipe(
        "averaged weights, as our own adapters have; float32, as every class from outside", plan={"average": 0.998}
    ),
    "gmm": Recipe(
        "EM has no rate: its candidates are the rows of one EM step",
        candidates=({"batch_size": 5_000}, {"batch_size": 10_000}, {"batch_size": 20_000}),
    ),
}

METHODS = (
    "lde+w",
    "resmade-mog+w",
    "made-mog+w",
    "gmm:components=200",
    "deep-rnade+w",
    "mcgsm",
    "tan+w",
    "maf-ddsf+w",
    "real-nvp+w",
    "maf-mog+w",
    "nsf+w",
    "zuko.flows:NSF+w:hidden_features=[256,256],transforms=5",
    "zuko.flows:MAF+w:hidden_features=[512,512],transforms=5",
)
#: Rows of this package that are zuko's transforms behind a thin adapter.
ZUKO = ("real-nvp", "maf-mog", "nsf")


def kind_of(method: str) -> Literal["ours", "zuko", "gmm", "other"]:
    """Which side of the targets a method is on."""
    name = re.split(r"[+:]", method)[0]
    if name in ZUKO or name.startswith("zuko."):
        return "zuko"
    if name in ("gmm", "gaussian"):
        return "gmm"
    return "other" if "." in name else "ours"


# -- what is to be done ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """One comparison: what all of its jobs share."""

    methods: tuple[str, ...]
    minutes: tuple[float, ...]
    folder: Path
    threads: int = 1
    trial_minutes: float = TRIAL_MINUTES
    source: str = "bsds300"
    data_dir: Path | None = None
    cache_dir: Path | None = None
    validation: int = 10_000
    test: int = 100_000
    seed: int = 0

    def load(self) -> Dataset:
        from lde_bench.data import load_dataset

        return load_dataset(
            self.source,
            data_dir=self.data_dir,
            cache_dir=self.cache_dir,
            validation=self.validation,
            test=self.test,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Job:
    """One training: a trial of a candidate, or the run of a budget.

    `changes` are those to the method's `standard` plan, `content_hash` is that of the dataset.
    """

    method: str
    role: Literal["trial", "run"]
    minutes: float
    changes: dict[str, Any]
    recipe: Recipe
    threads: int
    seed: int
    content_hash: str
    validate_every: int = 10**9

    @property
    def cpu_seconds(self) -> float:
        return 60 * CORES * self.minutes

    @cached_property
    def name(self) -> str:
        """A file name that holds a hash of everything that changes the outcome."""
        determines = asdict(self)
        del determines["validate_every"]  # where the curve has its points
        del determines["recipe"]["why"]
        del determines["recipe"]["candidates"]
        text = json.dumps({**determines, "version": VERSION}, sort_keys=True)
        slug = re.sub(r"[^A-Za-z0-9+._=-]+", "-", self.method)[:60]
        return f"{self.role}-{slug}-{self.minutes:g}min-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    @property
    def title(self) -> str:
        changes = ", ".join(f"{key} {value:g}" for key, value in self.changes.items() if key not in self.recipe.plan)
        what = ", ".join(filter(None, [self.method, changes, f"{self.minutes:g} min"]))
        return f"{what} (trial)" if self.role == "trial" else what

    def trial(self, dataset: Dataset) -> DensityTrial:
        """Its seed, density and batches."""
        from lde_bench.densities.spec import parse_method
        from lde_bench.training.plan import Budget
        from lde_bench.trials.base import TrainingOptions
        from lde_bench.trials.density import DensityTrial

        is_patch, fresh = dataset.is_patch, dataset.fresh is not None
        options = TrainingOptions(
            patches=self.recipe.patches if fresh else "fixed",
            augment=self.recipe.augment if is_patch else None,
            compile=self.recipe.compile,
        )
        budget = Budget.of("standard", seconds=self.cpu_seconds)
        return DensityTrial(EXPERIMENT, parse_method(self.method), None, 0, dataset, budget, options, self.seed)


class Folder:
    """The files of one comparison: `<name>.jsonl`, one line of JSON each, so that no store of run records takes them
    for a damaged record; beside them checkpoints and compiled code while training, and locks."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def outcome(self, job: Job) -> dict[str, Any] | None:
        """What a finished job wrote; None while it is unfinished."""
        path = self.path / f"{job.name}.jsonl"
        if not path.exists():
            return None
        try:
            outcome: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: damaged ({error}); delete it and run again.") from error
        return outcome

    def write(self, job: Job, outcome: dict[str, Any]) -> None:
        write_text_atomic(self.path / f"{job.name}.jsonl", json.dumps(outcome, allow_nan=False) + "\n")

    def checkpoint(self, job: Job) -> Path:
        return self.path / f"{job.name}.ckpt"

    def compiled(self, job: Job) -> Path:
        """Compiled code of this job alone, so that each pays for its own compiler; kept for its continuation."""
        return self.path / ".compiled" / job.name

    def lock(self, job: Job) -> FileLock:
        """Whoever holds it does the job; a process that is killed lets go."""
        import filelock

        path = self.path / ".locks" / f"{job.name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(path, timeout=0)

    def is_taken(self, job: Job) -> bool:
        """Whether another process is doing the job."""
        import filelock

        try:
            with self.lock(job):
                return False
        except filelock.Timeout:
            return True


def trials_of(method: str, settings: Settings, content_hash: str, plan: Plan) -> list[Job]:
    """The trials of a method's candidates."""
    recipe = recipe_of(method)
    shared = (recipe, settings.threads, settings.seed, content_hash)
    return [
        Job(method, "trial", settings.trial_minutes, {**recipe.plan, **candidate}, *shared)
        for candidate in recipe.candidates_of(plan)
    ]


def recipe_of(method: str) -> Recipe:
    return RECIPES.get(re.split(r"[+:]", method)[0], DEFAULT_RECIPE)


def runs_of(trials: Sequence[Job], outcomes: Sequence[dict[str, Any]], minutes: Iterable[float]) -> list[Job]:
    """The runs of a method's budgets under the candidate with the best validation score; none if all diverged.

    The pace of its trial says how often to look, and whether the run would see the training set too often.
    """
    done = [(outcome, trial) for outcome, trial in zip(outcomes, trials, strict=True) if "failed" not in outcome]
    if not done:
        return []
    outcome, best = max(done, key=lambda pair: pair[0]["validation_nats"])
    runs = []
    for each in minutes:
        steps = outcome["steps"] / outcome["cpu_seconds"] * 60 * CORES * each
        epochs = steps * outcome["training"]["batch_size"] / outcome["sizes"]["train"]
        recipe = replace(best.recipe, patches="fresh") if epochs > EPOCHS else best.recipe
        looks = max(1, round(steps / LOOKS))
        runs.append(replace(best, role="run", minutes=each, recipe=recipe, validate_every=looks))
    return runs


@dataclass
class Comparison:
    """What there is to do and what is done."""

    settings: Settings
    content_hash: str
    plans: dict[str, Plan]  # the `standard` plan of every method

    @cached_property
    def folder(self) -> Folder:
        return Folder(self.settings.folder)

    def jobs(self, method: str) -> tuple[list[Job], list[Job]]:
        """Trials of a method, and its runs once all its trials are done."""
        trials = trials_of(method, self.settings, self.content_hash, self.plans[method])
        outcomes = [self.folder.outcome(trial) for trial in trials]
        if not all(outcomes):
            return trials, []
        return trials, runs_of(trials, [outcome for outcome in outcomes if outcome], self.settings.minutes)

    def ready(self) -> list[Job]:
        """Unfinished jobs that wait for no other, in turn."""
        jobs = [job for method in self.settings.methods for part in self.jobs(method) for job in part]
        return [job for job in jobs if self.folder.outcome(job) is None]

    def seconds_left(self) -> float:
        """CPU seconds of training that are still to be spent, what checkpoints hold counted as unspent."""
        left = 0.0
        for method in self.settings.methods:
            trials, runs = self.jobs(method)
            left += sum(job.cpu_seconds for job in (*trials, *runs) if self.folder.outcome(job) is None)
            if not runs and any(self.folder.outcome(trial) is None for trial in trials):
                left += sum(60 * CORES * minutes for minutes in self.settings.minutes)
        return left


# -- how it is done -------------------------------------------------------------------------------------------------


def measure(settings: Settings, job: Job, dataset: Dataset) -> dict[str, Any]:
    """Train, and of a run touch the test set once; what is written of it."""
    from lde_bench.evaluation.laws import trial_laws
    from lde_bench.evaluation.likelihood import evaluate
    from lde_bench.runs import code_version, provenance, utc_now
    from lde_bench.version import __version__

    started = utc_now()
    folder = Folder(settings.folder)
    trial = job.trial(dataset)
    density = trial.model()
    plan = replace(density.plan(trial.budget), patience=None, validate_every=job.validate_every, **job.changes)
    parent = multiprocessing.parent_process()

    def on_progress(progress: Any) -> None:
        if parent is not None and not parent.is_alive():
            raise SystemExit("the process that started this one is gone")

    density.fit(
        trial.batches(),
        dataset.validation,
        seed=trial.seed,
        profile="standard",
        seconds=job.cpu_seconds,
        clock="cpu",
        plan=plan,
        compile=trial.options.compile,
        checkpoint=folder.checkpoint(job),
        code=f"lde-bench {__version__} at {code_version()}",
        on_progress=on_progress,
        notify=say,
    )
    state = density.training_state
    assert state is not None
    outcome = {
        "method": job.method,
        "role": job.role,
        "minutes": job.minutes,
        "cpu_budget": job.cpu_seconds,
        "parameters": density.parameter_count(),
        "training": {**density.training_setup, "patches": trial.options.patches, "augment": trial.options.augment},
        "why": job.recipe.why,
        "seed": trial.seed,
        "steps": state.step,
        "best_step": state.best_step,
        "cpu_seconds": round(state.cpu_seconds, 2),
        "wall_seconds": round(state.wall_seconds, 2),
        "validation_nats": state.best_score,
        "curve": [[look.step, look.cpu_seconds, look.validation_nats] for look in state.curve],
        "dataset": {"name": dataset.name, "version": dataset.version, "content_hash": dataset.content_hash},
        "sizes": dataset.sizes,
    }
    if job.role == "run":
        laws = trial_laws(density, np.asarray(dataset.validation))
        test = evaluate(density, np.asarray(dataset.test), dataset.test_groups)
        outcome |= {
            "laws_broken": [name for name, verdict in laws.items() if not verdict.passed],
            "test_nats": test.mean,
            "test_standard_error_naive": test.standard_error,
            "test_standard_error_clustered": test.groups.standard_error if test.groups else None,
            "groups": None
            if test.groups is None
            else {"ids": test.groups.ids, "counts": test.groups.counts, "means": test.groups.mean_nats},
            "samples_per_cpu_second": samples_per_cpu_second(density, SAMPLING_SECONDS),
        }
    return {**outcome, "provenance": provenance(started, utc_now())}


def samples_per_cpu_second(density: Any, least: float) -> float:
    """Samples drawn per CPU second: twice as many until they take `least`, so that what is timed is warm."""
    n = 1
    while True:
        cpu = time.process_time()
        density.sample(n, seed=n)
        cpu = time.process_time() - cpu
        if cpu >= least:
            return round(n / cpu, 3)
        n *= 2


def work(settings: Settings, job: Job) -> None:
    """A job from lock to file, in a process of its own: its CPU seconds are its own, and nothing is compiled before."""
    import filelock
    import torch

    folder = Folder(settings.folder)
    try:
        with folder.lock(job):
            if folder.outcome(job) is not None:
                return
            torch.set_num_threads(settings.threads)
            try:
                outcome = measure(settings, job, settings.load())
            except TrainingDiverged as error:
                outcome = {"method": job.method, "role": job.role, "minutes": job.minutes, "failed": str(error)}
            folder.write(job, outcome)
            folder.checkpoint(job).unlink(missing_ok=True)
            shutil.rmtree(folder.compiled(job), ignore_errors=True)
    except filelock.Timeout:
        raise SystemExit(TAKEN) from None
    except LdeBenchError as error:
        raise SystemExit(f"{job.title}: {error}") from None


def in_a_child(settings: Settings, job: Job) -> int:
    """Run `work` in a fresh process; its exit code."""
    # Read by torch as it is imported: what compiles is a child that is waited for, so that its seconds count.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Folder(settings.folder).compiled(job))
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    child = multiprocessing.get_context("spawn").Process(target=work, args=(settings, job))
    child.start()
    try:
        child.join()
    except BaseException:
        child.terminate()
        child.join()
        raise
    assert child.exitcode is not None
    return child.exitcode


def run(comparison: Comparison) -> list[str]:
    """Do what is left, in turn, beside other processes on the same folder; titles of the jobs that broke."""
    broken: dict[str, str] = {}
    while jobs := [job for job in comparison.ready() if job.name not in broken]:
        taken = 0
        for job in jobs:
            began = time.perf_counter()
            # A child costs seconds of imports: none is started for a job that is seen to be another process's.
            if comparison.folder.is_taken(job) or in_a_child(comparison.settings, job) == TAKEN:
                taken += 1
                continue
            outcome = comparison.folder.outcome(job)
            if outcome is None:
                broken[job.name] = job.title
            left = duration(comparison.seconds_left() / comparison.settings.threads)
            took = duration(time.perf_counter() - began)
            say(f"{job.title}: {describe(outcome)}; took {took}, about {left} left for this process alone")
            break
        if taken == len(jobs):  # all that is left is being done by others
            time.sleep(10)
    return list(broken.values())


def describe(outcome: dict[str, Any] | None) -> str:
    """One clause on how a job ended."""
    if outcome is None:
        return "broke, and is tried again at the next start"
    if "failed" in outcome:
        return f"diverged ({outcome['failed']})"
    test = f", test {outcome['test_nats']:.2f}" if "test_nats" in outcome else ""
    return f"validation {outcome['validation_nats']:.2f} nats{test}, {outcome['steps']:,} steps"


# -- what is shown --------------------------------------------------------------------------------------------------


def groups_of(outcome: dict[str, Any]) -> GroupMeans | None:
    """The test set by photograph."""
    from lde_bench.evaluation.statistics import GroupMeans

    groups = outcome["groups"]
    return GroupMeans.of(groups["ids"], groups["counts"], groups["means"]) if groups else None


CSV_COLUMNS = (
    "method",
    "minutes",
    "cpu_budget",
    "test_nats",
    "standard_error_clustered",
    "difference_to_best",
    "difference_standard_error_clustered",
    "validation_nats",
    "steps",
    "cpu_seconds",
    "samples_per_cpu_second",
    "parameters",
    "patches",
    "augment",
    "precision",
    "compile",
    "rate",
    "batch_size",
)


def rows_of(outcomes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row of `CSV_COLUMNS` a finished run, the best first within a budget; a row that breaks a law is left out."""
    from lde_bench.evaluation.statistics import paired_difference

    usable = [outcome for outcome in outcomes if "test_nats" in outcome and not outcome["laws_broken"]]
    rows = []
    for outcome in sorted(usable, key=lambda each: (each["minutes"], -each["test_nats"])):
        best = max((o for o in usable if o["minutes"] == outcome["minutes"]), key=lambda o: o["test_nats"])
        mine, its = groups_of(outcome), groups_of(best)
        difference = paired_difference(mine, its) if mine and its else None
        rows.append(
            {
                **{name: outcome[name] for name in CSV_COLUMNS if name in outcome},
                **{name: outcome["training"][name] for name in CSV_COLUMNS if name in outcome["training"]},
                "steps": outcome["steps"],
                "standard_error_clustered": outcome["test_standard_error_clustered"],
                "difference_to_best": outcome["test_nats"] - best["test_nats"],
                "difference_standard_error_clustered": difference.standard_error if difference else None,
            }
        )
    return rows


def targets(rows: Sequence[dict[str, Any]]) -> list[tuple[str, bool | None]]:
    """The targets in words, each with whether it is met; None where a side is missing."""
    lines: list[tuple[str, bool | None]] = []

    def best(minutes: float, wanted: str, method: str | None = None) -> dict[str, Any] | None:
        found = [row for row in rows if row["minutes"] == minutes and kind_of(row["method"]) == wanted]
        found = [row for row in found if method is None or row["method"] == method]
        return max(found, key=lambda row: row["test_nats"], default=None)

    for minutes in sorted({row["minutes"] for row in rows}):
        ours = best(minutes, "ours")
        rivals = (
            ("the best zuko flow", best(minutes, "zuko")),
            ("gmm:components=200", best(minutes, "gmm", "gmm:components=200")),
        )
        for name, rival in rivals:
            what = f"{minutes:g} min: the best of ours at least {MARGIN} nats above {name}"
            if ours is None or rival is None:
                lines.append((what, None))
                continue
            margin = ours["test_nats"] - rival["test_nats"]
            sides = (
                f"{ours['method']} {ours['test_nats']:.2f}, {rival['method']} {rival['test_nats']:.2f}: {margin:+.2f}"
            )
            lines.append((f"{what} ({sides})", margin >= MARGIN))
    longest = max((row["minutes"] for row in rows), default=0.0)
    lde, rival = best(longest, "ours", "lde+w"), best(longest, "zuko")
    what = f"{longest:g} min: lde+w above every zuko flow"
    if lde is None or rival is None:
        lines.append((what, None))
    else:
        margin = lde["test_nats"] - rival["test_nats"]
        lines.append(
            (f"{what} ({lde['test_nats']:.2f}, {rival['method']} {rival['test_nats']:.2f}: {margin:+.2f})", margin > 0)
        )
    return lines


def verdicts(lines: Sequence[tuple[str, bool | None]]) -> list[str]:
    marks = {True: "PASS", False: "MISS", None: "not measured"}
    return [f"{marks[met]}: {what}" for what, met in lines]


def markdown(comparison: Comparison, rows: Sequence[dict[str, Any]], outcomes: Sequence[dict[str, Any]]) -> str:
    """The table, what each method was given, the targets, and where the numbers came from."""
    settings = comparison.settings
    budgets = sorted({row["minutes"] for row in rows})
    by_key = {(row["method"], row["minutes"]): row for row in rows}
    methods = sorted(
        {row["method"] for row in rows}, key=lambda m: -max(r["test_nats"] for r in rows if r["method"] == m)
    )
    sizes: dict[str, int] = next((outcome["sizes"] for outcome in outcomes if "sizes" in outcome), {})
    dataset = next((outcome["dataset"] for outcome in outcomes if "dataset" in outcome), {"name": "", "version": ""})
    text = [
        f"# Time to nats: {dataset['name']} version {dataset['version']}",
        "",
        f"Mean test log-likelihood in nats on {sizes.get('test', 0):,} patches after equal CPU seconds of training "
        f"({', '.join(f'{each:g} min on {CORES} cores = {60 * CORES * each:,.0f}' for each in budgets)}; run on "
        f"{settings.threads} thread(s)), one seed. Behind ±: the standard error of the paired difference to the best, "
        "clustered by photograph. Samples are per CPU second, at the longest budget.",
        "",
    ]
    head = ["method", "kind", "parameters"]
    for minutes in budgets:
        head += [f"{minutes:g} min: nats", "SE by photograph", "difference to best"]
    head += ["samples/s"]
    body = []
    for method in methods:
        mine = [by_key.get((method, minutes)) for minutes in budgets]
        last = next(row for row in reversed(mine) if row)
        cells = [method, kind_of(method), f"{last['parameters']:,}"]
        for row in mine:
            cells += _cells(row)
        body.append([*cells, f"{last['samples_per_cpu_second']:,.4g}"])
    text += _table(head, body, left=2)
    text += [
        "",
        "Curves on validation: [curves.png](curves.png). Machine-readable: [table.csv](table.csv).",
        "",
        "## Targets",
        "",
    ]
    text += [f"- {line}" for line in verdicts(targets(rows))]
    text += ["", "## What each method was given", ""]
    text += _table(
        ["method", "patches", "augmentation", "precision", "compiled", "batch", "tried on validation (nats)", "why"],
        [_given(comparison, method) for method in settings.methods],
        left=8,
    )
    refused = [each for each in outcomes if each.get("laws_broken") or "failed" in each]
    if refused:
        text += ["", "## Left out", ""]
        for each in refused:
            reason = each.get("failed") or f"breaks {', '.join(each['laws_broken'])}"
            text.append(f"- {each['method']}, {each['minutes']:g} min ({each['role']}): {reason}")
    origin = next((outcome["provenance"] for outcome in outcomes if "provenance" in outcome), None)
    if origin:
        commits = sorted({str(o["provenance"]["commit"])[:7] for o in outcomes if "provenance" in o})
        machine = origin["machine"]
        packages = ", ".join(f"{name} {version}" for name, version in origin["packages"].items() if version)
        text += [
            "",
            "## Where the numbers came from",
            "",
            f"- command: `{origin['command']}`",
            f"- code: {', '.join(commits)}; Python {origin['python']}; {packages}",
            f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['platform']}",
        ]
    return "\n".join(text) + "\n"


def _cells(row: dict[str, Any] | None) -> list[str]:
    if row is None:
        return [DASH, DASH, DASH]
    error, spread = row["standard_error_clustered"], row["difference_standard_error_clustered"]
    difference = "best"
    if row["difference_to_best"] < 0:
        difference = f"{row['difference_to_best']:.2f}" + ("" if spread is None else f" ± {spread:.2f}")
    return [f"{row['test_nats']:.2f}", DASH if error is None else f"{error:.2f}", difference]


def _given(comparison: Comparison, method: str) -> list[str]:
    trials, runs = comparison.jobs(method)
    patches = [f"{run.recipe.patches} ({run.minutes:g} min)" for run in runs]
    outcomes = [comparison.folder.outcome(trial) for trial in trials]
    done = [outcome["validation_nats"] for outcome in outcomes if outcome and "failed" not in outcome]
    tried = []
    for trial, outcome in zip(trials, outcomes, strict=True):
        changes = ", ".join(f"{k} {v:g}" for k, v in trial.changes.items() if k not in trial.recipe.plan)
        score = outcome and outcome.get("validation_nats")
        shown = DASH if outcome is None else "diverged" if score is None else f"{score:.2f}"
        words = f"{changes}: {shown}" if changes else shown
        tried.append(f"**{words}**" if score is not None and score == max(done) else words)
    recipe = recipe_of(method)
    setup: dict[str, Any] = next((outcome["training"] for outcome in outcomes if outcome and "training" in outcome), {})
    return [
        method,
        ", ".join(patches) or DASH,
        setup.get("augment", recipe.augment) or DASH,
        setup.get("precision", DASH),
        "yes" if setup.get("compile", recipe.compile) else "no",
        str(setup.get("batch_size", DASH)),
        "; ".join(tried),
        recipe.why,
    ]


def _table(head: Sequence[str], body: Iterable[Sequence[str]], left: int) -> list[str]:
    rule = [":--" if column < left else "--:" for column in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]


def write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomic(path, text.getvalue())


STYLES = {"ours": "-", "zuko": "--", "gmm": ":", "other": "-."}


def draw(outcomes: Sequence[dict[str, Any]], path: Path) -> None:
    """Validation log-likelihood against CPU seconds: a line a run, thin for the shorter budgets, best method first."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    runs = [outcome for outcome in outcomes if outcome["role"] == "run" and "curve" in outcome]
    if not runs:
        return
    longest = max(outcome["minutes"] for outcome in runs)
    final = {o["method"]: max(r["validation_nats"] for r in runs if r["method"] == o["method"]) for o in runs}
    figure = Figure(figsize=(9.0, 5.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    for method, colour in zip(
        sorted(final, key=final.__getitem__, reverse=True), cycle([colormaps["tab20"](i) for i in range(20)])
    ):
        for outcome in sorted((o for o in runs if o["method"] == method), key=lambda o: -o["minutes"]):
            _, seconds, nats = zip(*outcome["curve"], strict=True)
            whole = outcome["minutes"] == longest
            axes.plot(
                seconds,
                nats,
                color=colour,
                linestyle=STYLES[kind_of(method)],
                marker="o",
                markersize=3.5 if whole else 2,
                linewidth=1.8 if whole else 0.9,
                label=f"{method}  {final[method]:.1f}" if whole else None,
            )
    top = max(final.values())
    low = min(value for value in final.values() if value > top - 40)
    axes.set_ylim(low - 4, top + 1)  # the first seconds of a slow start would squeeze everything else
    axes.set_xscale("log")
    axes.set_xlabel("CPU seconds of training (logarithmic); thin lines: the shorter budgets")
    axes.set_ylabel("validation log-likelihood (nats)")
    axes.grid(visible=True, which="both", color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        loc="outside right upper",
        fontsize=8.5,
        frameon=False,
        title="solid ours, dashed zuko,\ndotted mixture of Gaussians",
        title_fontsize=8.5,
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def report(comparison: Comparison) -> list[str]:
    """Write table and figure of whatever is finished; the verdicts on the targets."""
    jobs = [job for method in comparison.settings.methods for part in comparison.jobs(method) for job in part]
    outcomes = [outcome for job in jobs if (outcome := comparison.folder.outcome(job))]
    rows = rows_of(outcomes)
    folder = comparison.folder.path
    write_text_atomic(folder / "table.md", markdown(comparison, rows, outcomes))
    write_csv(rows, folder / "table.csv")
    draw(outcomes, folder / "curves.png")
    return verdicts(targets(rows))


# -- command line ---------------------------------------------------------------------------------------------------


def arguments(words: Sequence[str]) -> tuple[Settings, bool]:
    """The settings, and whether only to show what is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--methods", nargs="+", default=list(METHODS), help="name[+wrapper...][:key=value,...]")
    add("--minutes", nargs="+", type=float, default=[5.0, 15.0], help=f"budgets, in minutes on {CORES} cores")
    add("--trial-minutes", type=float, default=TRIAL_MINUTES, help=f"of a candidate, on {CORES} cores")
    add("--threads", type=int, choices=range(1, 65), default=1, metavar="N", help="of this process")
    add("--results-dir", type=Path, default=Path("results"))
    add("--source", choices=["auto", "embedded"], default="auto", help="embedded: photographs that need no download")
    add("--data-dir", type=Path)
    add("--cache-dir", type=Path)
    add("--validation", type=int, default=10_000, help="patches of a look")
    add("--test", type=int, default=100_000, help="patches, once per budget")
    add("--seed", type=int, default=0)
    add("--report-only", action="store_true", help="table and figure of what is finished, without training")
    given = parser.parse_args(words)
    if min(*given.minutes, given.trial_minutes) <= 0:
        raise InputError("--minutes and --trial-minutes must be above 0; give for example --minutes 5 15.")
    settings = Settings(
        methods=tuple(dict.fromkeys(given.methods)),
        minutes=tuple(sorted(set(given.minutes))),
        folder=given.results_dir / EXPERIMENT,
        threads=given.threads,
        trial_minutes=given.trial_minutes,
        source={"auto": "bsds300", "embedded": "natural8x8"}[given.source],
        data_dir=given.data_dir,
        cache_dir=given.cache_dir,
        validation=given.validation,
        test=given.test,
        seed=given.seed,
    )
    return settings, given.report_only


def compare(settings: Settings) -> Comparison:
    """Check data and methods before anything is trained."""
    from lde_bench.densities import create
    from lde_bench.training.plan import Budget

    dataset = settings.load()
    budget = Budget.of("standard")
    plans = {method: create(method, dataset.features).plan(budget) for method in settings.methods}
    return Comparison(settings, dataset.content_hash, plans)


def main(words: Sequence[str]) -> int:
    try:
        settings, report_only = arguments(words)
        comparison = compare(settings)
        broken = []
        if not report_only:
            left = comparison.seconds_left()
            say(
                f"{left:,.0f} CPU seconds of training are left, about {duration(1.1 * left / settings.threads)} with "
                f"{settings.threads} thread(s) and a core for each; a second process on this folder halves it."
            )
            broken = run(comparison)
        for line in report(comparison):
            print(line)
    except LdeBenchError as error:
        say(f"error: {error}")
        return error.exit_code
    for title in broken:
        say(f"error: {title} broke (see above); start again to retry.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
