"""`lde-bench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import CacheDir, ResultsDir, app
from lde_bench.errors import NothingMeasured


@app.command
def report(
    *,
    results_dir: ResultsDir = Path("results"),
    output: Annotated[
        Path | None, Parameter(help="Folder for report.html, report.md and report-files/ (else that of the results).")
    ] = None,
    dataset: Annotated[str | None, Parameter(help="Only records of this dataset.")] = None,
    profile: Annotated[str | None, Parameter(help="Only records of this profile or budget, e.g. standard.")] = None,
    pair: Annotated[
        tuple[str, str] | None,
        Parameter(
            negative=(),
            help="Two methods to compare photograph by photograph, each a method or 'method K=10' (else the best two).",
        ),
    ] = None,
    cache_dir: CacheDir = None,
) -> int:
    """One self-contained HTML page, and its Markdown twin, from a folder of run records.

    Published figures against ours, tables, curves, samples, laws, costs, provenance and BibTeX. Samples that an earlier
    report shows are shown again where no weights are left to draw them from. Tables between the
    marks `<!-- table: FOLDER -->` and `<!-- end of table -->` of a README.md in the results folder are made again too.
    """
    from lde_bench.experiments import experiment_of
    from lde_bench.progress import say
    from lde_bench.report.embed import refresh_tables
    from lde_bench.report.page import write_page
    from lde_bench.runs import ResultStore

    runs = [
        (path, record)
        for path, record in ResultStore(results_dir).load_with_paths()
        if dataset in (None, record.dataset.name) and profile in (None, record.budget.profile, record.budget.label)
    ]
    if not runs:
        asked = "".join(f" of {what}" for what in (dataset, profile) if what is not None)
        raise NothingMeasured(f"{results_dir}: holds no run record{asked}; run `lde-bench bsds300` first.")
    folder = results_dir if output is None else output
    for path in write_page(runs, folder, experiment_of, pair=pair, cache_dir=cache_dir, earlier=[results_dir]):
        say(f"written: {path}")
    text = results_dir / "README.md"
    if refresh_tables(text, results_dir, experiment_of):
        say(f"written: the tables in {text}")
    return 0
