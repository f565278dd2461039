"""`lde-bench time-to-nats`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from cyclopts import Parameter

from lde_bench.cli.app import RUNNING, Methods, Running, TrialCount, app
from lde_bench.cli.running import finish


@app.command
def time_to_nats(
    *,
    minutes: Annotated[
        list[float] | None,
        Parameter(
            consume_multiple=True,
            negative=(),
            help="Budgets of training, each in minutes on two cores: 120 CPU seconds (0.25, or 5 15 with standard).",
        ),
    ] = None,
    search_minutes: Annotated[
        float | None, Parameter(help="Of each candidate plan; a fifth of the shortest budget if left out.")
    ] = None,
    methods: Methods = None,
    profile: Annotated[
        Literal["quick", "standard"],
        Parameter(help="Plans that the candidates vary, evaluation sizes, default minutes, methods and source."),
    ] = "quick",
    trials: Annotated[TrialCount, Parameter(help="Training runs per method and budget.")] = 1,
    source: Annotated[
        Literal["auto", "embedded", "hdf5"] | None,
        Parameter(help="Of the patches, as in lde-bench bsds300; embedded with quick, auto with standard if left out."),
    ] = None,
    running: Running = RUNNING,
) -> int:
    """Log-likelihood of patches after equal CPU seconds of training: curves on validation, one look at the test set.

    Every method tries three candidate plans on validation patches, up to two more where a rate at the edge of those
    tried was the best, then trains once per budget by the best of them. One thread unless --threads says otherwise: a
    second costs more CPU seconds than it brings. To resume a run that was killed, give the same command again; several
    processes may share one --results-dir.
    """
    from lde_bench.experiments.bsds300 import FEATURES, load_patches
    from lde_bench.experiments.time_to_nats import PROFILES, SEARCH_SHARE, TimeToNats, budget_of
    from lde_bench.experiments.time_to_nats_search import COMPONENTS, TimeToNatsSearch
    from lde_bench.progress import duration, say
    from lde_bench.runs import ResultStore
    from lde_bench.trials.base import set_threads
    from lde_bench.trials.density import expand_methods
    from lde_bench.trials.run import run_trials
    from lde_bench.trials.timed import choose, on_one_clock

    defaults = PROFILES[profile]
    methods = list(methods or defaults.methods)
    lengths = sorted(set(minutes or defaults.minutes))
    budgets = [budget_of(profile, each) for each in lengths]
    search = budget_of(
        profile, SEARCH_SHARE * lengths[0] if search_minutes is None else search_minutes, "search-minutes"
    )
    options = on_one_clock(running.training())
    expand_methods(methods, [COMPONENTS], FEATURES)  # a wrong name is told before data are loaded
    set_threads(1 if running.threads is None else running.threads)
    store = ResultStore(running.results_dir)
    data = load_patches(
        budgets[0],
        source=source or defaults.source,
        data_dir=running.data_dir,
        cache_dir=running.cache_dir,
        seed=running.seed,
        progress=True,
    )
    plan = partial(TimeToNats().plan, budgets, options, data, methods=methods, trials=trials, seed=running.seed)
    after = plan({})  # what a run needs is told before the search
    candidates = TimeToNatsSearch().plan(search, options, data, methods=methods, seed=running.seed)
    store.check_writable()
    seconds = sum(trial.reference_seconds() for trial in [*candidates, *after])
    say(
        f"{len(candidates)} candidate plans, then {len(after)} runs: about {duration(seconds)} of training in all, "
        "less what is done already, and up to two candidates more of a method whose best rate lies at the edge."
    )
    searched = run_trials(candidates, store)
    while further := TimeToNatsSearch().beyond(candidates, searched):
        say("A rate at the edge of those tried was the best of its method: the next one is tried too.")
        candidates, searched = [*candidates, *further], [*searched, *run_trials(further, store)]
    records = run_trials(plan(choose(candidates, searched)), store)
    return finish([*records, *searched], store, running.json)
