"""`lde-bench check`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import Json, app
from lde_bench.errors import InputError


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
