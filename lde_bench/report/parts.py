"""The parts of a section of the report that more than one experiment shows: rows, curves, photographs, laws, costs,
provenance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lde_bench.evaluation.statistics import paired_difference
from lde_bench.report.document import Block, Figure, Grid, Items, Line, Paragraph, Picture, Strong
from lde_bench.report.numbers import DASH, error_text
from lde_bench.report.rows import Row
from lde_bench.report.section import Section, budget_text, part, row_title
from lde_bench.report.table import rows_blocks
from lde_bench.runs.record import Record
from lde_bench.runs.rows import group_means, law_number, with_components
from lde_bench.training.start import Start

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Plot


def plot(section: Section, name: str, figure: Plot, alt: str, caption: Line) -> Figure:
    """A matplotlib figure as a block; `name` tells it from the other pictures of the section."""
    from lde_bench.report.figures import page_bytes

    return Figure([(Picture(f"{section.name}-{name}", *page_bytes(figure), alt), "")], caption)


def headline(section: Section, picture: Plot | None, alt: str, caption: str) -> list[Block]:
    """The picture that a section opens with, under it its `caption`, what the section is of, and how many trials it
    does not show; a sentence where there is none.
    """
    table = section.table
    if picture is None:
        return [Items(table.heading), Paragraph("No picture was kept beside these records.")]
    told = f"{caption} {'. '.join(table.heading)}."
    if table.failures:
        told += f" Not in the picture: {len(table.failures)} trials without a row, which are listed below the table."
    return [plot(section, "headline", picture, alt, told)]


def results(section: Section) -> list[Block]:
    """The table with its notes and the panels before and behind it."""
    table = section.table
    return part(section, "All results", *table.leading, *rows_blocks(table, bold=True), *table.panels)


def components(section: Section) -> list[Block]:
    """The methods of two numbers of components or more against that number; nothing where there are none."""
    from lde_bench.report.figures import draw_components

    table = section.table
    if not table.swept:
        return []
    paper = ", and the paper's own curve" if table.shows_paper else ""
    score = capitalised(table.score)
    caption = f"{score} of what was run at several numbers of components K{paper}; methods without K as lines."
    figure = plot(section, "components", draw_components(table), f"{score} against the number of components", caption)
    return part(section, "Number of components", figure)


def _names(row: Row) -> tuple[str, ...]:
    """What a row may be called, a mark of doubt or none."""
    return row.method, row.label, with_components(row.label, row.components), row_title(row)


def chosen_pair(section: Section, pair: tuple[str, str] | None) -> tuple[Row, Row] | None:
    """The rows to set against each other, the better one first; None when there are no two."""
    ranked = [row for row in section.table.rows if row.test_nats is not None]
    rows = sorted(ranked, key=lambda row: -row.nats)
    if pair is not None:
        named = [[row for row in rows if name in _names(row)] for name in pair]
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
    return (first, second) if first.nats >= second.nats else (second, first)


def photographs(section: Section, pair: tuple[str, str] | None) -> list[Block]:
    """Two methods set against each other photograph by photograph: those of `pair`, else the best two."""
    from lde_bench.report.plots import draw_photographs

    group = section.table.group
    title = f"Two methods, {group} by {group}"
    chosen = chosen_pair(section, pair)
    if chosen is None:
        return (
            []
            if pair is None
            else part(section, title, Paragraph("This section has not both methods that were named."))
        )
    first, second = chosen
    one, two = (group_means(section.trials(row)) for row in (first, second))
    if one is None or two is None:
        unknown = f"The records do not tell which {section.table.items} are of one {group}"
        return [] if pair is None else part(section, title, Paragraph(f"{unknown}; see lde-bench compare."))
    difference = paired_difference(one, two)
    error = error_text(difference.standard_error)
    names = row_title(first), row_title(second)
    above = int(np.sum(np.greater(one.mean_nats, two.mean_nats)))
    caption = (
        f"One point a test {group} ({len(one.ids)}); left the two means, on the line where they are equal, right "
        f"their difference. {names[0]} minus {names[1]}, paired on the same {section.table.items}: "
        f"{difference.mean:+.2f} ± {error} nats (± its standard error clustered by {group}); it is higher on {above} "
        f"of the {len(one.ids)} {group}s."
    )
    alt = f"Mean log-likelihood of each {group} under {names[0]} and {names[1]}"
    drawn = draw_photographs((names[0], one), (names[1], two))
    return part(section, title, plot(section, "photographs", drawn, alt, caption))


def learning(section: Section) -> list[Block]:
    """Validation log-likelihood against CPU seconds."""
    from lde_bench.report.plots import draw_learning_curves

    curves = [
        (row_title(row), curve)
        for row in sorted(section.table.rows, key=lambda row: -row.nats)
        if (curve := [trial.curve for trial in section.trials(row) if trial.curve])
    ]
    if not curves:
        return part(section, "Learning curves", Paragraph("The records hold no validation curves."))
    figure, below = draw_learning_curves(curves)
    caption = (
        "Validation log-likelihood against CPU seconds, one line a trial, one colour a row, in the order of the test "
        f"figures; on validation {section.table.items}, so the level is not that of the test table."
    )
    if below:
        caption += f" Below the window: {', '.join(below)}."
    alt = "Validation log-likelihood against CPU seconds of training"
    return part(section, "Learning curves", plot(section, "learning", figure, alt, caption))


def starts(section: Section) -> list[Block]:
    """Where the training of each row began, and how many of its steps the plan's clip cut: the unit of a model, and
    whether its rate or its clip set the length of steps. Nothing where no record tells.
    """
    lines: list[list[Line]] = []
    for row in section.table.rows:
        parts: dict[str, list[Start]] = {}
        for trial in section.trials(row):
            for name, start in trial.starts.items():
                parts.setdefault(name, []).append(start)
        for name, each in parts.items():
            losses = [start.first_loss for start in each if start.first_loss is not None]
            shares = [start.clipped_share for start in each if start.clipped_share is not None]
            lines.append(
                [
                    row_title(row),
                    name,
                    f"{np.mean([start.steps for start in each]):,.0f}",
                    f"{np.mean(losses):.4g}" if losses else DASH,
                    DASH if each[0].clip is None else f"{each[0].clip:g}",
                    f"{np.mean(shares):.0%}" if shares else DASH,
                ]
            )
    if not lines:
        return []
    words = (
        "Means over the trials. The loss before the first step is that of a training batch, of densities in nats: far "
        "above the later figures where a model starts in the wrong unit. Where the clip cuts nearly all steps, it is "
        "the clip and not the rate that sets how long they are."
    )
    heads = ["row", "part", "steps", "loss before the first step", "clip", "steps it cut"]
    return part(section, "Start and clip", Paragraph(words), Grid(heads, lines, left=2))


def capitalised(words: str) -> str:
    """Words as a sentence begins."""
    return words[:1].upper() + words[1:]


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


def laws(section: Section, held: str) -> list[Block]:
    """What each trained model was measured to by the laws of what it is, in words `held`."""
    groups = _grouped(section)
    names = list(dict.fromkeys(name for records in groups.values() for record in records for name in record.laws))
    if not names:
        return []
    lines: list[list[Line]] = []
    for title, records in groups.items():
        broken = any(not law.passed for record in records for law in record.laws.values())
        unknown = any(not law.verified for record in records for law in record.laws.values())
        verdict: Line = Strong("FAILED") if broken else Strong("not verified") if unknown else "passed"
        lines.append([title, verdict, *(_law_cell(records, name) for name in names)])
    words = (
        f"Each trained model is held to the laws of {held} on validation rows; a cell is what was measured and its "
        "bound, the worst over the trials. A model that breaks a law gets no row in the tables."
    )
    return part(section, "Laws", Paragraph(words), Grid(["row", "verdict", *names], lines, left=2))


def _law_cell(records: Sequence[Record], name: str) -> Line:
    laws = [law for record in records if (law := record.laws.get(name)) is not None]
    if not laws:
        return DASH
    worst = max(laws, key=lambda law: law.strain)
    bound = DASH if worst.bound is None else f"{worst.bound:.2g}"
    measured = f"{law_number(worst.value, 2)} of {bound}"
    if not worst.passed:
        return Strong("; ".join(filter(None, [f"FAILED: {measured}", worst.detail])))
    return measured if worst.verified else Strong(f"not verified: {measured}")


def costs(section: Section) -> list[Block]:
    """What a trial and a sample of each row cost."""
    if not section.table.rows:
        return []
    lines: list[list[Line]] = []
    for row in section.table.rows:
        trials = section.trials(row)
        costs = [trial.cost for trial in trials if trial.cost]
        wall = f"{np.mean([cost.wall_seconds for cost in costs]):,.0f}" if costs else DASH
        texts = dict(zip(section.table.headers, section.table.cells(row), strict=True))
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


def provenance(section: Section) -> list[Block]:
    """With what code, packages and machine the records were made, and when."""
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
    computer = [
        *([machine["gpu"]] if "gpu" in machine else []),
        machine.get("cpu", "unknown"),
        f"{machine.get('cores', '?')} cores",
        f"{machine.get('memory_gib', '?')} GiB",
        machine.get("platform", "unknown"),
    ]
    return code, ", ".join(versions), ", ".join(computer)


def _when(records: Sequence[Record]) -> str:
    days = sorted(str(record.provenance.get("finished", "unknown"))[:10] for record in records)
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
