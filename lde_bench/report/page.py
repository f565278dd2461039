"""The report of a folder of run records: what stands on the page, in order, with a section for each set of comparable
records.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from lde_bench.errors import InputError
from lde_bench.files import ensure_folder, write_bytes_atomic, write_text_atomic
from lde_bench.report import parts
from lde_bench.report.citations import bibliography
from lde_bench.report.document import (
    Block,
    Document,
    Heading,
    Items,
    Lead,
    Line,
    Link,
    Listing,
    Paragraph,
    Strong,
    pictures,
)
from lde_bench.report.earlier import Sheet, earlier_sheets, sheets_in, superseded
from lde_bench.report.experiment import ExperimentOf
from lde_bench.report.folds import fold_summaries
from lde_bench.report.render.html import to_html
from lde_bench.report.render.markdown import document_to_markdown
from lde_bench.report.section import Section
from lde_bench.runs.record import Record
from lde_bench.runs.rows import by_table
from lde_bench.version import BENCHMARK_VERSION, __version__

#: Folder of the pictures beside the Markdown.
PICTURES = "report-files"


def write_page(
    runs: Sequence[tuple[Path, Record]],
    folder: Path,
    experiment_of: ExperimentOf,
    *,
    pair: tuple[str, str] | None = None,
    cache_dir: Path | None = None,
    earlier: Sequence[Path] = (),
) -> list[Path]:
    """Write `report.html`, its twin `report.md` and the twin's pictures in `report-files/`; the paths of the two texts.

    Args:
        runs: record files and the records in them.
        folder: where the report goes; links to the record files are relative to it.
        experiment_of: gives the experiment of a record by the name in it.
        pair: the two methods to set against each other photograph by photograph, each a method or, to name one K,
            `method K=10`; otherwise the best and the best of another method.
        cache_dir: where prepared datasets are looked for, for true patches beside the samples; nothing is downloaded.
        earlier: folders of reports, beside `folder`, whose sheets of samples are shown again of runs of which neither
            samples nor weights are left.

    Raises:
        InputError: the folder cannot be written, or no section has both methods of `pair`.
    """
    sheets = earlier_sheets(place / PICTURES for place in (folder, *earlier))
    document = build_document(runs, folder, experiment_of, pair=pair, cache_dir=cache_dir, earlier=sheets)
    beside = ensure_folder(folder / PICTURES)
    kept = set()
    for picture in pictures(document.blocks):
        write_bytes_atomic(beside / picture.file, picture.data)
        kept.add(picture.file)
    page, twin = folder / "report.html", folder / "report.md"
    before = twin.read_text(encoding="utf-8", errors="replace") if twin.is_file() else ""
    write_text_atomic(page, to_html(document))
    write_text_atomic(twin, document_to_markdown(document, PICTURES))
    _discard(beside, kept, before)
    return [page, twin]


def _discard(beside: Path, kept: Collection[str], before: str) -> None:
    """Delete the pictures that the report `before` showed and this one does not; of sheets of samples those alone whose
    run was trained again, since a report of other records may show the others, and nothing else may be left of them.
    """
    sheets = sheets_in(beside)
    old = superseded(sheets.values(), [sheet for path, sheet in sheets.items() if path.name in kept])
    for path in beside.iterdir():
        if path in sheets:
            gone = sheets[path].shows in old
        else:
            gone = path.name not in kept and f"({PICTURES}/{path.name})" in before
        if gone:
            path.unlink()


def build_document(
    runs: Sequence[tuple[Path, Record]],
    folder: Path,
    experiment_of: ExperimentOf,
    *,
    pair: tuple[str, str] | None = None,
    cache_dir: Path | None = None,
    earlier: Mapping[str, Sheet] | None = None,
) -> Document:
    """The whole report as data; arguments as in `write_page`, but `earlier` the sheets, by what they show."""
    found = {record.run_id: (path, record) for path, record in runs}
    sections = []
    for records in by_table(record for _, record in found.values()):
        group = {record.run_id: found[record.run_id] for record in records}
        sections.append(Section(experiment_of(records[0].experiment).table(records), group, folder, earlier or {}))
    # The fullest table first: it is the one the reader came for. Others of the same experiment and data follow it, and
    # what only serves another experiment comes last.
    fullest: dict[tuple[str, str], int] = {}
    for section in sections:
        fullest[_subject(section)] = max(fullest.get(_subject(section), 0), len(section.table.rows))

    def place(section: Section) -> tuple[bool, int, tuple[str, str], int]:
        subject = _subject(section)
        return experiment_of(section.table.experiment).aside, -fullest[subject], subject, -len(section.table.rows)

    sections.sort(key=place)
    if pair is not None and not any(parts.chosen_pair(section, pair) for section in sections):
        raise InputError(f"no table has rows of both '{pair[0]}' and '{pair[1]}'; name two methods that share one.")
    closing: list[tuple[Line, list[Block]]] = []
    for name in dict.fromkeys(section.table.experiment for section in sections):
        closing += experiment_of(name).closing([each for each in sections if each.table.experiment == name])
    blocks = [*_opening(sections, [entry for entry, _ in closing]), *_folds(sections)]
    for section in sections:
        experiment = experiment_of(section.table.experiment)
        blocks += [
            *_section_heading(section),
            *experiment.parts(section, pair, cache_dir),
            *parts.laws(section, experiment.held),
            *parts.starts(section),
            *parts.costs(section),
            *parts.provenance(section),
        ]
    blocks += [block for _, more in closing for block in more]
    blocks += [
        Heading(2, "References", "references"),
        Paragraph("BibTeX of the benchmark and of every method on this page."),
        Listing(bibliography(method for section in sections for method in _methods(section))),
    ]
    return Document("lde-bench report", blocks)


def _methods(section: Section) -> list[str]:
    return list(dict.fromkeys(record.method for _, record in section.runs.values()))


def _subject(section: Section) -> tuple[str, str]:
    return section.table.experiment, section.table.dataset


def _title(section: Section) -> str:
    table = section.table
    samples = f", {table.window:,} samples" if table.window else ""
    return f"{table.experiment}: {table.dataset} (version {table.dataset_version}), {table.budget}{samples}"


def _opening(sections: Sequence[Section], closing: Sequence[Line]) -> list[Block]:
    contents: list[Line] = []
    for section in sections:
        rows, failures = len(section.table.rows), len(section.table.failures)
        told = f": {rows} row{'s' if rows != 1 else ''}" + (f", {failures} trials without a row" if failures else "")
        old = section.table.benchmark_version != BENCHMARK_VERSION
        warning = f"; benchmark version {section.table.benchmark_version}, not comparable with this one" if old else ""
        contents.append((Link(_title(section), f"#{section.name}"), told + warning))
    contents += [*closing, Link("References", "#references")]
    blocks: list[Block] = [
        Paragraph(
            f"Run records of lde-bench {__version__} (benchmark version {BENCHMARK_VERSION}). Log-likelihoods are "
            "natural logarithms of densities (nats), higher is better; models are chosen on validation data and the "
            "test set is touched once per trial."
        )
    ]
    if len(sections) > 1:
        blocks.append(
            Paragraph(
                (
                    Strong("Figures of different sections are not comparable"),
                    ": they differ in dataset, version, content, budget or benchmark version.",
                )
            )
        )
    return [*blocks, Items(contents)]


def _folds(sections: Sequence[Section]) -> list[Block]:
    """The folds of one dataset together, before their own sections."""
    ordered = sorted(sections, key=lambda section: section.table.dataset)
    blocks: list[Block] = []
    for number, summary in enumerate(fold_summaries(section.table for section in ordered)):
        lead, *rest = summary.blocks()
        assert isinstance(lead, Lead)
        heading, *more = lead.lines
        blocks += [Heading(2, heading, f"folds-{number}"), Items(more), *rest]
    return blocks


def _section_heading(section: Section) -> list[Block]:
    table = section.table
    blocks: list[Block] = [Heading(2, _title(section), section.name)]
    if table.benchmark_version != BENCHMARK_VERSION:
        blocks.append(
            Paragraph(
                Strong(f"Benchmark version {table.benchmark_version}: not comparable with version {BENCHMARK_VERSION}.")
            )
        )
    return blocks
