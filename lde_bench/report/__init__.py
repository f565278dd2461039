"""Tables and figures from run records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from lde_bench.files import write_text_atomic
from lde_bench.report.folds import FoldSummary, fold_summaries
from lde_bench.report.sheet import print_tables, to_latex, to_markdown, to_text
from lde_bench.report.tables import Table, build_tables, to_csv, to_payload
from lde_bench.runs.record import Record

__all__ = [
    "FoldSummary",
    "Table",
    "build_tables",
    "fold_summaries",
    "print_tables",
    "to_csv",
    "to_latex",
    "to_markdown",
    "to_payload",
    "to_text",
    "write_fold_summary",
    "write_report",
]


def write_report(
    records: Iterable[Record], folder: Path, stem: str, descriptions: Mapping[str, str] | None = None
) -> list[Path]:
    """Write `<stem>.md`, `.csv`, `.tex` and `.png` into `folder`, each atomically, and return their paths.

    Records that cannot be compared get files of their own: `<stem>-<dataset>-v<version>-<budget>-<6
    hex>.*`. A table without rows (every trial failed) has no figure. No record, no file. `descriptions` as
    in `build_tables`. Raises `InputError` when the folder cannot be written.
    """
    from lde_bench.report.figures import write_figure  # matplotlib is slow to import

    tables = build_tables(records, descriptions)
    written = []
    for table in tables:
        name = stem
        if len(tables) > 1:
            name += f"-{table.dataset}-v{table.dataset_version}-{table.budget}-{table.content_hash[:6]}"
        for suffix, render in ((".md", to_markdown), (".csv", to_csv), (".tex", to_latex)):
            path = Path(folder) / f"{name}{suffix}"
            write_text_atomic(path, render(table))
            written.append(path)
        if table.rows:
            path = Path(folder) / f"{name}.png"
            write_figure(table, path)
            written.append(path)
    return written


def write_fold_summary(summary: FoldSummary, folder: Path, stem: str) -> list[Path]:
    """Write `<stem>.md`, `.csv` and `.tex` of the folds of a dataset into `folder`; their paths, errors as above."""
    written = []
    for suffix, text in ((".md", to_markdown(summary)), (".csv", summary.to_csv()), (".tex", to_latex(summary))):
        written.append(Path(folder) / f"{stem}{suffix}")
        write_text_atomic(written[-1], text)
    return written
