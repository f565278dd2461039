"""`lde-bench score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from lde_bench.cli.app import ResultsDir, ThreadCount, app
from lde_bench.errors import InputError


@app.command
def score(
    model: Annotated[
        str,
        Parameter(
            help="A file of weights, a record file, a run id, or a method with records in the results folder; or, with "
            "--sigma, an .npy of samples [m, D]."
        ),
    ],
    /,
    *,
    data: Annotated[Path, Parameter(help="An .npy, .h5 or uncompressed .npz file of rows [n, D], of any size.")],
    key: Annotated[str | None, Parameter(help="The array in an .h5 or .npz file that holds several.")] = None,
    sigma: Annotated[
        float | None, Parameter(help="Standard deviation of the Parzen window around samples, any number of them.")
    ] = None,
    output: Annotated[
        Path, Parameter(name=("--output", "-o"), help="An .npy, [n], of log-likelihoods in nats.")
    ] = Path("scores.npy"),
    float64: Annotated[bool, Parameter(negative=(), help="Evaluate in float64.")] = False,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: Annotated[
        ThreadCount, Parameter(help="Processes, each on one thread; the numbers do not depend on it.")
    ] = 1,
    results_dir: ResultsDir = Path("results"),
) -> int:
    """Log-likelihood of every row of a file under a trained density, or under a Parzen window, in constant memory.

    If it was stopped, give the same command again: it continues.
    """
    from lde_bench.evaluation.scoring import score_file, score_window_file
    from lde_bench.progress import counting, say

    if output.suffix.lower() != ".npy":
        raise InputError(f"{output}: log-likelihoods are written as .npy; give a name that ends so.")
    is_window = Path(model).suffix.lower() == ".npy"
    if is_window and sigma is None:
        raise InputError(f"{model}: a Parzen window around samples has a width; give it, for example --sigma 0.2.")
    if is_window and float64:
        raise InputError("--float64 is for a density: a Parzen window with --sigma is in float64; leave it out.")
    if not is_window and sigma is not None:
        raise InputError(f"--sigma is for an .npy of samples, and {model} is none; leave it out, or give samples.")
    source = Path(model) if is_window else _weights(model, results_dir)
    for what, path in (("the data", data), ("the samples" if is_window else "the weights", source)):
        if output.exists() and path.exists() and output.samefile(path):
            raise InputError(
                f"{output}: holds {what}, and log-likelihoods would take their place; give another --output."
            )
    with counting(f"scoring {data.name}") as on_progress:
        if sigma is None:
            scored = score_file(
                source, data, output, key=key, double=float64, device=device, workers=workers, on_progress=on_progress
            )
        else:
            scored = score_window_file(
                source, sigma, data, output, key=key, device=device, workers=workers, on_progress=on_progress
            )
    if scored.continued:
        say(f"continued from row {scored.continued:,}")
    if scored.not_finite:
        say(f"{scored.not_finite:,} of {scored.rows:,} log-likelihoods are not finite")
    say(f"written: {output}")
    return 0


def _weights(model: str, results_dir: Path) -> Path:
    """The file of weights that is named, or that lies beside the record that is; of several trials the first's."""
    from lde_bench.runs.find import find_side

    if model.endswith(".safetensors"):
        return Path(model)
    paths, record = find_side(model, results_dir).trials[0]
    return paths.checked_weights(record)
