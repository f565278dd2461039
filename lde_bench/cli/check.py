"""`lde-bench check`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import Json, app
from lde_bench.errors import InputError


@app.command
def check(
    *names: str,
    all: Annotated[bool, Parameter(negative=(), help="Every density and every model of images.")] = False,
    json: Json = False,
) -> int:
    """Hold methods to their laws on tiny networks: a density is normalised, causal, batch-independent, ..., and a model
    of images gives pixels in [0, 1], the same ones for the same seed, ...
    """
    from lde_bench.checks.check import check_methods
    from lde_bench.densities import density_names
    from lde_bench.generators import generator_classes

    if all == bool(names):
        raise InputError("name the methods to check, or give --all; see lde-bench list.")
    return check_methods([*density_names(), *generator_classes()] if all else names, json)
