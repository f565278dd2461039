"""Tables of records as the commands show them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from lde_bench.experiments import experiment_of
from lde_bench.report import experiment
from lde_bench.report.document import Block
from lde_bench.report.folds import FoldSummary
from lde_bench.report.render import latex, markdown, text
from lde_bench.report.table import Table, table_blocks

build_tables = partial(experiment.build_tables, experiment_of=experiment_of)
write_tables = partial(experiment.write_tables, experiment_of=experiment_of)


def blocks_of(shown: Table | FoldSummary) -> list[Block]:
    return table_blocks(shown) if isinstance(shown, Table) else shown.blocks()


def to_text(shown: Table | FoldSummary) -> str:
    return text.to_text(blocks_of(shown))


def to_markdown(shown: Table | FoldSummary) -> str:
    return markdown.to_markdown(blocks_of(shown))


def to_latex(shown: Table | FoldSummary) -> str:
    return latex.to_latex(blocks_of(shown))


def print_tables(tables: Iterable[Table], stream) -> None:
    text.print_blocks([block for table in tables for block in table_blocks(table)], stream)
