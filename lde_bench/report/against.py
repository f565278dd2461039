"""Published figures against ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lde_bench.report.document import Block, Grid, Heading, Items, Line, Link, Paragraph, Strong
from lde_bench.report.published import PublishedFigure, load_published
from lde_bench.report.section import Section, budget_text, part, row_title
from lde_bench.report.sheet import DASH
from lde_bench.report.tables import Row, cells, headers
from lde_bench.runs.record import Record
from lde_bench.runs.rows import with_components

#: What the paper's authors trained their LDE on: 250 epochs of 15,000 patches of each of 180 photographs.
PAPER_PATCHES = 250 * 180 * 15_000


_VARIANT = (
    "A variant is the published model with a wrapper, an argument or a K of its own. The sizes of our networks may be "
    "smaller than the published ones: the list below says where."
)

_OF_PATCHES = (
    "± after ours: 2 standard deviations over trials (from 3 trials; at 2 both values, at 1 a dash). SE by "
    "photograph: standard error over the test patches, clustered by photograph; the published ± over patches "
    "takes patches as independent and is not it. Published figures are on another draw of patches, so a "
    f"difference holds only as far as these errors let it. {_VARIANT}"
)

_OF_SAMPLES = (
    "Parzen-window log-likelihoods of the same test images. ± after ours: 2 standard deviations over trials (from 3 "
    "trials; at 2 both values, at 1 a dash). The published models had other budgets and, where sigma was chosen "
    f"otherwise, another window. {_VARIANT}"
)


def figure_of(row: Row, figures: Sequence[PublishedFigure]) -> tuple[PublishedFigure, bool] | None:
    """The published figure that a row is to be held against, and whether the row is the published model; None when
    there is none.

    A wrapper (`lde+w`), an argument or another K makes a row a variant of the published model; its figure is that of
    the longest published spelling it starts with, at its own K if there is one.
    """
    related = [
        figure
        for figure in figures
        if figure.method
        and (row.method == figure.method or row.method.startswith((f"{figure.method}+", f"{figure.method}:")))
    ]
    if not related:
        return None
    longest = max(len(figure.method) for figure in related)
    nearest = [figure for figure in related if len(figure.method) == longest]
    same = [figure for figure in nearest if figure.components == row.components]
    if same:
        return same[0], row.label == same[0].method
    return (nearest[0], False) if len(nearest) == 1 else None


def against_published(section: Section) -> list[Block]:
    """One line for each published figure that has a method here, and for each row of ours."""
    table = section.table
    figures = section.published
    held: dict[str, list[tuple[Row, bool]]] = {}
    alone = []
    for row in table.rows:
        found = figure_of(row, figures)
        if found is None:
            alone.append(row)
        else:
            held.setdefault(found[0].model, []).append((row, found[1]))
    commands: dict[str, int] = {}
    lines: list[list[Line]] = []
    for figure in figures:
        if not figure.method:
            continue
        rows = sorted(held.get(figure.model, []), key=lambda held_row: not held_row[1])
        if not any(exact for _, exact in rows):
            missing = f"no record of {with_components(figure.method, figure.components)}"
            lines.append([figure.model, figure.plus_minus_is, missing, figure.value, *[DASH] * 6])
        for row, exact in rows:
            name = row_title(row) + ("" if exact else " (a variant)")
            ours = _our_cells(section, row, figure.test_nats, commands)
            lines.append([figure.model, figure.plus_minus_is, name, figure.value, *ours])
    for row in alone:
        lines.append(["none published", "", row_title(row), DASH, *_our_cells(section, row, None, commands)])
    heads = ["published model", "its ± is", "ours", "published (nats)", "ours (nats)", table.error_column, "difference"]
    grid = Grid([*heads, "budget", "command", "records"], lines, left=3)
    words = _OF_SAMPLES if table.shows_samples else _OF_PATCHES
    blocks = part(section, "The published figures and ours", grid, Paragraph(words))
    if note := _training_note(held, section):
        blocks.append(Paragraph((Strong("Budget."), f" {note}")))
    if commands:
        blocks += [Paragraph("Commands:"), Items(list(commands), ordered=True)]
    if differences := _differences([row.method for row in table.rows]):
        blocks += [Paragraph("Where a method here differs from the published one:"), Items(differences)]
    return blocks


def _differences(methods: Sequence[str]) -> list[Line]:
    """What the cards say of each method of this package, and of the density of its codes, once."""
    from lde_bench.cards import method_cards
    from lde_bench.densities import density_classes, is_wrapper

    wrappers = {name for name, kind in density_classes().items() if is_wrapper(kind)}
    cards = {name: card for method in methods for name, card in method_cards(method).items() if name not in wrappers}
    return [(Strong(name), f": {card.differences}") for name, card in cards.items()]


def _linked(source: str) -> Line:
    """A source with its arXiv number as a link."""
    found = re.search(r"arXiv (\d{4}\.\d{4,5})", source)
    if found is None:
        return source
    return source[: found.start()], Link(found[0], f"https://arxiv.org/abs/{found[1]}"), source[found.end() :]


def _our_cells(section: Section, row: Row, published: float | None, commands: dict[str, int]) -> list[Line]:
    texts = dict(zip(headers(section.table), cells(section.table, row), strict=True))
    trials = section.trials(row)
    asked = dict.fromkeys(str(command) for trial in trials if (command := trial.provenance.get("command")))
    numbers = [str(commands.setdefault(command, len(commands) + 1)) for command in asked]
    difference = DASH if published is None else f"{row.test_nats - published:+.2f}"
    return [
        texts[f"{section.table.score} (nats)"],
        texts[section.table.error_column],
        difference,
        budget_text(trials[0]),
        ", ".join(numbers) or "not recorded",
        section.links(row),
    ]


def _training_note(held: Mapping[str, Sequence[tuple[Row, bool]]], section: Section) -> str:
    """How much of the paper's training the rows of the paper's model had; empty when there is none."""
    ours = [
        (seen, row)
        for rows in held.values()
        for row, _ in rows
        if re.split("[+:]", row.method)[0] == "lde" and (seen := _patches_seen(section.trials(row)[0]))
    ]
    if not ours:
        return ""
    most, row = max(ours, key=lambda pair: pair[0])
    share = (
        f"1/{PAPER_PATCHES / most:,.0f} of that" if most < PAPER_PATCHES / 2 else f"{most / PAPER_PATCHES:.2f} of it"
    )
    return (
        f"The paper trained its LDE for 250 epochs of 2.7 million patches, {PAPER_PATCHES / 1e6:,.0f} million in all; "
        f"of the LDE rows here the longest trained, {row_title(row)}, saw {most / 1e6:,.2f} million, {share}."
    )


def _patches_seen(record: Record) -> int:
    return int(record.training.get("steps") or 0) * int(record.training.get("batch_size") or 0)


def published_list(sections: Sequence[Section]) -> list[Block]:
    """Every published figure, highest first, with the rows of `sections` among them."""
    if not sections:
        return []
    lines: list[tuple[float, list[Line]]] = []
    for figure in load_published():
        source = _linked(figure.source)
        lines.append((figure.test_nats, [figure.model, figure.plus_minus_is, source, figure.value]))
    for section in sections:
        for row in section.table.rows:
            spread = "both trials" if row.trials == 2 else "2 SD over trials" if row.trials > 2 else ""
            value = cells(section.table, row)[headers(section.table).index(f"{section.table.score} (nats)")]
            words = [row_title(row), spread, f"ours, {section.table.budget}", value]
            lines.append((row.test_nats, [Strong(word) if word else "" for word in words]))
    lines.sort(key=lambda line: -line[0])
    unverified = sum(not figure.checked for figure in load_published())
    return [
        Heading(2, "Published BSDS300 figures", "published"),
        Paragraph(
            "Mean test log-likelihood of the 63-number 8x8 patches, highest first, ours in bold. What the ± is over "
            "differs from paper to paper: over test patches it does not know what another seed would change, over runs "
            f"it does not know what other photographs would. The {unverified} figures marked as unverified are from "
            "memory and were not seen in a source."
        ),
        Grid(["model", "its ± is", "source", "nats"], [line for _, line in lines], left=3),
    ]
