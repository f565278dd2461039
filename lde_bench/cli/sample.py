"""`lde-bench sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import ResultsDir, Seed, Whole, app


@app.command
def sample(
    record: Annotated[str, Parameter(help="A record file, a run id, or a method with records in the results folder.")],
    /,
    *,
    number: Annotated[
        Whole | None, Parameter(name=("--number", "-n"), help="How many samples (64), or walks (8).")
    ] = None,
    interpolate: Annotated[
        bool,
        Parameter(negative=(), help="Walks between the codes of two images, of a record of an autoencoder; a .png."),
    ] = False,
    output: Annotated[
        Path,
        Parameter(
            name=("--output", "-o"),
            help="A .png, the sheet of images or of 8x8 patches, or a .npy, [n, D], of any model.",
        ),
    ] = Path("samples.png"),
    seed: Annotated[Seed, Parameter(help="Same seed, same samples.")] = 0,
    results_dir: ResultsDir = Path("results"),
) -> int:
    """Draw samples from the trained model of a record: a picture, or an array of as many as you want.

    With --interpolate, walks through its codes, one a line: between test images where the dataset is at hand, else
    between samples.
    """
    from lde_bench.report.sampling import run_sample, run_walks

    if interpolate:
        return run_walks(record, 8 if number is None else number, output, seed, results_dir)
    return run_sample(record, 64 if number is None else number, output, seed, results_dir)
