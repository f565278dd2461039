"""`lde-bench protocol`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from lde_bench.cli.app import RUNNING, ComponentCount, Profile, Running, Steps, app
from lde_bench.errors import InputError


@app.command
def protocol(
    *,
    method: Annotated[str | None, Parameter(help="An autoregressive method; lde+w if left out.")] = None,
    K: Annotated[ComponentCount | None, Parameter(name="--K", help="Components of a mixture; 10 if left out.")] = None,
    record: Annotated[
        Path | None,
        Parameter(help="Measure the model of this record instead of training: the first part of the report alone."),
    ] = None,
    profile: Profile = "quick",
    steps: Steps = None,
    source: Annotated[
        Literal["auto", "embedded", "hdf5"], Parameter(help="Of the patches, as in lde-bench bsds300.")
    ] = "auto",
    running: Running = RUNNING,
) -> int:
    """What the authors' released choices are worth in nats on one trained model; a report, never a row.

    1e-12 added to each conditional inside the logarithm, which makes it no density, and the choice of the weights on
    the test patches.
    """
    from lde_bench.experiments.bsds300 import FEATURES, load_patches
    from lde_bench.experiments.protocol import Protocol, print_report, run_protocol, run_protocol_of_record
    from lde_bench.runs import ResultStore
    from lde_bench.training.plan import Budget
    from lde_bench.trials.base import set_threads
    from lde_bench.trials.density import expand_methods

    if record is not None and (method, K, steps) != (None, None, None):
        raise InputError("a record has its method, K and steps already; give --record or what to train, not both.")
    if record is not None and (profile, source, running.seed, running.training()) != (
        "quick",
        "auto",
        0,
        RUNNING.training(),
    ):
        raise InputError("a record has its budget, data and seed already; leave out what says how to train.")
    set_threads(running.threads)
    store = ResultStore(running.results_dir)
    if record is not None:
        report = run_protocol_of_record(record, store, running.data_dir, running.cache_dir)
    else:
        budget = Budget.of(profile, steps)
        method, components = method or "lde+w", 10 if K is None else K
        ((spec, taken),) = expand_methods([method], [components], FEATURES)  # told before data are loaded
        if K is not None and taken is None:
            raise InputError(f"{spec} is no mixture, so --K {K} has no use; leave it out.")
        data = load_patches(
            budget,
            source=source,
            data_dir=running.data_dir,
            cache_dir=running.cache_dir,
            seed=running.seed,
            progress=True,
        )
        trial = Protocol().plan(method, components, data, budget, running.training("auto"), running.seed)
        store.check_writable()
        report = run_protocol(trial, store)
    print_report(report, running.json)
    return 0
