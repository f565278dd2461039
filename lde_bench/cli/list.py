"""`lde-bench list`."""

from __future__ import annotations

import json as json_module
from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import Json, app


@app.command(name="list")
def list_(
    name: Annotated[str | None, Parameter(help="One method, with its full card.")] = None, *, json: Json = False
) -> int:
    """Methods, models of images, measures of samples, datasets and profiles, each with its source."""
    from lde_bench.catalogue import catalogue, print_card, print_catalogue

    if json:
        print(json_module.dumps(catalogue(name), indent=2))
    elif name is not None:
        print_card(name)
    else:
        print_catalogue()
    return 0
