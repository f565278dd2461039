"""`lde-bench regress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import Json, app


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
    from lde_bench.checks.regress import run_regression

    return run_regression(baseline, update, json)
