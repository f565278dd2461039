"""A section of the report: comparable records, and what its parts share."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np

from lde_bench.errors import InputError
from lde_bench.report.document import Block, Heading, Line, Link
from lde_bench.report.earlier import Sheet, run_shown
from lde_bench.report.published import PublishedFigure
from lde_bench.report.rows import Row, marked
from lde_bench.report.table import Table
from lde_bench.runs.record import DatasetInfo, Record
from lde_bench.runs.rows import with_components
from lde_bench.runs.store import RunPaths

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Section:
    """Comparable records: their table, each record with its file, where the report will stand, and the sheets of an
    earlier one by what they show (`lde_bench.report.earlier`).
    """

    table: Table
    runs: Mapping[str, tuple[Path, Record]]
    folder: Path
    earlier: Mapping[str, Sheet] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Short and unique on the page: dataset, budget, some digits of what was hashed, and a seed and a number of
        samples that are not the usual ones.
        """
        table = self.table
        words = (
            f"{table.experiment}-{table.dataset}-{table.dataset_version}-{table.budget}-{table.content_hash[:6]}"
            f"-b{table.benchmark_version}{f'-seed{self.data.seed}' if self.data.seed else ''}"
            f"{f'-samples{table.window}' if table.window else ''}"
        )
        return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")

    @property
    def data(self) -> DatasetInfo:
        """Which bytes the trials saw."""
        return next(iter(self.runs.values()))[1].dataset

    @property
    def places(self) -> dict[str, RunPaths]:
        """Where the files of each run are."""
        return {run_id: RunPaths(path.parent, run_id) for run_id, (path, _) in self.runs.items()}

    @property
    def published(self) -> tuple[PublishedFigure, ...]:
        """What others published of the same measure on the same test items."""
        return self.table.published

    def kept_samples(self, row: Row) -> Iterator[tuple[str, np.ndarray]]:
        """What they are of, and samples [n, D], that were kept beside the records of a row; of damaged files the log
        tells.
        """
        for run_id in row.run_ids:
            try:
                samples = self.places[run_id].load_samples()
            except InputError as error:
                log.warning("The report does without the samples of %s", error)
                continue
            if samples is not None:
                yield run_shown(self.runs[run_id][1]), samples

    def earlier_sheet(self, row: Row, scale: float | None = None) -> Sheet | None:
        """The sheet of a row that an earlier report shows; None where there is none of that scale."""
        found = (self.earlier.get(run_shown(record)) for record in self.trials(row))
        return next((sheet for sheet in found if sheet is not None and sheet.scale == scale), None)

    def trials(self, row: Row) -> list[Record]:
        """The records of a row."""
        return [self.runs[run_id][1] for run_id in row.run_ids]

    def links(self, row: Row) -> Line:
        """Links to the record files of a row, relative to the report."""
        parts: list[str | Link] = []
        for run_id in row.run_ids:
            path, record = self.runs[run_id]
            relative = Path(os.path.relpath(path.resolve(), self.folder.resolve())).as_posix()
            parts += [", "] if parts else []
            parts.append(Link(f"trial {record.trial + 1}", quote(relative)))
        return tuple(parts)


def part(section: Section, text: str, *blocks: Block) -> list[Block]:
    """A part of a section under its own heading."""
    anchor = f"{section.name}-{re.sub(r'[^a-z0-9]+', '-', text.lower())}"
    return [Heading(3, text, anchor), *blocks]


def row_title(row: Row) -> str:
    """A row in short: `lde+w K=10`, with a mark where it may be no density."""
    return marked(row, with_components(row.label, row.components))


def budget_text(record: Record) -> str:
    """What a trial was given: steps of its batch size, seconds, or a closed form."""
    if record.training.get("closed_form"):
        return "closed form"
    if record.budget.seconds is not None:
        return f"{record.budget.seconds:g} {'CPU ' if record.budget.clock == 'cpu' else ''}s"
    stages = {name: plan for name, plan in record.training.items() if isinstance(plan, dict) and plan.get("steps")}
    if stages:
        return ", ".join(f"{name} {plan['steps']:,} steps of {plan['batch_size']:,}" for name, plan in stages.items())
    steps, batch = record.training.get("steps"), record.training.get("batch_size")
    if not steps or not batch:
        return record.budget.label
    members = len(record.training.get("weights_of", ()))
    return f"{f'{members} times ' if members > 1 else ''}{steps:,} steps of {batch:,}"
