"""The report of a folder of run records: what stands on the page, in order, with a section for each set of comparable
records.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lde_bench.data.cache import stored_test_rows
from lde_bench.data.patches import FEATURES
from lde_bench.errors import InputError
from lde_bench.evaluation.statistics import paired_difference
from lde_bench.files import ensure_folder, write_bytes_atomic, write_text_atomic
from lde_bench.report.against import against_published, published_list
from lde_bench.report.citations import bibliography
from lde_bench.report.document import (
    Block,
    Document,
    Figure,
    Grid,
    Heading,
    Items,
    Line,
    Link,
    Listing,
    Paragraph,
    Picture,
    Strong,
    to_html,
    to_markdown,
)
from lde_bench.report.folds import fold_summaries
from lde_bench.report.images import sample_results, sample_sheets, strong_note
from lde_bench.report.section import Section, budget_text, part, row_title
from lde_bench.report.sheet import DASH
from lde_bench.report.tables import Row, build_tables, cells, failure_line, headers
from lde_bench.runs.record import Record
from lde_bench.runs.rows import group_means, table_key, with_components
from lde_bench.runs.store import RunPaths
from lde_bench.version import BENCHMARK_VERSION, __version__

log = logging.getLogger(__name__)

#: Folder of the pictures beside the Markdown.
PICTURES = "report-files"


def write_page(
    runs: Sequence[tuple[Path, Record]],
    folder: Path,
    *,
    descriptions: Mapping[str, str],
    pair: tuple[str, str] | None = None,
    cache_dir: Path | None = None,
) -> list[Path]:
    """Write `report.html`, its twin `report.md` and the twin's pictures in `report-files/`; the paths of the two texts.

    Args:
        runs: record files and the records in them.
        folder: where the report goes; links to the record files are relative to it.
        descriptions: methods in words, as in `build_tables`.
        pair: the two methods to set against each other photograph by photograph, each a method or, to name one K,
            `method K=10`; otherwise the best and the best of another method.
        cache_dir: where prepared datasets are looked for, for true patches beside the samples; nothing is downloaded.

    Raises:
        InputError: the folder cannot be written, or no section has both methods of `pair`.
    """
    document = build_document(runs, folder, descriptions=descriptions, pair=pair, cache_dir=cache_dir)
    pictures = ensure_folder(folder / PICTURES)
    kept = set()
    for picture in document.pictures():
        write_bytes_atomic(pictures / picture.file, picture.data)
        kept.add(picture.file)
    for path in pictures.iterdir():  # of an earlier report, whose text is replaced below
        if path.suffix in (".svg", ".png") and path.name not in kept:
            path.unlink()
    page, twin = folder / "report.html", folder / "report.md"
    write_text_atomic(page, to_html(document))
    write_text_atomic(twin, to_markdown(document, PICTURES))
    return [page, twin]


def build_document(
    runs: Sequence[tuple[Path, Record]],
    folder: Path,
    *,
    descriptions: Mapping[str, str],
    pair: tuple[str, str] | None = None,
    cache_dir: Path | None = None,
) -> Document:
    """The whole report as data; arguments as in `write_page`."""
    comparable: dict[tuple[Any, ...], dict[str, tuple[Path, Record]]] = {}
    for path, record in runs:
        comparable.setdefault(table_key(record), {})[record.run_id] = (path, record)
    sections = []
    for group in comparable.values():
        (table,) = build_tables([record for _, record in group.values()], descriptions)
        sections.append(Section(table, group, folder))
    # The fullest table first: it is the one the reader came for.
    sections.sort(key=lambda section: -len(section.table.rows))
    if pair is not None and not any(_pair(section, pair) for section in sections):
        raise InputError(f"no table has rows of both '{pair[0]}' and '{pair[1]}'; name two methods that share one.")
    blocks = [*_opening(sections), *_folds(sections)]
    for section in sections:
        blocks += _section(section, pair, cache_dir)
    blocks += published_list([section for section in sections if section.table.shows_paper])
    blocks += [
        Heading(2, "References", "references"),
        Paragraph("BibTeX of the benchmark and of every method on this page."),
        Listing(bibliography(method for section in sections for method in _methods(section))),
    ]
    return Document("lde-bench report", blocks)


def _methods(section: Section) -> list[str]:
    return list(dict.fromkeys(record.method for _, record in section.runs.values()))


def _title(section: Section) -> str:
    table = section.table
    return f"{table.dataset} (version {table.dataset_version}), {table.budget}"


def _opening(sections: Sequence[Section]) -> list[Block]:
    contents: list[Line] = []
    for section in sections:
        rows, failures = len(section.table.rows), len(section.table.failures)
        told = f": {rows} rows" + (f", {failures} trials without a row" if failures else "")
        old = section.table.benchmark_version != BENCHMARK_VERSION
        warning = f"; benchmark version {section.table.benchmark_version}, not comparable with this one" if old else ""
        contents.append((Link(_title(section), f"#{section.name}"), told + warning))
    if any(section.table.shows_paper for section in sections):
        contents.append(Link("Published BSDS300 figures", "#published"))
    contents.append(Link("References", "#references"))
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
        heading, *more = summary.sheet().heading
        (panel,) = summary.sheet().panels
        blocks += [Heading(2, heading, f"folds-{number}"), Items(more)]
        blocks += [Grid(panel.headers, panel.rows), Items(panel.notes)]
    return blocks


def _section(section: Section, pair: tuple[str, str] | None, cache_dir: Path | None) -> list[Block]:
    table = section.table
    blocks: list[Block] = [Heading(2, _title(section), section.name), Items(table.heading)]
    if table.benchmark_version != BENCHMARK_VERSION:
        blocks.append(
            Paragraph(
                Strong(f"Benchmark version {table.benchmark_version}: not comparable with version {BENCHMARK_VERSION}.")
            )
        )
    if table.shows_samples:
        blocks += [strong_note(section), *_results(section)]
        if table.rows:
            blocks += [*sample_results(section), *sample_sheets(section, cache_dir)]
        return [*blocks, *_laws(section), *_costs(section), *_provenance(section)]
    if table.shows_paper:
        blocks += against_published(section)
    blocks += _results(section)
    if table.rows:
        blocks += [*_components(section), *_photographs(section, pair), *_learning(section)]
        blocks += _samples(section, cache_dir)
    return [*blocks, *_laws(section), *_costs(section), *_provenance(section)]


# ---- tables and curves


def _results(section: Section) -> list[Block]:
    table = section.table
    body: Block = Paragraph("(no trial finished)")
    if table.rows:
        rows: list[list[Line]] = []
        for row in table.rows:
            texts: list[Line] = [*cells(table, row)]
            rows.append([Strong(str(text)) for text in texts] if row.is_best else texts)
        body = Grid(headers(table), rows)
    failures: list[Block] = []
    if table.failures:
        failures = [Paragraph("Without a row:"), Items([failure_line(failure) for failure in table.failures])]
    more: list[Block] = []
    for panel in table.sheet().panels[1:]:
        more += [Paragraph(Strong(panel.title)), Grid(panel.headers, panel.rows), Items(panel.notes)]
    return part(section, "All results", body, *failures, Items(table.notes), *more)


def _components(section: Section) -> list[Block]:
    from lde_bench.report.figures import draw
    from lde_bench.report.pictures import to_svg

    if not any(row.components is not None for row in section.table.rows):
        return []
    picture = Picture(
        f"{section.name}-components",
        "svg",
        to_svg(draw(section.table)),
        "Test log-likelihood against the number of components",
    )
    paper = " and the paper's own curve" if section.table.shows_paper else ""
    caption = f"Test log-likelihood of our rows{paper} against the number of components K; methods without K as lines."
    return part(section, "Number of components", Figure([(picture, "")], caption))


def _pair(section: Section, pair: tuple[str, str] | None) -> tuple[Row, Row] | None:
    """The rows to set against each other, the better one first; None when there are no two."""
    rows = sorted((row for row in section.table.rows), key=lambda row: -row.test_nats)
    if pair is not None:
        named = [[row for row in rows if name in (row.method, row.label, row_title(row))] for name in pair]
        if not all(named):
            return None
        first, second = named[0][0], named[1][0]
    elif len(rows) < 2:
        return None
    else:
        first = rows[0]
        second = next((row for row in rows if row.method != first.method), rows[1])
    if first is second:
        return None
    return (first, second) if first.test_nats >= second.test_nats else (second, first)


def _photographs(section: Section, pair: tuple[str, str] | None) -> list[Block]:
    from lde_bench.report.pictures import draw_photographs, to_svg

    group = section.table.group
    title = f"Two methods, {group} by {group}"
    chosen = _pair(section, pair)
    if chosen is None:
        return (
            []
            if pair is None
            else part(section, title, Paragraph("This section has not both methods that were named."))
        )
    first, second = chosen
    one, two = (group_means(section.trials(row)) for row in (first, second))
    if one is None or two is None:
        return []
    difference = paired_difference(one, two)
    error = DASH if difference.standard_error is None else f"{difference.standard_error:.2f}"
    names = row_title(first), row_title(second)
    picture = Picture(
        f"{section.name}-photographs",
        "svg",
        to_svg(draw_photographs((names[0], one), (names[1], two))),
        f"Mean log-likelihood of each {group} under {names[0]} and {names[1]}",
    )
    above = int(np.sum(one.means > two.means))
    caption = (
        f"One point a test {group} ({len(one.ids)}); left the two means, on the line where they are equal, right "
        f"their difference. {names[0]} minus {names[1]}, paired on the same {section.table.items}: "
        f"{difference.mean:+.2f} ± {error} nats (± its standard error clustered by {group}); it is higher on {above} "
        f"of the {len(one.ids)} {group}s."
    )
    return part(section, title, Figure([(picture, "")], caption))


def _learning(section: Section) -> list[Block]:
    from lde_bench.report.pictures import draw_learning_curves, to_svg

    curves = [
        (row_title(row), curve)
        for row in sorted(section.table.rows, key=lambda row: -row.test_nats)
        if (curve := [trial.curve for trial in section.trials(row) if trial.curve])
    ]
    if not curves:
        return part(section, "Learning curves", Paragraph("The records hold no validation curves."))
    figure, below = draw_learning_curves(curves)
    picture = Picture(
        f"{section.name}-learning", "svg", to_svg(figure), "Validation log-likelihood against CPU seconds of training"
    )
    caption = (
        "Validation log-likelihood against CPU seconds, one line a trial, one colour a row, in the order of the test "
        f"figures; on validation {section.table.items}, so the level is not that of the test table."
    )
    if below:
        caption += f" Below the window: {', '.join(below)}."
    return part(section, "Learning curves", Figure([(picture, "")], caption))


# ---- samples


def _samples(section: Section, cache_dir: Path | None) -> list[Block]:
    from lde_bench.report.pictures import draw_patches, grey_range

    title = "Samples"
    if not section.table.is_patch:
        return []
    rows = [(row, samples) for row in section.table.rows if (samples := _row_samples(section, row)) is not None]
    without = [row_title(row) for row in section.table.rows if row.run_ids not in [shown.run_ids for shown, _ in rows]]
    if not rows:
        return part(section, title, Paragraph("No samples and no weights were kept beside these records."))
    first = next(iter(section.runs.values()))[1].dataset
    true = stored_test_rows(first.name, first.version, first.seed, 64, cache_dir)
    sheets = [] if true is None else [("test patches", true)]
    sheets += [(row_title(row), samples) for row, samples in rows]
    scale = grey_range(sheets[0][1] if true is not None else np.concatenate([sheet for _, sheet in sheets]))
    pictures = [
        (Picture(f"{section.name}-samples-{number}", "png", draw_patches(sheet, scale), f"64 patches: {name}"), name)
        for number, (name, sheet) in enumerate(sheets)
    ]
    caption = (
        "64 patches of 8 x 8 pixels each: the 63 modelled numbers and the pixel that makes their sum zero. One grey "
        f"scale for all: black is {scale:.2f} below the patch mean, white {scale:.2f} above it, where 1 is the whole "
        "range of brightness."
    )
    if true is None:
        caption += (
            " True patches are left out: the prepared dataset is not in the cache, and nothing is downloaded here."
        )
    if without:
        caption += f" Neither samples nor weights were kept of {', '.join(without)}."
    return part(section, title, Figure(pictures, caption))


def _row_samples(section: Section, row: Row) -> np.ndarray | None:
    """64 samples [64, 63] of the first trial of a row that has any, kept or drawn from its weights; else None."""
    from lde_bench.densities import load_density

    if (kept := next((each for each in section.kept_samples(row) if each.shape[1] == FEATURES), None)) is not None:
        return kept
    places = [RunPaths(section.runs[run_id][0].parent, run_id) for run_id in row.run_ids]
    for paths in places:
        if not paths.weights.is_file():
            continue
        try:
            return np.asarray(load_density(paths.weights).sample(64, seed=0))
        except InputError:  # weights of another version, or of a model that is not here
            continue
    return None


# ---- laws, costs, provenance


def _grouped(section: Section) -> dict[str, list[Record]]:
    """The records that trained a model, row by row, those refused by a law behind."""
    groups = {row_title(row): section.trials(row) for row in section.table.rows}
    shown = {record.run_id for records in groups.values() for record in records}
    for run_id, (_, record) in section.runs.items():
        if record.done and run_id not in shown and not all(law.passed for law in record.laws.values()):
            title = with_components(record.method, record.components)
            groups.setdefault(f"{title} (refused)", []).append(record)
    return groups


def _laws(section: Section) -> list[Block]:
    groups = _grouped(section)
    names = list(dict.fromkeys(name for records in groups.values() for record in records for name in record.laws))
    if not names:
        return []
    lines: list[list[Line]] = []
    for title, records in groups.items():
        broken = any(not law.passed for record in records for law in record.laws.values())
        verdict: Line = Strong("FAILED") if broken else "passed"
        lines.append([title, verdict, *(_law_cell(records, name) for name in names)])
    held = (
        "a model of images, and that of its codes to those of a density,"
        if section.table.shows_samples
        else "a density"
    )
    words = (
        f"Each trained model is held to the laws of {held} on validation rows; a cell is what was measured and its "
        "bound, the worst over the trials. A model that breaks a law gets no row in the tables."
    )
    return part(section, "Laws", Paragraph(words), Grid(["row", "verdict", *names], lines, left=2))


def _law_cell(records: Sequence[Record], name: str) -> Line:
    laws = [law for record in records if (law := record.laws.get(name)) is not None]
    if not laws:
        return DASH
    worst = max(laws, key=lambda law: (not law.passed, law.value if law.value is not None else 0.0))
    value, bound = (DASH if number is None else f"{number:.2g}" for number in (worst.value, worst.bound))
    measured = f"{value} of {bound}"
    return measured if worst.passed else Strong(f"FAILED: {measured}")


def _costs(section: Section) -> list[Block]:
    if not section.table.rows:
        return []
    lines: list[list[Line]] = []
    for row in section.table.rows:
        trials = section.trials(row)
        costs = [trial.cost for trial in trials if trial.cost]
        wall = f"{np.mean([cost.wall_seconds for cost in costs]):,.0f}" if costs else DASH
        texts = dict(zip(headers(section.table), cells(section.table, row), strict=True))
        training = trials[0].training
        lines.append(
            [
                row_title(row),
                costs[0].sample_cost if costs else DASH,
                texts["CPU seconds"],
                wall,
                str(training.get("threads", DASH)),
                str(training.get("precision", DASH)),
                texts["parameters"],
                budget_text(trials[0]),
            ]
        )
    heads = ["row", "cost of a sample", "CPU seconds", "wall seconds", "threads", "precision", "parameters", "budget"]
    words = "Mean over the trials, evaluation included; wall seconds depend on what else the machine did."
    return part(section, "Cost", Grid(heads, lines, left=2), Paragraph(words))


def _provenance(section: Section) -> list[Block]:
    data = next(iter(section.runs.values()))[1].dataset
    environments: dict[tuple[str, ...], list[Record]] = {}
    for _, record in section.runs.values():
        environments.setdefault(_environment(record), []).append(record)
    lines = [
        [", ".join(dict.fromkeys(record.method for record in records)), *environment, _when(records), str(len(records))]
        for environment, records in environments.items()
    ]
    heads = ["methods", "code", "packages", "machine", "finished (UTC)", "records"]
    words = (
        f"Dataset {data.name}, version {data.version}, seed {data.seed}, content SHA-256 {data.content_hash}; "
        f"benchmark version {section.table.benchmark_version}."
    )
    return part(section, "Environment and provenance", Paragraph(words), Grid(heads, lines, left=5))


def _environment(record: Record) -> tuple[str, str, str]:
    made = record.provenance
    commit = str(made.get("commit") or "unknown")[:10]
    state = ""
    if made.get("dirty") is not False:
        state = ", with changes that were not committed" if made.get("dirty") else ", unknown whether changed"
    code = f"lde-bench {made.get('lde_bench', 'unknown')}, commit {commit}{state}"
    packages = made.get("packages") or {}
    versions = [f"Python {made.get('python', 'unknown')}", *(f"{name} {version}" for name, version in packages.items())]
    machine = made.get("machine") or {}
    computer = (
        f"{machine.get('cpu', 'unknown')}, {machine.get('cores', '?')} cores, {machine.get('memory_gib', '?')} GiB"
    )
    return code, ", ".join(versions), f"{computer}, {machine.get('platform', 'unknown')}"


def _when(records: Sequence[Record]) -> str:
    days = sorted(str(record.provenance.get("finished", "unknown"))[:10] for record in records)
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
