"""`lde-bench merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import app


@app.command
def merge(
    folders: Annotated[list[Path], Parameter(help="Folders of results, each of which stays as it is.")],
    /,
    *,
    into: Annotated[Path, Parameter(help="The folder that gets the runs of all; it may hold runs already.")],
) -> int:
    """Unite folders of results: records with their weights, log-likelihoods, samples and pictures.

    The same run in two folders must be equal in all but when, where and how fast it ran, or nothing is copied. Nothing
    is overwritten. Tables and reports are made again by the command that made them. If it was killed, give the same
    command again.
    """
    from lde_bench.progress import say
    from lde_bench.runs import merge_results

    merged = merge_results(folders, into)
    say(f"merged into {into}: {merged.runs} runs, {merged.files} files; {merged.there} runs were there already")
    return 0
