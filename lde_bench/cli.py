"""The command line. Nothing heavy is imported before a command computes: `lde-bench --help` answers at once."""

from __future__ import annotations

import json as json_module
import logging
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter, Token

from lde_bench import __version__
from lde_bench.errors import InputError, LdeBenchError, NothingMeasured

if TYPE_CHECKING:
    from lde_bench.experiments.density_trials import DensityTrial
    from lde_bench.runs import Record, ResultStore

app = App(
    name="lde-bench",
    help="Which density estimator is better on this data, by how much, and can I trust the number? "
    "Log-likelihoods are in nats.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` says how to continue
)


def whole_numbers(type_: Any, tokens: Sequence[Token]) -> list[int]:
    """Values of `--K`: whole numbers from 1 up."""
    values = []
    for token in tokens:
        if not token.value.isdecimal() or int(token.value) < 1:
            raise ValueError(f"K = {token.value} is not a whole number from 1 up; give for example --K 1 10 30 100.")
        values.append(int(token.value))
    return values


DataDir = Annotated[
    Path | None,
    Parameter(help="Folder of the official files (else LDE_BENCH_DATA, the cache, or a download); only read."),
]
CacheDir = Annotated[
    Path | None, Parameter(help="Folder for prepared data (else LDE_BENCH_CACHE or the user's cache).")
]
ResultsDir = Annotated[Path, Parameter(help="Folder of run records, tables and figures.")]
Json = Annotated[bool, Parameter(negative=(), help="Machine-readable output on stdout.")]
Threads = Annotated[int | None, Parameter(help="Threads for the arithmetic; torch's choice if left out.")]


@app.command
def bsds300(
    *,
    K: Annotated[
        list[int],
        Parameter(
            name="--K", consume_multiple=True, negative=(), converter=whole_numbers, help="Components of the mixtures."
        ),
    ] = [1, 10, 30, 100],  # noqa: B006 (cyclopts shows it, nothing changes it)
    methods: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            negative=(),
            help="Methods, each name[+wrapper...][:key=value,...]; see lde-bench list.",
        ),
    ] = None,
    profile: Annotated[
        Literal["quick", "standard", "paper"],
        Parameter(help="Compute budget: training steps, evaluation sizes, default trials and methods."),
    ] = "quick",
    trials: Annotated[
        int | None, Parameter(help="Training runs per row, each with its own seed (1, 2, 5 by profile).")
    ] = None,
    source: Annotated[
        Literal["auto", "embedded", "hdf5"],
        Parameter(
            help="auto: the BSDS300 photographs; embedded: the photographs inside scikit-learn and scikit-image "
            "(dataset natural8x8, no download); hdf5: the ready-made BSDS300.hdf5."
        ),
    ] = "auto",
    steps: Annotated[int | None, Parameter(help="Training steps in place of the profile's.")] = None,
    seconds: Annotated[
        float | None, Parameter(help="Training seconds in place of the profile's steps; marked machine-dependent.")
    ] = None,
    patches: Annotated[
        Literal["fixed", "fresh"], Parameter(help="fresh: training patches drawn anew, with new noise, at every step.")
    ] = "fixed",
    augment: Annotated[
        Literal["symmetries"] | None, Parameter(help="symmetries: train on the 8 flips and rotations of the patches.")
    ] = None,
    seed: Annotated[int, Parameter(help="Base of the trials' seeds and of the preparation.")] = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Parameter(help="Of training steps; evaluation is always in fp32 or better.")
    ] = "auto",
    compile: Annotated[bool | None, Parameter(help="Use torch.compile, or not, whatever the plan says.")] = None,
    threads: Threads = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    results_dir: ResultsDir = Path("results"),
    json: Json = False,
) -> int:
    """Log-likelihood of 8x8 patches of natural images: the paper's Table 1.

    Trains every method, for mixtures at every K, and prints test log-likelihoods with error bars. A run that is killed
    continues when the same command is given again.
    """
    from lde_bench.experiments.bsds300 import load_patches, plan_table
    from lde_bench.experiments.density_trials import TrainingOptions, set_threads
    from lde_bench.runs import ResultStore
    from lde_bench.training.plan import Budget

    budget = Budget.of(profile, steps, seconds)
    set_threads(threads)
    store = ResultStore(results_dir)
    planned = plan_table(
        budget,
        TrainingOptions(patches, augment, device, precision, compile),
        partial(load_patches, budget, source=source, data_dir=data_dir, cache_dir=cache_dir, seed=seed, progress=True),
        components=K,
        methods=methods,
        trials=trials,
        seed=seed,
    )
    store.check_writable()
    return finish(run_trials(planned, store), store, json)


def run_trials(planned: Sequence[DensityTrial], store: ResultStore) -> list[Record]:
    """Run the trials that have no record yet, saying beforehand about how long that will take."""
    from lde_bench.experiments.density_trials import failed_density_record, run_density_trial
    from lde_bench.progress import SweepDisplay, duration, say
    from lde_bench.runs import run_sweep

    left = [trial for trial in planned if (found := store.find(trial.run_id)) is None or not found.done]
    if left:
        seconds = sum(trial.reference_seconds() for trial in left)
        done = f" ({len(planned) - len(left)} done before)" if len(left) < len(planned) else ""
        say(f"{len(left)} trials to run{done}: about {duration(seconds)} on 2 cores with bf16 instructions.")
    with SweepDisplay(len(planned)) as display:
        return run_sweep(
            store,
            planned,
            lambda trial: run_density_trial(trial, store, display.progress, display.note),
            failed_density_record,
            lambda event, trial, record: display.event(event, trial.title, record),
        )


def finish(records: Sequence[Record], store: ResultStore, json: bool) -> int:
    """Print the table of these records and write the one of all comparable records; the exit code.

    Raises:
        NothingMeasured: no trial gave a number.
    """
    from lde_bench.progress import say
    from lde_bench.report import build_tables, print_tables, to_payload, write_report

    tables = build_tables(records, method_descriptions(records))
    if json:
        print(json_module.dumps({"tables": [to_payload(table) for table in tables]}, indent=2, allow_nan=False))
    else:
        print_tables(tables, sys.stdout)
    first = records[0]
    comparable = [
        record
        for record in store.load()
        if (record.experiment, record.dataset, record.budget, record.benchmark_version)
        == (first.experiment, first.dataset, first.budget, first.benchmark_version)
    ]
    stem = "table" if first.dataset.seed == 0 else f"table-seed{first.dataset.seed}"
    for path in write_report(comparable, store.paths(first).folder, stem, method_descriptions(comparable)):
        say(f"written: {path}")
    broken = {law for record in records for law, verdict in record.laws.items() if not verdict.passed}
    if broken:
        say(f"lde-bench: a row is refused because its model breaks a law: {', '.join(sorted(broken))}.")
        return 1
    if not any(record.done for record in records):
        raise NothingMeasured(f"no trial finished, so there is no number; the first reason is: {first.reason}")
    return 0


def method_descriptions(records: Sequence[Record]) -> dict[str, str]:
    """The notes under a table: every method in words."""
    from lde_bench.densities import describe_method

    return {record.method: describe_method(record.method) for record in records}


@app.command
def prepare(
    dataset: str,
    *,
    seed: Annotated[int, Parameter(help="Of the preparation: same seed, same bytes.")] = 0,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> int:
    """Fetch and prepare a dataset, e.g. `lde-bench prepare bsds300`, and print what was made."""
    from lde_bench.data import load_dataset

    data = load_dataset(dataset, data_dir=data_dir, cache_dir=cache_dir, seed=seed, progress=True)
    if json:
        facts = {"name": data.name, "version": data.version, "seed": data.seed, "sizes": data.sizes}
        print(json_module.dumps({**facts, "features": data.features, "content_hash": data.content_hash}, indent=2))
    else:
        sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
        print(f"{data.name} version {data.version}, seed {data.seed}: {sizes}; {data.features} features")
        print(f"content hash {data.content_hash}")
    return 0


@app.command(name="list")
def list_(
    name: Annotated[str | None, Parameter(help="One method, with its full card.")] = None, *, json: Json = False
) -> int:
    """Methods, datasets and profiles, each with its source."""
    from lde_bench.catalogue import catalogue, print_card, print_catalogue

    if json:
        print(json_module.dumps(catalogue(name), indent=2))
    elif name is not None:
        print_card(name)
    else:
        print_catalogue()
    return 0


@app.command
def check(
    *names: str,
    all: Annotated[bool, Parameter(negative=(), help="Every density.")] = False,
    json: Json = False,
) -> int:
    """Hold densities to the laws of a density on tiny networks: normalised, causal, batch-independent, ..."""
    from lde_bench.densities import density_names
    from lde_bench.experiments.check import check_methods

    if all == bool(names):
        raise InputError("name the densities to check, or give --all; see lde-bench list.")
    return check_methods(density_names() if all else names, json)


@app.command
def regress(
    *,
    baseline: Annotated[
        Path | None, Parameter(help="Baseline file; the one shipped with the package if left out.")
    ] = None,
    update: Annotated[bool, Parameter(negative=(), help="Measure the baseline anew and write it.")] = False,
    json: Json = False,
) -> int:
    """Rerun a small fixed case and compare its log-likelihoods with the committed baseline (exit 1: a regression)."""
    from lde_bench.experiments.regress import run_regression

    return run_regression(baseline, update, json)


def one_sentence(error: CycloptsError) -> str:
    """The parser's message, which may be several sentences over several lines, as one without its full stop."""
    message = " ".join(str(error).split()).rstrip(".")
    return re.sub(r"\. ([A-Z])", lambda found: f"; {found[1].lower()}", message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; exit code 0 done, 1 a regression or a failed law, 2 bad usage or input, 3 nothing measured."""
    logging.basicConfig(format="lde-bench: %(message)s", level=logging.WARNING, stream=sys.stderr)
    try:
        return int(app(argv, exit_on_error=False, print_error=False) or 0)
    except CycloptsError as error:
        print(f"lde-bench: {one_sentence(error)} (see lde-bench --help).", file=sys.stderr)
        return 2
    except LdeBenchError as error:
        print(f"lde-bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lde-bench: interrupted; give the same command again to continue.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of stdout has gone, as in `lde-bench list | head`
        sys.stderr.close()
        return 0
