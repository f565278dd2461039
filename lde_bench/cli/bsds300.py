"""`lde-bench bsds300`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from lde_bench.cli.app import CacheDir, DataDir, Json, ResultsDir, Threads, app, whole_numbers
from lde_bench.cli.running import finish, run_trials


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
