"""`lde-bench regress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import CacheDir, DataDir, Json, Methods, TrialCount, Whole, app, whole_numbers


@app.command
def regress(
    *,
    methods: Methods = None,
    dataset: Annotated[
        str | None, Parameter(help="A registered dataset, e.g. ring, or digits8x8 for models of images.")
    ] = None,
    data: Annotated[
        Path | None, Parameter(help="Your file instead, .npz or .h5, with arrays train, validation, test [n, D].")
    ] = None,
    K: Annotated[
        list[int] | None,
        Parameter(
            name="--K",
            consume_multiple=True,
            negative=(),
            converter=whole_numbers,
            help="Components of the mixtures; 10 if left out.",
        ),
    ] = None,
    train: Annotated[Whole | None, Parameter(help="Training rows; all, or the dataset's default, if left out.")] = None,
    validation: Annotated[Whole | None, Parameter(help="Validation rows.")] = None,
    test: Annotated[Whole | None, Parameter(help="Test rows.")] = None,
    steps: Annotated[Whole | None, Parameter(help="Training steps; those of the quick profile if left out.")] = None,
    trials: Annotated[
        TrialCount | None,
        Parameter(
            help="Seeds: with --update those that the spread is measured over (5 if left out, at least 3), else how "
            "many of them are run again (1 if left out)."
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        Parameter(
            help="Baseline file, which also says what to run: lde-bench-baseline.json in the current folder if left "
            "out where --methods, --dataset or --data is given, and the package's own where none is."
        ),
    ] = None,
    update: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Measure the baseline anew and write it; unless both methods and data are given, all that is left out "
            "is as in the file.",
        ),
    ] = False,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> int:
    """Run models again and compare their log-likelihoods with a baseline: the package's own case, or your models.

    The tolerance comes from the spread over seeds, and a log-likelihood that is too high fails as one that is too low
    does. Exit code 0: the same; 1: moved, or a model failed or broke a law; 2: bad input; 3: not comparable (another
    protocol, version or data) or nothing finished. docs/ci.md has a workflow to copy.
    """
    from lde_bench.checks.regress import Asked, run_regression

    sizes = {"train": train, "validation": validation, "test": test}
    asked = Asked(
        methods=methods,
        dataset=dataset,
        data=data,
        components=K,
        sizes={split: rows for split, rows in sizes.items() if rows is not None},
        steps=steps,
        trials=trials,
        data_dir=data_dir,
        cache_dir=cache_dir,
    )
    return run_regression(asked, baseline, update, json)
