"""`lde-bench cite`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import app


@app.command
def cite(
    *methods: str,
    results_dir: Annotated[Path | None, Parameter(help="Cite every method that has a run record there.")] = None,
) -> int:
    """BibTeX of methods, or of those in a folder of results, and of the benchmark itself."""
    from lde_bench.cards import check_method
    from lde_bench.report.citations import bibliography
    from lde_bench.runs import ResultStore

    for method in methods:  # a misspelt name is told; a record's is somebody's own model
        check_method(method)
    recorded = [] if results_dir is None else [record.method for record in ResultStore(results_dir).load()]
    print(bibliography([*methods, *recorded]), end="")
    return 0
