"""Log-likelihood against the number of components, or of samples row by row beside the published figures, from the rows
of one table (matplotlib, no global state).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice, pairwise
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from lde_bench.files import atomic_path
from lde_bench.report.rows import PAPER_LDE, Row
from lde_bench.report.table import Table
from lde_bench.runs.rows import is_reference, with_components

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's palette, told apart by readers of any colour vision; markers and dashes repeat the
#: distinction.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # one more than colours: a pair comes again after 42
DASHES = ("--", "-.", (0, (5, 1, 1, 1, 1, 1)), ":")


def draw_components(table: Table) -> Figure:
    """The figure of `table`: methods with K as curves on a logarithmic axis, methods without K as level
    lines.

    Error bars and bands are 2 standard deviations over trials, so they say what another seed would change;
    a point of fewer than 3 trials has none. (The error over test photographs is not drawn: it is shared by
    all methods and does not set them apart; the table has the paired differences.) Rows far below the
    others get a panel of their own.
    """
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    figure = Figure(figsize=(7.2, 5.4), dpi=150, layout="constrained")
    ranges = _ranges([row.nats for row in table.rows])
    heights = [3, 1] if len(ranges) == 2 else [1]
    panels: list[Axes] = list(figure.subplots(len(ranges), sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    for axes in panels:
        _draw_rows(axes, table)
        axes.set_ylabel("test log-likelihood (nats)" if axes is panels[0] else "(nats)")
        axes.grid(visible=True, color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    if len(panels) == 2:
        _break_axis(panels, ranges, max(row.two_standard_deviations or 0.0 for row in table.rows))
    _label_components(panels[-1], table)
    heading = [part for line in table.heading for part in wrap(line, 88)]
    panels[0].set_title("\n".join(heading), fontsize=9, loc="left")
    if table.rows:
        # Outside the axes a legend of any length hides no point.
        handles, labels = panels[0].get_legend_handles_labels()
        columns = 2 if max(map(len, labels)) < 50 else 1
        lines = -(-len(labels) // columns)
        figure.set_figheight(5.4 + 0.19 * max(0, lines - 5))  # a long legend takes nothing from the axes
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False)
    return figure


def draw_rows(table: Table) -> Figure:
    """A line for each row: ours with two standard errors over test items to either side, and the published figure with
    twice its printed +-. Rows too far below the others stand at the edge, by an arrow.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.0 + 0.36 * len(table.rows)), dpi=150, layout="constrained")
    axes = figure.subplots()
    published = [row.samples.published_nats for row in table.rows if row.samples and row.samples.published_nats]
    low, high = value_range([*(row.nats for row in table.rows), *published])
    margin = 0.08 * (high - low) or 1.0
    for place, row in enumerate(table.rows):
        error = row.standard_error_clustered or row.standard_error_naive or 0.0
        colour = "0.45" if is_reference(row.method) else COLOURS[0]
        inside = row.nats >= low
        axes.errorbar(
            [row.nats if inside else low - margin / 2],
            [place],
            xerr=[2 * error] if inside else None,
            color=colour,
            marker="o" if inside else "<",
            capsize=3,
            linestyle="none",
        )
        axes.annotate(
            f"{row.nats:.1f}",
            (max(row.nats, low - margin / 2), place),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=colour,
        )
        if row.samples and row.samples.published_nats is not None:
            axes.errorbar(
                [row.samples.published_nats],
                [place + 0.22],
                xerr=[2 * (row.samples.published_plus_minus or 0.0)],
                color=COLOURS[1],
                marker="D",
                markerfacecolor="white",
                capsize=3,
                linestyle="none",
            )
    axes.set_yticks(range(len(table.rows)), [with_components(row.label, row.components) for row in table.rows])
    axes.set_ylim(len(table.rows) - 0.4, -0.7)
    axes.set_xlim(low - margin, high + margin)
    told = f"{table.score} (nats), bars: two standard errors over test {table.items}; grey: rows that model nothing"
    diamonds = "\nopen diamonds: published, bars: twice the printed ±" if published else ""
    axes.set_xlabel(told + diamonds, fontsize=8.5, loc="right")
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    heading = [part for line in table.heading for part in wrap(line, 88)]
    axes.set_title("\n".join(heading), fontsize=9, loc="left")
    return figure


def value_range(values: Sequence[float]) -> tuple[float, float]:
    """The range to draw: all of the values, or those that are not so far below the median that they would squeeze the
    others.
    """
    high, median = max(values), sorted(values)[len(values) // 2]
    floor = median - 4 * max(high - median, 0.02 * abs(high), 1.0)
    low = min(value for value in values if value >= floor)
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _ranges(values: Sequence[float]) -> list[tuple[float, float]]:
    """The value ranges to draw, top one first: two when a gap would squeeze what lies above it, else one."""
    ordered = sorted(values)
    gaps = [high - low for low, high in pairwise(ordered)]
    if not gaps:
        return [(min(ordered, default=0.0), max(ordered, default=1.0))]
    place = max(range(len(gaps)), key=gaps.__getitem__)
    low, high = ordered[: place + 1], ordered[place + 1 :]
    if len(high) > 1 and gaps[place] > max(1.5 * (high[-1] - high[0]), 5.0):
        return [(high[0], high[-1]), (low[0], low[-1])]
    return [(ordered[0], ordered[-1])]


def _draw_rows(axes: Axes, table: Table) -> None:
    curves: dict[str, list[Row]] = {}
    for row in table.rows:
        if row.components is not None:
            curves.setdefault(row.label, []).append(row)
    for (label, rows), colour, marker in zip(curves.items(), cycle(COLOURS), cycle(_MARKERS), strict=False):
        rows.sort(key=lambda row: row.components or 0)
        # NaN draws a point without a bar.
        bars = [float("nan") if row.two_standard_deviations is None else row.two_standard_deviations for row in rows]
        axes.errorbar(
            [row.components or 0 for row in rows],
            [row.nats for row in rows],
            yerr=bars,
            color=colour,
            marker=marker,
            markersize=6,
            capsize=4,
            label=label,
        )
    if table.shows_paper and curves:
        axes.errorbar(
            list(PAPER_LDE),
            [mean for mean, _ in PAPER_LDE.values()],
            yerr=[spread for _, spread in PAPER_LDE.values()],
            color="0.35",
            marker="x",
            linestyle=(0, (1, 1.5)),
            capsize=4,
            label="the paper's lde, on its own schedule (250 epochs)",
        )
    # Level lines take the colours that the curves left over.
    levels = [row for row in table.rows if row.components is None]
    left_over = islice(cycle(COLOURS), len(curves), None)
    for row, colour, dashes in zip(levels, left_over, cycle(DASHES), strict=False):
        axes.axhline(row.nats, color=colour, linestyle=dashes, linewidth=1.4, label=row.label)
        if row.two_standard_deviations is not None:
            low, high = (row.nats + sign * row.two_standard_deviations for sign in (-1, 1))
            axes.axhspan(low, high, color=colour, alpha=0.15, linewidth=0)


def _break_axis(panels: Sequence[Axes], ranges: Sequence[tuple[float, float]], bar: float) -> None:
    """Give each panel its own range of values, with room for an error `bar` and marks where the axis is
    cut.
    """
    upper, lower = panels
    top = max(upper.dataLim.y1, ranges[0][1])  # the paper's curve may lie above every row
    for axes, (low, high) in ((upper, (ranges[0][0], top)), (lower, ranges[1])):
        margin = max(0.08 * (high - low), 0.5) + bar
        axes.set_ylim(low - margin, high + margin)
    upper.spines["bottom"].set_visible(False)
    upper.tick_params(axis="x", length=0)
    for axes, height in ((upper, 0), (lower, 1)):
        axes.plot(
            [0],
            [height],
            transform=axes.transAxes,
            marker=[(-1, -0.5), (1, 0.5)],
            markersize=10,
            color="0.2",
            linestyle="none",
            clip_on=False,
        )


def _label_components(axes: Axes, table: Table) -> None:
    """A logarithmic K axis with a tick at each K that was run, none when no method has K; and what the bars
    are.
    """
    from matplotlib.ticker import NullLocator

    if any(row.two_standard_deviations is not None for row in table.rows):
        caption = "error bars and bands: 2 standard deviations over trials, where there are at least 3"
    else:
        caption = "ours without error bars: a spread over trials is shown from 3 trials"
    components = {row.components for row in table.rows if row.components is not None}
    if not components:
        axes.set_xticks([])
        axes.set_xlabel(caption)
        return
    ticks = sorted(components | (set(PAPER_LDE) if table.shows_paper else set()))
    axes.set_xscale("log")
    axes.set_xlim(ticks[0] / 1.35, ticks[-1] * 1.35)
    # A number that would touch its neighbour goes one line down.
    near = [False, *(high < 1.3 * low for low, high in pairwise(ticks))]
    axes.set_xticks(ticks, labels=[f"\n{tick}" if low else str(tick) for tick, low in zip(ticks, near, strict=True)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"components K (logarithmic axis)\n{caption}")


def write_figure(figure: Figure, path: Path) -> None:
    """Write `figure` atomically in the format of the suffix of `path` (`.png`, `.svg`, `.pdf`)."""
    kind = path.suffix.removeprefix(".")
    # Nothing about this machine or moment goes into the file: the same rows give the same picture.
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=metadata.get(kind))
