"""The tables inside a text that is written by hand: between two marks they are made again from the records.

<!-- table: bsds300/bsds300-v1/standard -->
...
<!-- end of table -->
"""

from __future__ import annotations

import re
from pathlib import Path

from lde_bench.errors import InputError
from lde_bench.files import write_text_atomic
from lde_bench.report.document import Grid
from lde_bench.report.experiment import ExperimentOf, build_tables
from lde_bench.report.render.markdown import to_markdown
from lde_bench.report.table import rows_blocks
from lde_bench.runs.store import ResultStore

_MARKED = re.compile(r"<!-- table: (\S+) -->\n.*?<!-- end of table -->", flags=re.DOTALL)


def refresh_tables(text: Path, results: Path, experiment_of: ExperimentOf) -> bool:
    """Write the fullest table of the records in each marked folder under `results` into the Markdown file `text`, its
    rows and what stands before them, without notes; whether anything changed. A file without marks, or none, is left as
    it is.

    Raises:
        InputError: a marked folder holds no run record, or the file is not in UTF-8 or cannot be written.
    """
    if not text.is_file():
        return False
    try:
        before = text.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{text}: is not in UTF-8, so its tables cannot be refreshed; save it as UTF-8.") from error

    def made(mark: re.Match[str]) -> str:
        folder = results / mark[1]
        tables = build_tables(ResultStore(folder).load(), experiment_of) if folder.is_dir() else []
        if not tables:
            raise InputError(f"{text}: the mark 'table: {mark[1]}' names no folder of run records; correct it.")
        fullest = max(tables, key=lambda table: len(table.rows))
        grids = [block for block in fullest.leading if isinstance(block, Grid)] + rows_blocks(fullest)[:1]
        return f"<!-- table: {mark[1]} -->\n\n{to_markdown(grids)}\n<!-- end of table -->"

    after = _MARKED.sub(made, before)
    if after == before:
        return False
    write_text_atomic(text, after)
    return True
