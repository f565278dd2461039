"""`lde-bench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import ComponentCount, Json, ResultsDir, app


@app.command
def compare(
    a: Annotated[str, Parameter(help="A record file, a run id, or a method with records in the results folder.")],
    b: Annotated[str, Parameter(help="What to compare it with, likewise.")],
    /,
    *,
    K: Annotated[ComponentCount | None, Parameter(name="--K", help="Components of methods that are mixtures.")] = None,
    dataset: Annotated[str | None, Parameter(help="The dataset, where a method has records on several.")] = None,
    profile: Annotated[
        str | None, Parameter(help="The budget, where a method has records under several: standard, quick-500-steps.")
    ] = None,
    results_dir: ResultsDir = Path("results"),
    json: Json = False,
) -> int:
    """Is A better than B? Paired difference on identical test items, with errors that respect the photographs.

    Records of other data or of another benchmark version are refused as not comparable (exit 2).
    """
    from lde_bench.checks.compare import run_compare

    return run_compare(a, b, results_dir, components=K, dataset=dataset, profile=profile, json=json)
