"""Published figures against ours."""

from __future__ import annotations

from collections.abc import Sequence

from lde_bench.report.document import Block, Grid, Items, Line, Paragraph, Strong
from lde_bench.report.numbers import DASH
from lde_bench.report.published import PublishedFigure
from lde_bench.report.rows import Row
from lde_bench.report.section import Section, budget_text, part, row_title
from lde_bench.runs.rows import WINDOW, with_components

#: What a variant is, said under every comparison.
VARIANT = (
    "A variant is the published model with a wrapper, an argument or a K of its own. The sizes of our networks may be "
    "smaller than the published ones: the list below says where."
)


def figure_of(row: Row, figures: Sequence[PublishedFigure]) -> tuple[PublishedFigure, bool] | None:
    """The published figure that a row is to be held against, and whether the row is the published model; None when
    there is none, as of a window of another number of samples.

    A wrapper (`lde+w`), an argument or another K makes a row a variant of the published model; its figure is that of
    the longest published spelling it starts with, at its own K if there is one.
    """
    related = [
        figure
        for figure in figures
        if figure.method
        and (row.method == figure.method or row.method.startswith((f"{figure.method}+", f"{figure.method}:")))
    ]
    if not related or (row.samples is not None and row.samples.count not in (None, WINDOW)):
        return None
    longest = max(len(figure.method) for figure in related)
    nearest = [figure for figure in related if len(figure.method) == longest]
    same = [figure for figure in nearest if figure.components == row.components]
    if same:
        return same[0], row.label == same[0].method
    return (nearest[0], False) if len(nearest) == 1 else None


def published_comparison(section: Section, words: str, budget_note: str = "") -> list[Block]:
    """One line for each published figure that has a method here, and for each row of ours.

    `words` say what the two have in common and what not, `budget_note` how much of the published training ours had.
    """
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
    blocks = part(section, "The published figures and ours", grid, Paragraph(words))
    if budget_note:
        blocks.append(Paragraph((Strong("Budget."), f" {budget_note}")))
    if commands:
        blocks += [Paragraph("Commands:"), Items(list(commands), ordered=True)]
    if differences := _differences([row.method for row in table.rows]):
        blocks += [Paragraph("Where a method here differs from the published one:"), Items(differences)]
    return blocks


def _differences(methods: Sequence[str]) -> list[Line]:
    """What the cards say of each method of this package, and of the density of its codes, once; of wrappers where they
    say something.
    """
    from lde_bench.cards import method_cards
    from lde_bench.densities import density_classes, is_wrapper
    from lde_bench.training.model import NONE_KNOWN

    suffixes = {name: f"+{name}" for name, kind in density_classes().items() if is_wrapper(kind)}
    cards = {name: card for method in methods for name, card in method_cards(method).items()}
    return [
        (Strong(suffixes.get(name, name)), f": {card.differences}")
        for name, card in cards.items()
        if name not in suffixes or card.differences != NONE_KNOWN
    ]


def _our_cells(section: Section, row: Row, published: float | None, commands: dict[str, int]) -> list[Line]:
    texts = dict(zip(section.table.headers, section.table.cells(row), strict=True))
    trials = section.trials(row)
    asked = dict.fromkeys(str(command) for trial in trials if (command := trial.provenance.get("command")))
    numbers = [str(commands.setdefault(command, len(commands) + 1)) for command in asked]
    difference = DASH if published is None else f"{row.nats - published:+.2f}"
    return [
        texts[f"{section.table.score} (nats)"],
        texts[section.table.error_column],
        difference,
        budget_text(trials[0]),
        ", ".join(numbers) or "not recorded",
        section.links(row),
    ]
